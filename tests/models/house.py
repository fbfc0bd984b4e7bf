"""A whole house for tests of the loop: a table as the source, a sink in memory, a real store on SQLite."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from memory_sink import MemorySink
from table_source import TableSource

from store.backfills import backfill, begin, note_all
from store.handle import open_store
from store.troubles import Which, numbers, whole
from tsi_fetch.backfill import Bench, work
from tsi_fetch.clock import StopSignal
from tsi_fetch.fhir.tokens import parse
from tsi_fetch.plan import PlannedSink
from tsi_fetch.ports import NOTHING, JobStore, Sink, Turns
from tsi_fetch.replaying import Entry, replay
from tsi_fetch.report import Report
from tsi_fetch.run import Ports, Settings, run_job
from tsi_fetch.words import Batch, Ref, RunRecord, Validators


class TestClock:
    """Stands still until it is moved; waits move it."""

    __test__ = False

    def __init__(self) -> None:
        self.time = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class House:
    """Runs the loop again and again over the same source, sink and store."""

    def __init__(self, folder: Path, source: TableSource) -> None:
        self.source, self.sink, self.clock, self.stop = source, MemorySink(), TestClock(), StopSignal()
        self.url = f"sqlite:///{folder / 'store.db'}"
        self._numbers = itertools.count(1)
        open_store(self.url, create=True).close()

    def run(
        self,
        *,
        job: str = "job",
        source: TableSource | None = None,
        wrap_store: Callable[[JobStore], JobStore] = lambda s: s,
        wrap_sink: Callable[[Sink], Sink] = lambda s: s,
        **settings: object,
    ) -> Report:
        """One run of the job, or of another one with a source of its own."""
        run_id = f"run-{next(self._numbers)}"
        self.sink.run = run_id
        with ExitStack() as stack:
            stored = stack.enter_context(open_store(self.url))
            store = stack.enter_context(stored.lease(job, "memory", run_id, expiry=60, wait=lambda s: None))
            record = RunRecord(run_id, job, self.clock.now())
            store.begin_run(record)
            made = wrap_store(store)
            sink = PlannedSink(self.sink, made.known) if settings.get("plan") else wrap_sink(self.sink)
            ports = Ports(source or self.source, sink, made, self.clock, self.stop)
            report = run_job(ports, Settings(job, run_id, **settings))  # type: ignore[arg-type]
            if not report.plan:
                ended = {"ended": report.ended, "outcome": report.outcome, "exit_code": report.exit_code}
                store.end_run(replace(record, **ended, report=report.to_json()))  # type: ignore[arg-type]
            return report

    def backfill(self, *keys: str, again: bool = False) -> int:
        """A backfill's list of these keys."""
        with open_store(self.url) as stored, stored.beginning("job", "memory", "maker", lambda s: None) as book:
            number = begin(book, stored, self.source.stream, {"again": again})
            note_all(book, number, keys)
            book.start_list(number, complete=False, cursor=None)
        return number

    def work(
        self,
        number: int,
        *,
        expiry: float = 60,
        at_once: int = 2,
        wrap_turns: Callable[[Turns], Turns] = lambda t: t,
        **settings: object,
    ) -> Report:
        """One worker, until nothing is left of the list or something ends it."""
        run_id = f"worker-{next(self._numbers)}"
        self.sink.run = run_id
        with open_store(self.url) as stored:
            found = backfill(stored, number)
            of_runs = found is not None and found.of_runs
            worker = stored.worker("job", "memory", run_id, number, expiry=expiry, retry_after=0, of_runs=of_runs)
            record = RunRecord(run_id, "job", self.clock.now(), whole=False)
            worker.begin_run(record)
            ports = Ports(self.source, self.sink, worker.book, self.clock, self.stop)
            bench = Bench(ports, worker.claims, wrap_turns(worker), at_once=at_once)
            report = work(bench, Settings("job", run_id, **settings))  # type: ignore[arg-type]
            ended = {"ended": report.ended, "outcome": report.outcome, "exit_code": report.exit_code}
            worker.end_run(replace(record, **ended, report=report.to_json()))  # type: ignore[arg-type]
            return report

    def replay(self, **settings: object) -> Report:
        """Everything that lies in quarantine, through the loop once more."""
        run_id = f"replay-{next(self._numbers)}"
        self.sink.run = run_id
        with ExitStack() as stack:
            stored = stack.enter_context(open_store(self.url))
            store = stack.enter_context(stored.lease("job", "memory", run_id, expiry=60, wait=lambda s: None))
            record = RunRecord(run_id, "job", self.clock.now(), whole=False)
            store.begin_run(record)
            entries = whole(stored, numbers(stored, Which("job", "memory", self.source.stream)))
            ports = Ports(self.source, self.sink, store, self.clock, self.stop)
            found = (Entry(one.number, one.row) for one in entries)
            report = replay(ports, Settings("job", run_id, **settings), found)  # type: ignore[arg-type]
            store.end_run(replace(record, ended=report.ended, outcome=report.outcome, exit_code=report.exit_code))
            return report

    def reader(self, read: Callable[[JobStore], object]) -> object:
        with open_store(self.url) as stored:
            return read(stored.reader("job", "memory"))

    def slow_fetches(self, seconds: float) -> None:
        """From now on each batch that is fetched by key takes so long."""
        fetch = self.source.fetch

        def slowly(keys: Iterable[str], known: Mapping[str, Validators] = NOTHING) -> Iterator[Batch]:
            for batch in fetch(keys, known):
                self.clock.sleep(seconds)
                yield batch

        self.source.fetch = slowly  # type: ignore[method-assign]

    def names(self) -> dict[str, str]:
        """What the sink holds alive: name by id."""
        return {ref.id: parse(body)["name"] for ref, body in self.sink.live().items()}


def org(ident: str) -> Ref:
    return Ref("Organization", ident)
