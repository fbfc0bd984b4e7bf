"""How the parts of a job's store reach the database: whose data, in which transaction, under which fence."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any, Protocol

from sqlalchemy import Connection, Executable, Select, Table, bindparam, select, union_all

from store.bulk import add_missing, chosen, given
from store.engine import Database
from store.prepared import Prepared
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
        self._owners: dict[int, str] = {}

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

    def owners(self, conn: Connection, numbers: Collection[int]) -> dict[int, str]:
        """The names of these jobs at this sink, by number.  Jobs come and never go, so that they are read but once."""
        if not self._owners.keys() >= set(numbers):
            self._load_owners(conn)
        return self._owners

    def _load_owners(self, conn: Connection) -> None:
        found = conn.execute(select(jobs.c.id, jobs.c.name).where(jobs.c.sink == self.sink_no))
        self._owners = {number: name for number, name in found}

    def job_numbers(self, names: Iterable[str]) -> dict[str, int]:
        """Numbers of these jobs at this sink, made where missing."""
        wanted = set(names)
        if wanted <= {self.job}:
            return {self.job: self.job_no}
        if not wanted <= set(self._owners.values()):
            self._intern_jobs(sorted(wanted))
            with self.read() as conn:
                self._load_owners(conn)
        return {name: number for number, name in self._owners.items()}

    def type_numbers(self, names: Iterable[str]) -> dict[str, int]:
        """Numbers of these resource types, made where missing, before the transaction that uses them: what is
        remembered here must not be undone with it."""
        if missing := sorted(set(names) - self._types.keys()):
            self._intern(types, missing)
            with self.read() as conn:
                self._load_types(conn)
        return self._types

    def type_names(self, conn: Connection, numbers: Collection[int]) -> dict[int, str]:
        """The names of resource types, by number: at least of these."""
        if not set(numbers) <= set(self._types.values()):
            self._load_types(conn)
        return {number: name for name, number in self._types.items()}

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
        self, conn: Connection, names: tuple[str, ...], refs: Iterable[Ref]
    ) -> Iterator[tuple[Ref, Sequence[Any]]]:
        """Rows of `known` at this sink: the ref, and the columns of these names, in one statement."""
        by_type = dict(self.by_type(conn, refs))
        if not by_type:
            return
        asked: dict[str, Any] = {"sink": self.sink_no}
        for n, (number, by_ident) in enumerate(by_type.items()):
            asked[f"type{n}"], asked[f"idents{n}"] = number, given(conn, by_ident.keys())
        for number, ident, *values in _known_by_ident(names, len(by_type)).all(conn, **asked):
            yield by_type[number][ident], values

    def by_type(self, conn: Connection, refs: Iterable[Ref]) -> list[tuple[int, dict[str, Ref]]]:
        """These refs by id, for each resource type by its number; types never stored are left out."""
        by_type: dict[str, dict[str, Ref]] = {}
        for ref in refs:
            by_type.setdefault(ref.type, {})[ref.id] = ref
        if not by_type.keys() <= self._types.keys():
            self._load_types(conn)
        return [(self._types[kind], by_ident) for kind, by_ident in by_type.items() if kind in self._types]

    def refs(self, conn: Connection, ids: Collection[int]) -> dict[int, Ref]:
        """The refs of these keys.  Asked for by themselves: in a JOIN, PostgreSQL may choose to read all of `known`."""
        rows = _refs_by_id.all(conn, ids=given(conn, ids)) if ids else []
        names = self.type_names(conn, {kind for _, kind, _ in rows})
        return {number: Ref(names[kind], ident) for number, kind, ident in rows}

    def ids(self, conn: Connection, refs: Iterable[Ref]) -> dict[Ref, int]:
        """The keys of those of these refs that are known."""
        return {ref: number for ref, (number,) in self.find(conn, ("id",), refs)}


@cache
def _known_by_ident(names: tuple[str, ...], kinds: int) -> Prepared:
    """A SELECT for each resource type, so that each goes by the index."""

    def one(n: int, postgres: bool) -> Select[*tuple[Any, ...]]:
        here = (known.c.sink == bindparam("sink"), known.c.type == bindparam(f"type{n}"))
        columns = [known.c.type, known.c.ident, *(known.c[name] for name in names)]
        return select(*columns).where(*here, chosen(postgres, known.c.ident, f"idents{n}"))

    def build(postgres: bool) -> Executable:
        return one(0, postgres) if kinds == 1 else union_all(*(one(n, postgres) for n in range(kinds)))

    return Prepared(build)


_refs_by_id = Prepared(
    lambda postgres: select(known.c.id, known.c.type, known.c.ident).where(chosen(postgres, known.c.id, "ids"))
)
