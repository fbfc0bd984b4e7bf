"""Where SQLite and PostgreSQL differ in what they are told: sets of keys, upserts, row locks, the time.

A set of keys is one parameter.  `IN (SELECT value FROM json_each(:j))` and `= ANY(:array)` stay on the index among ten
million rows; a JOIN with json_each scans the table, and `tuple_().in_()` is a hundred times slower (both measured).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

import msgspec
from sqlalchemy import (
    ARRAY,
    BigInteger,
    BindParameter,
    ColumnElement,
    Connection,
    Integer,
    Select,
    Table,
    Text,
    any_,
    bindparam,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeEngine

from tsi_fetch.clock import SystemClock


def is_postgres(conn: Connection) -> bool:
    return conn.dialect.name == "postgresql"


def now(conn: Connection) -> datetime:
    """The store's clock: PostgreSQL's own, which several runners share; the machine's for an embedded store."""
    if is_postgres(conn):
        return cast(datetime, conn.scalar(select(func.clock_timestamp())))
    return SystemClock().now()


def among(
    conn: Connection, column: ColumnElement[Any], values: Collection[str] | Collection[int]
) -> ColumnElement[bool]:
    """`column` is one of `values`, however many."""
    if is_postgres(conn):
        item = BigInteger() if isinstance(column.type, Integer) else Text()
        return column == any_(bindparam(None, list(values), type_=ARRAY(item), unique=True))
    document = msgspec.json.encode(list(values)).decode()
    each = func.json_each(bindparam(None, document, unique=True)).table_valued("value")
    return column.in_(select(each.c.value))


def bytewise(conn: Connection, column: ColumnElement[str]) -> ColumnElement[str]:
    """The column for an ORDER BY that is the same on both databases, whatever the locale."""
    return column.collate("C") if is_postgres(conn) else column


def _insert(conn: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    return postgresql.insert(table) if is_postgres(conn) else sqlite.insert(table)


def add_missing(conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows that are not there yet."""
    if rows:
        statement, parameters = _of_rows(conn, table, rows)
        conn.execute(statement.on_conflict_do_nothing(), parameters)


def add_selected(conn: Connection, table: Table, columns: Sequence[str], query: Select[*tuple[Any, ...]]) -> None:
    """Insert what `query` gives and is not there yet.  SQLite needs a WHERE in it to parse the ON CONFLICT after it."""
    conn.execute(_insert(conn, table).from_select(list(columns), query).on_conflict_do_nothing())


Change = Callable[[Any], Mapping[str, ColumnElement[Any]]]
"""From the new values (`excluded`) to what an existing row gets."""


def put(
    conn: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    on: Sequence[str],
    change: Change | None = None,
) -> None:
    """Insert or update, by the unique columns `on`; `change` says how where it is more than taking the new values.

    Of rows that are the same by `on` the last one counts: PostgreSQL would refuse them in one statement.
    """
    if not rows:
        return
    unique = {tuple(row[name] for name in on): row for row in rows}
    statement, parameters = _of_rows(conn, table, list(unique.values()))
    new: dict[str, Any] = {name: statement.excluded[name] for name in rows[0] if name not in on}
    new.update(change(statement.excluded) if change else {})
    conn.execute(statement.on_conflict_do_update(index_elements=list(on), set_=new), parameters)


def _of_rows(
    conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]]
) -> tuple[postgresql.Insert | sqlite.Insert, Sequence[Mapping[str, Any]] | None]:
    """An INSERT of these rows, and the parameters to execute it with: row by row within SQLite's own process, as one
    array a column on PostgreSQL, where every statement is a message."""
    statement = _insert(conn, table)
    if not is_postgres(conn):
        return statement, rows
    arrays = [_array(table.c[name].type, [row[name] for row in rows]) for name in rows[0]]
    return statement.from_select(list(rows[0]), select(*(func.unnest(array) for array in arrays))), None


def _array(kind: TypeEngine[Any], values: Sequence[Any]) -> BindParameter[Any]:
    return bindparam(None, values, type_=ARRAY(kind), unique=True)
