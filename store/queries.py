"""What the command line asks a store, and what a recording takes from it.  Only `quarantined` shows bodies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Select, and_, func, select

from store.bulk import now
from store.handle import Stored
from store.packing import unpack_payload
from store.recorded_state import export_state, seed_state
from store.schema import Item, jobs, known, leases, lists, pending, sinks, waiting, watermarks
from store.schema import quarantine as entries
from store.schema import runs as records
from store.schema import work as work_items
from store.signs import gives_sign
from store.waits import Wait, read_waits
from store.worklists import NOT_OVER, OF_RUNS, read_list
from tsi_fetch.words import Fault, Quarantined, Ref, RunRecord, WorkList

__all__ = [
    "LeaseRow",
    "QuarantineRow",
    "RunRow",
    "StatusRow",
    "Wait",
    "export_state",
    "jobs_seen",
    "lease",
    "live_runs",
    "quarantine",
    "quarantined",
    "run",
    "run_rows",
    "runs",
    "seed_state",
    "status",
    "trouble_row",
    "troubles",
    "waits",
]


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as it is listed.  `number`: in the order in which runs of this store began; `list`: of a worker, the work
    list that it works on; `alive`: its runner, or the worker, has given a sign of life in time."""

    record: RunRecord
    sink: str
    host: str | None
    replay: bool
    number: int
    list: int | None = None
    alive: bool = False

    @property
    def goes_on(self) -> bool:
        """Whether somebody is at it."""
        return self.record.outcome == "running" and self.alive

    @property
    def silent(self) -> bool:
        """Whether it has not ended and gives no sign of life: it was killed, or is paused."""
        return self.record.outcome == "running" and not self.alive


