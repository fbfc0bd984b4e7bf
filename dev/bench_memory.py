"""How much memory a run takes, and whether it grows with the number of rows: 1,000,000 against 10,000.

    python -m dev.bench_memory [--rows N] [--few N] [--only first,feed,...] [--sinks near,far] [--json FILE] [--trace]

    first     a first load: listing, work list, every row written
    feed      nothing changed: the feed gives every row again
    listing   nothing changed: the listing is read with --full
    cut       the feed again, ended by a time limit before its last batch: its checkpoint stays
    resumed   the run after that, which reads the checkpoint

A local source makes resources of 1 KB on the spot, one a row, not validated; the store is an SQLite file; the sink
counts what it is given.  A near one is waited for, a far one is written to by two threads.  Each run is a process of
its own, and its figure the most memory that process ever had resident (VmHWM, Linux).  docs/performance.md says what to
make of it.  `--trace` prints where each run had Python's memory at its end, and takes four times as long.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tsi_fetch.ports import Permit
from tsi_fetch.words import Held, Mark, Outcome, Ref, Result, RunRecord, Write

ROOT = Path(__file__).parent.parent
JOB = "bench"
RUNS = ("first", "feed", "listing", "cut", "resumed")
SINKS = {"near": 0, "far": 2}
BATCH = 200
AIM_RATIO, AIM_MB = 1.15, 150
SHOWN = 15  # places that `--trace` prints


@dataclass(frozen=True)
class Trial:
    """One run.  `folder` keeps the store and the sink's marker from one run to the next."""

    what: str
    rows: int
    ahead: int
    folder: str
    run: str
    trace: bool = False


@dataclass(frozen=True)
class Measured:
    """`before`, `peak`: megabytes, before the run began and at most.  `said`: the run's outcome and its rows."""

    before: float
    peak: float
    seconds: float
    said: str


class Counting:
    """A sink that takes everything and keeps nothing but its marker, in a file: another run is another process."""

    release, referential = "R5", False

    def __init__(self, ahead: int, marker: Path) -> None:
        self.ahead, self._marker, self.written = ahead, marker, 0

    def open(self, types: Collection[str] = (), *, deletes: bool = False) -> None:
        """It is always there."""

    def find(self, refs: Sequence[Ref], *, bodies: bool = False) -> Mapping[Ref, Held]:
        return {}

    def listing(self, resource_type: str) -> Iterator[Sequence[Held]]:
        return iter(())

    def write(self, writes: Sequence[Write], permit: Permit) -> Iterator[Sequence[Outcome]]:
        permit()
        self.written += len(writes)
        yield [Outcome(w.ref, Result.CREATED if w.version is None else Result.UPDATED, "1") for w in writes]

    def read_mark(self, name: str) -> Mark | None:
        return Mark(**json.loads(self._marker.read_bytes())) if self._marker.exists() else None

    def move_mark(self, name: str, mark: Mark, permit: Permit) -> Mark:
        moved = dataclasses.replace(mark, version=str(mark.counter))
        self._marker.write_text(json.dumps(dataclasses.asdict(moved)))
        return moved

    def close(self) -> None:
        """Nothing is open."""


