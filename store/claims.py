"""Items of a work list, claimed by its workers: of a backfill, or of what runs work off when nobody else does.

A claim is what makes a worker's answers new: whoever settles anything of an item's key, a nightly run or another
worker, finishes the item or withdraws the claim on it in the same transaction (`withdraw`).  A worker looks at its
claims when it holds the job's lease, and drops what it has fetched for those that it has lost.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, exists, func, or_, select, update

from store.bulk import add_missing, among, is_postgres, now
from store.engine import Database
from store.prepared import Prepared
from store.schema import Item, lists, runs, work
from store.signs import ahead, mark_lost, renew_sign
from tsi_fetch.errors import TryAgain
from tsi_fetch.words import Claimed, Counted, Progressed

BEATS = 5
"""Renewals per expiry."""

SHORTEST = 0.05
"""Seconds between two renewals, at least."""

ATTEMPTS = 3
"""How often an item is tried before it is set aside with its reason."""

UNKNOWN = "not known to the source"
"""The reason of an item that is done, as there is nothing to be done for it."""

RETRY_AFTER = 30.0
"""Seconds before an item that failed is tried again, times how often it has failed."""

_log = logging.getLogger(__name__)

_worked_on = Prepared(
    lambda postgres: (
        select(work.c.list)
        .distinct()
        .join(lists)
        .where(
            work.c.holder.is_not(None),
            lists.c.job == bindparam("job"),
            lists.c.stream == bindparam("stream"),
            lists.c.state == "open",
        )
    )
)
"""Lists of which anything is claimed.  What is claimed only now is fetched after what is being settled."""


class Claims:
    """What one worker, known by its run's id, has claimed of a list.  `expiry`: seconds after which a claim that was
    not renewed is anybody's; the worker that made it is then marked as lost, and the item has failed once.  `attempts`:
    after so many an item is set aside with its reason.  `retry_after`: seconds until it is tried again.

    These transactions are not fenced: a claim is no right to write, and only its holder changes it.
    """

    def __init__(
        self,
        database: Database,
        list_id: int,
        holder: str,
        expiry: float,
        *,
        attempts: int = ATTEMPTS,
        retry_after: float = RETRY_AFTER,
        of_runs: bool = False,
    ) -> None:
        self.list_id, self._of_runs = list_id, of_runs
        self._database, self._list, self._holder = database, list_id, holder
        self._expiry, self._attempts, self._retry_after = expiry, attempts, retry_after

    def claim(self, count: int, *, untried: bool = False) -> Sequence[Claimed]:
        """Up to so many items that nobody else has (and, `untried`, that were never tried); none where the list is not
        open.  One that was tried before comes alone: if it kills whoever has it, it takes none along."""
        with self._database.write() as conn:
            at = now(conn)
            self._mark_lost(conn)
            free = or_(work.c.held_until.is_(None), ~is_alive(at))
            if untried:
                free = and_(free, work.c.attempts == 0)
            found = list(conn.execute(self._some(conn, free).limit(count)).all())
            if once := [row for row in found if row.attempts]:
                found = once[:1]
            numbers = [row.id for row in found]
            held = {"holder": self._holder, "held_until": at + timedelta(seconds=self._expiry)}
            conn.execute(update(work).where(among(conn, work.c.id, numbers)).values(held))
        return [Claimed(row.id, row.key, row.since, row.until, row.attempts) for row in found]

    def _some(self, conn: Connection, free: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
        is_open = exists().where(lists.c.id == self._list, lists.c.state == "open")
        columns = (work.c.id, work.c.key, work.c.since, work.c.until, work.c.attempts)
        todo = (work.c.list == self._list, work.c.state == Item.OPEN, work.c.attempts < self._attempts)
        some = select(*columns).where(*todo, free, is_open)
        ordered = some.order_by(work.c.id)
        return ordered.with_for_update(skip_locked=True, of=work) if is_postgres(conn) else ordered

    def _mark_lost(self, conn: Connection) -> None:
        """Whoever let a claim expire has died, or was paused for so long that it makes no difference."""
        at = now(conn)
        expired = (work.c.holder.is_not(None), ~is_alive(at), work.c.list == self._list)
        theirs = (*expired, work.c.state == Item.OPEN, work.c.holder != self._holder)
        found = conn.execute(locked(conn, select(work.c.id, work.c.holder, work.c.attempts).where(*theirs))).all()
        if not found:
            return
        gone = {row.holder for row in found}
        mark_lost(conn, and_(runs.c.list == self._list, runs.c.id.in_(gone)))
        for row in found:
            self._failed_once(conn, row.id, row.attempts, "the worker that had it died", at, later=None)

    def _failed_once(
        self, conn: Connection, number: int, attempts: int, reason: str, at: datetime, *, later: datetime | None
    ) -> bool:
        """True where that was once too often.  An item of a list that runs work off stays open for the next run, which
        brings into quarantine what it cannot fetch."""
        tried = attempts + 1
        over = tried >= self._attempts
        new = {"holder": None, "held_until": None if over else later, "attempts": tried, "reason": reason}
        state = {"state": int(Item.ASIDE)} if over and not self._of_runs else {}
        conn.execute(update(work).where(work.c.id == number).values(**new, **state))
        return over

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
        """They last for an expiry from now, and so does the sign of life of whoever has them, or none now."""
        with self._database.write() as conn:
            held = conn.scalars(locked(conn, select(work.c.id).where(*self._held()))).all()
            until = now(conn) + timedelta(seconds=self._expiry)
            conn.execute(update(work).where(among(conn, work.c.id, held)).values(held_until=until))
            renew_sign(conn, self._holder, self._expiry)

    def release(self) -> None:
        """Nothing is claimed any more; nothing counts as an attempt."""
        with self._database.write() as conn:
            let_go(conn, and_(*self._held()))

    def failed(self, reasons: Mapping[int, str]) -> int:
        """These could not be done: to be tried again later, or set aside with their reason.  How many are aside."""
        with self._database.write() as conn:
            at = now(conn)
            mine = (*self._held(), among(conn, work.c.id, list(reasons)))
            found = conn.execute(locked(conn, select(work.c.id, work.c.attempts).where(*mine))).all()
            later = {n: at + timedelta(seconds=self._retry_after * (attempts + 1)) for n, attempts in found}
            return sum(self._failed_once(conn, n, tried, reasons[n], at, later=later[n]) for n, tried in found)

    def unknown(self, numbers: Collection[int]) -> None:
        """The source does not know these, and nothing of them is at the sink: noted of those that are done."""
        with self._database.write() as conn:
            these = (work.c.list == self._list, work.c.state == Item.DONE, among(conn, work.c.id, list(numbers)))
            found = conn.scalars(locked(conn, select(work.c.id).where(*these))).all()
            conn.execute(update(work).where(among(conn, work.c.id, found)).values(reason=UNKNOWN))

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
        """Close the list where nothing of it is left to do, nor set aside for a run; True where this has closed it."""
        with self._database.write() as conn:
            lock_list(conn, self._list)
            left = exists().where(work.c.list == self._list, work.c.state == Item.OPEN)
            is_open = (lists.c.id == self._list, lists.c.state == "open")
            closed = update(lists).where(*is_open, ~left).values(state="closed", closed=now(conn))
            over = conn.execute(closed).rowcount == 1
            if over:
                mark_lost(conn, runs.c.list == self._list)
            return over

    def halt(self) -> None:
        """No worker goes on with the list until somebody resumes it; nobody has any claim on it then, since what is
        settled meanwhile is not looked up in it."""
        with self._database.write() as conn:
            lock_list(conn, self._list)
            is_open = (lists.c.id == self._list, lists.c.state == "open")
            conn.execute(update(lists).where(*is_open).values(state="halted"))
            let_go(conn, work.c.list == self._list)

    def _held(self) -> tuple[ColumnElement[bool], ...]:
        return (work.c.holder == self._holder, work.c.list == self._list, work.c.state == Item.OPEN)


def locked(conn: Connection, query: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    """Rows of `work` in the one order in which everybody takes them, so that nobody waits in a circle."""
    ordered = query.order_by(work.c.id)
    return ordered.with_for_update(of=work) if is_postgres(conn) else ordered


def lock_list(conn: Connection, list_id: int) -> None:
    """Its state changes under this lock alone (SQLite has one writer anyhow)."""
    conn.execute(select(lists.c.id).where(lists.c.id == list_id).with_for_update())


def is_alive(at: datetime) -> ColumnElement[bool]:
    """What is held, or waits to be tried again, at this time of the store."""
    return ahead(work.c.held_until, at)


def let_go(conn: Connection, which: ColumnElement[bool]) -> None:
    """Nobody has a claim on these items any more."""
    claimed = select(work.c.id).where(which, work.c.state == Item.OPEN, work.c.holder.is_not(None))
    numbers = conn.scalars(locked(conn, claimed)).all()
    conn.execute(update(work).where(among(conn, work.c.id, numbers)).values(holder=None, held_until=None))


def lock_settled(conn: Connection, job_no: int, stream: str, keys: Collection[str], rows: Collection[str]) -> None:
    """Before items of these keys are finished and claims on these rows withdrawn: their rows, in one order."""
    if not is_postgres(conn) or not (numbers := _under_way(conn, job_no, stream)):
        return
    whole = func.split_part(work.c.key, "#", 1)
    concerned = or_(
        among(conn, work.c.key, list(keys)),
        and_(work.c.holder.is_not(None), among(conn, whole, sorted({_whole(key) for key in rows}))),
    )
    conn.execute(locked(conn, select(work.c.id).where(work.c.list.in_(numbers), concerned)))


def _under_way(conn: Connection, job_no: int, stream: str) -> list[int]:
    return [number for (number,) in _worked_on.all(conn, job=job_no, stream=stream)]


def progress(conn: Connection, list_id: int) -> Progressed:
    """How far a list is."""
    found = conn.execute(select(lists.c.state, lists.c.kind).where(lists.c.id == list_id)).one_or_none()
    state, kind = found or ("gone", "backfill")
    of_list = work.c.list == list_id
    counted = _by_state(conn, of_list)
    windows = _by_state(conn, and_(of_list, work.c.since.is_not(None)))
    open_, done, aside = counted
    for_runs = 0
    if kind != "backfill":
        for_runs = conn.scalar(select(func.count()).select_from(work).where(of_list, left_to_runs())) or 0
    nobody = (of_list, work.c.state == Item.OPEN, work.c.holder.is_(None))
    soonest, at = conn.scalar(select(func.min(work.c.held_until)).where(*nobody)), now(conn)
    return Progressed(state, open_ - for_runs, done, aside + for_runs, at, soonest, windows)


def _by_state(conn: Connection, which: ColumnElement[bool]) -> Counted:
    states = conn.execute(select(work.c.state, func.count()).where(which).group_by(work.c.state))
    counted: dict[int, int] = {number: count for number, count in states}
    return Counted(*(counted.get(item, 0) for item in (Item.OPEN, Item.DONE, Item.ASIDE)))


def left_to_runs() -> ColumnElement[bool]:
    """Items of a list that runs work off which workers have given up: the next run is to ask for them."""
    return and_(work.c.state == Item.OPEN, work.c.attempts >= ATTEMPTS, work.c.holder.is_(None))


def withdraw(conn: Connection, job_no: int, stream: str, keys: Collection[str]) -> None:
    """Rows of these keys, or of parts of them, are settled: what workers have fetched of them before is old now."""
    numbers = _under_way(conn, job_no, stream) if keys else []
    if not numbers:
        return
    claimed = select(work.c.id, work.c.key).where(work.c.holder.is_not(None), work.c.list.in_(numbers))
    settled = {_whole(key) for key in keys}
    lost = [number for number, key in conn.execute(claimed) if _whole(key) in settled]
    if lost:
        let_go(conn, among(conn, work.c.id, lost))


def withdraw_all_of(conn: Connection, job_no: int, keys: Collection[str]) -> None:
    """The same, of whatever stream."""
    of_job = (lists.c.job == job_no, lists.c.state == "open")
    for stream in conn.scalars(select(lists.c.stream).where(*of_job).distinct()).all():
        withdraw(conn, job_no, stream, keys)


def _whole(key: str) -> str:
    """A part's key is the whole row's, `#`, and the part (`Source`); one claim too many is only work done twice."""
    return key.partition("#")[0]
