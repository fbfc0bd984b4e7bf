"""The made-up register read by the real source over HTTP: all of it maps, and the feed tells what a night changed."""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from datetime import date, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from lxml import etree
from still_clock import StillClock

from dev.cima.board import Board
from dev.cima.generated import Generated, Settings
from dev.cima.products import facts
from dev.cima.truth import SeenSection, Truth
from dev.cima.wire import HOST, GeneratedProcess, GeneratedServer
from sources.cima.options import CimaOptions
from sources.cima.source import Cima
from tsi_fetch.words import Batch, Cursor, CursorKind, KeyPage, Position, Row, Upsert

SETTINGS = Settings(seed=3, products=60, text_bytes=9_000, page_size=25)
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own proxy settings must not decide."""
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def register() -> Generated:
    return Generated(SETTINGS)


@pytest.fixture
def of_a_run(register: Generated) -> Iterator[Callable[[], Cima]]:
    """Gives a source for one run: it asks nothing twice, so that another night needs another one."""
    with GeneratedServer(register) as server, ExitStack() as stack:
        options = CimaOptions(base_url=server.base_url, rate=50)
        yield lambda: stack.enter_context(closing(Cima(options, StillClock())))


@pytest.fixture
def source(of_a_run: Callable[[], Cima]) -> Cima:
    return of_a_run()


def rows_of(batches: Iterable[Batch]) -> list[Row]:
    return [row for batch in batches for row in batch.rows]


def resources(source: Cima, row: Row) -> list[Any]:
    assert row.unfetched is None, row.key
    return [json.loads(change.body) for change in source.to_changes(row) if isinstance(change, Upsert)]


def of_type(found: list[Any], name: str) -> list[Any]:
    return [resource for resource in found if resource["resourceType"] == name]


def listing(source: Cima) -> list[KeyPage]:
    return list(source.keys())


def letters(text: str) -> str:
    return re.sub(r"\s+", "", text)


def seen(resource: Any) -> list[str]:
    """The visible letters of a document Bundle's sections."""
    outer = resource["entry"][0]["resource"]["section"][0]
    return [letters("".join(map(str, etree.fromstring(s["text"]["div"]).itertext()))) for s in outer.get("section", [])]


def agrees(truth: Truth, found: list[Any]) -> None:
    """What is mapped of a product is what the register's own words are."""
    assert [r["name"][0]["productName"] for r in of_type(found, "MedicinalProductDefinition")] == [truth.name]
    names = {r["name"] for r in of_type(found, "Organization")}
    assert {truth.holder, truth.representative} - {None} <= names
    packs = {r["identifier"][0]["value"]: r["name"] for r in of_type(found, "PackagedProductDefinition")}
    assert packs == {cn: name for cn, (name, _) in (truth.packs or {}).items()}
    status = of_type(found, "MedicinalProductDefinition")[0]["status"]["coding"][0]["code"]
    assert (status == "retired") == (truth.status == "withdrawn")
    texts = list((truth.texts or {}).values())
    bundles = [seen(resource) for resource in of_type(found, "Bundle")]
    assert len(bundles) == len(texts)
    for sections, divs in zip(texts, bundles, strict=True):
        assert [section for section, div in zip(sections, divs, strict=True) if not reads(section, div)] == []


def reads(section: SeenSection, div: str) -> bool:
    """Where there is nothing to read, a picture stays, or the title is repeated."""
    _, title, text = section
    return div == text if text else div == "" or div.endswith(title)


def test_a_whole_register_is_loaded_without_a_row_in_quarantine(register: Generated, source: Cima) -> None:
    keys = [key for page in listing(source) for key in page.keys]
    assert keys == register.numbers()
    rows = rows_of(source.fetch(keys))
    assert len(rows) == 60
    for row in rows:
        agrees(register.truth(row.key), resources(source, row))


