"""A signal ends a wait for an answer that drips."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tsi_fetch.clock import StopSignal, SystemClock
from tsi_fetch.errors import Stopped
from tsi_fetch.http.answer import ReadWhole
from tsi_fetch.http.scrub import Scrubber


def test_a_run_that_is_asked_to_stop_does_not_wait_for_the_end_of_an_answer() -> None:
    stop = StopSignal()
    given: list[bytes] = []

    class Dripping(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            for number in range(1000):
                given.append(b"x")
                if number == 2:
                    stop.set(15)
                yield b"x"

    wire = httpx.MockTransport(lambda request: httpx.Response(200, stream=Dripping()))
    reader = ReadWhole(wire, SystemClock(stop), Scrubber(frozenset()))
    with pytest.raises(Stopped):
        reader.handle_request(httpx.Request("GET", "https://register.invalid/"))
    assert len(given) == 3
