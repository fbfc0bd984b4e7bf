"""Opening a store, and what can be had from an open one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType

from sqlalchemy import select

from store.access import Access
from store.bulk import now
from store.claims import ATTEMPTS, RETRY_AFTER, Claims
from store.engine import Database, connect, hidden, parse, scratch
from store.job_store import JobBook
from store.leases import held
from store.schema import runs, store
from store.upgrade import is_there, make_room, newer, state_of, upgrade_on
from store.workers import WorkerStore
from tsi_fetch.clock import StopSignal, SystemClock
from tsi_fetch.errors import SettingError

EXPIRY = 60.0
"""Seconds after which a lease that was not renewed may be taken over."""

LAST_RUNS = 50
"""Runs that are asked how late it is."""

_UPGRADE = "run `tsi-fetch db upgrade`"


class NoStore(SettingError):
    """The embedded store does not exist, and looking was not a reason to make it."""


class Stored:
    """An open store.  `url` is as it may be shown; `database` is for this package only."""

    def __init__(self, database: Database, store_id: str, *, embedded: bool, private: bool = False) -> None:
        self.database = database
        self.url = database.shown
        self.store_id = store_id
        self.embedded = embedded
        self._private = private

    def __repr__(self) -> str:
        return f"Stored({self.url!r}, {self.store_id!r})"

    def __enter__(self) -> Stored:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.database.close()

    def now(self) -> datetime:
        """The store's clock, in UTC: PostgreSQL's own, the machine's for an embedded one."""
        with self.database.read() as conn:
            return now(conn).astimezone(UTC)

    def clock(self, stop: StopSignal | None = None) -> SystemClock:
        """A clock that goes by the store's; the offset is measured once, half-way through the question.

        It is never behind what runs have recorded: where the machine's was set back, what is fetched now would count as
        older than what was fetched yesterday, and would not be written.  (A run that was killed records no end; its
        lease then lasts until the clock has passed all that it did.)
        """
        offset = timedelta(0)
        if not self.embedded:
            local = SystemClock()
            before = local.now()
            there = self.now()
            after = local.now()
            offset = there - (before + (after - before) / 2)
        latest = self.latest()
        behind = latest - SystemClock(stop, offset).now() if latest else timedelta(0)
        return SystemClock(stop, offset + max(behind, timedelta(0)))

    def latest(self) -> datetime | None:
        """The latest start or end among the last runs."""
        last = select(runs.c.started, runs.c.ended).order_by(runs.c.no.desc()).limit(LAST_RUNS)
        with self.database.read() as conn:
            instants = [at for row in conn.execute(last) for at in row if at is not None]
        return max(instants, default=None)

    def reader(self, job: str, sink: str) -> JobBook:
        """A view of one job at one sink whose writing methods raise RuntimeError: what a plan starts from."""
        return JobBook(Access(self.database, job, sink), self.store_id)

    @contextmanager
    def lease(
        self,
        job: str,
        sink: str,
        run_id: str,
        *,
        expiry: float = EXPIRY,
        wait: Callable[[float], None],
        replay: bool = False,
    ) -> Iterator[JobBook]:
        """Hold the job's lease and get its store to write to.

        Waits at most one `expiry` (seconds) for a holder, polling through `wait`, then raises TryAgain.  `replay`:
        the runs begun here took their input from a recording.
        """
        with held(self.database, job, run_id, expiry, wait, alone=self._private) as fence:
            yield JobBook(Access(self.database, job, sink, fence), self.store_id, replay=replay)

    def worker(
        self,
        job: str,
        sink: str,
        run_id: str,
        list_id: int,
        *,
        expiry: float = EXPIRY,
        attempts: int = ATTEMPTS,
        retry_after: float = RETRY_AFTER,
        of_runs: bool = False,
    ) -> WorkerStore:
        """The store of one worker of a list.  `attempts`, `retry_after`: as `Claims` has them; `of_runs`: the list is
        one that runs go on with."""
        access = Access(self.database, job, sink)
        book = JobBook(access, self.store_id, list_id=list_id, expiry=expiry)
        claims = Claims(
            self.database, list_id, run_id, expiry, attempts=attempts, retry_after=retry_after, of_runs=of_runs
        )
        return WorkerStore(self.database, book, access, claims, expiry)

    @contextmanager
    def beginning(self, job: str, sink: str, run_id: str, wait: Callable[[float], None]) -> Iterator[JobBook]:
        """A view to make a backfill's list with, beside whatever run holds the job: one maker at a time.

        TryAgain where another one is at it for longer than an expiry.
        """
        with held(self.database, f"backfill of {job}", run_id, EXPIRY, wait, alone=self._private) as fence:
            yield JobBook(Access(self.database, job, sink, fence), self.store_id)


def open_store(url: str, *, create: bool = False) -> Stored:
    """Open a store; nothing is written, unless `create` makes an embedded one that is missing or behind.

    `NoStore` where an embedded one is missing; SettingError where the schema is missing, behind or newer; TryAgain
    where the server is down or busy.
    """
    parsed = parse(url)
    embedded = parsed.get_backend_name() == "sqlite"
    if embedded and not is_there(Path(parsed.database or "")):
        if not create:
            raise NoStore(f"there is no store at {hidden(parsed)} yet", "a first `tsi-fetch run` makes it")
        make_room(Path(parsed.database or ""))
    database = connect(parsed)
    try:
        return Stored(database, _ready(database, may_upgrade=embedded and create), embedded=embedded)
    except BaseException:
        database.close()
        raise


def open_scratch() -> Stored:
    """A private store that vanishes when it is closed: what a plan writes to.  Nobody else can take its leases."""
    database = scratch()
    return Stored(database, _ready(database, may_upgrade=True), embedded=True, private=True)


def _ready(database: Database, *, may_upgrade: bool) -> str:
    """The id of a store whose schema is this code's."""
    with database.read() as conn:
        state = state_of(conn)
    if state == "newer":
        raise newer(database.shown)
    if state != "current":
        if not may_upgrade:
            rule = "has no tables yet" if state == "absent" else "has an older schema"
            raise SettingError(f"the store {database.shown} {rule}", _UPGRADE)
        upgrade_on(database)
    with database.read() as conn:
        return str(conn.scalar(select(store.c.store_id)))
