"""The FHIR sink, where a server says when to come back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from email.utils import format_datetime
from functools import partial

import httpx
import pytest

from sinks.fhir.server import FhirServer
from tests.sinks.fake_hapi import FakeHapi, answer
from tsi_fetch.clock import ReplayClock
from tsi_fetch.errors import TryAgain
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.words import Outcome, Ref, Result, Write, WriteAction

Make = Callable[..., FhirServer]


def permit() -> None:
    """Always."""


def org(ident: str) -> Write:
    body = dump({"resourceType": "Organization", "id": ident})
    return Write(Ref("Organization", ident), WriteAction.PUT, None, body)


def write(sink: FhirServer, *writes: Write) -> list[Result]:
    outcomes: list[Outcome] = [o for some in sink.write(writes, permit) for o in some]
    return [o.result for o in outcomes]


def asks(status: int, **headers: str) -> Callable[[httpx.Request], httpx.Response]:
    """An answer in FHIR's words, with these headers; underscores are hyphens."""
    issue = {"severity": "error", "diagnostics": "HAPI-0823: version"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return answer(status, json={"resourceType": "OperationOutcome", "issue": [issue]}, headers=named)


def took(clock: ReplayClock, work: Callable[[], object]) -> float:
    """Seconds."""
    start = clock.now()
    work()
    return (clock.now() - start).total_seconds()


def test_a_race_is_repeated_when_the_server_says_so(server: Make, hapi_in_memory: FakeHapi, clock: ReplayClock) -> None:
    hapi_in_memory.faults = [asks(409, retry_after="20")] * 3
    sink = server()
    assert 60 <= took(clock, lambda: write(sink, org("a"))) <= 63
    assert len(hapi_in_memory.requests) == 4


def test_a_race_that_asks_for_more_than_may_be_waited_ends_the_run_and_says_why(
    server: Make, hapi_in_memory: FakeHapi, clock: ReplayClock
) -> None:
    hapi_in_memory.faults = [asks(409, retry_after="200")] * 20
    start = clock.now()
    with pytest.raises(TryAgain) as error:
        write(server(max_wait=300), org("a"))
    assert error.value.hint == (
        "it asks to come back in 200 s; a run waits for 300 s at most, and waited 200 s already"
    )
    assert clock.now() - start <= timedelta(seconds=201)
    assert len(hapi_in_memory.requests) == 2


@pytest.mark.parametrize("status", [409, 503])
def test_attempts_that_are_used_up_are_not_said_to_be_a_wait_that_was_too_long(
    server: Make, hapi_in_memory: FakeHapi, status: int
) -> None:
    hapi_in_memory.faults = [asks(status, retry_after="20")] * 20
    with pytest.raises(TryAgain) as error:
        write(server(attempts=3, probe_after=50), org("a"))
    assert error.value.hint == "run again once it is well"
    assert len(hapi_in_memory.requests) == 3


@pytest.mark.parametrize("status", [409, 503])
def test_just_what_may_be_waited_is_waited(
    server: Make, hapi_in_memory: FakeHapi, clock: ReplayClock, status: int
) -> None:
    for _ in range(5):  # what is added so that not all come back at once is drawn
        hapi_in_memory.faults = [asks(status, retry_after="300")]
        sink = server(max_wait=300)
        hapi_in_memory.resources.clear()
        assert 300 <= took(clock, partial(write, sink, org("a"))) <= 301


@pytest.mark.parametrize("status", [409, 503])
@pytest.mark.parametrize("off", [-7200, 7200])
def test_a_date_is_counted_from_the_servers_own_clock(
    server: Make, hapi_in_memory: FakeHapi, clock: ReplayClock, status: int, off: int
) -> None:
    now = clock.now() + timedelta(seconds=off)
    stamps = {"date": http_date(now), "retry_after": http_date(now + timedelta(seconds=45))}
    hapi_in_memory.faults = [asks(status, **stamps)]
    sink = server()
    assert 45 <= took(clock, lambda: write(sink, org("a"))) <= 46


def http_date(instant: datetime) -> str:
    return format_datetime(instant, usegmt=True)


def test_a_date_beside_an_unreadable_one_is_counted_from_our_clock(
    server: Make, hapi_in_memory: FakeHapi, clock: ReplayClock
) -> None:
    until = http_date(clock.now() + timedelta(seconds=45))
    hapi_in_memory.faults = [asks(503, date="yesterday", retry_after=until)]
    sink = server()
    assert 45 <= took(clock, lambda: write(sink, org("a"))) <= 46
