"""One trial of `dev/bench_cima.py`, in a process of its own, so that CPU seconds and memory are its own.

    python -m dev.bench_cima_trial '{"what": "run", "base_url": "http://127.0.0.1:8099/cima/rest", …}'

Prints one line of JSON: `Measured`.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import itertools
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from dev.bench_memory import resident
from dev.bench_trial import cpu
from jobs import collecting
from sinks.fhir.options import FhirOptions
from sinks.fhir.server import FhirServer
from sinks.folder import Folder, FolderOptions
from sources.cima.identity import PREFIX
from sources.cima.options import CimaOptions
from sources.cima.source import Cima
from store.handle import open_store
from tsi_fetch.clock import Clock, SystemClock
from tsi_fetch.http.limit import Pace, SteadyPace
from tsi_fetch.http.wire import Wire
from tsi_fetch.ports import Sink
from tsi_fetch.run import Ports, Settings, run_job
from tsi_fetch.words import Change, Ref, Row, RunRecord, Upsert, Write, WriteAction

JOB = "cima"
AT_ONCE = 100  # resources: what the folder is given together; those of a batch of five products
PATIENCE = 60.0  # seconds for one answer


@dataclass(frozen=True)
class Trial:
    """`what`: run, answers (the same URLs asked, the answers thrown away), folder (the same bytes written), saturate
    (the same bytes posted to the server at `url`, ready-made).

    `folder` keeps the store, the sink and the URLs from one run to the next.  `rate`: requests a second, 0: no limit.
    `url`: a FHIR server in the folder's place.  `ids`: what all ids begin with there, as long as CIMA's own beginning.
    """

    what: str
    base_url: str
    folder: str
    run: str = "bench-1"
    rate: float = 0.0
    connections: int = 4
    validate: str = "refuse"
    url: str = ""
    ids: str = PREFIX


@dataclass
class Measured:
    """Seconds; `rss` in megabytes; `phases`: of a run, by `tsi_fetch.phases`.  `products`: rows that were read."""

    seconds: float
    cpu: float = 0.0
    rss: float = 0.0
    products: int = 0
    requests: int = 0
    written: int = 0
    phases: dict[str, float] = field(default_factory=dict)
    outcome: str = "done"


class Unhurried:
    """No pace at all."""

    def wait(self) -> None:
        """At once."""


def pace_of(base_url: str, rate: float, clock: Clock) -> Pace:
    """The trial's pace.  ValueError where none is asked for and the register is not on this machine: the options of a
    job cannot say so (50 requests a second are the most), and the real one is never to be measured like this."""
    if rate:
        return SteadyPace(clock, rate)
    host = urlsplit(base_url).hostname or ""
    try:
        here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        here = False  # a name may lead anywhere
    if not here:
        raise ValueError("only a register on this machine's own address may be asked without a limit")
    return Unhurried()


class Noted(httpx.BaseTransport):
    """Writes down which URLs are asked, in a file, so that they take no memory."""

    def __init__(self, inner: httpx.BaseTransport, path: Path) -> None:
        self._inner, self._lock, self._file = inner, threading.Lock(), path.open("w", encoding="ascii")
        self.requests = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            self.requests += 1
            self._file.write(f"{request.url}\n")
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._file.close()
        self._inner.close()


def urls_of(trial: Trial) -> Path:
    return Path(trial.folder) / f"urls-{trial.run}.txt"


class Elsewhere(Cima):
    """The register, with other ids: a server that holds its products already is loaded with them once more.

    They are as long as the true ones, so that the bodies have as many bytes.
    """

    ids = PREFIX

    def to_changes(self, row: Row) -> Sequence[Change]:
        return [self._elsewhere(change) for change in super().to_changes(row)]

    def _elsewhere(self, change: Change) -> Change:
        if self.ids == PREFIX or not isinstance(change, Upsert):
            return change
        ref = Ref(change.ref.type, change.ref.id.replace(PREFIX, self.ids, 1))
        return dataclasses.replace(change, ref=ref, body=change.body.replace(PREFIX.encode(), self.ids.encode()))


def source_of(trial: Trial, clock: Clock, wire: httpx.BaseTransport) -> Elsewhere:
    """ValueError where the ids would not be as long."""
    if len(trial.ids) != len(PREFIX):
        raise ValueError(f"ids begin with {len(PREFIX)} characters")
    options = CimaOptions(base_url=trial.base_url, connections=trial.connections)
    source = Elsewhere(options, clock, wire=wire, pace=pace_of(trial.base_url, trial.rate, clock))
    source.ids = trial.ids
    return source


@contextmanager
def sink_of(trial: Trial, clock: Clock, store_id: str) -> Iterator[Sink]:
    """The folder, or the server with the sink's own defaults."""
    if not trial.url:
        yield Folder(FolderOptions(path=Path(trial.folder) / "sink", release="R5"), clock, trial.run)
        return
    with FhirServer(FhirOptions.model_validate({"url": trial.url}), clock, trial.run, JOB, store_id) as sink:
        yield sink


