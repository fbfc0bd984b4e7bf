"""Every resource of the fixtures, of the shipped recording, and of the real answers at hand, by HL7's own schema."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sources.cima.mapping import to_changes
from sources.cima.mapping.side import side_resources
from tests.tsi_fetch.fhir.r5.schema import faults
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.words import Answer, Row, Upsert

EXPECTED = Path(__file__).parents[4] / "jobs" / "recordings" / "cima" / "expected" / "resources"
BODIES = Path(__file__).parents[3] / "recorded" / "cima" / "bodies"

MakeRow = Callable[..., Row]


def mapped(row: Row) -> dict[str, Any]:
    """What a row becomes, by reference, once the schema has passed it."""
    bodies = {str(change.ref): change.body for change in to_changes(row) if isinstance(change, Upsert)}
    assert [fault for body in bodies.values() for fault in faults(body)] == []
    return {ref: json.loads(body) for ref, body in bodies.items()}


@pytest.mark.parametrize("number", ["99001", "1998001001", "99 003-95-96"])
@pytest.mark.parametrize(
    "estado", [{"aut": 0}, {"aut": 0, "susp": 1}, {"aut": 0, "rev": 1}, {"aut": -1_500_000_000_000}]
)
def test_the_fixtures_pass_in_every_standing(make_row: MakeRow, number: str, estado: dict[str, int]) -> None:
    found = mapped(make_row(number, estado=estado)).values()
    assert sum(r["resourceType"] == "MedicinalProductDefinition" for r in found) == 1


def test_the_shipped_recording_passes() -> None:
    paths = sorted(EXPECTED.rglob("*.json"))
    assert len(paths) > 40
    assert [fault for path in paths for fault in faults(path.read_bytes())] == []


SIDES = {"notas_99001": "notas", "materiales_99001": "materiales", "psuministro_999102": "psuministro/999102"}


@pytest.mark.parametrize("name", SIDES)
def test_side_answers_pass(body: Callable[[str], Any], answer: Callable[..., Answer], name: str) -> None:
    found = side_resources("99001", answer(SIDES[name], body(name)))
    assert found
    assert [fault for resource in found for fault in faults(dump(resource))] == []


@pytest.mark.samples
def test_every_recorded_side_answer_passes(samples: Path, answer: Callable[..., Answer]) -> None:
    """Notes, materials and supply problems as they were recorded, or printed in the register's own description."""
    made: Counter[str] = Counter()
    for name, part in (("nota_item", "notas"), ("material_item", "materiales")):
        item = json.loads((samples / f"{name}.json").read_bytes())
        made.update(passed(answer(part, item if isinstance(item, list) else [item]), part))
    for path in sorted((samples / "psuministro_v2").glob("cn_*_200_*.json")):
        found = json.loads(path.read_bytes())
        made.update(passed(answer(f"psuministro/{found['cn']}", found), "psuministro"))
    for path in sorted(samples.glob("psuministro_page*.json")):
        for found in json.loads(path.read_bytes())["resultados"]:
            made.update(passed(answer(f"psuministro/{found['cn']}", found), "psuministro page"))
    assert made["notas"] >= 1
    assert made["materiales"] >= 1
    assert made["psuministro page"] >= 20


def passed(given: Answer, kind: str) -> list[str]:
    resources = side_resources("54347", given)
    assert [fault for resource in resources for fault in faults(dump(resource))] == []
    return [kind for _ in resources]
