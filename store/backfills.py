"""Backfills as they are begun, listed, cancelled and resumed; beside them, the lists that runs go on with.

What their workers do is in `claims`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, exists, func, insert, or_, select, update

from store.bulk import among, now
from store.claims import UNKNOWN, left_to_runs, let_go, lock_list, locked, progress
from store.handle import Stored
from store.job_store import JobBook
from store.queries import RunRow, run_rows
from store.schema import Item, jobs, lists, pending, runs, sinks, work
from store.signs import mark_lost
from store.trail import Deed, note_deed
from store.worklists import NOT_OVER, asked_again
from tsi_fetch.errors import Usage
from tsi_fetch.words import Json, ListKind, Progressed

PAGE = 1000
"""Keys that are stored together."""


@dataclass(frozen=True, slots=True)
class Backfill:
    """A work list as it is listed.  `asked`: what a backfill was asked for, as JSON."""

    id: int
    kind: ListKind
    job: str
    sink: str
    stream: str
    created: datetime
    closed: datetime | None
    total: int
    asked: Json
    progress: Progressed

    @property
    def of_runs(self) -> bool:
        """Whether runs go on with it: a first load, `--full`, or what is to be read anew."""
        return self.kind != "backfill"


@dataclass(frozen=True, slots=True)
class Aside:
    """An item that could not be done."""

    key: str
    attempts: int
    reason: str


def under_way(stored: Stored, job: str, sink: str) -> Backfill | None:
    """The backfill of this job that is not over."""
    with stored.database.read() as conn:
        mine = (jobs.c.name == job, sinks.c.name == sink, lists.c.kind == "backfill", lists.c.state.in_(NOT_OVER))
        row = conn.execute(_all().where(*mine).order_by(lists.c.id).limit(1)).one_or_none()
        return _backfill(conn, row) if row else None


def check_none_under_way(book: JobBook, stored: Stored) -> None:
    """Usage where another backfill of the job is not over."""
    if other := under_way(stored, book.job, book.sink):
        raise Usage(
            f"backfill {other.id} of {book.job} is not over",
            f"tsi-fetch backfill resume {other.id}, or: tsi-fetch backfill cancel {other.id}",
        )


def begin(book: JobBook, stored: Stored, stream: str, asked: Json) -> int:
    """A new list, not yet open.  Usage where another backfill of the job is not over."""
    check_none_under_way(book, stored)
    number = book.begin_list("backfill", stream)
    with stored.database.write() as conn:
        conn.execute(update(lists).where(lists.c.id == number).values(options=json.dumps(asked)))
    return number


def note_all(book: JobBook, list_id: int, keys: Iterable[str]) -> None:
    """Keys of a file, as the first and only pass."""
    rest = iter(keys)
    while some := list(islice(rest, PAGE)):
        book.note_keys(list_id, 1, some)


def add_window(stored: Stored, list_id: int, since: datetime, until: datetime) -> None:
    """A half-open window, which a worker makes keys of."""
    name = f"{since.isoformat()} to {until.isoformat()}"
    bounds = {"since": since.isoformat(), "until": until.isoformat()}
    with stored.database.write() as conn:
        conn.execute(insert(work).values(list=list_id, key=name, state=int(Item.OPEN), **bounds))


def backfill(stored: Stored, number: int) -> Backfill | None:
    with stored.database.read() as conn:
        row = conn.execute(_all().where(lists.c.id == number)).one_or_none()
        return _backfill(conn, row) if row else None


def backfills(stored: Stored, job: str | None = None, limit: int = 20) -> list[Backfill]:
    """The latest first."""
    query = _all().order_by(lists.c.id.desc()).limit(limit)
    with stored.database.read() as conn:
        found = conn.execute(query.where(jobs.c.name == job) if job else query).all()
        return [_backfill(conn, row) for row in found]


def asides(stored: Stored, number: int, limit: int) -> list[Aside]:
    """What was set aside, in the order of the list."""
    these = (work.c.list == number, _aside())
    query = select(work.c.key, work.c.attempts, work.c.reason).join(lists).where(*these).order_by(work.c.id)
    with stored.database.read() as conn:
        return [Aside(row.key, row.attempts, row.reason or "") for row in conn.execute(query.limit(limit))]


def unknown(stored: Stored, number: int, limit: int = 0) -> tuple[int, list[str]]:
    """How many items are done since the source does not know them, and nothing of them was at the sink; the first of
    their keys."""
    these = (work.c.list == number, work.c.state == Item.DONE, work.c.reason == UNKNOWN)
    with stored.database.read() as conn:
        first = select(work.c.key).where(*these).order_by(work.c.id).limit(limit)
        counted = conn.scalar(select(func.count()).select_from(work).where(*these)) or 0
        return counted, list(conn.scalars(first))


def leaving(stored: Stored, number: int) -> int:
    """How many resources its rows let go of that no run has removed, or let be, since."""
    job = select(lists.c.job).where(lists.c.id == number).scalar_subquery()
    refs = select(func.count(pending.c.known.distinct())).where(pending.c.job == job, pending.c.list == number)
    with stored.database.read() as conn:
        return conn.scalar(refs) or 0


def workers(stored: Stored, number: int, limit: int = 100) -> Sequence[RunRow]:
    """The records of its workers, the latest first."""
    with stored.database.read() as conn:
        return run_rows(conn, runs.c.list == number, limit)


def cancel(stored: Stored, number: int, actor: str) -> None:
    """Its workers end as soon as they look; who did it is in the audit trail.  One that has ended is given up where
    something of it was set aside.  A list that runs go on with is not ended so: the watermark counts on it."""
    with stored.database.write() as conn:
        lock_list(conn, number)
        aside = exists().where(work.c.list == number, work.c.state == Item.ASIDE)
        to_end = or_(lists.c.state.in_(NOT_OVER), and_(lists.c.state == "closed", aside))
        mine = (lists.c.id == number, to_end, lists.c.kind == "backfill")
        over = conn.execute(update(lists).where(*mine).values(state="cancelled", closed=now(conn))).rowcount
        if over:
            job = conn.scalar(select(lists.c.job).where(lists.c.id == number))
            note_deed(conn, job, Deed(actor, "backfill cancel", "", {"backfill": number}))
        let_go(conn, work.c.list == number)
        mark_lost(conn, runs.c.list == number)


def resume(stored: Stored, number: int) -> None:
    """What was set aside is to be tried anew, and a halted list is open again; so is a closed one of which something
    was set aside."""
    with stored.database.write() as conn:
        lock_list(conn, number)
        aside = conn.scalars(locked(conn, select(work.c.id).join(lists).where(work.c.list == number, _aside()))).all()
        again = {"state": int(Item.OPEN), "attempts": 0, "holder": None, "held_until": None}
        conn.execute(update(work).where(among(conn, work.c.id, aside)).values(again))
        left = exists().where(work.c.list == number, work.c.state == Item.OPEN)
        mine = (lists.c.id == number, lists.c.state.in_(("halted", "closed")), left)
        conn.execute(update(lists).where(*mine).values(state="open", closed=None))
        later = (work.c.list == number, work.c.state == Item.OPEN, work.c.holder.is_(None))
        conn.execute(update(work).where(*later).values(held_until=None))
        mark_lost(conn, runs.c.list == number)


def _aside() -> ColumnElement[bool]:
    """Items, joined to their list, that workers have given up."""
    return or_(work.c.state == Item.ASIDE, and_(lists.c.kind != "backfill", left_to_runs()))


def lost(stored: Stored, run_id: str) -> None:
    """Whoever waited for this worker saw it die: what it had claimed is anybody's."""
    with stored.database.write() as conn:
        conn.execute(update(runs).where(runs.c.id == run_id, runs.c.outcome == "running").values(outcome="lost"))
        let_go(conn, work.c.holder == run_id)


def _all() -> Select[*tuple[Any, ...]]:
    columns = [lists.c[name] for name in ("id", "kind", "stream", "created", "closed", "total", "options")]
    named = lists.join(jobs, jobs.c.id == lists.c.job).join(sinks, sinks.c.id == jobs.c.sink)
    of_whom = (jobs.c.name.label("job"), sinks.c.name.label("sink"))
    return select(*columns, *of_whom).select_from(named).where(lists.c.state != "begun")


def _backfill(conn: Connection, row: Row[*tuple[Any, ...]]) -> Backfill:
    options = json.loads(row.options or "{}")
    asked = options if row.kind == "backfill" else {"again": True} if asked_again(row.options) else {}
    there = progress(conn, row.id)
    if there.state == "closed" and not (there.done or there.aside):
        there = there._replace(done=row.total)  # its items were pruned; all of them are done
    return Backfill(row.id, row.kind, row.job, row.sink, row.stream, row.created, row.closed, row.total, asked, there)
