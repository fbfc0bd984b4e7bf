"""Letting go of what is old and no more needed: a page at a time, so that nobody waits for it.

No lease is taken: what a run reads or writes is never old.  What stays, however old:

- a run's line, where it may have written something: the sink names the run that wrote a version, and after a server was
  restored an old one may be there again; without the line it would count as somebody else's.  Its report goes;
- of each job the last run, the last success, the last run that ended, and all since the last that wrote something;
- the work lists that the next run looks at: since the last complete one, or that a departure came from;
- a list of which something was set aside, until that is done after all, or given up (`backfill cancel`); and of one
  that was cancelled its items, for as long as it is listed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Table, and_, delete, exists, func, or_, select, update

from store.bulk import among
from store.engine import Database
from store.handle import Stored
from store.queries import SUCCESS
from store.schema import Item, audit, jobs, known, listed, lists, marks, pending, quarantine, runs, work
from store.trail import Deed, amend_deed, note_deed

PAGE = 500
"""Rows a transaction: some milliseconds."""

HARMLESS = frozenset({"unchanged", "older"})
"""What a run may have counted that has written nothing."""

ENDED_WELL = ("done", "quarantined", "partial")
"""Outcomes of runs that remembered all they had written."""

NO_REPORT = "{}"

Check = Callable[[], None]
"""Called between two pages; raises where somebody wants to stop."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Runs, by number, that stay as they are; of which the line stays; and since which all stay, by job."""

    whole: frozenset[int]
    lines: frozenset[int]
    since: Mapping[int, int]


class Pruning:
    """`before`: what ended, was closed or was noted before then is old."""

    def __init__(self, stored: Stored, before: datetime) -> None:
        self._database: Database = stored.database
        self._before = before

    def count(self) -> Mapping[str, int]:
        """What would go now, by kind; kinds of which nothing would are left out."""
        found: Counter[str] = Counter()
        for lines, reports in self._runs(self._kept()):
            found.update({"runs": len(lines), "reports": len(reports)})
        with self._database.read() as conn:
            for name, table, old in self._tables():
                found[name] = conn.scalar(select(func.count()).select_from(table).where(*old)) or 0
        return dict(+found)

    def prune(self, deed: Deed, check: Check) -> Mapping[str, int]:
        """Let go of it, page by page; what went, by kind.  The audit trail has its entry first, so that nothing goes
        without one, with what is `expected` to go; once it is gone, with the `counts` of what went instead."""
        begun = replace(deed, detail={**deed.detail, "expected": self.count()})
        with self._database.write() as conn:
            number = note_deed(conn, None, begun)
        gone: Counter[str] = Counter()
        for lines, reports in self._runs(self._kept()):
            check()
            with self._database.write() as conn:
                gone["runs"] += conn.execute(delete(runs).where(among(conn, runs.c.no, lines))).rowcount
                dropped = update(runs).where(among(conn, runs.c.no, reports)).values(report=NO_REPORT)
                gone["reports"] += conn.execute(dropped).rowcount
        for name, table, old in self._tables():
            for page in self._pages(table, old):
                check()
                gone[name] += self._delete(table, old, page)
        with self._database.write() as conn:
            amend_deed(conn, number, {**deed.detail, "counts": dict(+gone)})
        return dict(+gone)

    def _delete(self, table: Table, old: Sequence[ColumnElement[bool]], page: Sequence[int]) -> int:
        """That they are old is asked again: an entry may have opened since it was read."""
        with self._database.write() as conn:
            return conn.execute(delete(table).where(among(conn, table.c.id, page), *old)).rowcount

    def _pages(self, table: Table, old: Sequence[ColumnElement[bool]]) -> Iterator[Sequence[int]]:
        after = 0
        while True:
            with self._database.read() as conn:
                numbers = select(table.c.id).where(table.c.id > after, *old).order_by(table.c.id).limit(PAGE)
                page = conn.scalars(numbers).all()
            if not page:
                return
            yield page
            after = page[-1]

    def _tables(self) -> Sequence[tuple[str, Table, Sequence[ColumnElement[bool]]]]:
        """Items before the lists they belong to."""
        over = (lists.c.state.in_(("closed", "cancelled")), lists.c.closed < self._before)
        aside = exists().where(work.c.list == lists.c.id, work.c.state == Item.ASIDE)
        given_up = lists.c.state == "cancelled"
        lists_over = (*over, ~exists().where(pending.c.list == lists.c.id), or_(given_up, ~aside))
        going = (_superseded(), _not_the_last(), ~exists().where(listed.c.list == lists.c.id))
        items_over = (*lists_over, or_(~given_up, and_(*going)))  # of the closed ones all are done
        undecided = (
            pending.c.job == quarantine.c.job,
            pending.c.row == quarantine.c.key,
            pending.c.accepted.is_(False),
        )
        return (
            ("quarantine", quarantine, (quarantine.c.closed < self._before, ~exists().where(*undecided))),
            ("work", work, ((work.c.list + 0).in_(select(lists.c.id).where(*items_over)),)),  # by page, not by list
            ("lists", lists, (*lists_over, *going)),
            ("audit", audit, (audit.c.at < self._before,)),
        )

    # -- runs

    def _runs(self, kept: Kept) -> Iterator[tuple[list[int], list[int]]]:
        """Page by page: numbers of runs whose lines go, and of those whose reports go."""
        columns = [runs.c[name] for name in ("no", "job", "outcome", "report")]
        old = (runs.c.outcome != "running", func.coalesce(runs.c.ended, runs.c.started) < self._before)
        after = 0
        while True:
            with self._database.read() as conn:
                page = select(*columns).where(runs.c.no > after, *old).order_by(runs.c.no).limit(PAGE)
                rows = conn.execute(page).all()
            if not rows:
                return
            after = rows[-1].no
            going = [r for r in rows if r.no not in kept.whole and r.no < kept.since.get(r.job, 0)]
            lines = [r.no for r in going if r.no not in kept.lines and _wrote_nothing(r)]
            reports = [r.no for r in going if r.report != NO_REPORT and r.no not in set(lines)]
            yield lines, reports

    def _kept(self) -> Kept:
        with self._database.read() as conn:
            numbers = conn.scalars(select(jobs.c.id)).all()
            whole = {number for job in numbers for number in _latest(conn, job)}
            written = conn.scalars(select(known.c.run).where(known.c.run.is_not(None)).distinct())
            named = or_(
                exists().where(marks.c.run == runs.c.id),
                exists().where(quarantine.c.run == runs.c.id, quarantine.c.closed.is_(None)),
            )
            lines = {*written, *conn.scalars(select(runs.c.no).where(named))}
            return Kept(frozenset(whole), frozenset(lines), {job: _last_that_wrote(conn, job) for job in numbers})


