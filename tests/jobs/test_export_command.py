"""`tsi-fetch export` writes what a job has on its sink: whole or not at all, and byte for byte."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from served_fhir import ServedFhir

from jobs import exporting
from jobs.config.load import load_configuration
from jobs.exporting import MANIFEST, Ears, export, one_line
from jobs.wiring import Asked
from tests.sinks.fake_hapi import FakeHapi, answer, works
from tsi_fetch.clock import StopSignal
from tsi_fetch.errors import Stopped

LOADED = 49
LEAFLET = "Composition/es-aemps-comp-p-99001"


def _lines(folder: Path, kind: str) -> dict[str, bytes]:
    """The lines of a type's file, by id."""
    lines = (folder / f"{kind}.ndjson").read_bytes().splitlines()
    return {json.loads(line)["id"]: line for line in lines}


def _manifest(folder: Path) -> Any:
    return json.loads((folder / MANIFEST).read_text())


@pytest.fixture
def loaded(desk: Any) -> Any:
    assert desk.run("run", "cima", "--json")[0] == 0
    return desk


def test_every_live_resource_is_a_line_and_the_manifest_counts_them(loaded: Any) -> None:
    to = loaded.folder / "copy"
    code, out, _ = loaded.run("export", "cima", str(to))
    assert code == 0
    assert out.startswith(f"cima: {LOADED} resources of out are in {to}")
    manifest = _manifest(to)
    assert (manifest["job"], manifest["sink"], manifest["whole"]) == ("cima", "out", True)
    for output in manifest["output"]:
        body = (to / output["file"]).read_bytes()
        assert (output["count"], output["bytes"]) == (body.count(b"\n"), len(body))
        assert output["sha256"] == hashlib.sha256(body).hexdigest()
        for ident, line in _lines(to, output["type"]).items():
            there = (loaded.out / output["type"] / f"{ident}.json").read_bytes()
            assert msgspec.json.format(line, indent=2) + b"\n" == there
    names = {output["file"] for output in manifest["output"]} | {MANIFEST}
    assert {path.name for path in to.iterdir()} == names
    assert sum(output["count"] for output in manifest["output"]) == LOADED


def test_numbers_and_escapes_are_as_they_were_written() -> None:
    body = b'\xef\xbb\xbf{ "v" : 1.00,\n "w":[ 1e2 , 12345678901234567890123 ],\r\n"s" : "a  b\\u00e9\\n: 1.0 , " }\n'
    assert one_line(body) == b'{"v":1.00,"w":[1e2,12345678901234567890123],"s":"a  b\\u00e9\\n: 1.0 , "}'
    assert one_line(b"{oops") is None
    assert one_line(b"") is None


def test_only_some_types_and_none_that_the_job_never_wrote(loaded: Any) -> None:
    to = loaded.folder / "copy"
    code, out, _ = loaded.run("export", "cima", str(to), "--type", "Bundle", "--type", "List", "--json")
    assert (code, [output["type"] for output in json.loads(out)["output"]]) == (0, ["Bundle", "List"])
    code, _, err = loaded.run("export", "cima", str(loaded.folder / "no"), "--type", "Bundel", "--log", "text")
    assert (code, "never written a Bundel" in err, "Bundle" in err) == (2, True, True)
    assert not (loaded.folder / "no").exists()


def test_a_folder_that_holds_something_is_left_alone(loaded: Any) -> None:
    to = loaded.folder / "copy"
    to.mkdir()
    assert loaded.run("export", "cima", str(to), "--json")[0] == 0  # an empty one is fine
    before = {path.name: path.read_bytes() for path in to.iterdir()}
    code, _, err = loaded.run("export", "cima", str(to), "--log", "text")
    assert (code, "is not empty" in err) == (2, True)
    assert {path.name: path.read_bytes() for path in to.iterdir()} == before
    other = loaded.folder / "killed"
    other.mkdir()
    (other / ".Bundle.ndjson.part").write_text("{}")
    code, _, err = loaded.run("export", "cima", str(other), "--log", "text")
    assert (code, "cut short" in err) == (2, True)


def test_a_path_that_cannot_be_a_folder_is_a_setting_error(loaded: Any) -> None:
    (loaded.folder / "file").write_text("")
    code, _, err = loaded.run("export", "cima", str(loaded.folder / "file" / "copy"), "--log", "text")
    assert (code, "cannot be" in err) == (78, True)


