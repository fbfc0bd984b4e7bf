"""The right to run a job now: one lease per job, kept alive by a heartbeat, enforced by a fencing number.

Every commit of a job checks the number within its transaction, so that a runner which was paused past its expiry can
change nothing when it wakes; every send asks `permit` first, which goes by this machine's own monotonic clock.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from store.bulk import add_missing, now
from store.engine import Database
from store.prepared import Prepared
from store.schema import jobs, leases, runs
from tsi_fetch.errors import LeaseLost, TryAgain

BEATS = 5
"""Heartbeats per expiry."""

POLLS = 20
"""Tries per expiry of one who waits, at most a second apart."""

WANTED = 3.0
"""Seconds for which a run that waits keeps workers from taking the lease; it says so anew at each of its tries."""

TURN_POLL = 0.05
"""Seconds between the tries of a worker that waits for its turn."""

_LOST = "it was taken over by another runner, or could not be kept alive: the next run goes on where this one was"

_log = logging.getLogger(__name__)


_number_of = Prepared(lambda postgres: select(leases.c.fence).where(leases.c.job == bindparam("job")).with_for_update())


class Fence:
    """What a holder knows of its lease.  `alone`: nobody else can reach the store, so that nothing can take it."""

    def __init__(self, job: str, number: int, expiry: float, *, alone: bool) -> None:
        self.job = job
        self._number = number
        self._expiry = expiry
        self._alone = alone
        self._good = time.monotonic()
        self._lost = False

    @property
    def number(self) -> int:
        return self._number

    def check(self, conn: Connection) -> None:
        """Within a transaction: LeaseLost where the number has moved on; else nobody can move it before the commit."""
        if _number_of(conn, job=self.job).scalar() != self._number:
            self.lose()
            raise LeaseLost(f"the lease of {self.job} is lost", _LOST)

    def permit(self) -> None:
        """LeaseLost where the last good heartbeat is older than 2/3 of the expiry."""
        late = not self._alone and time.monotonic() - self._good > self._expiry * 2 / 3
        if self._lost or late:
            raise LeaseLost(f"the lease of {self.job} is lost", _LOST)

    def good(self, since: float) -> None:
        """A heartbeat was acknowledged that was sent at `since` (monotonic)."""
        self._good = since

    def lose(self) -> None:
        self._lost = True


@contextmanager
def held(
    database: Database, job: str, run_id: str, expiry: float, wait: Callable[[float], None], *, alone: bool
) -> Iterator[Fence]:
    """Hold the lease of `job`; its predecessor's run, if that never ended, is marked as lost.

    TryAgain where another runner still holds it after one expiry.  Given back at the end, if it is still ours.
    """
    number = _wait_for(database, job, run_id, expiry, wait)
    with _kept(database, Fence(job, number, expiry, alone=alone), expiry, alone=alone) as fence:
        yield fence


@contextmanager
def _kept(database: Database, fence: Fence, expiry: float, *, alone: bool = False) -> Iterator[Fence]:
    """Kept alive, and given back at the end, if it is still ours."""
    heart = Heart(database, fence, expiry)
    if not alone:
        heart.start()
    try:
        yield fence
    finally:
        heart.stop()
        _give_back(database, fence)


@contextmanager
def turn(database: Database, job: str, run_id: str, expiry: float, wait: Callable[[float], None]) -> Iterator[Fence]:
    """Hold the lease of `job` for a worker's turn: it waits for as long as `wait` lets it, and lets runs go first."""
    while (number := _tried(database, job, run_id, expiry)) is None:
        wait(TURN_POLL)
    with _kept(database, Fence(job, number, expiry, alone=False), expiry) as fence:
        yield fence


def wanted(conn: Connection, job: str) -> bool:
    """Whether a run waits for the lease of `job`."""
    until = conn.scalar(select(leases.c.wanted).where(leases.c.job == job))
    return until is not None and until > now(conn)


def _tried(database: Database, job: str, run_id: str, expiry: float) -> int | None:
    """Look first: a try that fails costs no lock."""
    with database.read() as conn:
        row = conn.execute(select(leases).where(leases.c.job == job)).one_or_none()
        at = now(conn)
    if row is not None and (_is_held(row, at) or (row.wanted is not None and row.wanted > at)):
        return None
    with database.write() as conn:
        return _take(conn, job, run_id, expiry, worker=True)


