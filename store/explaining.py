"""Where a resource came from, as far as the store knows: looked up by key, however much there is, and only read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Select, exists, func, select

from store.bulk import among
from store.handle import Stored
from store.memory import STATES
from store.packing import unpack_doubt, unpack_version
from store.queries import QuarantineRow
from store.queries import trouble_row as trouble_of
from store.queries import troubles as trouble_query
from store.schema import Item, holds, jobs, known, lists, notes, pending, runs, scopes, sinks, types, waiting, work
from store.schema import quarantine as entries
from store.traces import (
    KeyTrace,
    Made,
    Mention,
    Place,
    RefTrace,
    Removal,
    RunBrief,
    ScopeRow,
    SetAside,
    Since,
    Waiter,
)
from store.waits import Wait, missing_of
from store.worklists import NOT_OVER
from tsi_fetch.settle import REMOVAL, removal_of
from tsi_fetch.words import Known, Ref

MOST_SCOPES = 20
"""Scopes that are named of one resource: a shared one is held by very many."""

MOST_COUNTED = 1000
"""Scopes of a resource that are counted."""

MOST_REFS = 100
"""Resources that are named of one key."""

MOST_WALKED = 1000
"""Scopes that are looked at for one key, in the order of the index."""

MOST_TROUBLES = 20
MOST_OPEN = 5000
"""Open entries of the quarantine that are searched for a resource which the store does not know."""

MOST_REPORTS = 50
"""Runs whose reports are searched for a key."""

MOST_NOTES = 50


def places(stored: Stored, job: str | None = None) -> list[Place]:
    """The jobs that ran into this store, each at each of its sinks; or only this job."""
    query = select(jobs.c.id, jobs.c.name, sinks.c.id, sinks.c.name).join(sinks, sinks.c.id == jobs.c.sink)
    with stored.database.read() as conn:
        found = conn.execute((query.where(jobs.c.name == job) if job else query).order_by(sinks.c.id, jobs.c.id))
        return [Place(*row) for row in found]


def trace_ref(stored: Stored, ref: Ref, among_places: Sequence[Place]) -> list[RefTrace]:
    """What is known of a resource at each of the sinks of these; those that know nothing at all are left out."""
    by_sink: dict[int, list[Place]] = {}
    for place in among_places:
        by_sink.setdefault(place.sink_number, []).append(place)
    with stored.database.read() as conn:
        found = [_ref_at(conn, ref, sink, some) for sink, some in by_sink.items()]
    return [trace for trace in found if trace]


def trace_key(stored: Stored, key: str, among_places: Sequence[Place]) -> list[KeyTrace]:
    """What is known of a row of the source, of each of these jobs; those that know nothing at all are left out."""
    with stored.database.read() as conn:
        found = [_key_of(conn, key, place) for place in among_places]
    return [t for t in found if t.scopes or t.troubles or t.work or t.waits or t.mentions or t.aside]


# -- a resource


def _ref_at(conn: Connection, ref: Ref, sink: int, some: Sequence[Place]) -> RefTrace | None:
    kind = conn.scalar(select(types.c.id).where(types.c.name == ref.type))
    row = None
    if kind is not None:
        here = (known.c.sink == sink, known.c.type == kind, known.c.ident == ref.id)
        row = conn.execute(select(known).where(*here)).one_or_none()
    held, more = ((), 0) if row is None else _holders(conn, row.id)
    waits = tuple(w for place in some for w in _waits_of(conn, place, kind, ref))
    keys = {s.row for s in held} | {removal_of(ref)} | {w.wait.row for w in waits}
    searched = [_lying_of(conn, place, ref) for place in some]
    troubles = [t for place in some for t in _troubles(conn, place, keys) if t.ref in (None, ref)]
    troubles += [t for lying, _ in searched for t in lying if t.id not in {one.id for one in troubles}]
    if row is None and not waits and not troubles:
        return None
    mine = next((p for p in some if row is not None and p.number == row.job), some[0])
    return RefTrace(
        ref=ref,
        sink=mine.sink,
        known=None if row is None else _known(ref, row, _owner(conn, row.job)),
        wrote=None if row is None else _run(conn, row.run),
        since=None if row is None or row.run is None else _since(conn, row.job, row.run),
        scopes=tuple(held),
        more_scopes=more,
        removals=() if row is None else tuple(_removals(conn, pending.c.known == row.id, MOST_SCOPES)),
        waits=waits,
        troubles=tuple(troubles),
        mentions=tuple(m for place in some for m in _mentions(conn, place, {s.row for s in held}, ref)),
        aside=tuple(a for place in some for a in _aside(conn, place, {s.row for s in held})),
        noted=any(_noted(conn, place, ref) for place in some),
        searched=all(whole for _, whole in searched),
    )


def _known(ref: Ref, row: Row[*tuple[Any, ...]], owner: str) -> Known:
    return Known(
        ref,
        owner,
        bytes(row.digest),
        unpack_version(row.version),
        row.order,
        row.mapping,
        STATES[row.state],
    )


def _owner(conn: Connection, number: int) -> str:
    return str(conn.scalar(select(jobs.c.name).where(jobs.c.id == number)))


def _holders(conn: Connection, number: int) -> tuple[list[ScopeRow], int]:
    """The first scopes that hold it, and how many more do."""
    of_it = select(holds.c.scope).where(holds.c.known == number).order_by(holds.c.scope)
    first = list(conn.scalars(of_it.limit(MOST_SCOPES)))
    counted = conn.scalar(select(func.count()).select_from(of_it.limit(MOST_SCOPES + MOST_COUNTED).subquery())) or 0
    return _scope_rows(conn, first), counted - len(first)


def _scope_rows(conn: Connection, ids: Sequence[int]) -> list[ScopeRow]:
    columns = (jobs.c.name, scopes.c.key, scopes.c.row, scopes.c.mapping, scopes.c.raw.is_(None).label("doubted"))
    query = select(*columns).join(jobs, jobs.c.id == scopes.c.job).where(among(conn, scopes.c.id, ids))
    found = conn.execute(query.order_by(scopes.c.id)) if ids else ()
    return [ScopeRow(job, key, row or key, mapping, doubted) for job, key, row, mapping, doubted in found]


def _removals(conn: Connection, which: ColumnElement[bool], most: int) -> Iterator[Removal]:
    named = (types.c.name, known.c.ident)
    key = REMOVAL + types.c.name + "/" + known.c.ident
    refused = exists().where(entries.c.job == pending.c.job, entries.c.closed.is_(None), entries.c.key == key)
    columns = (*named, jobs.c.name, scopes.c.key, pending.c.row, pending.c.accepted, pending.c.decided, refused)
    joined = select(*columns).join(jobs, jobs.c.id == pending.c.job).join(scopes, scopes.c.id == pending.c.scope)
    joined = joined.join(known, known.c.id == pending.c.known).join(types, types.c.id == known.c.type)
    for kind, ident, *row in conn.execute(joined.where(which).order_by(pending.c.id).limit(most)):
        yield Removal(Ref(kind, ident), *row)


def _waits_of(conn: Connection, place: Place, kind: int | None, ref: Ref) -> list[Waiter]:
    if kind is None:
        return []
    mine = (waiting.c.job == place.number, waiting.c.type == kind, waiting.c.ident == ref.id)
    rows = conn.execute(select(waiting.c.id, waiting.c.scope, waiting.c.row, waiting.c.since).where(*mine)).all()
    missing = missing_of(conn, [row.id for row in rows])
    return [Waiter(place.job, Wait(ref, row.scope, row.row, missing[row.id], row.since)) for row in rows]


def _lying_of(conn: Connection, place: Place, ref: Ref) -> tuple[list[QuarantineRow], bool]:
    """What lies open of a resource, under whatever key, among the latest; and whether those are all."""
    lying = (entries.c.job == place.number, entries.c.closed.is_(None))
    latest = select(entries.c.id, entries.c.ref).where(*lying).order_by(entries.c.id.desc()).limit(MOST_OPEN).subquery()
    ids = list(conn.scalars(select(latest.c.id).where(latest.c.ref == str(ref)).limit(MOST_TROUBLES)))
    count = conn.scalar(select(func.count()).select_from(latest)) or 0
    return _trouble_rows(conn, ids), count < MOST_OPEN


def _noted(conn: Connection, place: Place, ref: Ref) -> bool:
    """Does a note that nobody has answered yet name it?"""
    mine = select(notes.c.doubt).where(notes.c.job == place.number).order_by(notes.c.id.desc()).limit(MOST_NOTES)
    doubts = (unpack_doubt(stored) for stored in conn.scalars(mine))
    return any(doubt.since is None and ref in doubt.refs for doubt in doubts)


# -- a row


def _key_of(conn: Connection, key: str, place: Place) -> KeyTrace:
    ids, whole = _scopes_of(conn, place, key)
    held = _scope_rows(conn, ids)
    refs = _held_by(conn, ids)
    keys = {key} | {s.row for s in held}
    removals = tuple(_removals(conn, among(conn, pending.c.scope, ids), MOST_REFS)) if ids else ()
    refused = {removal_of(removal.ref) for removal in removals if removal.refused}
    return KeyTrace(
        key=key,
        job=place.job,
        sink=place.sink,
        scopes=tuple(held),
        made=tuple(_made(conn, refs[:MOST_REFS])),
        more=len(refs) > MOST_REFS or not whole,
        removals=removals,
        waits=tuple(_waits_in(conn, place, [s.key for s in held] or [key])),
        troubles=tuple(_troubles(conn, place, keys | refused)),
        mentions=tuple(_mentions(conn, place, keys | refused, None)),
        work=tuple(_work(conn, place, keys)),
        aside=tuple(_aside(conn, place, keys)),
    )


def _held_by(conn: Connection, ids: Sequence[int]) -> list[int]:
    """What these scopes hold, in the order of the index; a little more than is named, however much there is."""
    found: dict[int, None] = {}
    for number in ids:
        of_it = select(holds.c.known).where(holds.c.scope == number).order_by(holds.c.known)
        found |= dict.fromkeys(conn.scalars(of_it.limit(MOST_REFS + 1)))
        if len(found) > MOST_REFS:
            break
    return list(found)


def _scopes_of(conn: Connection, place: Place, key: str) -> tuple[list[int], bool]:
    """The scopes of a row: that of its key, those of its parts (`key#part`), and those that it spoke for last; and
    whether those are all.

    The parts are walked to along the index from the key on: a range would not go by it on PostgreSQL, whose order of
    text is the database's own.  A part's own row is found among the parts of what stands before its `#`.
    """
    named = (scopes.c.job == place.number, scopes.c.key == key)
    own = list(conn.scalars(select(scopes.c.id).where(*named)))
    stem = key.partition("#")[0]
    after = (scopes.c.job == place.number, scopes.c.key > stem)
    walk = select(scopes.c.id, scopes.c.key, scopes.c.row).where(*after).order_by(scopes.c.key).limit(MOST_WALKED)
    walked = conn.execute(walk).all()
    for number, found, row in walked:
        if number not in own and found.startswith(f"{stem}#") and (found.startswith(f"{key}#") or row == key):
            own.append(number)
    return own, len(walked) < MOST_WALKED or not walked[-1].key.startswith(f"{stem}#")


def _made(conn: Connection, ids: Sequence[int]) -> Iterator[Made]:
    if not ids:
        return
    rows = conn.execute(select(known).where(among(conn, known.c.id, ids))).all()
    kinds = {number: name for number, name in conn.execute(select(types.c.id, types.c.name))}
    numbers = {row.run for row in rows if row.run is not None}
    briefs = conn.execute(_briefs().add_columns(runs.c.no).where(among(conn, runs.c.no, numbers))) if numbers else ()
    by_number = {number: RunBrief(*brief) for *brief, number in briefs}
    owners = {number: name for number, name in conn.execute(select(jobs.c.id, jobs.c.name))}
    for row in sorted(rows, key=lambda row: (kinds[row.type], row.ident)):
        ref = Ref(kinds[row.type], row.ident)
        yield Made(_known(ref, row, owners[row.job]), by_number.get(row.run))


def _waits_in(conn: Connection, place: Place, keys: Sequence[str]) -> Iterator[Waiter]:
    columns = (waiting.c.id, types.c.name, waiting.c.ident, waiting.c.scope, waiting.c.row, waiting.c.since)
    named = select(*columns).join(types, types.c.id == waiting.c.type)
    mine = (waiting.c.job == place.number, among(conn, waiting.c.scope, keys))
    rows = conn.execute(named.where(*mine).order_by(waiting.c.since, waiting.c.id).limit(MOST_REFS)).all()
    missing = missing_of(conn, [row.id for row in rows])
    for row in rows:
        yield Waiter(place.job, Wait(Ref(row.name, row.ident), row.scope, row.row, missing[row.id], row.since))


def _work(conn: Connection, place: Place, keys: set[str]) -> Iterator[str]:
    """Kinds of the open lists in which it is still to be read."""
    opened = select(lists.c.id, lists.c.kind).where(lists.c.job == place.number, lists.c.state.in_(NOT_OVER))
    for number, kind in conn.execute(opened.order_by(lists.c.id).limit(MOST_SCOPES)).all():
        undone = (work.c.list == number, among(conn, work.c.key, keys), work.c.state == Item.OPEN)
        if conn.scalar(select(work.c.id).where(*undone).limit(1)) is not None:
            yield kind


# -- what both have


def _aside(conn: Connection, place: Place, keys: set[str]) -> Iterator[SetAside]:
    """Of the latest lists that are not cancelled, those of which it was set aside, and has not been done since."""
    latest = select(lists.c.id, lists.c.created).where(lists.c.job == place.number, lists.c.state != "cancelled")
    for number, created in conn.execute(latest.order_by(lists.c.id.desc()).limit(MOST_SCOPES)).all():
        these = (work.c.list == number, among(conn, work.c.key, keys), work.c.state == Item.ASIDE)
        for row in conn.execute(select(work.c.key, work.c.attempts, work.c.reason).where(*these).order_by(work.c.id)):
            yield SetAside(row.key, number, created, row.attempts, row.reason or "")


def _troubles(conn: Connection, place: Place, keys: set[str]) -> list[QuarantineRow]:
    """What lies or lay in quarantine of these rows, the latest first."""
    ids: list[int] = []
    for stream in _streams(conn, place):
        these = (entries.c.job == place.number, entries.c.stream == stream, among(conn, entries.c.key, keys))
        latest = select(entries.c.id).where(*these).order_by(entries.c.last.desc(), entries.c.id.desc())
        ids += conn.scalars(latest.limit(MOST_TROUBLES))
    return _trouble_rows(conn, ids)


def _streams(conn: Connection, place: Place) -> Iterator[str]:
    """One step along the index for each."""
    first = select(func.min(entries.c.stream)).where(entries.c.job == place.number)
    stream = conn.scalar(first)
    while stream is not None:
        yield stream
        stream = conn.scalar(first.where(entries.c.stream > stream))


def _trouble_rows(conn: Connection, ids: Sequence[int]) -> list[QuarantineRow]:
    query = trouble_query().where(among(conn, entries.c.id, ids)).order_by(entries.c.last.desc(), entries.c.id.desc())
    return [trouble_of(row) for row in conn.execute(query)] if ids else []


def _mentions(conn: Connection, place: Place, keys: set[str], ref: Ref | None) -> Iterator[Mention]:
    """Of the last runs, those whose report names one of these rows, or this change of it, as refused."""
    last = _briefs().add_columns(runs.c.report).where(runs.c.job == place.number).order_by(runs.c.no.desc())
    for *brief, stored in conn.execute(last.limit(MOST_REPORTS)).all():
        report = msgspec.json.decode(stored)
        for trouble in report.get("quarantined", ()):
            if _names(trouble["key"], keys, ref):
                yield Mention(RunBrief(*brief), trouble["key"], trouble["code"])


def _names(told: str, keys: set[str], ref: Ref | None) -> bool:
    """A report names a row by its key, and a refused change of it by the key, a space and the resource."""
    if ref is not None:
        return any(told in (key, f"{key} {ref}") for key in keys)
    return any(told == key or (told.startswith(f"{key} ") and "/" in told[len(key) :]) for key in keys)


def _run(conn: Connection, number: int | None) -> RunBrief | None:
    row = conn.execute(_briefs().where(runs.c.no == number)).one_or_none() if number is not None else None
    return RunBrief(*row) if row else None


def _since(conn: Connection, job: int, number: int) -> Since:
    later = (runs.c.job == job, runs.c.no > number)
    count = conn.scalar(select(func.count()).select_from(runs).where(*later)) or 0
    last = conn.execute(_briefs().where(*later).order_by(runs.c.no.desc()).limit(1)).one_or_none()
    return Since(count, RunBrief(*last) if last else None)


def _briefs() -> Select[*tuple[Any, ...]]:
    columns = (*(runs.c.id, jobs.c.name, runs.c.started, runs.c.ended, runs.c.outcome, runs.c.replay), runs.c.list)
    return select(*columns).join(jobs, jobs.c.id == runs.c.job)
