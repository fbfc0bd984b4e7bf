"""One worker's store: its claims, its record, and its turns to write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from store.access import Access
from store.claims import Claims
from store.engine import Database
from store.job_store import JobBook
from store.leases import turn, wanted
from tsi_fetch.words import RunRecord


class _NoFence:
    """For a worker's own record: nobody else writes it, whoever holds the job."""

    number = 0

    def check(self, conn: Connection) -> None:
        """It is ours."""

    def permit(self) -> None:
        raise RuntimeError("a worker sends in its turn alone")


class WorkerStore:
    """What the workers of a backfill have of the store.  `book` reads at any time, and writes in a turn."""

    def __init__(self, database: Database, book: JobBook, access: Access, claims: Claims, expiry: float) -> None:
        self._database, self._access, self._expiry = database, access, expiry
        self.book, self.claims = book, claims

    def begin_run(self, record: RunRecord) -> None:
        """The worker's record, which is no run of the job: no lease ends it, and it is never a last success."""
        with self._unfenced():
            self.book.begin_run(record)

    def end_run(self, record: RunRecord) -> None:
        with self._unfenced():
            self.book.end_run(record)

    @contextmanager
    def turn(self, run_id: str, wait: Callable[[float], None]) -> Iterator[JobBook]:
        """The job's lease, for one turn.  `wait` is called again and again until it comes: it raises to give up."""
        with turn(self._database, self._access.job, run_id, self._expiry, wait) as fence:
            self._access.guard = fence
            try:
                yield self.book
            finally:
                self._access.guard = None

    def wanted(self) -> bool:
        """Whether a run waits for the lease."""
        with self._database.read() as conn:
            return wanted(conn, self._access.job)

    @contextmanager
    def _unfenced(self) -> Iterator[None]:
        self._access.guard = _NoFence()
        try:
            yield
        finally:
            self._access.guard = None
