"""Statements for the paths that every batch takes: built and compiled once, then given to the driver as text.

SQLAlchemy takes 0.1 to 0.4 ms to build a statement and to find it in its cache, and two microseconds a row and value to
look at parameters: for batches of a hundred rows that is several times what SQLite needs for all of the work (measured:
dev/bench_store.py).  The statements are still said in its terms, so that both databases get theirs; what is left out is
the conversion of values, which go and come as they are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

from sqlalchemy import Connection, CursorResult, Dialect, Executable
from sqlalchemy.sql import ClauseElement


class _Text(NamedTuple):
    """What the driver is given; `names` is the order of the values where it takes them by place."""

    sql: str
    names: tuple[str, ...] | None
    fixed: dict[str, Any]


class Prepared:
    """A statement of named parameters.  `build` is told whether it is for PostgreSQL; `columns`: those of an INSERT."""

    def __init__(self, build: Callable[[bool], Executable], columns: Sequence[str] = ()) -> None:
        self._build = build
        self._columns = columns
        self._texts: dict[str, _Text] = {}

    def __call__(self, conn: Connection, **values: Any) -> CursorResult[Any]:
        """Execute it once."""
        text = self._text(conn)
        if text.fixed:
            values = {**text.fixed, **values}
        if text.names is None:
            return conn.exec_driver_sql(text.sql, values)
        return conn.exec_driver_sql(text.sql, tuple([values[name] for name in text.names]))

    def all(self, conn: Connection, **values: Any) -> Sequence[tuple[Any, ...]]:
        """Execute it once; its rows."""
        return cast(Sequence[tuple[Any, ...]], self(conn, **values).all())

    def each(self, conn: Connection, rows: list[tuple[Any, ...]]) -> None:
        """Execute it once a row, values in the order of `columns`, on a driver that takes them by place (SQLite)."""
        text = self._text(conn)
        rest = tuple(text.fixed[name] for name in (text.names or ())[len(self._columns) :])
        conn.exec_driver_sql(text.sql, [(*row, *rest) for row in rows] if rest else rows)

    def _text(self, conn: Connection) -> _Text:
        text = self._texts.get(conn.dialect.name)
        if text is None:
            text = self._texts[conn.dialect.name] = self._compiled(conn.dialect)
        return text

    def _compiled(self, dialect: Dialect) -> _Text:
        postgres = dialect.name == "postgresql"
        statement = self._build(postgres)
        assert isinstance(statement, ClauseElement)
        compiled: Any = statement.compile(dialect=dialect, column_keys=self._columns or None)
        fixed = {name: value for name, value in compiled.params.items() if value is not None}
        return _Text(str(compiled), None if postgres else tuple(compiled.positiontup), fixed)
