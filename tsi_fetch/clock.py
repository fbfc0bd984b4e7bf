"""The only place that asks what time it is, and the only one that waits."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Protocol

from tsi_fetch.errors import GO_ON, Stopped


class Clock(Protocol):
    def now(self) -> datetime:
        """The present instant, in UTC."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait; ends at once, with `Stopped`, when the run is asked to stop."""
        ...


class StopSignal:
    """Set by a signal handler; every wait listens to it.  `then`: what a person does after a stop, the hint of each."""

    def __init__(self, then: str = GO_ON) -> None:
        self._event = threading.Event()
        self.number = 0
        self.then = then

    def set(self, number: int) -> None:
        self.number = number
        self._event.set()

    def wait(self, seconds: float) -> None:
        """Wait so long, or raise `Stopped`."""
        if self._event.wait(max(0.0, seconds)):
            raise Stopped(self.number, self.then)

    def check(self) -> None:
        if self._event.is_set():
            raise Stopped(self.number, self.then)


class SystemClock:
    """The machine's clock as it was when this one was made, moved by `offset` onto the store's clock (zero for an
    embedded store).  It goes on by itself: whoever sets the machine's while a run is under way makes no answer too late
    and no wait too long, and nothing that is fetched older than what was."""

    def __init__(self, stop: StopSignal | None = None, offset: timedelta = timedelta(0)) -> None:
        self._stop = stop or StopSignal()
        self.offset = offset
        self._made, self._began = monotonic(), datetime.now(UTC)

    def now(self) -> datetime:
        return self._began + timedelta(seconds=monotonic() - self._made) + self.offset

    def sleep(self, seconds: float) -> None:
        self._stop.wait(seconds)


class ReplayClock:
    """The clock of a recording: it stands at the recorded start; waits move it and do not sleep."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._lock = threading.Lock()

    def now(self) -> datetime:
        with self._lock:
            return self._now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._now += timedelta(seconds=max(0.0, seconds))


def microseconds(instant: datetime) -> int:
    """An instant as an `Order`: whole microseconds since 1970-01-01T00:00Z."""
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
