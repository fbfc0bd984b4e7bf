"""The CIMA job into a real HAPI 7.6 (R5) on PostgreSQL with the platform's settings, the store on PostgreSQL, too.

It is killed at each request, before or after it; at both with TSI_CRASH=all.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
from crash_child import DIED, Scene, child, run_scene

from sinks.fhir.options import FhirOptions
from sinks.fhir.server import FhirServer
from sources.cima.identity import REGULATOR
from sources.cima.source import Cima
from store.handle import open_store
from store.upgrade import upgrade
from tsi_fetch.clock import SystemClock
from tsi_fetch.fhir.equality import same
from tsi_fetch.http.wire import Wire
from tsi_fetch.ports import Sink
from tsi_fetch.words import Ref

pytestmark = [
    pytest.mark.servers,
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]

BODIES = Path(__file__).parents[1] / "recorded" / "cima" / "bodies"
TYPES = tuple(sorted(Cima.types))
FIRST, NIGHT, AFTER = 1, 500, 900

_processes = multiprocessing.get_context("fork")


class Counting(httpx.BaseTransport):
    """The network; counts requests, and ends the process before or after one of them."""

    def __init__(self, die_at: float | None) -> None:
        self._inner, self._die_at, self.sent = Wire(connections=3), die_at, []  # type: ignore[var-annotated]
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self._lock:  # two writers send at once
            self.sent.append(f"{request.method} {request.url.path}")
            number = len(self.sent)
        if self._die_at == number:
            os._exit(DIED)
        response = self._inner.handle_request(request)
        response.read()
        if self._die_at == number + 0.5:
            os._exit(DIED)
        return response

    def close(self) -> None:
        self._inner.close()


def scene(url: str, hapi: str, tag: int, die_at: float | None = None, sent: list[Counting] | None = None) -> Scene:
    def sink(run_id: str, store_id: str) -> Sink:
        transport = Counting(die_at)
        if sent is not None:
            sent.append(transport)
        return FhirServer(FhirOptions(url=hapi), SystemClock(), run_id, "cima", store_id, transport)

    return Scene(BODIES, url, Path("unused"), sink=sink, tag=tag)


@pytest.fixture
def store(recreate: Callable[[str, str | None], str]) -> Callable[[], str]:
    """A new store on PostgreSQL."""

    def make() -> str:
        url = recreate("hapi_trial", None)
        upgrade(url)
        return url

    return make


def moment(hapi: str) -> str:
    """The server's time, to the second before."""
    date = httpx.get(f"{hapi}/Device", params={"_summary": "count"}, timeout=60).headers["Date"]
    return parsedate_to_datetime(date).isoformat()


def histories(hapi: str, tag: int, since: str) -> dict[Ref, list[bytes]]:
    """Every version since then of every resource of one trial, oldest first."""
    result: dict[Ref, list[bytes]] = {}
    url: str | None = f"{hapi}/_history?{urlencode({'_since': since, '_count': '500'})}"
    with httpx.Client(headers={"Cache-Control": "no-cache"}, timeout=60) as client:
        while url:
            answer = client.get(url).json()
            for resource in (e["resource"] for e in answer.get("entry", []) if "resource" in e):
                ref = Ref(resource["resourceType"], resource["id"])
                if ref.type in TYPES and _of(tag, ref):
                    result.setdefault(ref, []).insert(0, json.dumps(resource).encode())
            url = next((link["url"] for link in answer["link"] if link["relation"] == "next"), None)
    return result


def _of(tag: int, ref: Ref) -> bool:
    words = ref.id.split("-")
    of_pack = any(word[:-3] == f"{tag:03d}" for word in words[-2:])
    return f"T{tag}" in words or of_pack or (ref.type == "Organization" and str(tag) in words)


def repeats(history: dict[Ref, list[bytes]]) -> list[Ref]:
    """Refs with a version that repeats the content of the one before it."""
    return [ref for ref, versions in history.items() if any(same(a, b) for a, b in itertools.pairwise(versions))]


def kill(of: Scene) -> int | None:
    process = _processes.Process(target=child, args=(of, -1))
    process.start()
    process.join(120)
    return process.exitcode