def resident(what: str) -> float:
    """Megabytes: VmRSS now, VmHWM at most (proc(5)).  Not ru_maxrss, which begins with that of the parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:")) / 1024


def measure(trial: Trial) -> Measured:
    """The run, wired as the command line does it, but for source and sink."""
    from dev.bench_resources import KINDS, LocalSource
    from jobs import collecting
    from store.handle import open_store
    from tsi_fetch.run import Ports, Settings, run_job

    read = "everything" if trial.what in ("feed", "cut", "resumed") else "nothing"
    source = LocalSource(KINDS["small"](), "m", trial.rows, batch=BATCH, read=read)
    sink = Counting(trial.ahead, Path(trial.folder) / "marker.json")
    most = trial.rows - BATCH if trial.what == "cut" else None
    settings = Settings(JOB, trial.run, validate="off", full=trial.what == "listing", most_rows=most)
    with open_store(f"sqlite:///{trial.folder}/store.db", create=True) as stored:
        clock = stored.clock()
        with stored.lease(JOB, "counting", trial.run, wait=clock.sleep) as store, collecting.seldom():
            before, begun = resident("VmRSS"), time.perf_counter()
            store.begin_run(record := RunRecord(trial.run, JOB, clock.now()))
            report = run_job(Ports(source, sink, store, clock), settings)
            ended = dataclasses.replace(record, ended=report.ended, outcome=report.outcome)
            store.end_run(dataclasses.replace(ended, exit_code=report.exit_code, report=report.to_json()))
            seconds = time.perf_counter() - begun
    said = f"{report.outcome}, {report.rows.get('read', 0):,} rows, {sink.written:,} written"
    return Measured(before, resident("VmHWM"), seconds, said)


def traced(trial: Trial) -> Measured:
    """The same with what Python itself holds, by line, when the run is over and just before: on standard error."""
    tracemalloc.start(5)
    found = measure(trial)
    now, most = tracemalloc.get_traced_memory()
    print(f"{trial}: Python has {now / 1e6:.1f} MB, had {most / 1e6:.1f}", file=sys.stderr)
    for line in tracemalloc.take_snapshot().statistics("lineno")[:SHOWN]:
        print(f"    {line}", file=sys.stderr)
    return found


def in_a_child(trial: Trial) -> Measured:
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "dev.bench_memory",
        "--trial",
        json.dumps(dataclasses.asdict(trial)),
    ]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"a run ended with {done.returncode}: {trial}")
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def bench(given: argparse.Namespace) -> list[dict[str, object]]:
    """All runs of each sink over few rows and over many; a line for each is printed as it comes."""
    print(f"{'':22}{'rows':>12}{'MB':>8}{'ratio':>8}{'rows/s':>9}   most memory; at start, and what the run said")
    lines = []
    for name in given.sinks:
        few: dict[str, float] = {}
        for rows in (given.few, given.rows):
            for what, found in runs(name, rows, given):
                few.setdefault(what, found.peak)
                ratio = found.peak / few[what]
                lines.append(line := {"sink": name, "run": what, "rows": rows, "ratio": ratio, **vars(found)})
                print(printed(line), flush=True)
    return lines


def runs(name: str, rows: int, given: argparse.Namespace) -> Iterator[tuple[str, Measured]]:
    with tempfile.TemporaryDirectory(prefix="tsi-fetch-memory-") as folder:
        for what in RUNS:
            if what in given.only or what == "first":  # without which there is nothing to run again over
                trial = Trial(what, rows, SINKS[name], folder, f"{name}-{what}", given.trace)
                yield what, in_a_child(trial)


def printed(line: Mapping[str, object]) -> str:
    what = f"{line['run']}, {line['sink']} sink"
    speed = float(str(line["rows"])) / float(str(line["seconds"]))
    figures = f"{line['rows']:>12,}{line['peak']:8.1f}{line['ratio']:8.2f}{speed:9,.0f}"
    return f"{what:22}{figures}   {line['before']:.1f}; {line['said']}"


def verdict(lines: Sequence[Mapping[str, object]]) -> str:
    """The two aims, for the runs that are to keep them: a checkpoint is read whole, so what resumes may grow."""
    bound = [line for line in lines if line["run"] != "resumed"]
    ratio, most = max(float(str(x["ratio"])) for x in bound), max(float(str(x["peak"])) for x in bound)
    return f"\nratio at most {ratio:.2f} (aim {AIM_RATIO}), {most:.0f} MB at most (aim {AIM_MB}), but for what resumes"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--few", type=int, default=10_000)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(RUNS), help="such as first,feed")
    parser.add_argument("--sinks", type=lambda text: text.split(","), default=list(SINKS), help="near, far, or both")
    parser.add_argument("--trace", action="store_true", help="where Python's memory is: no figure of it is comparable")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    parser.add_argument("--trial", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    given = arguments()
    if given.trial:
        trial = Trial(**json.loads(given.trial))
        print(json.dumps(dataclasses.asdict((traced if trial.trace else measure)(trial))))
        return
    lines = bench(given)
    print(verdict(lines))
    if given.json:
        given.json.write_text(json.dumps(lines, indent=1) + "\n")


if __name__ == "__main__":
    main()
