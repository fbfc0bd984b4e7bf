"""A store and a real server that have come apart are compared and brought together again, on both releases.

What happens to the servers here needs no restart: resources and markers are edited and deleted, stores are lost and put
back.  Locations, which no other suite has, keep the listings short.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from document_source import DocumentSource
from fhir_trial import Look, Trial, own_prefix

from dev.cima_server import Register, Server
from tests.servers.conversation import Fhir
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.reconcile import Comparison
from tsi_fetch.words import Json, Ref

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[2]
HOUSE, COUNT = "house", 250
SEARCHES = 2  # 250 versions, 200 at a time


def a_room(prefix: str, number: int, **members: Json) -> bytes:
    """A Location within the house."""
    house = {"reference": f"Location/{prefix}-{HOUSE}"}
    return dump({"resourceType": "Location", "id": f"{prefix}-{number:03}", "partOf": house, **members})


class Scene:
    """A house with rooms, loaded whole."""

    def __init__(self, fhir: Fhir, folder: Path, count: int) -> None:
        self.prefix, self.folder, self.fhir = own_prefix(), folder, fhir
        self.source, self.look = DocumentSource(batch=100), Look(fhir.url)
        self.source.give_each(a_room(self.prefix, n, name=f"room {n}") for n in range(count - 1))
        self.source.give_each([dump({"resourceType": "Location", "id": f"{self.prefix}-{HOUSE}", "name": "house"})])
        self.trial = self.over_a_new_store()
        assert self.trial.run().exit_code == 0

    def over_a_new_store(self) -> Trial:
        return Trial(self.folder, self.fhir.url, self.source, self.fhir.release)

    def room(self, number: int) -> Ref:
        return Ref("Location", f"{self.prefix}-{number:03}")

    def change(self, number: int) -> None:
        """The source has something new to say of a room."""
        self.source.give(str(self.room(number)), a_room(self.prefix, number, name=f"room {number}, painted"))

    def somebody_edits(self, number: int) -> None:
        self.look.put(a_room(self.prefix, number, name="somebody's"))

    def somebody_touches(self, number: int) -> None:
        """Edited, and put back: another version with the same content."""
        self.somebody_edits(number)
        self.look.put(self.source.resources()[self.room(number)])

    def versions(self, *numbers: int) -> set[str]:
        return self.look.versions([self.room(n) for n in numbers])

    def lives(self, number: int) -> int:
        """How many versions a room had, deletions among them (HAPI leaves a number out where one comes back)."""
        return len(self.look.history(self.room(number)))


def kinds(found: Comparison) -> dict[str, int]:
    """How many differ, by how."""
    return {kind: found.total(kind) for kind in ("missing", "changed", "ours", "back", "touched") if found.total(kind)}


def in_step(trial: Trial) -> None:
    found = trial.reconcile()
    assert (found.exit_code, kinds(found), found.marking.trouble) == (0, {}, "")


def test_versions_are_compared_in_bulk_and_bodies_only_where_they_differ(fhir: Fhir, tmp_path: Path) -> None:
    scene = Scene(fhir, tmp_path, COUNT)
    trial = scene.trial
    in_step(trial)
    assert (len(trial.sent.versions), trial.sent.bodies) == (SEARCHES, [])
    scene.somebody_edits(3)
    scene.somebody_touches(5)
    scene.look.delete(scene.room(7))
    found = trial.reconcile()
    assert (found.exit_code, kinds(found)) == (65, {"missing": 1, "changed": 1, "touched": 1})
    assert found.named["changed"] == (str(scene.room(3)),)
    assert len(trial.sent.versions) == SEARCHES
    assert [sorted(ids) for ids in trial.sent.bodies] == [[scene.room(3).id, scene.room(5).id]]
    fixed = trial.reconcile(fix=True)
    assert (fixed.exit_code, trial.sent.transactions) == (0, 0)
    report = trial.run(on_existing="adopt")
    assert (report.outcome, report.exit_code) == ("done", 0), report.reasons
    assert report.counts["Location"].get("created", 0) + report.counts["Location"].get("updated", 0) == 2, report.counts
    assert scene.look.differs(scene.source.resources()) == []
    assert [scene.lives(n) for n in (3, 5, 7, 4)] == [3, 3, 3, 1]
    in_step(trial)


def test_a_server_without_marker_and_half_its_rooms_is_refused_and_mended(fhir: Fhir, tmp_path: Path) -> None:
    scene = Scene(fhir, tmp_path, 20)
    trial, lost = scene.trial, range(0, 18, 2)
    for ref in (trial.marker, *(scene.room(n) for n in lost)):
        scene.look.delete(ref)
    scene.change(1)
    report = trial.run()
    assert (report.outcome, report.exit_code, trial.sent.transactions) == ("failed", 77, 0), report.reasons
    assert "reconcile" in str(report.reasons)
    found = trial.reconcile()
    assert (found.exit_code, kinds(found)) == (65, {"missing": len(lost)})
    assert found.marking.trouble
    assert trial.reconcile(fix=True).exit_code == 0
    report = trial.run()
    assert (report.outcome, report.exit_code) == ("done", 0), report.reasons
    assert scene.look.differs(scene.source.resources()) == []
    assert {scene.lives(n) for n in lost} == {3}
    assert (scene.versions(1), scene.versions(3, 5, 7)) == ({"2"}, {"1"})
    in_step(trial)


def test_an_empty_store_adopts_what_is_equal_and_calls_the_rest_foreign(fhir: Fhir, tmp_path: Path) -> None:
    scene = Scene(fhir, tmp_path, 20)
    scene.somebody_edits(3)
    new = scene.over_a_new_store()
    found = new.reconcile()
    assert (found.exit_code, kinds(found), found.marking.trouble) == (0, {}, "")
    assert found.total("unknown") >= 20
    assert (new.reconcile(fix=True).mended, new.sent.transactions) == (None, 0)
    report = new.run()
    assert (report.exit_code, [t.code for t in report.quarantined]) == (65, ["foreign"]), report.reasons
    assert (scene.versions(3), scene.versions(*range(3), *range(4, 19))) == ({"2"}, {"1"})
    in_step(new)
    assert new.reconcile().total("in step") == 19


def test_a_store_put_back_from_a_copy_learns_what_it_forgot_and_writes_nothing_twice(
    fhir: Fhir, tmp_path: Path
) -> None:
    scene = Scene(fhir, tmp_path, 20)
    trial = scene.trial
    copy = shutil.copy(trial.file, tmp_path / "copy.db")
    for number in (2, 4):
        scene.change(number)
    assert trial.run().exit_code == 0
    shutil.copy(copy, trial.file)
    report = trial.run()
    assert (report.outcome, report.exit_code, trial.sent.transactions) == ("failed", 77, 0), report.reasons
    found = trial.reconcile()
    assert (found.exit_code, found.differences) == (65, 2), found.counts
    assert trial.reconcile(fix=True).exit_code == 0
    report = trial.run()
    assert (report.outcome, report.exit_code) == ("done", 0), (report.reasons, report.quarantined)
    assert scene.look.differs(scene.source.resources()) == []
    assert (scene.versions(2, 4), scene.versions(1, 3)) == ({"2"}, {"1"})
    in_step(trial)


JOB_FILE = """
stores: {{main: {{url: "sqlite:///{folder}/store.db"}}}}
sinks: {{epi: {{kind: fhir, url: "{hapi}"}}}}
jobs:
  cima:
    source: {{kind: cima, base_url: "{register}", rate: 50}}
    sink: epi
    store: main
    schedule: "30 9 * * *"
    timezone: Europe/Madrid
    identity: prefix
    prefix: {prefix}
