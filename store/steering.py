"""Where the streams of a job stand, and moving a watermark by hand: one transaction, with its entry in the audit trail.

What keeps rows from being read again lies in three places: the watermark's value, the keys that its cursor has `seen`
inside the overlap, and the checkpoint of an unfinished pass.  A watermark that is moved back takes the other two along;
forgetting it also ends the open work lists (a run goes on with one instead of listing anew) and the validators (a full
reading asks by them, and is told that nothing changed).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import ColumnElement, Connection, Table, delete, exists, func, select, update

from store.access import Access
from store.bulk import now
from store.claims import let_go, lock_list
from store.memory import move_watermark
from store.notes import ask_for_noted
from store.packing import unpack_keys
from store.schema import checkpoints, holds, jobs, lists, runs, scopes, sinks, watermarks, work
from store.signs import mark_lost
from store.trail import Deed, note_deed
from store.worklists import NOT_OVER, OF_RUNS, read_list
from tsi_fetch.errors import TryAgain
from tsi_fetch.words import Cursor, CursorKind, WorkList

if TYPE_CHECKING:
    from store.handle import Stored


@dataclass(frozen=True, slots=True)
class StreamRow:
    """Where one stream stands.  `moved`: when its watermark did; `checkpoint`: how many rows an unfinished pass has
    settled; `work`: its open lists, oldest first."""

    stream: str
    cursor: Cursor | None
    moved: datetime | None
    checkpoint: int
    work: tuple[WorkList, ...]


@dataclass(frozen=True, slots=True)
class Read:
    """What live runs have read: how many runs, how many rows, and how many more runs nobody knows that of: they were
    killed, or their reports were let go of."""

    runs: int = 0
    rows: int = 0
    untold: int = 0


class Steering:
    def __init__(self, access: Access) -> None:
        self._access = access

    # -- looking

    def streams(self) -> Sequence[StreamRow]:
        """Every stream of which anything is remembered, by name."""
        with self._access.read() as conn:
            return [self._row(conn, stream) for stream in self._names(conn)]

    def read_since(self, since: datetime) -> Read:
        """What the runs read that began since then; replays and runs of single products do not count."""
        mine = (runs.c.job == self._access.job_no, runs.c.replay.is_(False), runs.c.whole.is_(True))
        found, rows, untold = 0, 0, 0
        with self._access.read() as conn:
            reports = select(runs.c.report).where(*mine, runs.c.started >= since).execution_options(yield_per=100)
            for report in conn.scalars(reports):
                told = msgspec.json.decode(report).get("rows")
                found, untold = (found, untold + 1) if told is None else (found + 1, untold)
                rows += (told or {}).get("read", 0)
        return Read(found, rows, untold)

    def rows_remembered(self) -> int:
        """How many rows of the source speak for something that is held."""
        row = func.coalesce(scopes.c.row, scopes.c.key)
        holding = exists().where(holds.c.scope == scopes.c.id)
        with self._access.read() as conn:
            counted = select(func.count(row.distinct())).where(scopes.c.job == self._access.job_no, holding)
            return conn.scalar(counted) or 0

    def _names(self, conn: Connection) -> list[str]:
        job = self._access.job_no
        names = {*conn.scalars(select(watermarks.c.stream).where(watermarks.c.job == job))}
        names |= {*conn.scalars(select(checkpoints.c.stream).where(checkpoints.c.job == job).distinct())}
        listed = select(lists.c.stream).where(lists.c.job == job, lists.c.state.in_(NOT_OVER))
        names |= {*conn.scalars(listed.distinct())}
        return sorted(names)

    def _row(self, conn: Connection, stream: str) -> StreamRow:
        columns = (watermarks.c.kind, watermarks.c.value, watermarks.c.seen, watermarks.c.moved)
        mark = conn.execute(select(*columns).where(*self._of(watermarks, stream))).one_or_none()
        cursor = Cursor(CursorKind(mark.kind), mark.value, unpack_keys(mark.seen)) if mark else None
        settled = conn.scalar(select(func.count()).select_from(checkpoints).where(*self._of(checkpoints, stream)))
        open_ = select(lists.c.id).where(*self._of(lists, stream), lists.c.state.in_(NOT_OVER)).order_by(lists.c.id)
        work = tuple(read_list(conn, number) for number in conn.scalars(open_).all())
        return StreamRow(stream, cursor, mark.moved if mark else None, settled or 0, work)

    # -- moving

    def rewind(self, stream: str, before: Cursor, after: Cursor, deed: Deed) -> None:
        """Back to `after`: no key counts as settled that is read from there on."""
        with self._access.write() as conn:
            self._still(conn, stream, before)
            move_watermark(conn, self._access.job_no, stream, after)
            conn.execute(delete(checkpoints).where(*self._of(checkpoints, stream)))
            note_deed(conn, self._access.job_no, deed)

    def skip(self, stream: str, before: Cursor, after: Cursor, deed: Deed) -> None:
        """Forward to `after`, past what nobody has read; what is settled stays so, and what a killed run had begun to
        write is asked for, since no feed brings it any more."""
        with self._access.write() as conn:
            self._still(conn, stream, before)
            move_watermark(conn, self._access.job_no, stream, after)
            ask_for_noted(conn, self._access.job_no)
            note_deed(conn, self._access.job_no, deed)

    def forget(self, stream: str, before: Cursor, deed: Deed) -> None:
        """The next run is a first load.  A backfill has nothing to do with the watermark, and goes on."""
        job = self._access.job_no
        with self._access.write() as conn:
            self._still(conn, stream, before)
            for table in (watermarks, checkpoints):
                conn.execute(delete(table).where(*self._of(table, stream)))
            mine = (*self._of(lists, stream), *OF_RUNS)
            for number in conn.scalars(select(lists.c.id).where(*mine).order_by(lists.c.id)).all():
                lock_list(conn, number)
                conn.execute(update(lists).where(lists.c.id == number).values(state="cancelled", closed=now(conn)))
                let_go(conn, work.c.list == number)
                mark_lost(conn, runs.c.list == number)
            conn.execute(update(scopes).where(scopes.c.job == job).values(validators=None))
            note_deed(conn, job, deed)

    def _still(self, conn: Connection, stream: str, before: Cursor) -> None:
        """TryAgain where it is not any more where the person saw it who decided."""
        columns = select(watermarks.c.kind, watermarks.c.value).where(*self._of(watermarks, stream))
        row = conn.execute(columns).one_or_none()
        if row is None or (row.kind, row.value) != (before.kind.value, before.value):
            raise TryAgain(f"the watermark of {stream} has moved meanwhile; nothing was changed", "look again")

    def _of(self, table: Table, stream: str) -> tuple[ColumnElement[bool], ...]:
        return (table.c.job == self._access.job_no, table.c.stream == stream)


def sinks_of(stored: Stored, job: str) -> list[str]:
    """The sinks at which this job ever ran; what it remembers of one says nothing of another."""
    named = select(sinks.c.name).join(jobs, jobs.c.sink == sinks.c.id).where(jobs.c.name == job)
    with stored.database.read() as conn:
        return list(conn.scalars(named.order_by(jobs.c.id)))
