"""One trial of `dev/bench_sink.py`, in a process of its own, so that CPU seconds and memory are its own.

    python -m dev.bench_trial '{"what": "ours", "url": "http://127.0.0.1:8080/epi/api/fhir", …}'

Prints one line of JSON: `Measured`.
"""

from __future__ import annotations

import dataclasses
import json
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, cast

import httpx

from dev.bench_resources import KINDS, LocalSource
from jobs import collecting
from sinks.fhir import bundles
from sinks.fhir.options import FhirOptions
from sinks.fhir.server import FhirServer
from store.handle import open_store
from tsi_fetch.http.wire import Wire
from tsi_fetch.ports import JobStore
from tsi_fetch.report import Report
from tsi_fetch.run import Ports, Settings, run_job
from tsi_fetch.words import RunRecord, Write

JOB = "bench"
PATIENCE = 120.0  # seconds for one answer
BY_HAND = 4  # threads of what a person would write

HEADERS = {
    "Accept": "application/fhir+json",
    "Content-Type": "application/fhir+json",
    "Prefer": "return=minimal",
    "X-Meta-Snapshot-Mode": "TAG, PROFILE, SECURITY_LABEL",
    "X-Request-Id": "bench",
}
"""Those that our sink sends."""


@dataclass(frozen=True)
class Trial:
    """What is to be tried.  `version`: what the minimal loop believes to be there, None for nothing."""

    what: str  # saturate, ours, by hand
    url: str
    kind: str = "observations"
    prefix: str = "b"
    resources: int = 3000
    edition: int = 1
    writers: int = 2
    entries: int = 100
    version: str | None = None
    store: str = ""
    run: str = "bench-1"
    read: str = "nothing"
    full: bool = False
    again: bool = False
    validate: str = "refuse"
    batch: int = 200  # resources that are judged together, about
    mapping: int = 1  # raised, everything is mapped and fingerprinted anew
    profile: str = ""  # a file for the profiler's figures


@dataclass
class Measured:
    """What came of it.  Seconds; `rss` in megabytes; `kept`: seconds in calls of the store, summed over threads."""

    resources: int
    seconds: float
    cpu: float = 0.0
    rss: float = 0.0
    requests: int = 0
    writing: int = 0
    kept: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)
    note: str = ""


class Counted(httpx.BaseTransport):
    """Counts requests, and those that write: every PUT and DELETE, and a POST that is no search."""

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self._inner, self._lock = inner, threading.Lock()
        self.requests = self.writing = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            self.requests += 1
            self.writing += request.method != "GET" and not request.url.path.endswith("/_search")
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


