"""How the parts of a job's store reach the database: whose data, in which transaction, under which fence."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection, Table, and_, select

from store.bulk import add_missing, among
from store.engine import Database
from store.schema import jobs, known, sinks, types
from tsi_fetch.words import Ref

NOBODY = -1
"""The number of a job or sink that this store has never seen: matches nothing."""


class Guard(Protocol):
    """What stands before every commit and every send."""

    @property
    def number(self) -> int: ...

    def check(self, conn: Connection) -> None:
        """Within a transaction: LeaseLost where the job is no longer ours."""
        ...

    def permit(self) -> None: ...


class Access:
    """One job at one sink.  Without a guard it only reads."""

    def __init__(self, database: Database, job: str, sink: str, guard: Guard | None = None) -> None:
        self._database = database
        self.job = job
        self.sink = sink
        self.guard = guard
        self.run: tuple[int, str] | None = None
        """Number and id of the run that writes, once it has begun."""
        if guard:
            self._intern(sinks, [sink])
            self._intern_jobs([job])
        self.sink_no, self.job_no = self._numbers()
        self._types: dict[str, int] = {}

    def read(self) -> AbstractContextManager[Connection]:
        return self._database.read()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction, refused first of all where another holds the job now (`LeaseLost`)."""
        if self.guard is None:
            raise RuntimeError("this view of the store only reads")
        with self._database.write() as conn:
            self.guard.check(conn)
            yield conn

    def _numbers(self) -> tuple[int, int]:
        with self.read() as conn:
            sink_no = conn.scalar(select(sinks.c.id).where(sinks.c.name == self.sink))
            job_no = conn.scalar(select(jobs.c.id).where(jobs.c.name == self.job, jobs.c.sink == sink_no))
        return (NOBODY if sink_no is None else sink_no, NOBODY if job_no is None else job_no)

    def owners(self, conn: Connection) -> dict[int, str]:
        """Job numbers at this sink, by name."""
        found = conn.execute(select(jobs.c.id, jobs.c.name).where(jobs.c.sink == self.sink_no))
        return {number: name for number, name in found}

    def job_numbers(self, names: Iterable[str]) -> dict[str, int]:
        """Numbers of these jobs at this sink, made where missing."""
        wanted = set(names)
        if wanted <= {self.job}:
            return {self.job: self.job_no}
        self._intern_jobs(sorted(wanted))
        with self.read() as conn:
            return {name: number for number, name in self.owners(conn).items()}

    def type_numbers(self, names: Iterable[str]) -> dict[str, int]:
        """Numbers of these resource types, made where missing, before the transaction that uses them: what is
        remembered here must not be undone with it."""
        if missing := sorted(set(names) - self._types.keys()):
            self._intern(types, missing)
            with self.read() as conn:
                self._load_types(conn)
        return self._types

    def _load_types(self, conn: Connection) -> None:
        self._types = {name: number for number, name in conn.execute(select(types.c.id, types.c.name))}

    def _intern(self, table: Table, names: Sequence[str]) -> None:
        with self._database.write() as conn:
            add_missing(conn, table, [{"name": name} for name in names])

    def _intern_jobs(self, names: Sequence[str]) -> None:
        with self._database.write() as conn:
            sink = conn.scalar(select(sinks.c.id).where(sinks.c.name == self.sink))
            add_missing(conn, jobs, [{"name": name, "sink": sink} for name in names])

    def find(
        self, conn: Connection, columns: Sequence[ColumnElement[Any]], refs: Iterable[Ref]
    ) -> Iterator[tuple[Ref, Sequence[Any]]]:
        """Rows of `known` at this sink: the ref, and the columns asked for.  One statement per resource type."""
        for kind, number, idents in self.by_type(conn, refs):
            here = and_(known.c.sink == self.sink_no, known.c.type == number, among(conn, known.c.ident, idents))
            for ident, *values in conn.execute(select(known.c.ident, *columns).where(here)).all():
                yield Ref(kind, ident), values

    def by_type(self, conn: Connection, refs: Iterable[Ref]) -> list[tuple[str, int, set[str]]]:
        """These refs by resource type: its name, its number, and the ids; types never stored are left out."""
        by_type: dict[str, set[str]] = {}
        for ref in refs:
            by_type.setdefault(ref.type, set()).add(ref.id)
        if not by_type.keys() <= self._types.keys():
            self._load_types(conn)
        return [(kind, self._types[kind], idents) for kind, idents in by_type.items() if kind in self._types]

    def refs(self, conn: Connection, ids: Collection[int]) -> dict[int, Ref]:
        """The refs of these keys.  Asked for by themselves: in a JOIN, PostgreSQL may choose to read all of `known`."""
        columns = (known.c.id, known.c.type, known.c.ident)
        rows = conn.execute(select(*columns).where(among(conn, known.c.id, ids))).all() if ids else []
        if not {kind for _, kind, _ in rows} <= set(self._types.values()):
            self._load_types(conn)
        names = {number: name for name, number in self._types.items()}
        return {number: Ref(names[kind], ident) for number, kind, ident in rows}

    def ids(self, conn: Connection, refs: Iterable[Ref]) -> dict[Ref, int]:
        """The keys of those of these refs that are known."""
        return {ref: number for ref, (number,) in self.find(conn, [known.c.id], refs)}
