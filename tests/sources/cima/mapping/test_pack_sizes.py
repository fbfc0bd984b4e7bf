"""What a presentation's name says of its size, and when it says nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sources.cima.mapping import to_changes
from sources.cima.mapping.package_size import size
from tsi_fetch.words import Row, Upsert

NAME = "FANTASINA QUIMERA 50 mg COMPRIMIDOS EFG"


def counted(value: int, unit: str, code: str) -> Any:
    return {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": code}


def said(rest: str, name: str = NAME) -> Any:
    """The size, numbers as tokens."""
    found = size(name, name + rest)
    if found is None:
        return None
    dump = {n: getattr(found, n) for n in ("items", "containers", "type", "counted", "each")}
    text = json.dumps(dump, default=lambda raw: bytes(raw).decode())
    return {n: value for n, value in json.loads(text).items() if value is not None}


def amounts(value: Any) -> Any:
    return None if value is None else (str(value["value"]), value["unit"], value["code"])


@pytest.mark.parametrize(
    ("rest", "count", "unit", "code"),
    [
        (", 28 comprimidos", 28, "comprimidos", "{tablet}"),
        (" , 10 comprimidos", 10, "comprimidos", "{tablet}"),
        (" 8 COMPRIMIDOS", 8, "COMPRIMIDOS", "{tablet}"),
        (", 14 cápsulas", 14, "cápsulas", "{capsule}"),
        (", 3 óvulos", 3, "óvulos", "{pessary}"),
        (", 1 comprimido", 1, "comprimido", "{tablet}"),
    ],
)
def test_items_are_counted(rest: str, count: int, unit: str, code: str) -> None:
    assert said(rest) == {"items": {**counted(count, unit, code), "value": str(count)}}


def test_a_container_in_brackets_is_a_type_and_no_number() -> None:
    found = said(", 28 comprimidos (monodosis) (Blister PVDC/PVC/Aluminio)")

    assert (found["type"], found["items"]["value"]) == ("pack-blister", "28")
    assert "containers" not in found
    assert "type" not in said(", 28 comprimidos (monodosis)")


@pytest.mark.parametrize(
    "notes",
    ["(blister o frasco)", "(BLISTER O TIRAS)", "(blister PVC o frasco de plastico)", "(frasco)(blister)",
     "(Blister/frasco)", "(blister / bote)", "(Blister y frasco)", "(blister, bote)", "(blister PVC/frasco)",
     "(blister en bolsa)"],
)  # fmt: skip
def test_what_may_be_one_container_or_another_has_no_type(notes: str) -> None:
    found = said(f", 28 comprimidos {notes}")

    assert found["items"]["value"] == "28"
    assert "type" not in found
    assert said(", 28 comprimidos (Blister PVC o PVDC)")["type"] == "pack-blister"


@pytest.mark.parametrize(
    ("rest", "containers", "kind", "each"),
    [
        (", 1 vial", 1, "pack-vial", None),
        (", 5 ampollas de 10 ml", 5, "pack-ampoule", ("10", "ml", "mL")),
        (", 5 ampollas de 10ml", 5, "pack-ampoule", ("10", "ml", "mL")),
        (", 1 jeringa precargada 0,3 ml", 1, "pack-pre-filled-syringe", ("0.3", "ml", "mL")),
        (", 1 tubo de 30 g", 1, "pack-tube", ("30", "g", "g")),
        (", 5 bolsas de 100 ml", 5, "pack-bag", ("100", "ml", "mL")),
        (", 30 sobres", 30, "pack-sachet", None),
        (" , 1 inhalador (120 pulsaciones)", 1, "pack-inhaler", None),
        (" 5 viales de 100 mg", 5, "pack-vial", None),
        (" 5 viales de 1 g", 5, "pack-vial", None),  # the substance's, as a rule
        (", 1 bala de gas de 15 l", 1, "pack-gas-cylinder", None),  # the cylinder's
        (", 1 frasco de 1.000 ml", 1, "pack-bottle", None),
    ],
)
def test_containers_are_counted_and_what_is_in_them_where_it_is_certain(
    rest: str, containers: int, kind: str, each: Any
) -> None:
    found = said(rest)

    assert (found["containers"], found["type"], amounts(found.get("each"))) == (containers, kind, each)
    assert found["counted"]["value"] == str(containers)


def test_a_container_of_items_holds_them_all_together() -> None:
    found = said(", 5 frascos de 100 comprimidos")

    assert (found["items"]["value"], found["each"]["value"], found["containers"]) == ("500", "100", 5)


@pytest.mark.parametrize(
    "rest",
    [
        "",
        ", ",
        ", 0 comprimidos",
        ", comprimidos",
        ", 28",
        ", 28 cosas",
        ", 28 comprimidosos",
        ", 28 comprimidos + 1 jeringa",
        ", 24 comprimidos activos y 4 comprimidos placebo",
        ", 24 comprimidos, 4 comprimidos",
        " 1 vial de polvo (cosa) + 1 jeringa precargada de disolvente",
        " 2 jeringas precargadas de 5 ml + 2 agujas",
        ", 1 vial de polvo",
        ", 1x120 pulverizaciones",
        ", 1.000 comprimidos",
        ", 30 comprimidos (28 + 2)",
        ", 28 comprimidos (24 activos y 4 placebo)",
        ", 7 comprimidos (4 de 5 mg y 3 de 10 mg)",
        ", 28 comprimidos (4 placebo)",
        ", 2 viales (1 polvo y 1 disolvente)",
        ", 2 viales (1 de disolvente)",
        ", 1 inhalador (120 pulsaciones) (2 cargas)",
        ", 30 sobres (15 sobres A y 15 sobres B)",
        ", 1 bolsa de 20 sobres",
        ", 10 blister de 5 ampollas",
        ", 1 frasco de 200 pulsaciones",
        ", 1 bolsa de 3 compartimentos",
        "5 comprimidos",
    ],
)
def test_other_sentences_say_nothing(rest: str) -> None:
    assert said(rest) is None


def test_a_name_that_is_not_the_products_says_nothing() -> None:
    assert size(NAME, "OTRA COSA, 28 comprimidos") is None
    assert size(NAME, None) is None
    assert size("", "28 comprimidos") is None


def test_accents_and_capitals_of_the_products_name_do_not_count() -> None:
    found = size("SOLUCIÓN  INYECTABLE", "Solucion inyectable, 1 vial")

    assert found is not None
    assert found.type == "pack-vial"


def packs(row: Row) -> list[Any]:
    made = [c for c in to_changes(row) if isinstance(c, Upsert) and c.ref.type == "PackagedProductDefinition"]
    return [json.loads(c.body) for c in made]


def test_a_pack_of_tablets_holds_them(make_row: Callable[..., Row]) -> None:
    found = packs(make_row("99001"))[0]
    tablets = counted(28, "comprimidos", "{tablet}")

    assert found["containedItemQuantity"] == [tablets]
    item = {"reference": {"reference": "ManufacturedItemDefinition/es-aemps-mid-99001"}}
    assert found["packaging"] == {"quantity": 1, "containedItem": [{"item": item, "amount": tablets}]}


def test_a_pack_of_syringes_holds_syringes_that_hold_the_item(make_row: Callable[..., Row]) -> None:
    (found,) = packs(make_row("1998001001"))
    (inner,) = found["packaging"]["packaging"]

    assert found["containedItemQuantity"][0]["code"] == "{syringe}"
    assert (inner["type"]["coding"][0]["display"], inner["quantity"]) == ("Pre-filled syringe", 1)
    assert inner["containedItem"][0]["amount"] == counted(1, "ml", "mL")


def test_a_concentrates_volume_is_its_own(make_row: Callable[..., Row], body: Callable[[str], Any]) -> None:
    pack = {**body("medicamento_99001")["presentaciones"][0], "nombre": f"{NAME}, 4 ampollas de 4 ml"}
    form = {"id": 1, "nombre": "CONCENTRADO PARA SOLUCIÓN PARA PERFUSIÓN"}

    (found,) = packs(make_row("99001", nombre=NAME, presentaciones=[pack], formaFarmaceutica=form))

    assert found["packaging"]["packaging"][0]["containedItem"][0]["amount"] == counted(4, "ml", "mL")


def test_a_powders_volume_is_what_becomes_of_it(make_row: Callable[..., Row], body: Callable[[str], Any]) -> None:
    name = "ZITRO 200 mg/5 ml POLVO PARA SUSPENSION ORAL"
    pack = {**body("medicamento_99001")["presentaciones"][0], "nombre": f"{name}, 1 frasco de 30 ml"}
    form = {"id": 1, "nombre": "POLVO PARA SUSPENSIÓN ORAL"}

    (found,) = packs(make_row("99001", nombre=name, presentaciones=[pack], formaFarmaceutica=form))

    (inner,) = found["packaging"]["packaging"]
    assert inner["quantity"] == 1
    assert "amount" not in inner["containedItem"][0]


def test_a_pack_whose_name_says_nothing_still_holds_the_item(
    make_row: Callable[..., Row], body: Callable[[str], Any]
) -> None:
    pack = {**body("medicamento_99001")["presentaciones"][0], "nombre": "algo"}

    (found,) = packs(make_row("99001", presentaciones=[pack]))

    assert "containedItemQuantity" not in found
    assert found["packaging"]["containedItem"][0].keys() == {"item"}


@pytest.mark.samples
def test_nine_of_ten_recorded_names_say_their_size(samples: Path) -> None:
    """Where the product's name ends is not recorded beside them: some place before a number."""
    pages = [json.loads(path.read_bytes()) for path in sorted(samples.glob("psuministro_page*.json"))]
    names = {row["nombre"] for page in pages for row in page["resultados"]}

    silent = [
        name
        for name in names
        if not any(size(name[: m.start()].rstrip(" ,"), name) for m in re.finditer(r"(?<=[ ,])(?=\d)", name))
    ]

    assert len(names) > 20
    assert len(silent) <= len(names) / 10
