"""The made-up register's answers have the members and types of recorded ones (Fuente: AEMPS/CIMA)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from dev.cima.generated import Generated, Settings
from dev.cima_server import BASE

pytestmark = pytest.mark.samples

Shape = dict[str, set[str]]
"""Of each path into an answer the JSON types it was seen with."""


@pytest.fixture
def samples() -> Path:
    folder = os.environ.get("TSI_SAMPLES")
    if not folder:
        pytest.skip("TSI_SAMPLES is not set: no recorded answers of the real register")
    return Path(folder) / "cima"


@pytest.fixture(scope="module")
def register() -> Generated:
    held = Generated(Settings(seed=5, products=400, text_bytes=8_000))
    for _ in range(6):
        held.pass_night(60)
    return held


def shape(values: Iterable[Any]) -> Shape:
    found: Shape = {}
    for value in values:
        _walk(value, "$", found)
    return found


def _walk(value: Any, path: str, found: Shape) -> None:
    found.setdefault(path, set()).add(type(value).__name__)
    if isinstance(value, dict):
        for name, child in value.items():
            _walk(child, f"{path}.{name}", found)
    elif isinstance(value, list):
        for child in value:
            _walk(child, f"{path}[]", found)


def answers(register: Generated, calls: Iterable[str]) -> list[Any]:
    replies = [register.answer(f"{BASE}/{call}") for call in calls]
    return [json.loads(reply.body) for reply in replies if reply.status == 200]


def recorded(samples: Path, *patterns: str) -> list[Any]:
    files = sorted(file for pattern in patterns for file in samples.glob(pattern))
    assert files
    return [json.loads(file.read_bytes()) for file in files]


def agree(ours: Shape, real: Shape, *, also: frozenset[str] = frozenset()) -> None:
    """Each has no member that the other lacks, but for `also` (documented, and not in the few recorded answers)."""
    assert {path for path in real if path not in ours} == set()
    assert {path for path in ours if path not in real and path.rpartition(".")[2] not in also} == set()
    assert {path: types for path, types in ours.items() if path in real and not types <= real[path]} == {}


STATES = frozenset({"susp", "rev", "labcomercializador"})


def numbered(register: Generated, call: str) -> list[str]:
    return [f"{call}?nregistro={quote(number)}" for number in register.numbers()]


def codes(register: Generated) -> list[str]:
    return [cn for number in register.numbers() for cn in register.truth(number).packs or ()]


def test_a_product_has_the_recorded_shape(samples: Path, register: Generated) -> None:
    real = shape(recorded(samples, "medicamento_*.json"))
    agree(shape(answers(register, numbered(register, "medicamento"))), real, also=STATES)


def test_a_row_of_the_listing_has_the_recorded_shape(samples: Path, register: Generated) -> None:
    real = shape(
        recorded(samples, "medicamentos_item_*.json") + recorded(samples, "medicamentos_page.json")[0]["resultados"]
    )
    rows = [
        row
        for page in answers(register, ("medicamentos?pagina=1", "medicamentos?pagina=2"))
        for row in page["resultados"]
    ]
    agree(shape(rows), real, also=STATES)


def test_a_page_has_the_recorded_envelope(samples: Path, register: Generated) -> None:
    real = recorded(samples, "medicamentos_page.json")[0]
    (page,) = answers(register, ["medicamentos?pagina=1"])
    assert list(page) == list(real)


def test_a_pack_has_the_recorded_shape(samples: Path, register: Generated) -> None:
    real = shape(recorded(samples, "presentacion_*.json"))
    ours = shape(answers(register, [f"presentacion/{cn}" for cn in codes(register)[:150]]))
    agree(ours, real, also=STATES | {"urlHtml", "fecha"})


def test_documents_have_the_recorded_shape(samples: Path, register: Generated) -> None:
    for call in ("contenido", "secciones"):
        real = shape(recorded(samples, f"docSegmentado_reconstructed/*_{call}.json"))
        kinds = [f"docSegmentado/{call}/{kind}" for kind in (1, 2)]
        agree(shape(answers(register, [c for kind in kinds for c in numbered(register, kind)[:40]])), real)


def test_the_feed_has_the_recorded_shape(samples: Path, register: Generated) -> None:
    real = shape(recorded(samples, "registroCambios_2026/*.json"))
    agree(shape(answers(register, ["registroCambios?fecha=01/03/2026"])), real)


def test_notes_and_materials_have_the_recorded_shape(samples: Path, register: Generated) -> None:
    notes = [note for answer in answers(register, numbered(register, "notas")) for note in answer]
    agree(shape(notes), shape(recorded(samples, "nota_item.json")))
    materials = [m for answer in answers(register, numbered(register, "materiales")) for m in answer]
    agree(shape(materials), shape(recorded(samples, "material_item.json")))


def test_supply_problems_have_the_recorded_shape(samples: Path, register: Generated) -> None:
    real = shape(recorded(samples, "psuministro_v2/cn_*_200_*.json"))
    agree(shape(answers(register, [f"psuministro/v2/cn/{cn}" for cn in codes(register)])), real, also=STATES)
