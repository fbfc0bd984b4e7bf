"""Seams that the methods of a run's store and sink do not show: requests, waits, the database's COMMIT, heartbeats."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import httpx
from sqlalchemy import update

from store.handle import Stored
from store.leases import Heart
from store.schema import leases
from tests.sinks.sudden_death import Doom
from tsi_fetch.clock import ReplayClock

COMMIT, HEARTBEAT, WAIT = "COMMIT", "heartbeat", "wait"
OF_SOURCE, OF_SINK = "request of the source", "request of the sink"
SHORT = 0.2
"""Seconds: what is less is the pace between requests, and no wait."""

BEATS = frozenset({"doubt", "settle", "advance", "take"})
"""Before these the lease's thread has just renewed it."""


class Ticking(ReplayClock):
    """A made-up clock on which each question takes a millisecond."""

    def now(self) -> datetime:
        instant = super().now()
        super().sleep(0.001)
        return instant


class Waiting(Ticking):
    """A clock of a run, which may die or be overtaken while it waits for source or sink; the lease is renewed in every
    wait, as its own thread would do it.  `beat`: does that, once there is a lease."""

    def __init__(self, start: datetime, doom: Doom) -> None:
        super().__init__(start)
        self._doom = doom
        self.beat: Callable[[], object] = int

    def sleep(self, seconds: float) -> None:
        if seconds < SHORT:
            super().sleep(seconds)
            return
        self._doom.reached(WAIT, after=False)
        self.beat()
        super().sleep(seconds)
        self._doom.reached(WAIT, after=True)


class MortalWire(httpx.BaseTransport):
    """A network on which a run dies as a request is about to leave, or as its answer comes."""

    def __init__(self, inner: httpx.BaseTransport, doom: Doom, name: str) -> None:
        self._inner, self._doom, self._name = inner, doom, name

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._doom.reached(self._name, after=False)
        response = self._inner.handle_request(request)
        self._doom.reached(self._name, after=True)
        return response


@contextmanager
def mortal_commits(stored: Stored, doom: Doom) -> Iterator[None]:
    """Each COMMIT of the store is a seam; after it, the database has it, and the run does not know."""
    dialect = stored.database.engine.dialect
    true = dialect.do_commit

    def do_commit(connection: Any) -> None:
        doom.reached(COMMIT, after=False)
        true(connection)
        doom.reached(COMMIT, after=True)

    dialect.do_commit = do_commit  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        dialect.do_commit = true  # type: ignore[method-assign]


class Beating:
    """A store whose lease is renewed at certain moments, by whoever calls it: the lease's own thread sleeps for longer
    than a life takes."""

    def __init__(self, book: Any, heart: Heart, doom: Doom) -> None:
        self._book, self._heart, self._doom = book, heart, doom

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._book, name)
        return self._beaten(found) if name in BEATS else found

    def _beaten(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            self._doom.reached(HEARTBEAT, after=False)
            self._heart.beat()
            self._doom.reached(HEARTBEAT, after=True)
            return method(*args, **named)

        return call


def let_expire(stored: Stored, early: datetime) -> None:
    """Time goes by until nobody's lease is good any more."""
    with stored.database.write() as conn:
        conn.execute(update(leases).values(expires=early))
