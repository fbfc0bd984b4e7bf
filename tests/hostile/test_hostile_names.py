"""Names that a source gives: none escapes the sink's folder, a recording, or the path of a FHIR server.

More on ids at the sinks is in tests/contract/test_sinks.py, on recordings that name files elsewhere in
tests/tsi_fetch/http/test_http_recording.py, on what CIMA's ids are made of in tests/sources/cima/test_cima_identity.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from fake_cima import cima, register
from memory_sink import MemorySink
from still_clock import StillClock

from sinks.fhir.options import FhirOptions
from sinks.fhir.server import FhirServer
from sinks.folder import Folder, FolderOptions
from sources.cima import identity
from store import queries
from store.handle import open_store
from store.upgrade import upgrade
from tsi_fetch.fhir.tokens import parse
from tsi_fetch.http.chain import ChainOptions, build_client
from tsi_fetch.http.record import Recorder
from tsi_fetch.http.recording import Recording
from tsi_fetch.run import Ports, Settings, run_job
from tsi_fetch.words import Quarantined, Ref, Result, RunRecord, Write, WriteAction

NAMES = [
    "..", ".", "...", "../x", "..\\x", "/etc/passwd", "\\\\host\\share", "C:\\x", "C:x", "a/../../x", "%2e%2e%2fx",
    "..%2fx", "%00", "a\0", "a\n", "a\r\nHost: x", "a b", " a", "a ", "~", "~root", "$HOME", "$(id)", "`id`", "a;b",
    "-rf/", "*", "?", "a?b=c", "a#b", "a|b", "a:b", "<a>", "ñ", "ａ", "a\u0301", "а", "a\u200b", "\u202ea", "١",
    "\uff0e\uff0e\uff0fx", "\u2024\u2024/x", "a" * 65, "a" * 5_000, "", "CON/", "nul\0.json", ".tsi-fetch.json/x",
    "_history", "_search", "$validate", "metadata/", "a/_history/1",
]  # fmt: skip
"""Nothing of this is an id of FHIR's."""

AN_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")


BODY = b'{"resourceType":"Organization","id":"a"}'


