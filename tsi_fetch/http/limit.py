"""Politeness: so many requests a second, over so many connections."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

import httpx

from tsi_fetch.clock import Clock

LOOK = timedelta(seconds=2)
"""Between looks for others at the same source."""


class Pace(Protocol):
    """Lets requests start one after another; several processes may share one that is kept elsewhere."""

    def wait(self) -> None:
        """Return when the next request may start."""
        ...


class SteadyPace:
    """At most `rate` starts a second, evenly spaced, for all threads of this process together."""

    def __init__(self, clock: Clock, rate: float) -> None:
        self._clock, self._gap = clock, timedelta(seconds=1 / rate)
        self._lock = threading.Lock()
        self._next: datetime | None = None
        self._seen: datetime | None = None

    def wait(self) -> None:
        seconds = self._reserve()
        if seconds > 0:
            self._clock.sleep(seconds)

    def _reserve(self) -> float:
        with self._lock:
            now = self._clock.now()
            set_back = self._seen is not None and now < self._seen  # else a wait as long as the clock was set back
            start = now if self._next is None or set_back else max(now, self._next)
            self._next, self._seen = start + self._gap, now
            return (start - now).total_seconds()


class PaceBeside:
    """The pace of a process alone, until somebody is seen to keep the shared one: then that, to the end.

    `in_use`: whether anybody keeps the shared one now; asked before the first request, and every `LOOK` seconds.
    """

    def __init__(self, clock: Clock, alone: Pace, shared: Pace, in_use: Callable[[], bool]) -> None:
        self._clock, self._pace, self._shared, self._in_use = clock, alone, shared, in_use
        self._looked: datetime | None = None

    def wait(self) -> None:
        if self._pace is not self._shared and self._is_due() and self._in_use():
            self._pace = self._shared
        self._pace.wait()

    def _is_due(self) -> bool:
        now, before = self._clock.now(), self._looked
        if before is not None and before <= now < before + LOOK:
            return False
        self._looked = now
        return True


class Limited(httpx.BaseTransport):
    """Holds requests back: by the pace, and by the number of connections in use."""

    def __init__(self, inner: httpx.BaseTransport, pace: Pace, connections: int) -> None:
        self._inner, self._pace = inner, pace
        self._connections = threading.BoundedSemaphore(connections)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self._connections:
            self._pace.wait()
            return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()
