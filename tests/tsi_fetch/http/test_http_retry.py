"""Retrying: what is sent again, how long is waited, and how it ends."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import pytest
from still_clock import StillClock

from tsi_fetch.errors import TryAgain
from tsi_fetch.http.chain import ChainOptions, build_client
from tsi_fetch.http.failures import Postponed, Unreachable
from tsi_fetch.http.meter import Meter
from tsi_fetch.http.retry import RetryPolicy, retry_after

URL = "https://register.invalid/rows"
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)

Step = httpx.Response | Exception


class Script:
    """A wire that plays its steps in turn, the last one for ever."""

    def __init__(self, *steps: Step) -> None:
        self.steps, self.sent = list(steps), 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.sent += 1
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, Exception):
            raise step
        return httpx.Response(step.status_code, headers=step.headers, content=step.content)


def client(script: Script, clock: StillClock, meter: Meter | None = None, **policy: object) -> httpx.Client:
    options = ChainOptions(origins=(URL,), rate=1000, retry=RetryPolicy(**policy))  # type: ignore[arg-type]
    return build_client(options, clock, wire=httpx.MockTransport(script), meter=meter, rng=random.Random(1))


def waits(clock: StillClock) -> list[float]:
    """The waits between attempts; those of the rate limit are milliseconds."""
    return [seconds for seconds in clock.waits if seconds > 0.01]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_transient_status_is_asked_again(status: int) -> None:
    script, clock = Script(httpx.Response(status), httpx.Response(200, content=b"yes")), StillClock()
    assert client(script, clock).get(URL).content == b"yes"
    assert script.sent == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422, 501])
def test_any_other_status_is_an_answer(status: int) -> None:
    script = Script(httpx.Response(status))
    assert client(script, StillClock()).get(URL).status_code == status
    assert script.sent == 1


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout("slow"),
        httpx.ReadTimeout("slow"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("peer closed connection without sending complete message body"),
        httpx.DecodingError("gzip broke off"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_a_broken_connection_is_tried_again(failure: Exception) -> None:
    script = Script(failure, httpx.Response(200, content=b"yes"))
    assert client(script, StillClock()).get(URL).content == b"yes"


def test_the_statuses_that_are_transient_are_the_adapters_choice() -> None:
    script = Script(httpx.Response(500))
    assert client(script, StillClock(), statuses=frozenset({503})).get(URL).status_code == 500
    assert script.sent == 1


def test_the_adapter_may_distrust_an_answer() -> None:
    script = Script(httpx.Response(200, content=b"<html>"), httpx.Response(200, content=b"{}"))

    def page(response: httpx.Response) -> str | None:
        return "a web page" if response.content.startswith(b"<") else None

    assert client(script, StillClock(), transient=page).get(URL).content == b"{}"


def test_after_the_last_attempt_the_failure_names_method_url_attempts_and_status() -> None:
    script, clock = Script(httpx.Response(503, content=b"the secret body")), StillClock()
    with pytest.raises(Unreachable) as failed:
        client(script, clock, attempts=3).get(f"{URL}?api_key=hush&page=2")
    error = failed.value
    assert (error.method, error.attempts, error.status) == ("GET", 3, 503)
    assert error.url == f"{URL}?api_key=***&page=2"
    assert "3 times" in str(error)
    assert "hush" not in repr(error) + str(error)
    assert "body" not in str(error)
    assert isinstance(error, TryAgain)
    assert script.sent == 3


def test_a_failure_without_an_answer_has_no_status() -> None:
    with pytest.raises(Unreachable) as failed:
        client(Script(httpx.ReadTimeout("slow")), StillClock(), attempts=2).get(URL)
    assert failed.value.status is None
    assert failed.value.reason == "ReadTimeout"


def test_waits_have_full_jitter_under_a_doubling_bound() -> None:
    clock = StillClock()
    with pytest.raises(Unreachable):
        client(Script(httpx.Response(503)), clock, attempts=8, first_wait=1, longest_wait=10).get(URL)
    found = waits(clock)
    assert len(found) == 7
    assert all(wait <= bound for wait, bound in zip(found, [1, 2, 4, 8, 10, 10, 10], strict=True))
    assert len(set(found)) == 7


def header(value: str, **more: str) -> httpx.Response:
    return httpx.Response(429, headers={"Retry-After": value, **more})


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (header("7"), 7),
        (header(" 7 "), 7),
        (header("Mon, 02 Mar 2026 12:00:20 GMT", Date="Mon, 02 Mar 2026 12:00:00 GMT"), 20),
        (header("Mon, 02 Mar 2026 09:30:20 GMT"), 20),  # without a Date: counted from our own request
    ],
    ids=["seconds", "blanks", "date", "date without Date"],
)
def test_what_the_server_asks_for_is_waited_and_little_more(answer: httpx.Response, seconds: float) -> None:
    clock = StillClock(datetime(2026, 3, 2, 9, 30, tzinfo=UTC))
    client(Script(answer, httpx.Response(200)), clock, first_wait=1).get(URL)
    (waited,) = waits(clock)
    assert seconds <= waited <= seconds + 1.1


@pytest.mark.parametrize("value", ["0", "-5", "soon", "", "Thu, 99 Foo 2026", "Mon, 02 Mar 2020 12:00:00 GMT"])
def test_a_retry_after_that_says_nothing_means_back_off(value: str) -> None:
    clock = StillClock()
    client(Script(header(value), httpx.Response(200)), clock, first_wait=1).get(URL)
    assert sum(waits(clock)) <= 1.01


@pytest.mark.parametrize("value", ["301", "99999999999999999999", "Mon, 02 Mar 2026 18:00:00 GMT"])
def test_a_longer_wait_than_allowed_ends_the_run_at_once(value: str) -> None:
    script, clock = Script(header(value)), StillClock()
    with pytest.raises(Postponed, match="longer than max_wait"):
        client(script, clock, max_wait=300).get(URL)
    assert script.sent == 1
    assert waits(clock) == []


def test_a_long_wait_asked_for_by_the_last_attempt_is_told_as_such() -> None:
    with pytest.raises(Postponed):
        client(Script(header("900")), StillClock(), attempts=1).get(URL)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("120", 120.0), ("Mon, 02 Mar 2026 12:01:00 GMT", 60.0), ("Mon, 02 Mar 2026 12:01:00 -0000", 60.0), ("1.5", 0.0)],
)
def test_retry_after_is_read_in_both_forms(text: str, seconds: float) -> None:
    assert retry_after(text, NOON) == seconds


def test_requests_bytes_retries_and_failures_are_counted_per_host() -> None:
    meter, script = (
        Meter(),
        Script(httpx.ReadTimeout("slow"), httpx.Response(503), httpx.Response(200, content=b"12345")),
    )
    client(script, StillClock(), meter).get(URL)
    tally = meter.by_host()["register.invalid"]
    assert (tally.requests, tally.bytes, tally.retries, tally.failed) == (3, 5, 2, 1)


def test_every_attempt_is_stamped_with_its_own_time() -> None:
    clock = StillClock()
    first = clock.now()
    answer = client(Script(header("60"), httpx.Response(200)), clock).get(URL)
    assert (answer.extensions["requested_at"] - first).total_seconds() >= 60


def test_a_stop_while_waiting_is_not_swallowed() -> None:
    class Stopping(StillClock):
        def sleep(self, seconds: float) -> None:
            raise KeyboardInterrupt

    def always(request: httpx.Request) -> httpx.Response:
        return httpx.Response(503)

    send: Callable[[httpx.Request], httpx.Response] = always
    options = ChainOptions(origins=(URL,), rate=1000)
    with pytest.raises(KeyboardInterrupt):
        build_client(options, Stopping(), wire=httpx.MockTransport(send)).get(URL)