def writes(name: str) -> Iterator[Write]:
    for ref in (Ref("Organization", name), Ref(name, "a"), Ref(name, name)):
        yield Write(ref, WriteAction.PUT, None, BODY)
        yield Write(ref, WriteAction.DELETE, "1")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder within a folder, so that what leaves it is seen."""
    return tmp_path / "outer" / "sink"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_written_or_removed_for_what_is_no_id(name: str, root: Path, tmp_path: Path) -> None:
    (tmp_path / "outer").mkdir()
    for path in (tmp_path / "x.json", tmp_path / "outer" / "x.json", tmp_path / "outer" / "a.json"):
        path.write_text("somebody's")
    before = sorted(tmp_path.rglob("*"))
    sink = Folder(FolderOptions(path=root, release="R5"), StillClock(), "run-1")
    made = list(writes(name))
    outcomes = [o for w in made for some in sink.write([w], lambda: None) for o in some]

    assert {o.result for o in outcomes} == {Result.REFUSED}
    assert all(o.fault and o.fault.code == "folder-id" for o in outcomes)
    assert sink.find([w.ref for w in made], bodies=True) == {}
    assert list(sink.listing(name)) == []
    assert [path for path in sorted(tmp_path.rglob("*")) if root not in (path, *path.parents)] == before
    assert [path for path in root.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "name", [".tsi-fetch.json", ".tsi-fetch.journal", ".a", "a.json", "a.json.tmp", "CON", "nul", "-rf"]
)
def test_an_id_that_looks_like_a_file_of_ours_is_a_file_of_its_type(name: str, root: Path) -> None:
    sink = Folder(FolderOptions(path=root, release="R5"), StillClock(), "run-1")
    ref = Ref("Organization", name)
    sent = f'{{"resourceType":"Organization","id":"{name}"}}'.encode()
    ((outcome,),) = sink.write([Write(ref, WriteAction.PUT, None, sent)], lambda: None)
    assert outcome.result is Result.CREATED
    assert [p.relative_to(root).as_posix() for p in root.glob("[!.]*/*")] == [f"Organization/{name}.json"]
    assert [held.ref for some in sink.listing("Organization") for held in some] == [ref]
    later = StillClock()
    later.move(timedelta(days=40_000))
    again = Folder(FolderOptions(path=root, release="R5"), later, "run-2")
    list(again.write([Write(Ref("Organization", "other"), WriteAction.PUT, None, sent)], lambda: None))
    assert ref in again.find([ref]), "it is not cleaned away as somebody's leftover"


@pytest.mark.parametrize("name", NAMES)
def test_no_path_of_a_fhir_server_is_made_of_what_is_no_id(name: str) -> None:
    asked: list[httpx.Request] = []

    def note(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(500)

    options = FhirOptions.model_validate({"url": "https://fhir.invalid/fhir"})
    made = list(writes(name))
    with closing(FhirServer(options, StillClock(), "r", "cima", "ab", httpx.MockTransport(note))) as server:
        outcomes = [o for w in made for some in server.write([w], lambda: None) for o in some]
        assert server.find([w.ref for w in made]) == {}
    assert asked == []
    assert {o.result for o in outcomes} == {Result.REFUSED}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_made_of_a_number_is_an_id_of_its_own(name: str) -> None:
    makers: list[Callable[[str], str]] = [
        identity.product,
        identity.authorization,
        identity.package,
        identity.organization,
        lambda number: identity.bundle("ft", number),
        lambda number: identity.composition("p", number),
    ]
    for make in makers:
        ident = make(name)
        assert AN_ID.fullmatch(ident)
        assert ident.startswith("es-aemps-")
        assert ident not in {make(other) for other in NAMES if other != name}


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_of_a_call_by_that_name_stays_in_its_folder(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "outer" / "recording"
    clock = StillClock()
    recorder = Recorder(folder, "cima", clock)
    answered = httpx.MockTransport(lambda request: _odd(name))
    options = ChainOptions(origins=("https://cima.invalid",), rate=1000)
    client = build_client(options, clock, recorder=recorder, wire=answered)
    client.get(f"https://cima.invalid/cima/rest/presentacion/{quote(name, safe='/')}")
    recorder.close()

    assert all(folder in path.parents or path == folder for path in (tmp_path / "outer").iterdir())
    assert sorted(path.name for path in folder.iterdir()) == ["answers", "exchanges.jsonl", "recording.json"]
    assert all(re.fullmatch(r"\d{4}-[A-Za-z0-9.-]{1,60}\.[a-z]+", path.name) for path in (folder / "answers").iterdir())
    (exchange,) = Recording.open(folder).exchanges
    assert Recording.open(folder).body(exchange)


def _odd(name: str) -> httpx.Response:
    return httpx.Response(200, content=b"{}", headers=[(b"content-type", b"application/../../" + name.encode()[:50])])


class Nights:
    """Runs of CIMA's source over one store and sink."""

    def __init__(self, url: str) -> None:
        self.upstream, self.clock, self.sink = register(feed=[]), StillClock(), MemorySink()
        self._url = url

    def run(self, name: str) -> tuple[int, list[Quarantined]]:
        """The exit code, and what lies in quarantine."""
        self.sink.run = name
        with open_store(self._url, create=self._url.startswith("sqlite")) as stored:
            with (
                closing(cima(self.upstream, self.clock)) as source,
                stored.lease("cima", "sink", name, expiry=60, wait=lambda seconds: None) as made,
            ):
                made.begin_run(RunRecord(name, "cima", self.clock.now()))
                report = run_job(Ports(source, self.sink, made, self.clock), Settings("cima", name))
            numbers = [entry.id for entry in queries.quarantine(stored, "cima")]
            return report.exit_code, [found[1] for number in numbers if (found := queries.quarantined(stored, number))]


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_rows_that_no_store_can_keep_a_key_of_do_not_end_a_run(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    if database == "postgresql":
        url = request.getfixturevalue("make_database")()
        upgrade(url)
    nights = Nights(url)
    nights.upstream.products.pop("99 003-95-96")
    assert nights.run("first") == (0, [])

    stamp = int(nights.clock.now().timestamp() * 1000)
    numbers = ["a\0b", *("".join(map(chr, range(0x4E00 + n, 0x9000 + n))) for n in range(2)), "1998001001"]
    nights.upstream.feed = [{"nregistro": n, "fecha": stamp, "tipoCambio": 3, "cambio": ["ft"]} for n in numbers]
    flag = "".join(map(chr, range(0x4E00, 0x9000)))
    nights.upstream.feed += [{"nregistro": "99001", "fecha": stamp, "tipoCambio": 3, "cambio": [flag]}]
    nights.upstream.calls.clear()
    code, entries = nights.run("second")
    assert code == 65
    assert len(entries) == 4
    assert all(entry.key.startswith("fila-") for entry in entries)
    assert {(entry.fault.path, entry.row.answers[0].part) for entry in entries} == {("$", "fila")}
    kept = [parse(entry.row.answers[0].body) for entry in entries]
    assert sorted(map(str, kept)) == sorted(
        str(row) for row in nights.upstream.feed if row["nregistro"] != "1998001001"
    )
    assert "medicamento?nregistro=1998001001" in nights.upstream.calls
