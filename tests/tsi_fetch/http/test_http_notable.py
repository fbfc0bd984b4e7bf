"""The requests that a report names: the slowest and those sent again; bounded, and without secrets or bodies."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from still_clock import StillClock

from tsi_fetch.http.answer import REQUESTED_AT, TOOK, clock_skew
from tsi_fetch.http.chain import ChainOptions, build_client
from tsi_fetch.http.meter import Meter
from tsi_fetch.http.notable import LONGEST, RETRIED, SLOWEST, WATCHED, Notable, Sent
from tsi_fetch.http.retry import RetryPolicy

HOST = "register.invalid"
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def test_the_slowest_of_each_host_are_kept_and_no_more() -> None:
    notable = Notable()
    for n in range(50):
        notable.ended(HOST, Sent("GET", f"https://{HOST}/{n}"), n, (n * 7 % 50) * 1000, "status 200")
    notable.ended("fhir.invalid", Sent("POST", "https://fhir.invalid/"), 9, 1, "ReadTimeout")
    kept = notable.slowest()
    assert [line["seconds"] for line in kept if line["host"] == HOST] == [0.049, 0.048, 0.047, 0.046, 0.045]
    assert len(kept) == SLOWEST + 1
    assert kept[0]["host"] == "fhir.invalid"
    assert set(kept[0]) == {"host", "method", "url", "seconds", "bytes", "ended"}


def test_what_was_not_measured_is_not_called_slow() -> None:
    notable = Notable()
    notable.ended(HOST, Sent("GET", "https://register.invalid/"), 9, 0, "status 200")
    assert notable.slowest() == []


def test_those_sent_again_most_often_are_named_however_many_there_are() -> None:
    notable = Notable()
    for n in range(WATCHED * 2):
        notable.again(HOST, Sent("GET", f"https://{HOST}/{n}"), "status 503")
    notable.again(HOST, Sent("GET", f"https://{HOST}/7"), "ReadTimeout")
    named = notable.retried()
    assert len(named) == RETRIED
    assert (named[0]["url"], named[0]["times"], named[0]["why"]) == (f"https://{HOST}/7", 2, "ReadTimeout")
    assert len(notable._again) == WATCHED


def test_a_url_is_named_without_its_secrets_and_cut_where_it_is_long() -> None:
    meter, url = Meter(), f"https://{HOST}/rows?api_key=s3cr3t&id={'x' * 500}"
    options = ChainOptions(origins=(url,), rate=1000, retry=RetryPolicy(attempts=2))
    steps = iter([httpx.Response(503, content=b"a body"), httpx.Response(200, content=b"a body")])
    clock = StillClock()

    def wire(request: httpx.Request) -> httpx.Response:
        clock.sleep(0.25)
        step = next(steps)
        return httpx.Response(step.status_code, content=step.content)

    build_client(options, clock, wire=httpx.MockTransport(wire), meter=meter, rng=random.Random(1)).get(url)
    [again] = meter.resent()
    assert (again["method"], again["times"], again["why"]) == ("GET", 1, "status 503")
    slow = meter.slowest()
    assert [line["ended"] for line in slow] in (["status 503", "status 200"], ["status 200", "status 503"])
    assert all("api_key=***&id=x" in line["url"] and len(line["url"]) == LONGEST for line in (again, *slow))
    assert "s3cr3t" not in str((slow, again))
    assert "a body" not in str((slow, again))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Date": "Mon, 02 Mar 2026 12:00:00 GMT"}, -0.5),
        ({"Date": "Mon, 02 Mar 2026 12:05:01 GMT"}, 300.5),
        ({"Date": "Mon, 02 Mar 2026 11:00:01 GMT", "Age": "3600"}, 0.5),
        ({"Date": "Mon, 02 Mar 2026 12:00:01 GMT", "Age": "soon"}, 0.5),
        ({"Date": "yesterday"}, None),
        ({}, None),
    ],
)
def test_a_servers_clock_is_read_from_its_date_half_way_through_the_request(
    headers: dict[str, str], seconds: float | None
) -> None:
    answer = httpx.Response(200, headers=headers, extensions={REQUESTED_AT: NOON, TOOK: 2_000_000})
    assert clock_skew(answer) == (None if seconds is None else timedelta(seconds=seconds))


def test_an_answer_that_did_not_come_through_the_chain_says_nothing_of_clocks() -> None:
    assert clock_skew(httpx.Response(200, headers={"Date": "Mon, 02 Mar 2026 12:00:00 GMT"})) is None