def test_what_is_missing_or_changed_is_told_and_65(loaded: Any) -> None:
    (loaded.out / "List" / "es-aemps-list-99001.json").unlink()
    file = loaded.out / f"{LEAFLET}.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "title": "somebody's"}))
    broken = loaded.out / "Organization" / "es-aemps-org-aemps.json"
    broken.write_text("{oops")
    to = loaded.folder / "copy"
    code, out, _ = loaded.run("export", "cima", str(to), "--log", "text")
    assert code == 65
    assert "1 missing (exit code 65)" in out
    assert out.startswith(f"cima: {LOADED - 2} resources of out are in {to}")
    assert out.count("Organization/es-aemps-org-aemps") == 1
    assert "→ tsi-fetch reconcile cima" in out
    manifest = _manifest(to)
    assert manifest["whole"] is False
    named = {kind: of["named"] for kind, of in manifest["differences"].items()}
    assert named == {
        "missing": ["List/es-aemps-list-99001"],
        "another version": [LEAFLET],
        "not JSON": ["Organization/es-aemps-org-aemps"],
    }
    assert json.loads(_lines(to, "Composition")["es-aemps-comp-p-99001"])["title"] == "somebody's"
    assert "es-aemps-list-99001" not in _lines(to, "List")


def test_before_the_first_run_there_is_nothing_to_export(desk: Any) -> None:
    code, _, err = desk.run("export", "cima", str(desk.folder / "copy"), "--log", "text")
    assert (code, "there is no store at" in err) == (78, True)
    desk.run("db", "upgrade")
    code, _, err = desk.run("export", "cima", str(desk.folder / "copy"), "--log", "text")
    assert (code, "nothing to export" in err) == (2, True)
    assert not (desk.folder / "copy").exists()


def test_a_server_is_exported_as_it_answers(desk: Any) -> None:
    with ServedFhir(FakeHapi(offers={})) as served:
        _served(desk, served)
        assert desk.run("run", "cima", "--json")[0] == 0
        to = desk.folder / "copy"
        assert desk.run("export", "cima", str(to), "--json")[0] == 0
    line = json.loads(_lines(to, "Composition")["es-aemps-comp-p-99001"])
    assert line["meta"]["versionId"] == "1"
    assert sum(output["count"] for output in _manifest(to)["output"]) == LOADED


def _served(desk: Any, served: ServedFhir) -> None:
    """The job writes to this server, which is asked once."""
    file = desk.folder / "jobs.yaml"
    folder = f'out: {{kind: folder, path: "{desk.folder}/out"}}'
    file.write_text(file.read_text().replace(folder, f'out: {{kind: fhir, url: "{served.url}", attempts: 1}}'))


def test_an_export_that_ends_early_leaves_nothing(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "BODIES", 5)
    to = desk.folder / "copy"
    with ServedFhir(FakeHapi(offers={})) as served:
        _served(desk, served)
        assert desk.run("run", "cima", "--json")[0] == 0
        for exists in (False, True):
            served.hapi.faults = [works] * 9 + [answer(503)] * 9
            code, _, err = desk.run("export", "cima", str(to), "--log", "text")
            assert (code, "what to do" in err, to.exists()) == (75, True, exists)
            served.hapi.faults = []
            to.mkdir(exist_ok=True)
            assert list(to.iterdir()) == []
        _stopped_half_way(desk, served, to)


def _stopped_half_way(desk: Any, served: ServedFhir, to: Path) -> None:
    """A signal arrives while the server answers."""
    stop, half_way = StopSignal(), len(served.hapi.requests) + 9
    asked = Asked("cima", config=desk.folder / "jobs.yaml")

    def signal(request: httpx.Request) -> None:
        stop.set(15)

    served.hapi.faults = [*[works] * 8, signal]
    with pytest.raises(Stopped):
        export(load_configuration(asked.config), asked, to, (), Ears(stop, lambda *_: None))
    assert len(served.hapi.requests) >= half_way
    assert list(to.iterdir()) == []


def test_the_store_is_only_read(loaded: Any) -> None:
    store = loaded.folder / "store.db"
    before = store.read_bytes()
    loaded.run("export", "cima", str(loaded.folder / "copy"))
    assert store.read_bytes() == before