@dataclass(frozen=True, slots=True)
class StatusRow:
    """How one job stands at one sink.  `silent`: its last run gives no sign of life; `watermarks`: per stream;
    `mappings`: refs per mapping version; `waits`: the oldest of what waits, `SHOWN` at most; `backfill`: items that are
    left of one that is not over; `halted`: the number of one that a guard has halted."""

    job: str
    sink: str
    last_success: datetime | None
    last: RunRecord | None
    silent: bool
    watermarks: Mapping[str, str]
    quarantined: int
    oldest_quarantine: datetime | None
    waiting: int
    waits: Sequence[Wait]
    pending: int
    mappings: Mapping[int, int]
    work: WorkList | None
    backfill: int
    halted: int | None

    def older(self, mapping: int) -> int:
        """How many refs an older mapping than this made."""
        return sum(count for version, count in self.mappings.items() if version < mapping)


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """An entry of the quarantine as it is listed: where and why, never the value."""

    id: int
    job: str
    stream: str
    key: str
    ref: Ref | None
    fault: Fault
    unfetched: bool
    attempts: int
    opened: datetime
    last: datetime
    run: str | None
    closed: datetime | None
    why: str | None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why so many entries of a job lie in quarantine, and since when the first of them."""

    job: str
    fault: Fault
    entries: int
    oldest: datetime


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """Who holds a job now, or held it last; `holder` is None where it is free."""

    job: str
    holder: str | None
    host: str | None
    expires: datetime | None


SHOWN = 20
"""How much of what waits a status lists: its oldest."""

SUCCESS = "done"
"""The outcome of a run that read and settled everything there was; one that was asked for single products has not."""


def jobs_seen(stored: Stored) -> list[str]:
    """The jobs that ever ran into this store."""
    with stored.database.read() as conn:
        return list(conn.scalars(select(jobs.c.name).distinct().order_by(jobs.c.name)))


def live_runs(stored: Stored, job: str) -> bool:
    """Whether any run of the job wrote here that was not a replay."""
    mine = select(records.c.no).join(jobs).where(jobs.c.name == job, records.c.replay.is_(False)).limit(1)
    with stored.database.read() as conn:
        return conn.scalar(mine) is not None


def lease(stored: Stored, job: str) -> LeaseRow | None:
    """The lease of a job, None before its first run."""
    columns = (leases.c.job, leases.c.holder, leases.c.host, leases.c.expires)
    with stored.database.read() as conn:
        row = conn.execute(select(*columns).where(leases.c.job == job)).one_or_none()
    return LeaseRow(*row) if row else None


def runs(stored: Stored, job: str | None = None, limit: int = 20) -> list[RunRow]:
    """The latest runs, newest first."""
    with stored.database.read() as conn:
        query = select_runs(conn).order_by(records.c.no.desc()).limit(limit)
        return [run_row(row) for row in conn.execute(query.where(jobs.c.name == job) if job else query)]


def run_rows(conn: Connection, which: ColumnElement[bool], limit: int) -> list[RunRow]:
    """The latest of these runs, newest first."""
    query = select_runs(conn).where(which).order_by(records.c.no.desc()).limit(limit)
    return [run_row(row) for row in conn.execute(query)]


def run(stored: Stored, run_id: str) -> RunRow | None:
    with stored.database.read() as conn:
        row = conn.execute(select_runs(conn).where(records.c.id == run_id)).one_or_none()
    return run_row(row) if row else None


def select_runs(conn: Connection) -> Select[*tuple[Any, ...]]:
    """What `run_row` reads, as it is now."""
    names = ("no", "id", "started", "ended", "outcome", "exit_code", "report", "host", "replay", "whole", "list")
    columns = [*(records.c[n] for n in names), gives_sign(now(conn)).label("alive")]
    named = jobs.join(sinks, sinks.c.id == jobs.c.sink)
    joined = records.join(named, jobs.c.id == records.c.job)
    return select(*columns, jobs.c.name.label("job"), sinks.c.name.label("sink")).select_from(joined)


def run_row(row: Row[*tuple[Any, ...]]) -> RunRow:
    """A row of `select_runs`."""
    report = msgspec.json.decode(row.report)
    record = RunRecord(row.id, row.job, row.started, row.ended, row.outcome, row.exit_code, row.whole, report)
    return RunRow(record, row.sink, row.host, row.replay, row.no, row.list, bool(row.alive))


def status(stored: Stored, job: str | None = None) -> list[StatusRow]:
    """How the jobs stand, or this one; a job that changed its sink has a row for each."""
    query = select(jobs.c.id, jobs.c.name, sinks.c.name).join(sinks, sinks.c.id == jobs.c.sink)
    with stored.database.read() as conn:
        found = conn.execute((query.where(jobs.c.name == job) if job else query).order_by(jobs.c.name, jobs.c.id)).all()
        return [_status(conn, *row) for row in found]


def _status(conn: Connection, number: int, job: str, sink: str) -> StatusRow:
    mine = (records.c.job == number, records.c.replay.is_(False), records.c.whole.is_(True))
    last = next(iter(run_rows(conn, and_(*mine), 1)), None)
    lying = (entries.c.job == number, entries.c.closed.is_(None))
    open_list = select(func.min(lists.c.id)).where(lists.c.job == number, *OF_RUNS)
    work = conn.scalar(open_list)
    marks = conn.execute(select(watermarks.c.stream, watermarks.c.value).where(watermarks.c.job == number))
    made = select(known.c.mapping, func.count()).where(known.c.job == number).group_by(known.c.mapping)
    return StatusRow(
        job=job,
        sink=sink,
        last_success=conn.scalar(select(func.max(records.c.ended)).where(*mine, records.c.outcome == SUCCESS)),
        last=last.record if last else None,
        silent=bool(last and last.silent),
        watermarks={stream: value for stream, value in marks},
        quarantined=conn.scalar(select(func.count()).where(*lying)) or 0,
        oldest_quarantine=conn.scalar(select(func.min(entries.c.opened)).where(*lying)),
        waiting=conn.scalar(select(func.count()).where(waiting.c.job == number)) or 0,
        waits=read_waits(conn, number, SHOWN),
        pending=conn.scalar(select(func.count()).where(pending.c.job == number)) or 0,
        mappings={mapping: count for mapping, count in conn.execute(made)},
        work=None if work is None else read_list(conn, work),
        backfill=_left_of_backfill(conn, number),
        halted=conn.scalar(select(func.min(lists.c.id)).where(*_backfills(number), lists.c.state == "halted")),
    )


def _backfills(job_no: int) -> tuple[ColumnElement[bool], ...]:
    return (lists.c.job == job_no, lists.c.kind == "backfill")


def _left_of_backfill(conn: Connection, job_no: int) -> int:
    under_way = select(lists.c.id).where(*_backfills(job_no), lists.c.state.in_(NOT_OVER))
    numbers = conn.scalars(under_way).all()
    left = select(func.count()).where(work_items.c.list.in_(numbers), work_items.c.state == Item.OPEN)
    return (conn.scalar(left) or 0) if numbers else 0


def waits(stored: Stored, job: str) -> list[Wait]:
    """All that waits of a job, at whatever sink: oldest first at each."""
    with stored.database.read() as conn:
        numbers = conn.scalars(select(jobs.c.id).where(jobs.c.name == job).order_by(jobs.c.id)).all()
        return [wait for number in numbers for wait in read_waits(conn, number)]


def quarantine(
    stored: Stored, job: str | None = None, *, state: str = "open", most: int | None = None
) -> list[QuarantineRow]:
    """What lies in quarantine (`open`), lay there (`closed`), or both (`all`): the oldest `most` of it, or all."""
    query = troubles().where(*_lying(job, state)).order_by(entries.c.opened, entries.c.id).limit(most)
    with stored.database.read() as conn:
        return [trouble_row(row) for row in conn.execute(query)]


def reasons(stored: Stored, job: str, state: str = "open") -> list[Reason]:
    """Why a job's rows lie in quarantine, and how many for each reason."""
    why = (entries.c.code, entries.c.path, entries.c.rule)
    counted = select(*why, func.count().label("n"), func.min(entries.c.opened).label("oldest"))
    query = counted.select_from(entries.join(jobs, jobs.c.id == entries.c.job)).where(*_lying(job, state))
    with stored.database.read() as conn:
        found = conn.execute(query.group_by(*why))
        return [Reason(job, Fault(row.code, row.path, row.rule), row.n, row.oldest) for row in found]


