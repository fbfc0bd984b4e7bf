"""How much faster a backfill is with more workers: 1, 2, 4 and 8 processes on one list.

    python -m dev.bench_backfill [--rows 4000] [--latency 50] [--workers 1,2,4,8] [--at-once 20] [--rounds 1]

A source that takes `latency` milliseconds for each row, one request a row, without a rate limit; resources of 5 KB,
not validated; the folder sink; a store on a PostgreSQL of its own.  Each trial has a new database and a new folder, and
as many rows as keep its workers busy for as long as the others'.  Printed: rows a second, the speed-up over one worker,
CPU seconds per 1,000 rows of all workers, and the share of the time in which some worker held the lease.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from dev.bench_resources import LocalSource, Observations
from dev.hapi.postgres import Postgres
from sinks.folder import Folder, FolderOptions
from store import backfills
from store.handle import open_store
from store.upgrade import upgrade
from tsi_fetch.backfill import AT_ONCE, Bench, work
from tsi_fetch.ports import NOTHING
from tsi_fetch.run import Ports, Settings
from tsi_fetch.words import Batch, RunRecord, Validators

JOB, SINK = "bench", "folder"
AIM = 7.0


class Slow(LocalSource):
    """Each row is a request of its own, which takes so many seconds."""

    def __init__(self, rows: int, latency: float) -> None:
        super().__init__(Observations(), "b", rows, batch=10, read="nothing")
        self._latency = latency

    def fetch(self, keys: Iterable[str], known: Mapping[str, Validators] = NOTHING) -> Iterator[Batch]:
        def asked() -> Iterator[str]:
            for key in keys:
                time.sleep(self._latency)
                yield key

        return super().fetch(asked(), known)


@dataclass(frozen=True)
class Trial:
    url: str
    folder: str
    rows: int
    latency: float
    at_once: int
    number: int = 0


@dataclass(frozen=True)
class Measured:
    """`cpu`: seconds of all workers; `held`: seconds in which any of them wrote, decided or remembered."""

    workers: int
    rows: int
    seconds: float
    cpu: float
    held: float

    @property
    def rate(self) -> float:
        return self.rows / self.seconds


def listed(trial: Trial) -> int:
    with open_store(trial.url) as stored, stored.beginning(JOB, SINK, "maker", time.sleep) as book:
        number = backfills.begin(book, stored, Slow.stream, {})
        pages = Slow(trial.rows, 0).keys()
        backfills.note_all(book, number, (key for page in pages for key in page.keys))
        book.start_list(number, complete=False, cursor=None)
    return number


def worker(trial: Trial, name: int, ready: Any, begin: Any, told: Any) -> None:
    """One process, which is ready before the clock starts."""
    run_id = f"worker-{name}"
    with open_store(trial.url) as stored:
        clock = stored.clock()
        mine = stored.worker(JOB, SINK, run_id, trial.number)
        record = RunRecord(run_id, JOB, clock.now(), whole=False)
        mine.begin_run(record)
        source = Slow(trial.rows, trial.latency)
        sink = Folder(FolderOptions(path=Path(trial.folder)), clock, run_id=run_id)
        ports = Ports(source, sink, mine.book, clock)
        ready.release()
        begin.wait()
        before = resource.getrusage(resource.RUSAGE_SELF)
        report = work(Bench(ports, mine.claims, mine, at_once=trial.at_once), Settings(JOB, run_id, validate="off"))
        after = resource.getrusage(resource.RUSAGE_SELF)
        assert report.exit_code == 0, report.reasons
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        held = sum(seconds for phase, seconds in report.phases.items() if phase != "wait")
        told.put((report.rows.get("read", 0), cpu, held))


def measured(trial: Trial, workers: int) -> Measured:
    context = multiprocessing.get_context("fork")
    ready, begin, told = context.Semaphore(0), context.Event(), context.Queue()
    processes = [context.Process(target=worker, args=(trial, n, ready, begin, told)) for n in range(workers)]
    for process in processes:
        process.start()
    for _ in processes:
        ready.acquire()
    start = time.monotonic()
    begin.set()
    said = [told.get() for _ in processes]
    seconds = time.monotonic() - start
    for process in processes:
        process.join()
    rows = sum(read for read, _, _ in said)
    assert rows == trial.rows, f"{rows} of {trial.rows} rows were read"
    files = sum(1 for _ in Path(trial.folder).rglob("*.json"))
    assert files >= trial.rows, f"{files} files of {trial.rows} resources"
    return Measured(workers, rows, seconds, sum(cpu for _, cpu, _ in said), sum(held for _, _, held in said))


def trial_of(postgres: Postgres, folder: Path, rows: int, given: argparse.Namespace, name: str) -> Trial:
    server = f"postgresql://postgres@127.0.0.1:{postgres.port}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}".encode())
    url = f"{server}/{name}"
    upgrade(url)
    trial = Trial(url, str(folder / name), rows, given.latency / 1000, given.at_once)
    return Trial(**{**vars(trial), "number": listed(trial)})


def told(results: list[Measured]) -> Iterator[str]:
    one = min(m.rate for m in results if m.workers == min(m.workers for m in results))
    yield f"{'workers':>8}{'rows':>8}{'seconds':>9}{'rows/s':>8}{'speed-up':>10}{'CPU s/1,000':>13}{'in turns':>10}"
    for m in results:
        share = 100 * m.held / m.seconds
        cpu = 1000 * m.cpu / m.rows
        yield f"{m.workers:8}{m.rows:8,}{m.seconds:9.1f}{m.rate:8.1f}{m.rate / one:10.2f}{cpu:13.2f}{share:8.0f} %"
    last = results[-1]
    yield f"aim: {AIM} times at 8 workers; {last.rate / one:.2f} at {last.workers}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4000, help="of the most workers; the others get their share")
    parser.add_argument("--latency", type=float, default=50, help="milliseconds of each request")
    parser.add_argument("--workers", type=lambda s: [int(n) for n in s.split(",")], default=[1, 2, 4, 8])
    parser.add_argument("--at-once", type=int, default=AT_ONCE)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    results: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="tsi-fetch-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # where we are root the server is another user
        postgres = Postgres(folder / "data")
        postgres.start()
        try:
            for round_ in range(given.rounds):
                for workers in given.workers:
                    rows = max(given.at_once * workers, given.rows * workers // max(given.workers))
                    trial = trial_of(postgres, folder, rows, given, f"t{round_}_{workers}")
                    results.append(measured(trial, workers))
                    print(f"{workers} workers: {results[-1].rate:.1f} rows/s", file=sys.stderr, flush=True)
        finally:
            postgres.stop("immediate")
    print(*told(results), sep="\n")
    if given.json:
        given.json.write_text(json.dumps([vars(m) | {"rate": m.rate} for m in results], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
