"""A whole job against a real FHIR server: a source in memory, the FHIR sink, a store on SQLite; and a look at what came
of it, past the sink: bodies, versions, histories."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import httpx
from document_source import DocumentSource, ref_of

from sinks.fhir.options import FhirOptions
from sinks.fhir.server import FhirServer
from store.handle import Stored, open_store
from tsi_fetch.clock import StopSignal, SystemClock
from tsi_fetch.fhir.equality import same
from tsi_fetch.fhir.tokens import dump, parse
from tsi_fetch.http.wire import Wire
from tsi_fetch.marker import marker_name
from tsi_fetch.reconcile import Comparison, Reconciler, Subject
from tsi_fetch.run import Ports, Settings, run_job
from tsi_fetch.words import Json, Ref, RunRecord

if TYPE_CHECKING:
    from tsi_fetch.report import Report

JOB, SINK = "trial", "sink"
AT_ONCE = 50  # resources read back with one search

Hook = Callable[[int], None]


def own_prefix() -> str:
    """What the ids of one test begin with."""
    return f"t{uuid.uuid4().hex[:8]}"


class Counting(httpx.BaseTransport):
    """The network; counts transactions and calls `hook` with their number before each.

    `versions`, `bodies`: the ids that each search asked for, by what it asked of them.
    """

    def __init__(self, hook: Hook) -> None:
        self._inner, self._hook, self._lock = Wire(connections=12), hook, threading.Lock()
        self.requests = self.transactions = 0
        self.versions: list[list[str]] = []
        self.bodies: list[list[str]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        searches = request.method == "POST" and request.url.path.endswith("/_search")
        writes = request.method in ("POST", "PUT", "DELETE") and not searches
        with self._lock:
            self.requests += 1
            self.transactions += writes
            number = self.transactions
            if searches:
                form = parse_qs(request.read().decode())
                (self.versions if "_elements" in form else self.bodies).append(form["_id"][0].split(","))
        if writes:
            self._hook(number)
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


def _nothing(number: int) -> None:
    """What happens before most transactions."""


class Trial:
    """One job, run again and again.  `options`: of the sink; `sent`: what the last run sent; `file`: the store."""

    def __init__(self, folder: Path, url: str, source: DocumentSource, release: str = "R5", **options: object) -> None:
        self.source, self.url, self.sent = source, url, Counting(_nothing)
        self._options = FhirOptions.model_validate({"url": url, "release": release, **options})
        self.file = folder / f"{uuid.uuid4().hex}.db"
        self._store = f"sqlite:///{self.file}"
        with open_store(self._store, create=True) as stored:
            self.marker = Ref("Device", marker_name(stored.store_id, JOB))

    def run(self, *, hook: Hook = _nothing, options: Mapping[str, object] | None = None, **settings: object) -> Report:
        """One run.  `hook` is called with the number of each transaction before it is sent."""
        run_id = f"r{uuid.uuid4().hex[:12]}"
        clock = SystemClock()
        with ExitStack() as stack:
            stored = stack.enter_context(open_store(self._store))
            sink = stack.enter_context(self._sink(stored, run_id, hook, options or {}))
            store = stack.enter_context(stored.lease(JOB, SINK, run_id, expiry=60, wait=clock.sleep))
            store.begin_run(RunRecord(run_id, JOB, clock.now()))
            made = Settings(JOB, run_id, **settings)  # type: ignore[arg-type]
            report = run_job(Ports(self.source, sink, store, clock), made)
            store.end_run(RunRecord(run_id, JOB, report.started, report.ended, report.outcome, report.exit_code))
        return report

    def reconcile(self, *, fix: bool = False) -> Comparison:
        """Compare what is remembered with what the server holds; with `fix`, mend the memory."""
        run_id = f"r{uuid.uuid4().hex[:12]}"
        subject = Subject(JOB, self.source.stream, self.source.types)
        with ExitStack() as stack:
            stored = stack.enter_context(open_store(self._store))
            sink = stack.enter_context(self._sink(stored, run_id, _nothing, {}))
            book = stored.reader(JOB, SINK)
            if fix:
                book = stack.enter_context(stored.lease(JOB, SINK, run_id, expiry=60, wait=SystemClock().sleep))
            reconciler = Reconciler(subject, book, sink, StopSignal(), lambda *_: None)
            return reconciler.mend("tester@desk") if fix else reconciler.compare()

    def _sink(self, stored: Stored, run_id: str, hook: Hook, options: Mapping[str, object]) -> FhirServer:
        self.sent = Counting(hook)
        made = self._options.model_copy(update=dict(options))
        return FhirServer(made, SystemClock(), run_id, JOB, stored.store_id, self.sent)

    def waiting(self) -> Mapping[Ref, frozenset[Ref]]:
        """What waits, and for what."""
        with open_store(self._store) as stored:
            return stored.reader(JOB, SINK).waiting_graph()


class Look:
    """What a server holds, read without our sink."""

    def __init__(self, url: str) -> None:
        self._url = url

    def held(self, refs: Collection[Ref]) -> dict[Ref, tuple[str, bytes]]:
        """Version and body of those that are there."""
        with closing(self._client()) as client:
            return {ref_of(body): (version, body) for version, body in self._search(client, refs)}

    def _search(self, client: httpx.Client, refs: Collection[Ref]) -> Iterator[tuple[str, bytes]]:
        for kind, some in itertools.groupby(sorted(refs), key=lambda ref: ref.type):
            idents = [ref.id for ref in some]
            for i in range(0, len(idents), AT_ONCE):
                part = ",".join(idents[i : i + AT_ONCE])
                for entry in _entries(client.post(f"{kind}/_search", data={"_id": part, "_count": str(AT_ONCE)})):
                    yield str(entry["resource"]["meta"]["versionId"]), dump(entry["resource"])

    def history(self, ref: Ref) -> list[bytes | None]:
        """All versions, the oldest first; None for a deletion."""
        with closing(self._client()) as client:
            entries = _entries(client.get(f"{ref}/_history", params={"_count": "100"}))
        return [dump(e["resource"]) if "resource" in e else None for e in entries][::-1]

    def put(self, body: bytes) -> None:
        """Somebody else's work."""
        with closing(self._client()) as client:
            headers = {"Content-Type": "application/fhir+json"}
            assert client.put(str(ref_of(body)), content=body, headers=headers).is_success

    def delete(self, ref: Ref) -> None:
        """Somebody else's work."""
        with closing(self._client()) as client:
            assert client.delete(str(ref)).is_success

    def _client(self) -> httpx.Client:
        return httpx.Client(base_url=self._url + "/", headers={"Cache-Control": "no-cache"}, timeout=120)

    def differs(self, expected: Mapping[Ref, bytes]) -> list[str]:
        """What is not there, or not as it should be; and what has a version that repeats the one before it."""
        held = self.held(expected.keys())
        wrong = [f"{ref} is not there" for ref in expected if ref not in held]
        wrong += [f"{ref} differs" for ref, body in expected.items() if ref in held and not same(body, held[ref][1])]
        moved = [ref for ref, (version, _) in held.items() if version != "1"]
        return wrong + [f"{ref} repeats a version" for ref in moved if self.repeats(ref)]

    def repeats(self, ref: Ref) -> bool:
        """Is there a version that says what the one before it said?"""
        return any(
            same(a, b) if a is not None and b is not None else a is b for a, b in itertools.pairwise(self.history(ref))
        )

    def versions(self, refs: Collection[Ref]) -> set[str]:
        """The versions that these have."""
        return {version for version, _ in self.held(refs).values()}


def _entries(answer: httpx.Response) -> list[Json]:
    if answer.status_code == 404:
        return []
    assert answer.status_code == 200, answer.status_code
    entries: list[Json] = parse(answer.content).get("entry", [])
    return entries