def _lying(job: str | None, state: str) -> list[ColumnElement[bool]]:
    of_job = [] if job is None else [jobs.c.name == job]
    lying = entries.c.closed.is_(None)
    return of_job if state == "all" else [*of_job, lying if state == "open" else ~lying]


def quarantined(stored: Stored, entry: int) -> tuple[QuarantineRow, Quarantined] | None:
    """One entry whole: the row with all its answers, and the refused body."""
    with stored.database.read() as conn:
        query = troubles().add_columns(entries.c.payload, entries.c.digest)
        row = conn.execute(query.where(entries.c.id == entry)).one_or_none()
    if row is None:
        return None
    shown, payload = trouble_row(row), unpack_payload(row.payload)
    return shown, Quarantined(row.key, bytes(row.digest), shown.fault, payload.row, shown.ref, payload.body)


def troubles() -> Select[*tuple[Any, ...]]:
    """The quarantine without its bodies, for `trouble_row`."""
    names = "id stream key ref code path rule unfetched attempts opened last run closed why".split()
    joined = entries.join(jobs, jobs.c.id == entries.c.job)
    return select(*(entries.c[n] for n in names), jobs.c.name.label("job")).select_from(joined)


def trouble_row(row: Row[*tuple[Any, ...]]) -> QuarantineRow:
    """An entry as it is listed."""
    return QuarantineRow(
        id=row.id,
        job=row.job,
        stream=row.stream,
        key=row.key,
        ref=Ref.parse(row.ref) if row.ref else None,
        fault=Fault(row.code, row.path, row.rule),
        unfetched=row.unfetched,
        attempts=row.attempts,
        opened=row.opened,
        last=row.last,
        run=row.run,
        closed=row.closed,
        why=row.why,
    )