class Timed:
    """A store whose calls are timed; the permit, which only looks at a clock, is not."""

    def __init__(self, inner: JobStore) -> None:
        self._inner, self._lock = inner, threading.Lock()
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found) or name == "permit":
            return found

        def timed(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            try:
                return found(*args, **kwargs)
            finally:
                with self._lock:
                    self.seconds += time.perf_counter() - begun

        return timed


def cpu() -> float:
    """CPU seconds of this process and of the children it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def source_of(trial: Trial) -> LocalSource:
    kind = KINDS[trial.kind]()
    batch = max(1, round(trial.batch / kind.per_row))
    source = LocalSource(kind, trial.prefix, trial.resources, batch=batch, read=trial.read, edition=trial.edition)
    source.mapping = trial.mapping
    return source


def saturate(trial: Trial) -> Measured:
    """(a) Transactions that are ready before the clock starts, posted by as many threads as there are writers."""
    firsts, rest, count = ready_made(trial)
    lock, bodies = threading.Lock(), iter(rest)

    def work() -> None:
        with client(trial.url) as http:
            while True:
                with lock:
                    body = next(bodies, None)
                if body is None:
                    return
                post(http, body)

    begun, spent = time.perf_counter(), cpu()
    with client(trial.url) as http:
        for body in firsts:
            post(http, body)
    with ThreadPoolExecutor(trial.writers) as pool:
        for future in [pool.submit(work) for _ in range(trial.writers)]:
            future.result()
    requests = len(firsts) + len(rest)
    return Measured(count, time.perf_counter() - begun, cpu() - spent, requests=requests, writing=requests)


def ready_made(trial: Trial) -> tuple[list[bytes], list[bytes], int]:
    """Transactions: those that must be first, since rows share what is in them; the others; how many resources.

    A row's resources stay in one transaction, so that any two of the others may be in flight at once.
    """
    rows = list(source_of(trial).writes(trial.version))
    shared = {w.ref: w for row in rows for w in row if w.ref.type == "Organization"}
    own = [[w for w in row if w.ref not in shared] for row in rows]
    firsts = [bundles.transaction(list(shared.values()))] if shared and trial.version is None else []
    chunks = list(packed(own, trial.entries))
    count = sum(map(len, chunks)) + (len(shared) if firsts else 0)
    return firsts, [bundles.transaction(chunk) for chunk in chunks], count


def packed(rows: Sequence[Sequence[Write]], entries: int) -> Iterator[list[Write]]:
    """Whole rows together, at most so many entries at a time."""
    chunk: list[Write] = []
    for row in rows:
        if chunk and len(chunk) + len(row) > entries:
            yield chunk
            chunk = []
        chunk = [*chunk, *row]
    if chunk:
        yield chunk


def client(url: str) -> httpx.Client:
    return httpx.Client(base_url=f"{url}/", headers=HEADERS, timeout=PATIENCE)


def post(http: httpx.Client, body: bytes) -> None:
    answer = http.post("", content=body)
    if answer.status_code != 200:
        raise SystemExit(f"the minimal loop was answered with status {answer.status_code}: {answer.text[:300]}")


def ours(trial: Trial) -> Measured:
    """(b) (c) (d) A run as the command line wires it, but for the source."""
    transport = Counted(Wire(connections=trial.writers + 1))
    open_store(trial.store, create=True).close()  # making its tables happens once in its life
    begun, spent = time.perf_counter(), cpu()
    report, kept = run_once(trial, transport)
    seconds, used = time.perf_counter() - begun, cpu() - spent
    count = sum(number for actions in report.counts.values() for number in actions.values())
    note = "" if report.exit_code == 0 else f"exit {report.exit_code}: {'; '.join(r.what for r in report.reasons)}"
    phases = {name: round(value, 3) for name, value in report.phases.items()}
    return Measured(count, seconds, used, 0, transport.requests, transport.writing, kept, phases, note)


def run_once(trial: Trial, transport: httpx.BaseTransport) -> tuple[Report, float]:
    """The report, and the seconds spent in calls of the store."""
    options = FhirOptions.model_validate({"url": trial.url, "writers": trial.writers, "entries": trial.entries})
    settings = Settings(JOB, trial.run, validate=trial.validate, full=trial.full, again=trial.again)
    source = source_of(trial)
    with open_store(trial.store, create=True) as stored:
        clock = stored.clock()
        with stored.lease(JOB, "hapi", trial.run, wait=clock.sleep) as book:
            store = Timed(cast(JobStore, book))
            with FhirServer(options, clock, trial.run, JOB, stored.store_id, transport=transport) as sink:
                record = RunRecord(trial.run, JOB, clock.now())
                store.begin_run(record)
                with collecting.seldom():
                    report = run_job(Ports(source, sink, cast(JobStore, store), clock), settings)
                ended = dataclasses.replace(record, ended=report.ended, outcome=report.outcome)
                store.end_run(dataclasses.replace(ended, exit_code=report.exit_code, report=report.to_json()))
    return report, store.seconds


def by_hand(trial: Trial) -> Measured:
    """(e) GET, compare, PUT, in four threads: what one writes on a first afternoon."""
    rows = source_of(trial).writes()
    transport = Counted(httpx.HTTPTransport())
    with httpx.Client(base_url=f"{trial.url}/", headers=HEADERS, timeout=PATIENCE, transport=transport) as http:
        begun, spent = time.perf_counter(), cpu()
        with ThreadPoolExecutor(BY_HAND) as pool:
            count = sum(pool.map(lambda row: sum(bring(http, write) for write in row), rows))
        seconds, used = time.perf_counter() - begun, cpu() - spent
    return Measured(count, seconds, used, requests=transport.requests, writing=transport.writing)


def bring(http: httpx.Client, write: Write) -> int:
    """One resource.  Two threads may meet at one that rows share: the one that comes late tries once more."""
    wanted = json.loads(write.body or b"{}")
    for _ in range(BY_HAND):
        there = http.get(str(write.ref))
        if there.status_code == 200 and _plain(there.json()) == _plain(wanted):
            return 1
        match = {"If-Match": there.headers["ETag"]} if there.status_code == 200 else {}
        answer = http.put(str(write.ref), json=wanted, headers=match)
        if answer.status_code != 409:
            answer.raise_for_status()
            return 1
    raise SystemExit(f"{write.ref} was answered with 409 again and again")


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    """Without what the server owns or adds."""
    return {name: value for name, value in found.items() if name not in ("meta", "text")}


WHAT: dict[str, Callable[[Trial], Measured]] = {"saturate": saturate, "ours": ours, "by hand": by_hand}


def measure(trial: Trial) -> Measured:
    """Do it; the profiler, where it is asked for, sees the main thread."""
    if not trial.profile:
        found = WHAT[trial.what](trial)
    else:
        import cProfile

        with cProfile.Profile() as profiler:
            found = WHAT[trial.what](trial)
        profiler.dump_stats(trial.profile)
    found.rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kilobytes on Linux
    return found


def main() -> None:
    found = measure(Trial(**json.loads(sys.argv[1])))
    print(json.dumps(dataclasses.asdict(found)))


if __name__ == "__main__":
    main()
