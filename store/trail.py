"""The audit trail: what persons changed in a store, who, when and why.  An entry stands with its change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import Connection, insert, select, update

from store.bulk import now
from store.schema import audit, jobs, sinks
from tsi_fetch.words import Json

if TYPE_CHECKING:
    from store.handle import Stored


@dataclass(frozen=True, slots=True)
class Deed:
    """What somebody does, for the audit.  `actor`: user@host; `detail`: JSON types, never a body or a secret."""

    actor: str
    action: str
    why: str
    detail: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class TrailRow:
    """An entry of the audit trail.  `job` and `sink` are None where all of the store is meant."""

    id: int
    at: datetime
    job: str | None
    sink: str | None
    actor: str | None
    action: str
    why: str
    detail: Mapping[str, Json]


def note_deed(conn: Connection, job_no: int | None, deed: Deed) -> int:
    """Write the entry, within the transaction of the change that it is about; its number."""
    row = {"at": now(conn), "job": job_no, "actor": deed.actor, "action": deed.action, "why": deed.why}
    entry = insert(audit).values(**row, detail=_detail(deed.detail)).returning(audit.c.id)
    return int(conn.execute(entry).scalar_one())


def amend_deed(conn: Connection, number: int, detail: Mapping[str, Json]) -> None:
    """What became of a deed of many transactions, in place of what was to become of it."""
    conn.execute(update(audit).where(audit.c.id == number).values(detail=_detail(detail)))


def _detail(detail: Mapping[str, Json]) -> str:
    return msgspec.json.encode(dict(detail)).decode()


def trail(stored: Stored, job: str | None = None, limit: int = 20) -> list[TrailRow]:
    """The latest entries, newest first: of this job, or all there are, of jobs that no job file has included."""
    columns = [audit.c[name] for name in ("id", "at", "actor", "action", "why", "detail")]
    named = audit.outerjoin(jobs, jobs.c.id == audit.c.job).outerjoin(sinks, sinks.c.id == jobs.c.sink)
    query = select(*columns, jobs.c.name.label("job"), sinks.c.name.label("sink")).select_from(named)
    query = query.order_by(audit.c.id.desc()).limit(limit)
    with stored.database.read() as conn:
        return [
            TrailRow(row.id, row.at, row.job, row.sink, row.actor, row.action, row.why, msgspec.json.decode(row.detail))
            for row in conn.execute(query.where(jobs.c.name == job) if job else query)
        ]