def test_the_job_loads_and_the_second_run_sends_no_writing_request(hapi: str, store: Callable[[], str]) -> None:
    url, sent, since = store(), list[Counting](), moment(hapi)
    regulator_is_there = httpx.get(f"{hapi}/Organization/{REGULATOR}").is_success  # all trials on this server share it
    report, _ = run_scene(scene(url, hapi, FIRST, sent=sent))
    assert (report.outcome, report.exit_code) == ("done", 0)
    assert {kind: counts["created"] for kind, counts in report.counts.items()} == {
        "AdministrableProductDefinition": 3,
        "Bundle": 4,
        "Composition": 4,
        "DocumentReference": 7,
        "Ingredient": 6,
        "List": 2,
        "ManufacturedItemDefinition": 3,
        "MedicinalProductDefinition": 3,
        "Organization": 4 if regulator_is_there else 5,
        "PackagedProductDefinition": 4,
        "RegulatedAuthorization": 3,
    }
    before = histories(hapi, FIRST, since)
    assert {len(versions) for versions in before.values()} == {1}
    again, _ = run_scene(scene(url, hapi, FIRST, sent=sent))
    assert (again.exit_code, again.counts) == (0, {})
    assert all(not line.startswith(("PUT", "DELETE")) for line in sent[1].sent)
    assert [line for line in sent[1].sent if line.startswith("POST") and not line.endswith("_search")] == []
    assert histories(hapi, FIRST, since) == before


def moments(number: int) -> tuple[float, ...]:
    """Before a request and after it; of most of them, unless all are wanted, the one or the other."""
    if os.environ.get("TSI_CRASH") == "all" or number <= 4:
        return number, number + 0.5
    return (number + number % 2 / 2,)


def test_a_first_load_killed_at_each_request_in_turn_is_completed(hapi: str, store: Callable[[], str]) -> None:
    sent: list[Counting] = []
    since = moment(hapi)
    run_scene(scene(store(), hapi, FIRST + 1, sent=sent))
    requests = len(sent[0].sent)
    assert requests > 12
    whole = len(histories(hapi, FIRST + 1, since))
    for number in range(1, requests + 1):
        for when in moments(number):
            tag = FIRST + 1 + int(when * 2)
            url = store()
            since = moment(hapi)
            assert kill(scene(url, hapi, tag, die_at=when)) == DIED
            report, _ = run_scene(scene(url, hapi, tag))
            assert report.exit_code == 0, (sent[0].sent[number - 1], when, report.reasons, report.quarantined)
            history = histories(hapi, tag, since)
            assert len(history) >= whole - 1, "all but the regulator, which all trials share"
            assert not repeats(history), (sent[0].sent[number - 1], when)


def test_a_night_killed_at_each_request_in_turn_is_completed(hapi: str, store: Callable[[], str]) -> None:
    url, since = store(), moment(hapi)
    base = scene(url, hapi, NIGHT)
    assert run_scene(base)[0].exit_code == 0
    sent: list[Counting] = []
    day = 1772438400000  # 2 March 2026, in the morning
    products = (f"T{NIGHT}-99001", f"T{NIGHT}-1998001001")

    def night(number: int, die_at: float | None = None) -> Scene:
        made = scene(url, hapi, NIGHT, die_at, sent)
        feed = tuple((key, day + 1000 * number, 3) for key in products)
        odd = (products[number % 2],)  # now one product has the longer name, now the other
        return replace(made, feed=feed, renamed=odd)

    assert run_scene(night(1))[0].exit_code == 0
    requests = len(sent[-1].sent)
    assert requests >= 5  # capabilities, marker, marker moved, transaction, marker moved
    for number in range(1, requests + 1):
        for half in (0, 1):
            turn = 2 + number * 2 + half
            assert kill(night(turn, die_at=number + half / 2)) == DIED
            report, _ = run_scene(night(turn))
            assert report.exit_code == 0, (number, half, report.reasons, report.quarantined)
    history = histories(hapi, NIGHT, since)
    assert not repeats(history)
    with open_store(url) as stored:
        known = stored.reader("cima", "sink").known(list(history))
    assert {ref: k.version for ref, k in known.items()} == {ref: str(len(v)) for ref, v in history.items()}


def test_a_withdrawn_product_is_retired_with_its_document_and_returns(hapi: str, store: Callable[[], str]) -> None:
    url, key = store(), f"T{AFTER}-99001"
    assert run_scene(scene(url, hapi, AFTER))[0].exit_code == 0
    day = 1772438400000
    gone = replace(scene(url, hapi, AFTER), feed=((key, day, 2),), gone=(key,))
    report, _ = run_scene(gone)
    assert report.exit_code == 0
    assert report.counts["Bundle"] == {"retired": 2}
    with httpx.Client(base_url=hapi + "/") as client:
        bundle = client.get(f"Bundle/es-aemps-bundle-ft-{key}").json()
        assert bundle["entry"][0]["resource"]["status"] == "deprecated"
    back = replace(scene(url, hapi, AFTER), feed=((key, day + 1000, 3),))
    assert run_scene(back)[0].exit_code == 0
    with httpx.Client(base_url=hapi + "/") as client:
        assert client.get(f"Bundle/es-aemps-bundle-ft-{key}").json()["entry"][0]["resource"]["status"] == "final"