def _wait_for(database: Database, job: str, run_id: str, expiry: float, wait: Callable[[float], None]) -> int:
    pause, waited = min(1.0, expiry / POLLS), 0.0
    while True:
        with database.write() as conn:
            number = _take(conn, job, run_id, expiry)
        if number is not None:
            return number
        if waited >= expiry:
            raise TryAgain(f"another runner holds the lease of {job}", "let it finish, or run again later")
        if not waited:
            _say_that_it_waits(database, job, expiry)
        wait(pause)
        waited += pause


def _say_that_it_waits(database: Database, job: str, expiry: float) -> None:
    """For whom and for how long, before the first pause: a minute of silence looks like a run that hangs."""
    with database.read() as conn:
        row = conn.execute(select(leases).where(leases.c.job == job)).one()
        left = (row.expires - now(conn)).total_seconds() if row.holder is not None else 0.0
    if left > 0:  # else it is free by now
        whose = f"which run {row.holder} on {row.host or 'an unnamed machine'} holds"
        bounds = f"for {expiry:.0f} s at the most; where that run was killed, for {min(left, expiry):.0f} s"
        _log.warning("waiting for the lease of %s, %s: %s", job, whose, bounds)


def _take(conn: Connection, job: str, run_id: str, expiry: float, *, worker: bool = False) -> int | None:
    """Take a lease that is free or has expired; None where it has not.  A run that must wait says that it does, and a
    worker lets it go first.  Workers are no predecessors: what has become of them, their claims tell."""
    add_missing(conn, leases, [{"job": job, "fence": 0}])
    mine = update(leases).where(leases.c.job == job)
    row = conn.execute(select(leases).where(leases.c.job == job).with_for_update()).one()
    at = now(conn)
    if _is_held(row, at):
        if not worker:
            conn.execute(mine.values(wanted=at + timedelta(seconds=WANTED)))
        return None
    if worker and row.wanted is not None and row.wanted > at:
        return None
    number = int(row.fence) + 1
    expires = at + timedelta(seconds=expiry)
    taken = {"fence": number, "holder": run_id, "host": socket.gethostname(), "expires": expires, "wanted": None}
    conn.execute(mine.values(taken))
    of_job = (runs.c.job.in_(select(jobs.c.id).where(jobs.c.name == job)), runs.c.list.is_(None))
    conn.execute(update(runs).where(*of_job, runs.c.outcome == "running").values(outcome="lost"))
    return number


def _is_held(row: Any, at: datetime) -> bool:
    return row.holder is not None and row.expires > at


def _give_back(database: Database, fence: Fence) -> None:
    """Free the lease, if it is still ours.  What the run did is remembered already: a failure only delays the next."""
    ours = (leases.c.job == fence.job, leases.c.fence == fence.number)
    try:
        with database.write() as conn:
            conn.execute(update(leases).where(*ours).values(holder=None, expires=None))
    except TryAgain as e:
        _log.warning("the lease of %s could not be given back and will expire by itself: %s", fence.job, e.message)


class Heart:
    """Renews the lease from a thread of its own, so that a long bundle does not cost it."""

    def __init__(self, database: Database, fence: Fence, expiry: float) -> None:
        self._database = database
        self._fence = fence
        self._expiry = expiry
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"lease of {fence.job}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._expiry / BEATS):
            try:
                if not self.beat():
                    return
            except TryAgain as e:  # tried again at the next beat; `permit` refuses when that takes too long
                _log.warning("a heartbeat of %s failed: %s", self._fence.job, e.message)

    def beat(self) -> bool:
        """Renew it; False where another runner holds it now."""
        sent = time.monotonic()
        ours = (leases.c.job == self._fence.job, leases.c.fence == self._fence.number)
        with self._database.write() as conn:
            expires = now(conn) + timedelta(seconds=self._expiry)
            renewed = conn.execute(update(leases).where(*ours).values(expires=expires)).rowcount == 1
        if renewed:
            self._fence.good(sent)
        else:
            self._fence.lose()
        return renewed
