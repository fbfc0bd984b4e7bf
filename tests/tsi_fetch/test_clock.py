"""The clock of a run, while somebody sets the machine's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self

import httpx
import pytest

from tsi_fetch import clock
from tsi_fetch.clock import SystemClock
from tsi_fetch.http.answer import ReadWhole
from tsi_fetch.http.scrub import Scrubber

BEGAN = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


class Machine:
    """Both clocks of a machine: the one that may be set, and the one that only counts."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.passed, self.set_by = 0.0, timedelta(0)
        machine = self

        class Told(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Self:
                return cls.fromtimestamp((BEGAN + machine.set_by).timestamp() + machine.passed, tz)

        patch.setattr(clock, "datetime", Told)
        patch.setattr(clock, "monotonic", lambda: 1000 + self.passed)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


@pytest.mark.parametrize("days", [1, -1])
def test_it_goes_on_where_the_machines_is_set(machine: Machine, days: int) -> None:
    own = SystemClock(offset=timedelta(hours=1))
    machine.passed = 5
    assert own.now() == BEGAN + timedelta(hours=1, seconds=5)
    machine.set_by, machine.passed = timedelta(days=days), 7.5
    assert own.now() == BEGAN + timedelta(hours=1, seconds=7.5)


def test_an_answer_that_comes_as_the_machines_is_set_ahead_is_not_too_late(machine: Machine) -> None:
    """Of a write it would have been sent again, and counted as if nothing had been written (seed 1170)."""

    def answer(request: httpx.Request) -> httpx.Response:
        machine.set_by = timedelta(days=1)
        return httpx.Response(200, stream=httpx.ByteStream(b"whole"))

    reader = ReadWhole(httpx.MockTransport(answer), SystemClock(), Scrubber(frozenset()))
    with httpx.Client(transport=reader) as client:
        assert client.get("https://source.invalid/").content == b"whole"
