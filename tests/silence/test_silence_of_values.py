"""Values that hold a secret or a body do not show it, whoever prints them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from jobs.cli.voice import Voice
from jobs.config.load import load_configuration
from jobs.config.secret import Secrets, SecretUrl
from jobs.findings import Finding
from jobs.looking import Where
from jobs.reporting.place import Place
from jobs.wiring import Asked, make_sink, make_source, target
from sinks.fhir.documents import Reply
from sinks.fhir.wire import Request
from store.engine import connect, parse
from store.handle import open_store
from store.packing import Payload
from tests.silence.errands import LOST, Desk
from tests.silence.listening import Heard
from tests.silence.markers import PEOPLE, SECRETS, words_of
from tests.silence.town import REGISTER
from tsi_fetch.clock import SystemClock
from tsi_fetch.errors import SettingError
from tsi_fetch.http.authenticate import Credential
from tsi_fetch.http.chain import ChainOptions
from tsi_fetch.http.wire import Wire
from tsi_fetch.words import Answer, Fault, Held, Quarantined, Ref, Row, Upsert, Waiting, Write, WriteAction

BODY = f'{{"name": "{PEOPLE["mapped"]}"}}'.encode()
REF = Ref("Patient", "p-mapped")
NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)


def _of_the_core() -> Iterator[Any]:
    answer = Answer("patient", f"{REGISTER}/patient/mapped", 200, BODY, NOW)
    row = Row("mapped", (answer,))
    yield from (answer, row, Upsert(REF, BODY, "mapped", 1), Held(REF, "1", BODY))
    yield Write(REF, WriteAction.PUT, None, BODY)
    yield Waiting(REF, BODY, "mapped", "mapped", 1, 1, frozenset())
    yield Quarantined("mapped", b"1", Fault("a", "b", "c"), row, REF, BODY)
    yield from (Payload(row, BODY), Request("POST", "", BODY))
    yield Reply.of(httpx.Response(422, content=BODY, headers={"X-Patient": PEOPLE["mapped"]}))


def _of_the_command_line(desk: Desk) -> Iterator[Any]:
    secrets = Secrets()
    configuration = load_configuration(secrets=secrets)
    voice = Voice()
    voice.secrets = secrets
    yield from (voice, vars(voice), secrets, configuration, configuration.settings, SecretUrl(LOST))
    yield from (Asked("plain", store=LOST, sink="out"), Where(None, secrets, LOST), Place(None, LOST, "out"))
    yield Finding("a store", 75, str(SecretUrl(LOST)))
    for job in ("plain", "file", "env", "cima"):
        to = target(configuration, Asked(job), None)
        yield from (to, configuration.source(job), configuration.job(job), configuration.store_of(job))
        with closing(make_sink(to, SystemClock(), run_id="r", job=job, store_id="s")) as sink:
            yield from (sink, vars(sink))
        source: Any = make_source(configuration, job, SystemClock())
        with closing(source):
            yield from (source, vars(source))


def _of_the_wires() -> Iterator[Any]:
    credential = Credential("query", SECRETS["source key"], REGISTER, "api_key")
    yield from (credential, ChainOptions(origins=(REGISTER,), credential=credential))
    with closing(Wire()) as wire:
        pool = wire._pool(httpx.URL(REGISTER))
        yield from (wire, vars(wire), pool, vars(pool))


def _of_the_stores(desk: Desk) -> Iterator[Any]:
    for url in (LOST, desk.postgres, f"{desk.postgres}&sslpassword={SECRETS['lost store']}"):
        database = connect(parse(url))
        yield from (database, database.shown, database.engine, database.engine.url)
        database.close()
    with open_store(desk.postgres) as stored:
        yield from (stored, vars(stored), stored.url)


def test_no_value_shows_what_it_holds(desk: Desk, heard: Heard) -> None:
    shown = Heard()
    for values in (_of_the_core(), _of_the_command_line(desk), _of_the_wires(), _of_the_stores(desk)):
        for value in values:
            shown.add("reprs", type(value).__name__, f"{value!r}\n{value}")
    assert len(shown.texts["reprs"]) > 60
    for marker in (*SECRETS, *PEOPLE):
        assert shown.where("reprs", words_of(marker)) == [], marker


@pytest.mark.parametrize("url", [LOST.replace("127.0.0.1", "a@b"), "postgresql://u:p@w/x@h/d", "mysql://u:pass-w@h/d"])
def test_a_store_url_that_cannot_be_used_is_refused_without_it(url: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse(url)
    said = f"{caught.value}{caught.value.hint}{caught.value!r}"
    assert not any(part in said for part in ("Lost", "Word", "w/x", "pass-w"))
