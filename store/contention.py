"""What several jobs that are under way settle of the same refs: of types that they share.

A job looks up, writes and settles in transactions of their own, and another one may settle the same ref in between.
What is remembered then is true of neither.  So what jobs share is settled in turn, and what is known is compared with
what was believed as it was decided: what differs is in doubt from then on, and whoever holds it reads its rows again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select, update

from store.access import Access
from store.bulk import among, in_turn
from store.memory import STATES
from store.notes import tell
from store.packing import pack_version
from store.schema import holds, known
from tsi_fetch.words import AWAITED, DOUBTED, Doubt, Known, Ref, Settlement, State

_Content = tuple[bytes, bytes | None, int] | None
"""Digest, version and state, as they are stored."""


def contended(conn: Connection, access: Access, settlement: Settlement) -> Mapping[Ref, int]:
    """Refs of the settlement, with their keys, of which another job has settled since they were looked up what is
    neither what was believed nor what this settles, or which one holds by now that were removed.  What this very run
    wrote since, in an earlier transaction of the same batch, is what it believes."""
    believed = dict(settlement.believed)
    if not believed:
        return {}
    new = {k.ref: k for k in settlement.known}
    gone = {k.ref for k in new.values() if k.state is not State.LIVE and k.digest != AWAITED}
    in_turn(conn, access.sink_no)
    ids = access.ids(conn, believed)
    rows = {row.id: row for row in _rows(conn, ids.values())}
    run = access.run[0] if access.run else None
    told = {ref: {_content(believed[ref]), _content(new.get(ref, believed[ref]))} for ref in ids}
    differs = {ref for ref in ids if (row := rows[ids[ref]]).run != run and _stored(row) not in told[ref]}
    found = {ref: ids[ref] for ref in differs - gone}
    return found | dict(_held(conn, {ids[ref]: ref for ref in ids if ref in gone}))


def contend(conn: Connection, found: Mapping[Ref, int]) -> None:
    """Nobody knows what the sink holds of them: whoever holds them looks, and reads their rows again."""
    doubted = {"digest": DOUBTED, "version": None, "state": STATES.index(State.LIVE)}
    conn.execute(update(known).where(among(conn, known.c.id, found.values())).values(doubted))
    tell(conn, Doubt(tuple(sorted(found)), (), 0, removes=True), found)


def _rows(conn: Connection, ids: Collection[int]) -> Sequence[Any]:
    columns = (known.c.id, known.c.digest, known.c.version, known.c.state, known.c.run)
    return conn.execute(select(*columns).where(among(conn, known.c.id, ids))).all()


def _content(entry: Known | None) -> _Content:
    return None if entry is None else (entry.digest, pack_version(entry.version), STATES.index(entry.state))


def _stored(row: Any) -> _Content:
    return None if row.digest == AWAITED else (bytes(row.digest), row.version, row.state)


def _held(conn: Connection, refs: Mapping[int, Ref]) -> Iterator[tuple[Ref, int]]:
    if refs:
        for number in conn.scalars(select(holds.c.known).where(among(conn, holds.c.known, refs)).distinct()):
            yield refs[number], number
