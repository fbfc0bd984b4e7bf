"""Statements for the paths that every batch takes: built once for each database, and compiled once.

SQLAlchemy takes 0.1 to 0.4 ms to build a statement, and two microseconds a value to look at the parameters of many
rows: for batches of a hundred rows that is several times what SQLite needs for the work itself (dev/bench_store.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

from sqlalchemy import Connection, CursorResult, Dialect, Executable
from sqlalchemy.sql import ClauseElement


class _Text(NamedTuple):
    """What the driver is given for many rows; `rest`: the values that each row ends with."""

    sql: str
    rest: tuple[Any, ...]


class Prepared:
    """A statement of named parameters.  `build` is told whether it is for PostgreSQL; `columns`: those of an INSERT."""

    def __init__(self, build: Callable[[bool], Executable], columns: Sequence[str] = ()) -> None:
        self._build = build
        self._columns = columns
        self._statements: dict[str, Executable] = {}
        self._texts: dict[str, _Text] = {}

    def __call__(self, conn: Connection, **values: Any) -> CursorResult[Any]:
        """Execute it once."""
        return cast(CursorResult[Any], conn.execute(self._statement(conn.dialect), values))

    def all(self, conn: Connection, **values: Any) -> Sequence[tuple[Any, ...]]:
        """Execute it once; its rows."""
        return cast(Sequence[tuple[Any, ...]], self(conn, **values).all())

    def each(self, conn: Connection, rows: list[tuple[Any, ...]]) -> None:
        """Execute it once a row, on a driver that takes values by place (SQLite): as they are stored, in the order of
        `columns`.  The driver gets its text, and the rows as they are."""
        text = self._texts.get(conn.dialect.name)
        if text is None:
            text = self._texts[conn.dialect.name] = self._text(conn.dialect)
        conn.exec_driver_sql(text.sql, [(*row, *text.rest) for row in rows] if text.rest else rows)

    def _statement(self, dialect: Dialect) -> Executable:
        statement = self._statements.get(dialect.name)
        if statement is None:
            statement = self._statements[dialect.name] = self._build(dialect.name == "postgresql")
        return statement

    def _text(self, dialect: Dialect) -> _Text:
        compiled: Any = cast(ClauseElement, self._statement(dialect)).compile(
            dialect=dialect, column_keys=list(self._columns)
        )
        return _Text(str(compiled), tuple(compiled.params[name] for name in compiled.positiontup[len(self._columns) :]))
