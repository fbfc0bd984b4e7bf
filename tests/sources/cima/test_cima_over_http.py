"""The source over real HTTP on this machine, recorded and replayed."""

from __future__ import annotations

import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fake_cima import BODIES, at, changed, register
from still_clock import StillClock

from dev.cima_server import Register, Reply, Server
from sources.cima.answers import parsed
from sources.cima.mapping.composition import SOURCE
from sources.cima.options import CimaOptions
from sources.cima.source import Cima
from tsi_fetch.errors import NotRecorded
from tsi_fetch.http.meter import Meter
from tsi_fetch.http.record import Recorder
from tsi_fetch.http.recording import Recording
from tsi_fetch.words import Answer, Batch, KeyPage

NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own proxy settings must not decide."""
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def upstream() -> Register:
    rows = [changed(nr, "2026-03-09T08:55:00+01:00", "ft") for nr in ("99001", "99 003-95-96", "404404")]
    held = register(feed=rows, date=NOON, page_size=2)
    held.instead("medicamento?nregistro=99001", Reply(503), Reply(200, b"<html></html>"))
    held.instead("presentacion/999301", *[Reply(500)] * 9)
    return held


def everything(source: Cima) -> tuple[list[KeyPage], list[Batch], list[Batch]]:
    return list(source.keys()), list(source.pull(at("2026-03-10"), NOON)), list(source.fetch(["1998001001"]))


def options(url: str, connections: int) -> CimaOptions:
    return CimaOptions(base_url=url, rate=50, connections=connections, attempts=3, batch=2)


@pytest.mark.parametrize("recording_connections", [1, 8])
@pytest.mark.parametrize("replaying_connections", [1, 8])
def test_a_replay_gives_exactly_what_the_run_saw(
    tmp_path: Path, recording_connections: int, replaying_connections: int
) -> None:
    clock, meter = StillClock(NOON), Meter()
    with Server(upstream()) as server:
        recorder = Recorder(tmp_path / "r", "cima", clock, attribution=SOURCE)
        live = Cima(options(server.base_url, recording_connections), clock, recorder=recorder, meter=meter)
        seen = everything(live)
        live.close()
        recorder.close()
    recording, again = Recording.open(tmp_path / "r"), Meter()
    source = Cima(options(server.base_url, replaying_connections), recording.clock(), recording=recording, meter=again)
    assert everything(source) == seen
    assert again.by_host() == meter.by_host()
    assert sum(row.unfetched is not None for batch in seen[1] for row in batch.rows) == 1


def test_a_replay_with_other_options_names_what_is_missing(tmp_path: Path) -> None:
    clock = StillClock(NOON)
    with Server(upstream()) as server:
        recorder = Recorder(tmp_path / "r", "cima", clock)
        live = Cima(options(server.base_url, 1), clock, recorder=recorder)
        list(live.keys())
        live.close()
        recorder.close()
    source = Cima(options(server.base_url, 1), clock, recording=Recording.open(tmp_path / "r"))
    with pytest.raises(NotRecorded, match="registroCambios"):
        next(source.pull(at("2026-03-10"), NOON))


def test_the_server_refuses_xml_and_unknown_paths_and_says_its_own_date() -> None:
    with Server(register(date=NOON)) as server:
        with urllib.request.urlopen(f"{server.base_url}/medicamento?nregistro=99001") as response:
            assert response.headers["Date"] == "Tue, 10 Mar 2026 12:00:00 GMT"
            body = response.read()
        answer = Answer("medicamento", server.base_url, 200, body, NOON)
        assert parsed(answer)["nregistro"] == "99001"
        for path, accept, status in (("/medicamento", "application/xml", 406), ("/nothing", "*/*", 404)):
            request = urllib.request.Request(server.base_url + path, headers={"Accept": accept})
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request)
            assert refused.value.code == status
            refused.value.close()


def test_the_server_reads_a_folder_of_bodies() -> None:
    held = Register.of_folder(BODIES)
    assert len(held.products) == 3
    assert len(held.presentations) == 4
    assert sorted(held.contents) == [(1, "1998001001"), (1, "99001"), (2, "1998001001"), (2, "99001")]