def test_the_feed_tells_of_all_that_a_night_changed(register: Generated, of_a_run: Callable[[], Cima]) -> None:
    *_, first = of_a_run().pull(at(register, 0), StillClock().now())
    assert first.cursor
    for changes in (20, 30):
        events = register.pass_night(changes)
    now, source = StillClock(register.life.now()), of_a_run()
    batches = list(source.pull(Position(first.cursor), now.now()))
    rows = rows_of(batches)
    night = register.life.events
    expected = {facts(3, event.product).number for event in [*night[1], *night[2]]}
    assert {row.key.split("#")[0] for row in rows} == expected
    assert batches[-1].cursor
    assert batches[-1].cursor.value == register.life.day(2).isoformat()
    gone = {facts(3, event.product).number for event in events if register.life.state(event.product).gone}
    for row in rows:
        truth, found = register.truth(row.key.split("#")[0]), resources(source, row)
        assert truth.exists or row.key in gone or not found
        if truth.exists and of_type(found, "MedicinalProductDefinition"):
            agrees(truth, found)
    assert next(source.pull(Position(batches[-1].cursor), now.now())).rows == ()


def at(register: Generated, night: int) -> Position:
    day: date = register.life.day(night) + timedelta(days=1)
    return Position(Cursor(CursorKind.DATE, day.isoformat()))


def test_a_listing_that_shifts_is_not_complete(register: Generated, source: Cima) -> None:
    register.board.at_page(2, rows=3)
    assert sum(page.unreadable for page in listing(source)) > 0
    assert sum(page.unreadable for page in listing(source)) == 0


def test_its_rate_limit_answers_429_and_says_how_long(register: Generated) -> None:
    held = Generated(SETTINGS, Board(rate=2))
    with GeneratedServer(held) as server:
        connection = http.client.HTTPConnection(HOST, server.port)
        statuses = []
        for _ in range(6):
            connection.request("GET", "/cima/rest/maestras?maestra=4")
            response = connection.getresponse()
            statuses.append(response.status)
            retry_after = response.headers.get("Retry-After")
            response.read()
        connection.close()
    assert statuses[:2] == [200, 200]
    assert statuses[-1] == 429
    assert retry_after == "1"
    assert held.board.tally().refused >= 1


def test_the_wire_knows_heads_etags_and_what_it_is_not() -> None:
    held = Generated(Settings(seed=3, products=20, text_bytes=6_000, etags=True))
    with GeneratedServer(held, latency=0.001) as server:
        connection = http.client.HTTPConnection(HOST, server.port)

        def ask(method: str, path: str, **headers: str) -> tuple[int, bytes, str | None, str | None]:
            connection.request(method, path, headers=headers, body=b"{}" if method == "POST" else None)
            response = connection.getresponse()
            tag, length = response.headers.get("ETag"), response.headers.get("Content-Length")
            return response.status, response.read(), tag, length

        path = f"/cima/rest/medicamento?nregistro={quote(held.numbers()[0])}"
        status, body, tag, _ = ask("GET", path)
        assert (status, bool(body), bool(tag)) == (200, True, True)
        assert ask("GET", path, **{"If-None-Match": tag or ""})[:2] == (304, b"")
        assert ask("HEAD", path)[1:] == (b"", tag, str(len(body)))
        assert ask("POST", path)[:2] == (200, body)
        assert ask("DELETE", path)[0] == 405
        assert ask("GET", "/cima/rest/medicamento?nregistro=0")[0] == 204
        assert ask("GET", "/elsewhere")[0] == 404
        connection.close()


def test_processes_share_a_port_and_their_nights() -> None:
    arguments = ("--seed", "3", "--products", "40", "--text-bytes", "6000", "--workers", "2", "--latency", "1")
    with GeneratedProcess(*arguments) as served:
        assert served.call("POST", "night?changes=12")["night"] == 1
        own = Generated(Settings(seed=3, products=40, text_bytes=6_000))
        own.pass_night(12)
        for number in own.numbers()[:12]:  # each over a connection of its own: any process may answer it
            with DIRECT.open(f"{served.base_url}/medicamento?nregistro={quote(number)}") as response:
                assert json.load(response)["nombre"] == own.truth(number).name
                assert response.headers["Date"] == own.now()
        status = served.call("GET", "")
        assert status["requests"] == 12
        assert status["known"] == len(own.numbers())
        with pytest.raises(urllib.error.HTTPError) as refused:
            served.call("POST", "night?nights=none")
        assert refused.value.code == 400
        refused.value.close()
    assert served.process.returncode == 0
