"""A job with a prefix: everything it writes has its ids, and a change of them maps everything anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tsi_fetch.fhir.references import references
from tsi_fetch.words import Ref


def _settings(desk: Any, lines: str) -> None:
    """The job's settings, and these."""
    file = desk.folder / "jobs.yaml"
    kept = [line for line in file.read_text().splitlines() if not line.strip().startswith(("identity:", "prefix:"))]
    file.write_text("\n".join([*kept, *(f"    {line}" for line in lines.split("; "))]) + "\n")


def _resources(folder: Path) -> dict[Ref, bytes]:
    files = [file for file in folder.rglob("*.json") if not file.name.startswith(".")]
    return {Ref(file.parent.name, file.stem): file.read_bytes() for file in files}


def _retired(body: bytes) -> bool:
    text = json.dumps(json.loads(body))
    return any(mark in text for mark in ('"retired"', '"deprecated"', '"superseded"', '"active": false'))


def _report(out: str) -> Any:
    return json.loads(out.splitlines()[-1])


def test_a_prefix_stands_before_every_id_and_in_every_reference(desk: Any) -> None:
    _settings(desk, "identity: prefix; prefix: es")
    code, out, _ = desk.run("run", "cima", "--json")
    assert (code, _report(out)["troubles"]) == (0, 0)
    found = _resources(desk.out)
    assert len(found) == 49
    assert all(ref.id.startswith("es-") and json.loads(body)["id"] == ref.id for ref, body in found.items())
    assert {ref for body in found.values() for ref in references(body)} <= found.keys()
    assert any(references(body) for body in found.values())


def test_without_a_prefix_of_its_own_the_jobs_name_is_taken_and_the_next_run_changes_nothing(desk: Any) -> None:
    _settings(desk, "identity: prefix")
    desk.run("run", "cima", "--json")
    found = _resources(desk.out)
    assert len(found) == 49
    assert all(ref.id.startswith("cima-es-aemps-") for ref in found)
    code, out, _ = desk.run("run", "cima", "--full", "--json")
    assert (code, set(_report(out)["counts"]["Bundle"])) == (0, {"unchanged"})
    assert _resources(desk.out) == found


def test_another_identity_maps_everything_anew_and_the_guard_asks_before_the_old_ones_go(desk: Any) -> None:
    desk.run("run", "cima", "--json")
    before = _resources(desk.out)
    _settings(desk, "identity: prefix; prefix: es")
    code, _, _ = desk.run("run", "cima", "--full", "--json")
    assert code == 77
    assert {ref: body for ref, body in _resources(desk.out).items() if ref in before} == before
    code, _, _ = desk.run("run", "cima", "--full", "--accept-vanish", "49", "--json")
    assert code == 0
    after = _resources(desk.out)
    assert {Ref(ref.type, f"es-{ref.id}") for ref in before} == after.keys() - before.keys()
    assert [str(ref) for ref in before if not _retired(after[ref])] == []
