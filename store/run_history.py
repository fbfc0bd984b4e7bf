"""The runs of a store: one by what a person writes of it, the latest of some jobs, and how the past ones went."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta

from sqlalchemy import select

from store.handle import Stored
from store.queries import SUCCESS, RunRow, run_row, select_runs
from store.schema import jobs, sinks
from store.schema import runs as records
from store.schema import store as identity

PAGE = 20
"""Runs read at once, with their reports."""

NUMBER = re.compile(r"[0-9]{1,9}")
"""What may be a run's number: what more digits say is no number of either database's."""


def made(stored: Stored) -> datetime | None:
    """When the store was made, on its own clock."""
    with stored.database.read() as conn:
        at: datetime | None = conn.scalar(select(identity.c.created))
    return at


def latest(stored: Stored, names: Collection[str] | None, limit: int) -> list[RunRow]:
    """The latest runs of these jobs (None: of all that ever ran into this store), the newest first."""
    with stored.database.read() as conn:
        query = select_runs(conn).order_by(records.c.no.desc()).limit(limit)
        found = conn.execute(query if names is None else query.where(jobs.c.name.in_(sorted(names))))
        return [run_row(row) for row in found]


def matching(stored: Stored, wanted: str, most: int) -> list[RunRow]:
    """The run of this id or number; else those whose ids begin so, the newest first, `most` at most."""
    exact = [records.c.id == wanted]
    if NUMBER.fullmatch(wanted):
        exact.append(records.c.no == int(wanted))
    begins = records.c.id.startswith(wanted, autoescape=True)
    with stored.database.read() as conn:
        for condition in (*exact, begins):
            found = conn.execute(select_runs(conn).where(condition).order_by(records.c.no.desc()).limit(most)).all()
            if found:
                return [run_row(row) for row in found]
    return []


def backwards(stored: Stored, job: str, sink: str) -> Iterator[RunRow]:
    """All runs of a job at a sink that were no replays, the newest first, a page at a time."""
    mine = (jobs.c.name == job, sinks.c.name == sink, records.c.replay.is_(False), records.c.list.is_(None))
    below: int | None = None
    while True:
        with stored.database.read() as conn:
            query = select_runs(conn).where(*mine).order_by(records.c.no.desc()).limit(PAGE)
            found = conn.execute(query if below is None else query.where(records.c.no < below)).all()
        yield from (run_row(row) for row in found)
        if len(found) < PAGE:
            return
        below = found[-1].no


def usual(stored: Stored, job: str, sink: str, most: int) -> Sequence[timedelta]:
    """How long the latest successful runs took, the newest first."""
    named = records.join(jobs, jobs.c.id == records.c.job).join(sinks, sinks.c.id == jobs.c.sink)
    query = select(records.c.started, records.c.ended).select_from(named)
    mine = (jobs.c.name == job, sinks.c.name == sink, records.c.replay.is_(False), records.c.list.is_(None))
    succeeded = (records.c.outcome == SUCCESS, records.c.whole.is_(True), records.c.ended.is_not(None))
    with stored.database.read() as conn:
        found = conn.execute(query.where(*mine, *succeeded).order_by(records.c.no.desc()).limit(most))
        return [ended - started for started, ended in found]