def run(trial: Trial) -> Measured:
    """A run as the command line wires it, but for its pace and the list of its URLs."""
    open_store(f"sqlite:///{trial.folder}/store.db", create=True).close()  # making its tables happens once in its life
    begun, spent = time.perf_counter(), cpu()
    wire = Noted(Wire(trial.connections), urls_of(trial))
    with open_store(f"sqlite:///{trial.folder}/store.db", create=True) as stored:
        clock = stored.clock()
        source = source_of(trial, clock, wire)
        with (
            stored.lease(JOB, "sink", trial.run, wait=clock.sleep) as store,
            sink_of(trial, clock, stored.store_id) as sink,
            collecting.seldom(),
        ):
            store.begin_run(record := RunRecord(trial.run, JOB, clock.now()))
            report = run_job(Ports(source, sink, store, clock), Settings(JOB, trial.run, validate=trial.validate))
            ended = dataclasses.replace(record, ended=report.ended, outcome=report.outcome)
            store.end_run(dataclasses.replace(ended, exit_code=report.exit_code, report=report.to_json()))
        source.close()
    written = sum(n for fates in report.counts.values() for fate, n in fates.items() if fate in ("created", "updated"))
    return Measured(
        time.perf_counter() - begun,
        cpu() - spent,
        products=report.rows.get("read", 0),
        requests=wire.requests,
        written=written,
        phases={name: round(seconds, 3) for name, seconds in report.phases.items()},
        outcome="; ".join([report.outcome, *(reason.what for reason in report.reasons)]),
    )


def answers(trial: Trial) -> Measured:
    """The register's answers alone: a bare client with as many threads asks what the run has asked."""
    urls = urls_of(trial).read_text(encoding="ascii").split()
    left, lock = iter(urls), threading.Lock()
    limits = httpx.Limits(max_connections=trial.connections, max_keepalive_connections=trial.connections)
    headers = {"Accept": "application/json", "Accept-Encoding": "gzip"}

    def work(http: httpx.Client) -> None:
        while True:
            with lock:
                url = next(left, None)
            if url is None:
                return
            http.get(url)

    begun, spent = time.perf_counter(), cpu()
    with (
        httpx.Client(limits=limits, headers=headers, timeout=PATIENCE, trust_env=False) as http,
        ThreadPoolExecutor(trial.connections) as pool,
    ):
        for future in [pool.submit(work, http) for _ in range(trial.connections)]:
            future.result()
    return Measured(time.perf_counter() - begun, cpu() - spent, requests=len(urls))


def folder(trial: Trial) -> Measured:
    """The sink alone: what the run has left in its folder is written to another one.  To read it is not counted."""
    clock = SystemClock()
    sink = Folder(FolderOptions(path=Path(trial.folder) / f"again-{trial.run}", release="R5"), clock, trial.run)
    measured = Measured(0.0)
    for writes in _found(Path(trial.folder) / "sink"):
        begun, spent = time.perf_counter(), cpu()
        for outcomes in sink.write(writes, lambda: None):
            measured.written += len(outcomes)
        measured.seconds += time.perf_counter() - begun
        measured.cpu += cpu() - spent
    return measured


def _found(path: Path) -> Iterator[list[Write]]:
    files = path.glob("[A-Z]*/*.json")
    while some := list(itertools.islice(files, AT_ONCE)):
        yield [Write(Ref(f.parent.name, f.stem), WriteAction.PUT, None, f.read_bytes()) for f in some]


def saturate(trial: Trial) -> Measured:
    """The server alone: transactions that are ready before the clock starts, by as many writers as the sink has."""
    from dev.bench_cima_ready import ready_made, send

    options = FhirOptions.model_validate({"url": trial.url})
    ready = ready_made(trial, options.entries)
    begun, spent = time.perf_counter(), cpu()
    send(trial.url, ready, options.writers)
    return Measured(time.perf_counter() - begun, cpu() - spent, requests=ready.requests, written=ready.resources)


WHAT: dict[str, Callable[[Trial], Measured]] = {
    "run": run,
    "answers": answers,
    "folder": folder,
    "saturate": saturate,
}


def main() -> None:
    trial = Trial(**json.loads(sys.argv[1]))
    found = WHAT[trial.what](trial)
    found.rss = resident("VmHWM")
    print(json.dumps(dataclasses.asdict(found)))


if __name__ == "__main__":
    main()
