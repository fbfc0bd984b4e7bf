"""Politeness: so many requests a second, over so many connections."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Protocol

import httpx

from tsi_fetch.clock import Clock


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
