"""What is remembered of refs, scopes and streams: reading it, and moving a watermark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    FromClause,
    and_,
    bindparam,
    case,
    exists,
    func,
    or_,
    select,
    true,
)

from store.access import Access
from store.bulk import add_missing, among, bytewise, chosen, given, now, put, values_of
from store.packing import pack_keys, unpack_keys, unpack_validators, unpack_version
from store.prepared import Prepared
from store.schema import checkpoints, holds, known, scopes, watermarks
from tsi_fetch.words import Cursor, CursorKind, Known, Position, Ref, ScopeState, State, Validators

STATES = (State.LIVE, State.RETIRED, State.DELETED)
"""Their places are the stored numbers."""


_KNOWN = ("job", "digest", "version", "order", "mapping", "state", "run")


class Memory:
    def __init__(self, access: Access) -> None:
        self._access = access

    def position(self, stream: str) -> Position:
        with self._access.read() as conn:
            return Position(self._cursor(conn, stream), self._checkpoint(conn, stream))

    def _cursor(self, conn: Connection, stream: str) -> Cursor | None:
        mine = (watermarks.c.job == self._access.job_no, watermarks.c.stream == stream)
        row = conn.execute(select(watermarks.c.kind, watermarks.c.value, watermarks.c.seen).where(*mine)).one_or_none()
        return None if row is None else Cursor(CursorKind(row.kind), row.value, unpack_keys(row.seen))

    def _checkpoint(self, conn: Connection, stream: str) -> frozenset[str]:
        mine = (checkpoints.c.job == self._access.job_no, checkpoints.c.stream == stream)
        return frozenset(conn.scalars(select(checkpoints.c.key).where(*mine)))

    def known(self, refs: Sequence[Ref]) -> Mapping[Ref, Known]:
        """What is known at this job's sink, whichever job owns it."""
        with self._access.read() as conn:
            found = list(self._access.find(conn, _KNOWN, refs))
            owners = self._access.owners(conn, {row[0] for _, row in found})
        mine = self._access.run[0] if self._access.run else None
        return {ref: _known(ref, row, owners, mine) for ref, row in found}

    def scopes(self, keys: Sequence[str]) -> Mapping[str, ScopeState]:
        """The scopes of this job with these keys that were ever settled."""
        if not keys:
            return {}
        with self._access.read() as conn:
            rows = _scopes_by_key.all(conn, job=self._access.job_no, keys=given(conn, keys))
            names = self._access.type_names(conn, {row[4] for row in rows} - {None})
            owners = self._access.owners(conn, {row[6] for row in rows} - {None})
        mine = self._access.run[0] if self._access.run else None
        heads: dict[str, tuple[bytes | None, int | None, int | None]] = {}
        held: dict[str, dict[Ref, Known]] = {}
        for key, raw, mapping, order, kind, ident, *values in rows:
            if key not in heads:
                heads[key], held[key] = (raw, mapping, order), {}
            if kind is not None:
                ref = Ref(names[kind], ident)
                held[key][ref] = _known(ref, values, owners, mine)
        return {
            key: ScopeState(key, frozenset(held[key]), raw, mapping, held[key], order)
            for key, (raw, mapping, order) in heads.items()
        }

    def validators(self, keys: Sequence[str], mapping: int) -> Mapping[str, Validators]:
        """Of those of these rows whose answers this mapping gave all that is remembered of them: a part of one may be
        in doubt, or was mapped since by a row of its own, from another answer."""
        usable = (scopes.c.raw.is_not(None), scopes.c.mapping == mapping, scopes.c.validators.is_not(None))
        with self._access.read() as conn:
            these = (scopes.c.job == self._access.job_no, among(conn, scopes.c.key, keys), ~_apart(conn))
            found = conn.execute(select(scopes.c.key, scopes.c.validators).where(*these, *usable))
            return {key: unpack_validators(stored) for key, stored in found}

    def spoken_for(self, keys: Sequence[str]) -> frozenset[str]:
        """Those of these rows of which any scope is remembered."""
        with self._access.read() as conn:
            key, own = values_of(conn, keys), bytewise(conn, scopes.c.key)
            same = or_(own == key, _inside(own, key))
            found = select(key).where(exists().where(scopes.c.job == self._access.job_no, same))
            return frozenset(conn.scalars(found))

    def scope_rows(self, after: str, count: int) -> Sequence[tuple[str, str]]:
        """A page of the scopes that hold anything: key, and the key of the row that speaks for it.  For a plan."""
        holding = select(holds.c.known).where(holds.c.scope == scopes.c.id).exists()
        mine = (scopes.c.job == self._access.job_no, scopes.c.key > after, holding)
        with self._access.read() as conn:
            page = conn.execute(select(scopes.c.key, scopes.c.row).where(*mine).order_by(scopes.c.key).limit(count))
            return [(key, row or key) for key, row in page]


