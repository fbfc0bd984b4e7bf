"""Changes that refer to something not there yet: reading them, and what a settlement does to them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, func, select

from store.access import Access
from store.bulk import add_missing, among, now, put
from store.packing import pack_body, unpack_body
from store.schema import types, waiting, waiting_for
from tsi_fetch.decide import older
from tsi_fetch.words import Order, Pending, Ref, Settlement, Waiting


class Wait(NamedTuple):
    """A waiting change without its body: for the graph, and for display."""

    ref: Ref
    scope: str
    row: str
    missing: frozenset[Ref]
    since: datetime


class Waits:
    def __init__(self, access: Access) -> None:
        self._access = access

    def all(self) -> Sequence[Wait]:
        """Everything of this job that waits, oldest first."""
        with self._access.read() as conn:
            return read_waits(conn, self._access.job_no)

    def waiting(self, refs: Sequence[Ref]) -> Sequence[Waiting]:
        """What waits for these refs to be written, whole, oldest first."""
        names = ("id", "body", "scope", "row", "order", "mapping", "since")
        with self._access.read() as conn:
            found = dict(_find(conn, self._access, [waiting.c[n] for n in names], refs))
            missing = missing_of(conn, [values[0] for values in found.values()])
        oldest_first = sorted(found.items(), key=lambda item: (item[1][6], item[1][0]))
        return [
            Waiting(ref, unpack_body(body), scope, row, order, mapping, missing[number], since)
            for ref, (number, body, scope, row, order, mapping, since) in oldest_first
        ]

    def oldest(self) -> datetime | None:
        with self._access.read() as conn:
            mine = waiting.c.job == self._access.job_no
            oldest: datetime | None = conn.scalar(select(func.min(waiting.c.since)).where(mine))
        return oldest


def read_waits(conn: Connection, job_no: int, most: int | None = None) -> list[Wait]:
    """What waits of a job, or the oldest of it, without bodies."""
    columns = (waiting.c.id, types.c.name, waiting.c.ident, waiting.c.scope, waiting.c.row, waiting.c.since)
    named = select(*columns).join(types, types.c.id == waiting.c.type).where(waiting.c.job == job_no)
    rows = conn.execute(named.order_by(waiting.c.since, waiting.c.id).limit(most)).all()
    missing = missing_of(conn, [row.id for row in rows])
    return [Wait(Ref(r.name, r.ident), r.scope, r.row, missing[r.id], r.since) for r in rows]


def still_wanted(
    waits: Iterable[Wait], pending: Iterable[Pending], holders: Mapping[Ref, frozenset[str]], job: str
) -> dict[Ref, frozenset[Ref]]:
    """What waits, with what it waits for, but for what every scope of this job is letting go of."""
    leaving: dict[Ref, set[str]] = {}
    gone = set()
    for p in pending:
        leaving.setdefault(p.ref, set()).add(f"{job}/{p.scope}")
        if p.accepted:
            gone.add(p.ref)
    for ref, scopes in leaving.items():
        mine = {name for name in holders.get(ref, ()) if name.startswith(f"{job}/")}
        if mine <= scopes:
            gone.add(ref)
    return {w.ref: w.missing for w in waits if w.ref not in gone}


def wait_no_more(conn: Connection, access: Access, settlement: Settlement) -> None:
    """What arrived and is not older, and what departed, waits no longer."""
    over = set(_overtaken(conn, access, settlement))
    if over:
        conn.execute(delete(waiting).where(among(conn, waiting.c.id, over)))


def _overtaken(conn: Connection, access: Access, settlement: Settlement) -> Iterable[int]:
    orders: dict[Ref, Order | None] = {ref: None for ref in settlement.departed}
    for ref, order in settlement.arrived:
        orders[ref] = None if order is None else _newest(order, orders.get(ref, order))
    for ref, (number, waits) in _find(conn, access, [waiting.c.id, waiting.c.order], orders):
        if not older(orders[ref], waits):
            yield number


def orders_of(conn: Connection, access: Access, refs: Iterable[Ref]) -> Iterable[tuple[Ref, Order | None]]:
    """Those of these refs that wait, with the order of the change that does."""
    return ((ref, order) for ref, (order,) in _find(conn, access, [waiting.c.order], refs))


def _newest(one: Order, other: Order | None) -> Order | None:
    """No order at all overtakes whatever waits."""
    return None if other is None else max(one, other)


def begin_to_wait(
    conn: Connection, access: Access, stream: str, changes: Sequence[Waiting], kinds: Mapping[str, int]
) -> None:
    """These wait now, or replace what waited for the same ref, unless that is newer; its `since` stays."""
    if not changes:
        return
    before = _find(conn, access, [waiting.c.order], [w.ref for w in changes])
    orders: dict[Ref, Order | None] = {ref: order for ref, (order,) in before}
    newest: dict[Ref, Waiting] = {}
    for w in changes:
        if not older(w.order, orders.get(w.ref)):
            newest[w.ref], orders[w.ref] = w, w.order
    at = now(conn)
    rows = [_row(w, access.job_no, stream, kinds, at) for _, w in sorted(newest.items())]
    put(conn, waiting, rows, on=("job", "type", "ident"), change=_since_it_waits)
    ids = {ref: number for ref, (number,) in _find(conn, access, [waiting.c.id], newest)}
    conn.execute(delete(waiting_for).where(among(conn, waiting_for.c.waiting, list(ids.values()))))
    missing = sorted((ids[w.ref], kinds[ref.type], ref.id) for w in newest.values() for ref in w.missing)
    add_missing(conn, waiting_for, [{"waiting": w, "type": kind, "ident": ident} for w, kind, ident in missing])


def _since_it_waits(new: Any) -> dict[str, ColumnElement[Any]]:
    return {"since": waiting.c.since}


def kinds_of(changes: Iterable[Waiting]) -> set[str]:
    """The resource types that these speak of."""
    return {ref.type for w in changes for ref in (w.ref, *w.missing)}


def _row(w: Waiting, job_no: int, stream: str, kinds: Mapping[str, int], at: datetime) -> dict[str, Any]:
    return {
        "job": job_no,
        "stream": stream,
        "type": kinds[w.ref.type],
        "ident": w.ref.id,
        "row": w.row,
        "scope": w.scope,
        "order": w.order,
        "mapping": w.mapping,
        "body": pack_body(w.body),
        "since": w.since or at,
    }


def _find(
    conn: Connection, access: Access, columns: Sequence[ColumnElement[Any]], refs: Iterable[Ref]
) -> list[tuple[Ref, Sequence[Any]]]:
    """Rows of `waiting` of this job: the ref, and the columns asked for."""
    found: list[tuple[Ref, Sequence[Any]]] = []
    for number, by_ident in access.by_type(conn, refs):
        these = among(conn, waiting.c.ident, by_ident.keys())
        mine = (waiting.c.job == access.job_no, waiting.c.type == number, these)
        rows = conn.execute(select(waiting.c.ident, *columns).where(*mine)).all()
        found += [(by_ident[ident], values) for ident, *values in rows]
    return found


def missing_of(conn: Connection, ids: Collection[int]) -> dict[int, frozenset[Ref]]:
    """What each of these waits for."""
    by_id: dict[int, set[Ref]] = {number: set() for number in ids}
    named = select(waiting_for.c.waiting, types.c.name, waiting_for.c.ident)
    joined = named.join(types, types.c.id == waiting_for.c.type)
    found = conn.execute(joined.where(among(conn, waiting_for.c.waiting, ids))) if ids else ()
    for number, kind, ident in found:
        by_id[number].add(Ref(kind, ident))
    return {number: frozenset(refs) for number, refs in by_id.items()}
