"""Items of a backfill's list, claimed by its workers.

A claim is what makes a worker's answers new: whoever settles anything of an item's key, a nightly run or another
worker, finishes the item or withdraws the claim on it in the same transaction (`withdraw`).  A worker looks at its
claims when it holds the job's lease, and drops what it has fetched for those that it has lost.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, exists, func, or_, select, update

from store.bulk import add_missing, among, is_postgres, now
from store.engine import Database
from store.prepared import Prepared
from store.schema import Item, lists, runs, work
from tsi_fetch.errors import TryAgain
from tsi_fetch.words import Claimed, Progressed

BEATS = 5
"""Renewals per expiry."""

SHORTEST = 0.05
"""Seconds between two renewals, at least."""

RETRY_AFTER = 30.0
"""Seconds before an item that failed is tried again, times how often it has failed."""

_log = logging.getLogger(__name__)

_backfills = Prepared(
    lambda postgres: select(lists.c.id).where(
        lists.c.job == bindparam("job"),
        lists.c.stream == bindparam("stream"),
        lists.c.kind == "backfill",
        lists.c.state == "open",
    )
)


class Claims:
    """What one worker, known by its run's id, has claimed of a list.  `expiry`: seconds after which a claim that was
    not renewed is anybody's; the worker that made it is then marked as lost.

    These transactions are not fenced: a claim is no right to write, and only its holder changes it.
    """

    def __init__(
        self, database: Database, list_id: int, holder: str, expiry: float, retry_after: float = RETRY_AFTER
    ) -> None:
        self._database, self._list, self._holder = database, list_id, holder
        self._expiry, self._retry_after = expiry, retry_after

    def claim(self, count: int) -> Sequence[Claimed]:
        """Up to so many items that nobody else has; none where the list is not open."""
        with self._database.write() as conn:
            at = now(conn)
            self._mark_lost(conn)
            free = or_(work.c.held_until.is_(None), work.c.held_until <= at)
            found = conn.execute(self._some(conn, free).limit(count)).all()
            numbers = [row.id for row in found]
            held = {"holder": self._holder, "held_until": at + timedelta(seconds=self._expiry)}
            conn.execute(update(work).where(among(conn, work.c.id, numbers)).values(held))
        return [Claimed(row.id, row.key, row.since, row.until, row.attempts) for row in found]

    def _some(self, conn: Connection, free: ColumnElement[bool]) -> Select[*tuple[object, ...]]:
        is_open = exists().where(lists.c.id == self._list, lists.c.state == "open")
        columns = (work.c.id, work.c.key, work.c.since, work.c.until, work.c.attempts)
        some = select(*columns).where(work.c.list == self._list, work.c.state == Item.OPEN, free, is_open)
        ordered = some.order_by(work.c.id)
        return ordered.with_for_update(skip_locked=True, of=work) if is_postgres(conn) else ordered

    def _mark_lost(self, conn: Connection) -> None:
        """Whoever let a claim expire has died, or was paused for so long that it makes no difference."""
        expired = and_(work.c.holder.is_not(None), work.c.held_until <= now(conn), work.c.list == self._list)
        gone = set(conn.scalars(select(work.c.holder).where(expired).distinct())) - {self._holder}
        if gone:
            still = (runs.c.list == self._list, runs.c.outcome == "running", runs.c.id.in_(gone))
            conn.execute(update(runs).where(*still).values(outcome="lost"))
            conn.execute(update(work).where(expired, work.c.holder.in_(gone)).values(holder=None, held_until=None))

    def mine(self) -> frozenset[int]:
        """Numbers of the items that are still to be done and still claimed; none where the list is not open.  To be
        asked with the job's lease held: nobody can settle anything then."""
        is_open = exists().where(lists.c.id == self._list, lists.c.state == "open")
        with self._database.read() as conn:
            return frozenset(conn.scalars(select(work.c.id).where(*self._held(), is_open)))

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Whatever is claimed is renewed, from a thread of its own, for as long as this lasts: at a polite rate that
        many workers share, a slice may take longer to fetch than a claim lasts."""
        ended = threading.Event()
        thread = threading.Thread(target=self._keep, args=(ended,), name=f"claims of {self._holder}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _keep(self, ended: threading.Event) -> None:
        while not ended.wait(max(self._expiry / BEATS, SHORTEST)):
            try:
                self.renew()
            except TryAgain as e:  # tried again at the next beat; what expires meanwhile is fetched once more
                _log.warning("the claims of %s could not be renewed: %s", self._holder, e.message)

    def renew(self) -> None:
        """They last for an expiry from now."""
        with self._database.write() as conn:
            until = now(conn) + timedelta(seconds=self._expiry)
            conn.execute(update(work).where(*self._held()).values(held_until=until))

    def release(self) -> None:
        """Nothing is claimed any more; nothing counts as an attempt."""
        with self._database.write() as conn:
            conn.execute(update(work).where(*self._held()).values(holder=None, held_until=None))

    def failed(self, reasons: Mapping[int, str], most: int) -> int:
        """These could not be done: to be tried again later, or set aside with their reason after `most` attempts.  How
        many were set aside."""
        aside = 0
        with self._database.write() as conn:
            at = now(conn)
            found = conn.execute(
                select(work.c.id, work.c.attempts).where(*self._held(), among(conn, work.c.id, list(reasons)))
            ).all()
            for number, attempts in found:
                tried = attempts + 1
                over = tried >= most
                aside += over
                later = None if over else at + timedelta(seconds=self._retry_after * tried)
                new = {"holder": None, "held_until": later, "attempts": tried, "reason": reasons[number]}
                state = {"state": int(Item.ASIDE)} if over else {}
                conn.execute(update(work).where(work.c.id == number).values(**new, **state))
        return aside

    def expand(self, window: Claimed, keys: Sequence[str], *, last: bool) -> None:
        """A page of what a window turned out to be; with the last one the window is done."""
        with self._database.write() as conn:
            mine = (*self._held(), work.c.id == window.number)
            if conn.scalar(select(work.c.id).where(*mine)) is None:
                return  # somebody else has it now, and reads it anew
            add_missing(conn, work, [{"list": self._list, "key": key, "state": int(Item.OPEN)} for key in keys])
            if last:
                conn.execute(update(work).where(*mine).values(state=int(Item.DONE), holder=None, held_until=None))
            keyed = select(func.count()).where(work.c.list == self._list, work.c.since.is_(None)).scalar_subquery()
            conn.execute(update(lists).where(lists.c.id == self._list).values(total=keyed))

    def progress(self) -> Progressed:
        with self._database.read() as conn:
            return progress(conn, self._list)

    def close(self) -> bool:
        """Close the list where nothing of it is left to do; True where it is closed now."""
        with self._database.write() as conn:
            left = exists().where(work.c.list == self._list, work.c.state == Item.OPEN)
            is_open = (lists.c.id == self._list, lists.c.state == "open")
            conn.execute(update(lists).where(*is_open, ~left).values(state="closed", closed=now(conn)))
            return conn.scalar(select(lists.c.state).where(lists.c.id == self._list)) == "closed"

    def halt(self) -> None:
        """No worker goes on with the list until somebody resumes it."""
        with self._database.write() as conn:
            is_open = (lists.c.id == self._list, lists.c.state == "open")
            conn.execute(update(lists).where(*is_open).values(state="halted"))

    def _held(self) -> tuple[ColumnElement[bool], ...]:
        return (work.c.holder == self._holder, work.c.list == self._list, work.c.state == Item.OPEN)


def progress(conn: Connection, list_id: int) -> Progressed:
    """How far a list is."""
    state = conn.scalar(select(lists.c.state).where(lists.c.id == list_id)) or "gone"
    of_list = work.c.list == list_id
    found = conn.execute(select(work.c.state, func.count()).where(of_list).group_by(work.c.state))
    counted: dict[int, int] = {number: count for number, count in found}
    nobody = (of_list, work.c.state == Item.OPEN, work.c.holder.is_(None))
    soonest = conn.scalar(select(func.min(work.c.held_until)).where(*nobody))
    return Progressed(
        state, counted.get(Item.OPEN, 0), counted.get(Item.DONE, 0), counted.get(Item.ASIDE, 0), now(conn), soonest
    )


def withdraw(conn: Connection, job_no: int, stream: str, keys: Collection[str]) -> None:
    """Rows of these keys, or of parts of them, are settled: what workers have fetched of them before is old now."""
    numbers = [number for (number,) in _backfills.all(conn, job=job_no, stream=stream)] if keys else []
    if not numbers:
        return
    claimed = select(work.c.id, work.c.key).where(work.c.holder.is_not(None), work.c.list.in_(numbers))
    settled = {_whole(key) for key in keys}
    lost = [number for number, key in conn.execute(claimed) if _whole(key) in settled]
    if lost:
        conn.execute(update(work).where(among(conn, work.c.id, lost)).values(holder=None, held_until=None))


def _whole(key: str) -> str:
    """A part's key is the whole row's, `#`, and the part (`Source`); one claim too many is only work done twice."""
    return key.partition("#")[0]
