"""Stores with millions of refs, made by the database itself: our own code would take an hour for ten million.

The n-th entry is a scope with one ref, under a key and an id that tell n: numbers chosen at random are keys chosen at
random.  An open work list has an item for each.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection
from sqlalchemy.sql import ClauseElement

from store.access import _known_by_ident, _refs_by_id
from store.bulk import given, is_postgres
from store.handle import Stored
from store.job_store import JobBook
from store.memory import _scopes_by_key
from store.prepared import Prepared
from store.settling import _scope_ids
from tsi_fetch.words import Known, Ref, ScopeSettled, Settlement

JOB, SINK = "bench", "bench"
STREAM = "feed"
LISTED = "listing"  # a stream of its own, whose list is open
KINDS = ("Bundle", "Organization", "MedicinalProductDefinition", "RegulatedAuthorization", "PackagedProductDefinition")


@dataclass(frozen=True)
class Entry:
    """One scope with one ref.  `beside`: makes it another one, just behind the n-th."""

    number: int
    beside: str = ""

    @property
    def key(self) -> str:
        return f"{self.number:012}{self.beside}"

    @property
    def ref(self) -> Ref:
        return Ref(KINDS[self.number % len(KINDS)], f"bench-{self.key}")


_SERIES = {
    "sqlite": "(WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < {last}) SELECT n FROM s) s",
    "postgresql": "generate_series(0, {last}) s(n)",
}
_DIGITS = {"sqlite": "printf('%012d', n)", "postgresql": "lpad(n::text, 12, '0')"}
_BYTES = {"sqlite": "CAST(printf('%016d', n) AS BLOB)", "postgresql": "convert_to(lpad(n::text, 16, '0'), 'UTF8')"}
_VERSION = {"sqlite": "CAST('1' AS BLOB)", "postgresql": "'1'::bytea"}

_FILL = (
    'INSERT INTO known (id, sink, type, ident, job, digest, version, "order", mapping, state)'
    " SELECT {base} + n, j.sink, t.id, 'bench-' || {digits}, j.id, {bytes}, {version}, n, 1, 0"
    " FROM {series} JOIN ({kinds}) k ON k.place = n % {count} JOIN types t ON t.name = k.name CROSS JOIN jobs j",
    "INSERT INTO scopes (id, job, key, raw, mapping) SELECT {base} + n, j.id, {digits}, {bytes}, 1"
    " FROM {series} CROSS JOIN jobs j",
    "INSERT INTO holds (scope, known) SELECT {base} + n, {base} + n FROM {series}",
    "INSERT INTO work (list, key, state) SELECT l.id, {digits}, 0 FROM {series} CROSS JOIN lists l",
)
"""The statements for a store in which one job has begun and `seed` has put an entry of each type."""

_QUICK = {
    "sqlite": ("PRAGMA cache_size = -2000000", "PRAGMA synchronous = OFF", "PRAGMA foreign_keys = OFF"),
    "postgresql": ("SET session_replication_role = replica", "SET jit = off"),  # no foreign key is looked up
}
_AFTER = {
    "sqlite": (),
    "postgresql": (
        "SELECT setval(pg_get_serial_sequence('known', 'id'), (SELECT max(id) FROM known))",
        "SELECT setval(pg_get_serial_sequence('scopes', 'id'), (SELECT max(id) FROM scopes))",
        "VACUUM ANALYZE",
        "CHECKPOINT",
    ),
}
_ROOM = {
    "sqlite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    "postgresql": "SELECT pg_database_size(current_database())",
}


def fill(stored: Stored, refs: int) -> int:
    """As if so many refs had been settled; bytes that the store takes now."""
    with stored.lease(JOB, SINK, "fill", wait=time.sleep) as book:
        seed(book)
    with stored.database.read() as conn:
        kind = conn.dialect.name
    raw = stored.database.engine.raw_connection()
    driver: Any = raw.driver_connection
    if kind == "postgresql":
        driver.autocommit = True  # SQLite's is always so, by store/engine.py
    cursor = driver.cursor()
    for statement in (*_QUICK[kind], *_statements(kind, refs), *_AFTER[kind]):
        cursor.execute(statement)
    room = int(cursor.execute(_ROOM[kind]).fetchone()[0])
    raw.invalidate()  # what makes filling quick is not what is to be measured
    _warm(stored)
    return room


def _warm(stored: Stored) -> None:
    """Read an embedded store's file once, so that the system has its pages: else it is the disk that is measured."""
    database = stored.database.engine.url.database
    if stored.embedded and database:
        with Path(database).open("rb") as file:
            while file.read(1 << 24):
                pass


def seed(book: JobBook) -> None:
    """Names get their numbers by our own code: a ref of each type, in one scope, and a work list."""
    refs = [Ref(kind, "seed") for kind in KINDS]
    scope = ScopeSettled("seed", frozenset(refs), frozenset(), None, None, "seed")
    known = tuple(Known(ref, JOB, bytes(15) + b"s", "1", 1, 1) for ref in refs)
    book.settle(Settlement(STREAM, known=known, scopes=(scope,)))
    number = book.begin_list("full", LISTED)
    book.note_keys(number, 1, ["seed"])
    book.start_list(number, complete=False, cursor=None)


def _statements(kind: str, refs: int) -> list[str]:
    values = {
        "series": _SERIES[kind].format(last=refs - 1),
        "digits": _DIGITS[kind],
        "bytes": _BYTES[kind],
        "version": _VERSION[kind],
        "kinds": " UNION ALL ".join(f"SELECT {n} AS place, '{name}' AS name" for n, name in enumerate(KINDS)),
        "count": len(KINDS),
        "base": len(KINDS) + 1,
    }
    return [statement.format(**values) for statement in _FILL]


def read_through(stored: Stored, entries: Sequence[Entry]) -> Mapping[str, Sequence[str]]:
    """How PostgreSQL would find these, statement by statement."""
    with stored.database.read() as conn:
        if not is_postgres(conn):
            raise ValueError("only PostgreSQL has a choice")
        keys, numbers = given(conn, [e.key for e in entries]), given(conn, [e.number for e in entries])
        idents = given(conn, [e.ref.id for e in entries])
        types = {f"type{n}": n + 1 for n in range(len(KINDS))} | {f"idents{n}": idents for n in range(len(KINDS))}
        asked: dict[str, tuple[Prepared, dict[str, Any]]] = {
            "scopes with known": (_scopes_by_key, {"job": 1, "keys": keys}),
            "known by id": (_known_by_ident(("digest",), len(KINDS)), {"sink": 1, **types}),
            "known by key": (_refs_by_id, {"ids": numbers}),
            "scopes by key": (_scope_ids, {"job": 1, "keys": keys}),
        }
        return {name: _plan(conn, *statement) for name, statement in asked.items()}


def _plan(conn: Connection, statement: Prepared, values: dict[str, Any]) -> Sequence[str]:
    compiled = cast(ClauseElement, statement._statement(conn.dialect)).compile(dialect=conn.dialect)
    return [str(row[0])[:110] for row in conn.exec_driver_sql(f"EXPLAIN {compiled}", {**compiled.params, **values})]