def _apart(conn: Connection) -> ColumnElement[bool]:
    """True where a part of the scope's row was not mapped from the same answers: it is in doubt, or another row speaks
    for it."""
    part = scopes.alias()
    alike = and_(
        func.coalesce(part.c.row, part.c.key) == scopes.c.key,
        func.coalesce(part.c.raw, b"") == scopes.c.raw,
        func.coalesce(part.c.mapping, -1) == scopes.c.mapping,
    )
    inside = _inside(bytewise(conn, part.c.key), scopes.c.key)
    return exists().where(part.c.job == scopes.c.job, inside, ~alike)


def _inside(scope: ColumnElement[str], row: ColumnElement[str]) -> ColumnElement[bool]:
    """True where a scope's key is that of a row, `#` and a part."""
    return and_(scope > row + "#", scope < row + "$")  # `$` follows `#`


def _scopes_with_known(postgres: bool) -> Executable:
    """A row for each ref that a scope holds, or one without.  On PostgreSQL in a form that leaves no choice but to go
    by the keys: it might read all of `known` to join it."""
    if not postgres:
        entry: FromClause = known
        joined = scopes.outerjoin(holds, holds.c.scope == scopes.c.id).outerjoin(known, known.c.id == holds.c.known)
    else:
        held = select(holds.c.known).where(holds.c.scope == scopes.c.id).offset(0).lateral("held")
        entry = select(known).where(known.c.id == held.c.known).offset(0).lateral("entry")
        joined = scopes.outerjoin(held, true()).outerjoin(entry, true())
    own = (scopes.c.key, scopes.c.raw, scopes.c.mapping, scopes.c.order)
    columns = (*own, *(entry.c[name] for name in ("type", "ident", *_KNOWN)))
    query = select(*columns).select_from(joined)
    return query.where(scopes.c.job == bindparam("job"), chosen(postgres, scopes.c.key, "keys"))


_scopes_by_key = Prepared(_scopes_with_known)


def _known(ref: Ref, row: Sequence[Any], owners: Mapping[int, str], run: int | None) -> Known:
    job, digest, version, order, mapping, state, writer = row
    fresh = run is not None and writer == run
    return Known(ref, owners[job], bytes(digest), unpack_version(version), order, mapping, STATES[state], fresh)


def move_watermark(conn: Connection, job_no: int, stream: str, cursor: Cursor) -> None:
    """Set the watermark, within the transaction of whoever may do so.  Where its value stays, it has not moved."""
    put(conn, watermarks, [_watermark(conn, job_no, stream, cursor)], on=("job", "stream"), change=_moved)


def _moved(new: Any) -> dict[str, ColumnElement[Any]]:
    same = and_(watermarks.c.kind == new.kind, watermarks.c.value == new.value)
    return {"moved": case((same, watermarks.c.moved), else_=new.moved)}


def start_watermark(conn: Connection, job_no: int, stream: str, cursor: Cursor) -> None:
    """Set it where there is none."""
    add_missing(conn, watermarks, [_watermark(conn, job_no, stream, cursor)])


def _watermark(conn: Connection, job_no: int, stream: str, cursor: Cursor) -> dict[str, object]:
    seen = pack_keys(cursor.seen)
    return {
        "job": job_no,
        "stream": stream,
        "kind": cursor.kind.value,
        "value": cursor.value,
        "seen": seen,
        "moved": now(conn),
    }
