"""Entries of the quarantine, for whoever replays, drops or exports them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from store.bulk import among, now
from store.handle import Stored
from store.packing import unpack_payload
from store.schema import audit, jobs, known, pending, quarantine, sinks, types
from tsi_fetch.settle import removal_of
from tsi_fetch.words import Fault, Ref, Row

PAGE = 20
"""Entries whose bodies are held in memory together."""


class Whole(NamedTuple):
    """An open entry, whole: the row as received, and the refused resource."""

    number: int
    job: str
    key: str
    ref: str | None
    fault: Fault
    row: Row
    body: bytes | None


class Which(NamedTuple):
    """Entries of one job (at one sink, of one stream), these numbers or all; of one code or of all."""

    job: str
    sink: str | None = None
    stream: str | None = None
    numbers: frozenset[int] | None = None
    code: str | None = None


def numbers(stored: Stored, which: Which) -> Sequence[int]:
    """The open entries, in the order in which they came."""
    with stored.database.read() as conn:
        query = select(quarantine.c.id).select_from(quarantine.join(jobs).join(sinks))
        query = query.where(jobs.c.name == which.job, quarantine.c.closed.is_(None))
        if which.sink is not None:
            query = query.where(sinks.c.name == which.sink)
        if which.stream is not None:
            query = query.where(quarantine.c.stream == which.stream)
        if which.numbers is not None:
            query = query.where(among(conn, quarantine.c.id, sorted(which.numbers)))
        if which.code is not None:
            query = query.where(quarantine.c.code == which.code)
        return list(conn.scalars(query.order_by(quarantine.c.id)))


def whole(stored: Stored, some: Sequence[int]) -> Iterator[Whole]:
    """Those of these entries that are still open, a page in memory at a time."""
    for page in (some[i : i + PAGE] for i in range(0, len(some), PAGE)):
        with stored.database.read() as conn:
            found = _page(conn, page)
        yield from found


def _page(conn: Connection, page: Collection[int]) -> list[Whole]:
    names = ("id", "key", "ref", "code", "path", "rule", "payload")
    query = select(*(quarantine.c[name] for name in names), jobs.c.name.label("job")).join(jobs)
    rows = conn.execute(query.where(among(conn, quarantine.c.id, page), quarantine.c.closed.is_(None)))
    found: list[Whole] = []
    for row in sorted(rows, key=lambda row: int(row.id)):
        payload = unpack_payload(row.payload)
        fault = Fault(row.code, row.path, row.rule)
        found.append(Whole(row.id, row.job, row.key, row.ref, fault, payload.row, payload.body))
    return found


def drop(stored: Stored, numbers: Sequence[int], why: str, actor: str) -> list[int]:
    """Close those of these entries that are open for good, and say so in the audit trail, in one transaction; their
    numbers.  What was to be removed stays at the sink."""
    with stored.database.write() as conn:
        mine = (among(conn, quarantine.c.id, sorted(numbers)), quarantine.c.closed.is_(None))
        asked = select(*(quarantine.c[name] for name in ("id", "job", "key", "ref"))).where(*mine)
        found = conn.execute(asked.order_by(quarantine.c.id)).all()
        at = now(conn)
        conn.execute(update(quarantine).where(*mine).values(closed=at, why=f"dropped: {why}"))
        for one in found:
            if one.ref and one.key == removal_of(Ref.parse(one.ref)):
                _let_stay(conn, one.job, Ref.parse(one.ref))
            detail = msgspec.json.encode({"entry": one.id, "key": one.key, "resource": one.ref}).decode()
            row = {"at": at, "job": one.job, "actor": actor, "action": "quarantine drop", "why": why, "detail": detail}
            conn.execute(insert(audit).values(row))
        return [one.id for one in found]


def _let_stay(conn: Connection, job: int, ref: Ref) -> None:
    """It is no longer to be removed."""
    ident = (types.c.name == ref.type, known.c.ident == ref.id, jobs.c.id == job)
    its = (
        select(known.c.id).join(types, types.c.id == known.c.type).join(jobs, jobs.c.sink == known.c.sink).where(*ident)
    )
    conn.execute(delete(pending).where(pending.c.job == job, pending.c.known.in_(its)))
