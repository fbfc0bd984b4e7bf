"""The rate limit and the number of connections."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import httpx
from still_clock import StillClock

from tsi_fetch.http.limit import Limited, SteadyPace


def test_requests_are_evenly_spaced() -> None:
    clock = StillClock()
    pace, starts = SteadyPace(clock, rate=5), []
    for _ in range(6):
        pace.wait()
        starts.append(clock.now())
    gaps = {later - earlier for earlier, later in itertools.pairwise(starts)}
    assert gaps == {timedelta(seconds=0.2)}


def test_a_pause_is_not_saved_up_for_a_burst() -> None:
    clock = StillClock()
    pace = SteadyPace(clock, rate=5)
    pace.wait()
    clock.move(timedelta(minutes=1))
    pace.wait()
    clock.waits.clear()
    pace.wait()
    assert clock.waits == [0.2]


def test_threads_share_one_pace() -> None:
    clock = StillClock()
    reserved: list[float] = []

    class Standing(StillClock):
        def now(self) -> datetime:
            return clock.now()  # waits do not move it: each reservation is counted from the same instant

        def sleep(self, seconds: float) -> None:
            reserved.append(round(seconds, 3))

    pace = SteadyPace(Standing(), rate=10)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            pool.submit(pace.wait)
    assert sorted(reserved) == [round(n / 10, 3) for n in range(1, 20)]


def test_a_clock_that_is_set_back_does_not_hold_requests_for_so_long() -> None:
    clock = StillClock()
    pace = SteadyPace(clock, rate=5)
    pace.wait()
    clock.move(-timedelta(days=1))
    pace.wait()
    assert sum(clock.waits) <= 0.2


def test_no_more_connections_than_allowed_are_in_use_at_once() -> None:
    inside, most, lock = 0, 0, threading.Lock()
    both = threading.Barrier(2, timeout=10)

    def wire(request: httpx.Request) -> httpx.Response:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        both.wait()  # passes only while exactly two are here
        with lock:
            inside -= 1
        return httpx.Response(200)

    limited = Limited(httpx.MockTransport(wire), SteadyPace(StillClock(), 1000), connections=2)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(limited.handle_request, [httpx.Request("GET", "https://a.invalid/")] * 8))
    assert [answer.status_code for answer in answers] == [200] * 8
    assert most == 2