def _latest(conn: Connection, job: int) -> Collection[int]:
    """Its last run, replay or not, the last whole one, those of them that ended last, and its last success."""
    mine = runs.c.job == job
    live = (mine, runs.c.replay.is_(False))
    success = (*live, runs.c.outcome == SUCCESS, runs.c.whole.is_(True))
    last = [
        select(func.max(runs.c.no)).where(mine),
        select(func.max(runs.c.no)).where(*live),
        select(func.max(runs.c.no)).where(mine, runs.c.ended.is_not(None)),
        select(func.max(runs.c.no)).where(*live, runs.c.whole.is_(True)),
        select(func.max(runs.c.no)).where(*live, runs.c.whole.is_(True), runs.c.ended.is_not(None)),
        select(runs.c.no).where(*success).order_by(runs.c.ended.desc(), runs.c.no.desc()).limit(1),
    ]
    return {number for query in last if (number := conn.scalar(query)) is not None}


def _last_that_wrote(conn: Connection, job: int) -> int:
    """The nights without a change are counted from it; 0 where none is known to have written."""
    before = conn.scalar(select(func.max(runs.c.no))) or 0
    columns = (runs.c.no, runs.c.report)
    while True:
        mine = (runs.c.job == job, runs.c.replay.is_(False), runs.c.no <= before)
        rows = conn.execute(select(*columns).where(*mine).order_by(runs.c.no.desc()).limit(PAGE)).all()
        for number, report in rows:
            if _wrote(report):
                return int(number)
        if not rows:
            return 0
        before = rows[-1].no - 1


def _wrote(report: str) -> bool:
    """True where the report counts anything that is written, or might be."""
    counts = msgspec.json.decode(report).get("counts", {})
    return any(action not in HARMLESS for of_type in counts.values() for action in of_type)


def _wrote_nothing(run: Row[*tuple[Any, ...]]) -> bool:
    """True where it is certain: a run without a report may have written anything."""
    return run.outcome in ENDED_WELL and "counts" in msgspec.json.decode(run.report) and not _wrote(run.report)


def _not_the_last() -> ColumnElement[bool]:
    """SQLite would give the last number again, and reports and the audit trail name lists by their numbers."""
    other = lists.alias()
    return exists().where(other.c.id > lists.c.id)


def _superseded() -> ColumnElement[bool]:
    """Not asked for when a run wonders since when no listing was complete.  (An open one may be cancelled.)"""
    other = lists.alias()
    same = (other.c.job == lists.c.job, other.c.stream == lists.c.stream, other.c.kind.in_(("first", "full")))
    complete = (other.c.state == "closed", other.c.complete.is_(True), other.c.id > lists.c.id)
    return or_(lists.c.kind.not_in(("first", "full")), lists.c.state == "cancelled", exists().where(*same, *complete))
