"""Where SQLite and PostgreSQL differ in what they are told: sets of keys, upserts, row locks, the time.

A set of keys is one parameter.  `IN (SELECT value FROM json_each(:j))` and `= ANY(:array)` stay on the index among ten
million rows; a JOIN with json_each scans the table, and `tuple_().in_()` is a hundred times slower (both measured).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import cache
from operator import itemgetter
from typing import Any, cast

import msgspec
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    Executable,
    Integer,
    Select,
    Table,
    Text,
    any_,
    bindparam,
    func,
    select,
    true,
)
from sqlalchemy.dialects import postgresql, sqlite

from store.prepared import Prepared
from store.schema import Instant
from tsi_fetch.clock import SystemClock, microseconds

_SHARED = 0x7473  # "ts"; the other half of the lock's key is the sink's number


def is_postgres(conn: Connection) -> bool:
    return conn.dialect.name == "postgresql"


def now(conn: Connection) -> datetime:
    """The store's clock: PostgreSQL's own, which several runners share; the machine's for an embedded store."""
    if is_postgres(conn):
        return cast(datetime, conn.scalar(select(func.clock_timestamp())))
    return SystemClock().now()


def in_turn(conn: Connection, sink_no: int) -> None:
    """Until the transaction ends, no other job settles what it may share at this sink.  Rows could not be locked one by
    one: those that are new are not there yet.  SQLite has but one writer."""
    if is_postgres(conn):
        conn.execute(select(func.pg_advisory_xact_lock(_SHARED, sink_no)))


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


def values_of(conn: Connection, values: Collection[str]) -> ColumnElement[str]:
    """A column of these values, one a row."""
    if is_postgres(conn):
        return func.unnest(bindparam(None, list(values), type_=ARRAY(Text()), unique=True)).column_valued("given")
    document = msgspec.json.encode(list(values)).decode()
    return func.json_each(bindparam(None, document, unique=True)).table_valued("value", name="given").c.value


def chosen(postgres: bool, column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """The same in a prepared statement, where `given` makes the parameter `name`."""
    if postgres:
        return column == any_(
            bindparam(name, type_=ARRAY(BigInteger() if isinstance(column.type, Integer) else Text()))
        )
    return column.in_(select(func.json_each(bindparam(name)).table_valued("value").c.value))


def given(conn: Connection, values: Collection[str] | Collection[int]) -> list[Any] | str:
    """The parameter for `chosen`."""
    return list(values) if is_postgres(conn) else msgspec.json.encode(list(values)).decode()


def bytewise(conn: Connection, column: ColumnElement[str]) -> ColumnElement[str]:
    """The column for an ORDER BY that is the same on both databases, whatever the locale."""
    return column.collate("C") if is_postgres(conn) else column


Excluded = Any
"""The new values of an INSERT that meets an existing row, by column."""

Change = Callable[[Excluded], Mapping[str, ColumnElement[Any]]]
"""From the new values to what an existing row gets.  A function of a module: its statement is kept by it."""


def add_missing(conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows that are not there yet."""
    if rows:
        names = _in_order(table, rows[0])
        _insert_all(conn, _adding(table, names), table, names, rows)


def add_selected(conn: Connection, table: Table, columns: Sequence[str], query: Select[*tuple[Any, ...]]) -> None:
    """Insert what `query` gives and is not there yet.  SQLite needs a WHERE in it to parse the ON CONFLICT after it."""
    statement = _insert(table, is_postgres(conn))
    conn.execute(statement.from_select(list(columns), query).on_conflict_do_nothing())


def adding_each(postgres: bool, table: Table, same: Sequence[str], column: str, name: str) -> Executable:
    """In a prepared statement: insert a row for each value that `given` has put into the parameter `name`, where it
    is not there yet; the columns `same` are parameters of their names."""
    if postgres:
        each: Any = func.unnest(bindparam(name, type_=ARRAY(table.c[column].type))).column_valued()
    else:
        each = func.json_each(bindparam(name)).table_valued("value").c.value
    rows: Select[*tuple[Any, ...]] = select(*(bindparam(of_all) for of_all in same), each).where(true())
    return _insert(table, postgres).from_select([*same, column], rows).on_conflict_do_nothing()


def put(
    conn: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    on: tuple[str, ...],
    change: Change | None = None,
) -> None:
    """Insert or update, by the unique columns `on`; `change` says how where it is more than taking the new values.

    Of rows that are the same by `on` the last one counts: PostgreSQL would refuse them in one statement.
    """
    if not rows:
        return
    same = itemgetter(*on)
    unique = {same(row): row for row in rows}
    names = _in_order(table, rows[0])
    _insert_all(conn, _putting(table, names, on, change), table, names, list(unique.values()))


@cache
def _adding(table: Table, names: tuple[str, ...]) -> Prepared:
    return Prepared(lambda postgres: _rows(table, names, postgres).on_conflict_do_nothing(), names)


@cache
def _putting(table: Table, names: tuple[str, ...], on: tuple[str, ...], change: Change | None) -> Prepared:
    def build(postgres: bool) -> Executable:
        statement = _rows(table, names, postgres)
        new: dict[str, Any] = {name: statement.excluded[name] for name in names if name not in on}
        new.update(change(statement.excluded) if change else {})
        return statement.on_conflict_do_update(index_elements=list(on), set_=new)

    return Prepared(build, names)


def _insert(table: Table, postgres: bool) -> postgresql.Insert | sqlite.Insert:
    return postgresql.insert(table) if postgres else sqlite.insert(table)


def _rows(table: Table, names: tuple[str, ...], postgres: bool) -> postgresql.Insert | sqlite.Insert:
    """An INSERT row by row within SQLite's own process, of one array a column on PostgreSQL, where every statement is
    a message."""
    statement = _insert(table, postgres)
    if not postgres:
        return statement
    arrays = (bindparam(name, type_=ARRAY(table.c[name].type)) for name in names)
    return statement.from_select(list(names), select(*(func.unnest(array) for array in arrays)))


def _in_order(table: Table, row: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns of a row, in the order in which a compiled INSERT has them, however the row names them."""
    return tuple(column.name for column in table.columns if column.name in row)


def _insert_all(
    conn: Connection, statement: Prepared, table: Table, names: tuple[str, ...], rows: Sequence[Mapping[str, Any]]
) -> None:
    if is_postgres(conn):
        statement(conn, **{name: [row[name] for row in rows] for name in names})
    else:
        statement.each(conn, [tuple([row[name] for name in names]) for row in _stored(table, names, rows)])


def _stored(table: Table, names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The rows with instants as they are stored."""
    instants = [name for name in names if isinstance(table.c[name].type, Instant)]
    if not instants:
        return rows
    return [{**row, **{name: row[name] and microseconds(row[name]) for name in instants}} for row in rows]