"""


def test_the_command_is_the_way_out_of_exit_code_77(hapi: str, tmp_path: Path) -> None:
    register = Register.of_folder(ROOT / "tests" / "recorded" / "cima" / "bodies")
    with Server(register) as server:
        file = tmp_path / "jobs.yaml"
        file.write_text(JOB_FILE.format(folder=tmp_path, hapi=hapi, register=server.base_url, prefix=own_prefix()))

        def tsi_fetch(*arguments: str) -> tuple[int, Any]:
            command = [sys.executable, "-m", "jobs", *arguments, "--config", str(file), "--json"]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
            return done.returncode, json.loads(done.stdout)

        assert tsi_fetch("run", "cima")[0] == 0
        code, found = tsi_fetch("reconcile", "cima")
        assert (code, found["result"]) == (0, "in step")
        Look(hapi).delete(Ref.parse(f"Device/{found['marker']['name']}"))
        assert tsi_fetch("run", "cima")[0] == 77
        assert tsi_fetch("reconcile", "cima")[0] == 65
        code, found = tsi_fetch("reconcile", "cima", "--fix", "--yes")
        assert (code, found["result"]) == (0, "mended")
        assert tsi_fetch("run", "cima")[0] == 0
        assert tsi_fetch("reconcile", "cima")[0] == 0
