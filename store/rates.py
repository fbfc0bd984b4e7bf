"""One polite rate for several processes: when the next request of any of them may begin, kept in the store."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select, text, update

from store.bulk import add_missing, is_postgres, now
from store.engine import Database
from store.schema import rates
from tsi_fetch.clock import Clock

MOST_AHEAD = 1000
"""Places in the queue that are believed."""

RECENTLY = timedelta(minutes=1)
"""Whoever asks a source now has asked it within this; a slow answer takes less."""


class SharedPace:
    """At most `rate` starts a second, evenly spaced, for all who name the same `host` in this store.

    A clock that is behind the store's makes no one wait for longer: only the distance to the store's own now counts.
    """

    def __init__(self, database: Database, host: str, rate: float, clock: Clock) -> None:
        self._database, self._host, self._clock = database, host, clock
        self.rate, self._gap = rate, timedelta(seconds=1 / rate)

    def wait(self) -> None:
        """Return when the next request may start.  TryAgain where the store is down."""
        seconds = self._reserve()
        if seconds > 0:
            self._clock.sleep(seconds)

    def in_use(self) -> bool:
        """Whether anybody has kept it within the last minute."""
        with self._database.read() as conn:
            after = select(rates.c.next).where(rates.c.host == self._host, rates.c.next > now(conn) - RECENTLY)
            return conn.scalar(after) is not None

    def _reserve(self) -> float:
        mine = rates.c.host == self._host
        with self._database.write() as conn:
            if is_postgres(conn):  # a place in the queue that a crash of the server forgets is nothing lost
                conn.execute(text("SET LOCAL synchronous_commit = off"))
            at = now(conn)
            add_missing(conn, rates, [{"host": self._host, "next": at}])
            start = conn.scalar(select(rates.c.next).where(mine).with_for_update())
            start = max(start or at, at)
            if start - at > MOST_AHEAD * self._gap:  # no queue is so long: a clock was set back
                start = at
            conn.execute(update(rates).where(mine).values(next=start + self._gap))
            return (start - at).total_seconds()
