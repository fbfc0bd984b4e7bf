"""Ingredients, items and what is given: strengths as the register writes them, or its words."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from sources.cima.mapping import to_changes
from tsi_fetch.fhir.tokens import parse
from tsi_fetch.words import Row, Upsert

MakeRow = Callable[..., Row]


def of_type(row: Row, resource_type: str) -> list[Any]:
    return [json.loads(c.body) for c in to_changes(row) if isinstance(c, Upsert) and c.ref.type == resource_type]


def strength(make_row: MakeRow, cantidad: Any, unidad: Any, member: str = "principiosActivos") -> Any:
    """The first strength, numbers as they are written; None where there is none."""
    substance = {"id": 7, "codigo": "7A", "nombre": "COSA", "cantidad": cantidad, "unidad": unidad, "orden": 1}
    others = {"principiosActivos": [], "excipientes": []}
    changes = to_changes(make_row("99001", docs=[], **{**others, member: [substance]}))
    (found,) = (parse(c.body) for c in changes if isinstance(c, Upsert) and c.ref.type == "Ingredient")
    strengths = found["substance"].get("strength")
    if strengths is None:
        return None
    (one,) = strengths
    one.pop("basis", None)
    return json.loads(json.dumps(one, default=lambda raw: f"token {bytes(raw).decode()}"))


def quantity(value: Any, unit: str, code: str) -> Any:
    return {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": code}


@pytest.mark.parametrize(
    ("cantidad", "unidad", "value", "code"),
    [
        ("50", "mg", 50, "mg"),
        ("72.50", "mg", "token 72.50", "mg"),
        ("0.125", "mg", "token 0.125", "mg"),
        ("1.0", "g", "token 1.0", "g"),
        ("250", "\u00b5g", 250, "ug"),
        ("250", "\u03bcg", 250, "ug"),
        ("1000", "UI", 1000, "[iU]"),
        (400, "mg", 400, "mg"),
        ("10", "mmol", 10, "mmol"),
        ("3.7", "GBq", "token 3.7", "GBq"),
    ],
)
def test_an_amount_of_a_known_unit_is_what_one_item_holds(
    make_row: MakeRow, cantidad: Any, unidad: str, value: Any, code: str
) -> None:
    assert strength(make_row, cantidad, unidad) == {"presentationQuantity": quantity(value, unidad, code)}


FORMS = {
    "COMPRIMIDO RECUBIERTO CON PELÍCULA": True,
    "CÁPSULA DURA": True,
    "PARCHE TRANSDÉRMICO": True,
    "SOLUCIÓN PARA PULVERIZACIÓN BUCAL": False,
    "SOLUCIÓN INYECTABLE": False,
    "SOLUCIÓN INYECTABLE EN JERINGA PRECARGADA": False,
    "SOLUCIÓN INYECTABLE EN PLUMA PRECARGADA": False,
    "POLVO PARA SOLUCIÓN INYECTABLE": False,
    "CREMA": False,
    "COMPRIMIDO Y CÁPSULA": False,
}


@pytest.mark.parametrize(("form", "piece"), FORMS.items())
@pytest.mark.parametrize("member", ["principiosActivos", "excipientes"])
def test_an_amount_alone_is_that_of_one_item_only_where_items_are_counted(
    make_row: MakeRow, form: str, piece: bool, member: str
) -> None:
    """37453: `1.0 mg` of a bottle of 20 ml, of which each millilitre holds it (its SmPC, 2)."""
    substance = {"id": 7, "codigo": "7A", "nombre": "COSA", "cantidad": "1.0", "unidad": "mg", "orden": 1}
    register = {"principiosActivos": [], "excipientes": [], member: [substance]}
    row = make_row("99001", docs=[], formaFarmaceutica={"id": 1, "nombre": form}, **register)

    (found,) = of_type(row, "Ingredient")

    (one,) = found["substance"]["strength"]
    one.pop("basis", None)
    assert one == ({"presentationQuantity": quantity(1.0, "mg", "mg")} if piece else {"textPresentation": "1.0 mg"})


@pytest.mark.parametrize(
    ("cantidad", "unidad", "code"),
    [
        ("50", "%", "%"),
        ("5", "mg/ml", "mg/mL"),
        ("10", "mg/g", "mg/g"),
        ("100", "UI/ml", "[iU]/mL"),
        ("1", "% p/v", "g/dL"),
    ],
)
def test_a_part_of_100_and_an_amount_per_volume_or_mass_are_concentrations(
    make_row: MakeRow, cantidad: str, unidad: str, code: str
) -> None:
    assert strength(make_row, cantidad, unidad) == {"concentrationQuantity": quantity(int(cantidad), unidad, code)}


def test_an_amount_per_several_is_a_ratio(make_row: MakeRow) -> None:
    assert strength(make_row, "200", "mg/5 ml") == {
        "concentrationRatio": {"numerator": quantity(200, "mg", "mg"), "denominator": quantity(5, "ml", "mL")}
    }


@pytest.mark.parametrize(
    ("cantidad", "unidad", "text"),
    [
        ("12.000", "UI", "12.000 UI"),  # twelve, or twelve thousand
        ("0,5", "mg", "0,5 mg"),
        ("1-2", "mg", "1-2 mg"),
        ("<5", "mg", "<5 mg"),
        ("1e3", "mg", "1e3 mg"),
        ("007", "mg", "007 mg"),
        ("9" * 19, "mg", f"{'9' * 19} mg"),
        ("10", "U", "10 U"),
        ("10", "mBq", "10 mBq"),
        ("25", "µg/h", "25 µg/h"),
        ("50", "µg/dosis", "50 µg/dosis"),
        ("5", "mg/0 ml", "5 mg/0 ml"),
        ("5", "%/ml", "5 %/ml"),
        ("5", None, "5"),
        ("5", "mg/", "5 mg/"),
    ],
)
def test_what_is_not_certain_stays_the_registers_words(
    make_row: MakeRow, cantidad: str, unidad: str | None, text: str
) -> None:
    assert strength(make_row, cantidad, unidad) == {"textPresentation": text}


@pytest.mark.parametrize(
    ("cantidad", "unidad"),
    [("0", "-"), ("0", "mg"), ("0.00", "mg"), ("5", "-"), ("-", "mg"), ("", "mg"), (None, None), (True, "mg")],
)
@pytest.mark.parametrize("member", ["principiosActivos", "excipientes"])
def test_what_the_register_does_not_know_is_no_strength(
    make_row: MakeRow, cantidad: Any, unidad: str | None, member: str
) -> None:
    assert strength(make_row, cantidad, unidad, member) is None


def test_as_much_as_is_needed_is_no_strength_and_stays_as_a_comment(make_row: MakeRow) -> None:
    water = of_type(make_row("1998001001"), "Ingredient")[2]

    assert water["substance"]["code"]["concept"]["text"] == "AGUA PARA PRUEBAS"
    assert "strength" not in water["substance"]
    assert water["comment"] == "Cantidad suficiente: 1 ml"


def test_an_excipient_of_which_only_the_code_is_known_is_kept_by_it(make_row: MakeRow) -> None:
    bare = [{"id": 5, "cantidad": "3", "unidad": "mg", "orden": 1}]

    (found,) = of_type(make_row("99001", docs=[], principiosActivos=[], excipientes=bare), "Ingredient")

    assert found["id"] == "es-aemps-ing-99001-e5"
    assert [c["code"] for c in found["substance"]["code"]["concept"]["coding"]] == ["5"]


def test_ingredients_say_what_they_are_and_of_what(make_row: MakeRow) -> None:
    active, excipient = of_type(make_row("99001"), "Ingredient")

    assert (active["id"], excipient["id"]) == ("es-aemps-ing-99001-a99901", "es-aemps-ing-99001-e99911")
    assert active["role"]["coding"][0]["code"] == "100000072072"
    assert excipient["role"]["coding"][0]["code"] == "100000072082"
    assert active["substance"]["code"]["concept"] == {
        "coding": [
            {
                "system": "https://www.gravitatehealth.eu/sid/es-aemps/principio-activo",
                "code": "99901CH",
                "display": "FANTASINA HIDROCLORURO",
            }
        ],
        "text": "FANTASINA HIDROCLORURO",
    }
    assert active["substance"]["strength"][0]["basis"]["coding"][0]["code"] == "ACTIB"
    assert "basis" not in excipient["substance"]["strength"][0]
    assert [r["reference"] for r in active["for"]] == [
        "ManufacturedItemDefinition/es-aemps-mid-99001",
        "MedicinalProductDefinition/es-aemps-mpd-99001",
        "AdministrableProductDefinition/es-aemps-ap-99001",
    ]


def test_a_substance_that_stands_twice_is_two_ingredients(make_row: MakeRow) -> None:
    twice = [{"id": 5, "codigo": "5A", "nombre": "UNA", "cantidad": str(n), "unidad": "mg"} for n in (1, 2, 3)]

    found = of_type(make_row("99001", principiosActivos=twice, excipientes=[]), "Ingredient")

    assert [i["id"][-3:] for i in found] == ["-a5", "5.2", "5.3"]
    assert [i["substance"]["strength"][0]["presentationQuantity"]["value"] for i in found] == [1, 2, 3]


def test_a_substance_without_an_id_is_known_by_its_code_or_name(make_row: MakeRow) -> None:
    given = [{"codigo": "9A", "nombre": "UNA"}, {"nombre": "Óxido nítrico"}]

    found = of_type(make_row("99001", principiosActivos=given, excipientes=None), "Ingredient")

    assert [i["id"] for i in found] == ["es-aemps-ing-99001-a9A", "es-aemps-ing-99001-aoxido-nitrico"]


def test_dosis_is_never_a_strength(make_row: MakeRow) -> None:
    bare = [{"id": 1, "codigo": "1A", "nombre": "UNA"}]

    (found,) = of_type(make_row("99001", principiosActivos=bare, excipientes=[], dosis="500 mg"), "Ingredient")

    assert "strength" not in found["substance"]


def test_the_item_and_what_is_given_have_the_form_and_its_codes(make_row: MakeRow) -> None:
    row = make_row("99001")
    (item,), (given,) = of_type(row, "ManufacturedItemDefinition"), of_type(row, "AdministrableProductDefinition")

    assert item["manufacturedDoseForm"] == given["administrableDoseForm"]
    assert item["manufacturedDoseForm"]["text"] == "COMPRIMIDO RECUBIERTO CON PELÍCULA"
    assert [c["code"] for c in item["manufacturedDoseForm"]["coding"]] == ["100000073665", "42", "10"]
    assert item["unitOfPresentation"] == given["unitOfPresentation"]
    assert item["unitOfPresentation"]["coding"][0]["display"] == "Tablet"
    assert given["producedFrom"] == [{"reference": "ManufacturedItemDefinition/es-aemps-mid-99001"}]
    (route,) = given["routeOfAdministration"]
    assert [c["code"] for c in route["code"]["coding"]] == ["100000073619", "48"]
    assert route["targetSpecies"][0]["code"]["coding"][0]["display"] == "Human"


@pytest.mark.parametrize(
    "form",
    [
        "POLVO PARA SOLUCIÓN INYECTABLE", "CONCENTRADO PARA SOLUCIÓN PARA PERFUSIÓN", "GRANULADO PARA SUSPENSIÓN ORAL",
        "EQUIPO DE REACTIVOS PARA PREPARACIÓN RADIOFARMACÉUTICA", "POLVO PARA GOTAS ORALES EN SOLUCIÓN",
        "POLVO PARA COLIRIO", "POLVO Y DISOLVENTE PARA SOLUCIÓN INYECTABLE", "DISOLVENTE PARA USO PARENTERAL",
        "POLVO PARA SUSPENSIÓN PARA INHALACIÓN POR NEBULIZADOR", "CONCENTRADO PARA PERFUSIÓN", "POLVO PARA IRRIGACIÓN",
        "COMPRIMIDO EFERVESCENTE", "COMPRIMIDO DISPERSABLE", "COMPRIMIDO SOLUBLE", "GRANULADO EFERVESCENTE",
        "GENERADOR DE RADIONÚCLIDO", "PRECURSOR DE RADIOFÁRMACO", "HIERBAS PARA INFUSIÓN", "ALGO PARA OTRA COSA",
        "COMPRIMIDO PARA SOLUCIÓN ORAL", "SOLUCIÓN PARA DILUCIÓN PARA PERFUSIÓN",
    ],
)  # fmt: skip
def test_what_has_to_be_prepared_is_not_given_as_it_is_made(make_row: MakeRow, form: str) -> None:
    row = make_row("99001", formaFarmaceutica={"id": 1, "nombre": form})

    assert of_type(row, "ManufacturedItemDefinition")[0]["manufacturedDoseForm"]["text"] == form
    assert "administrableDoseForm" not in of_type(row, "AdministrableProductDefinition")[0]


@pytest.mark.parametrize("form", [
    "SOLUCIÓN PARA PERFUSIÓN", "COMPRIMIDO PARA CHUPAR", "SUSPENSIÓN PARA INHALACIÓN", "POLVO PARA INHALACIÓN",
    "SOLUCIÓN INYECTABLE Y PARA PERFUSIÓN", "COMPRIMIDO BUCODISPERSABLE", "POLVO ORAL", "COLIRIO EN SOLUCIÓN",
    "POLVO PARA PULVERIZACIÓN CUTÁNEA", "SUSPENSIÓN PARA PULVERIZACIÓN NASAL", "PASTILLA PARA CHUPAR",
])  # fmt: skip
def test_what_is_given_as_it_is_made_says_so(make_row: MakeRow, form: str) -> None:
    row = make_row("99001", formaFarmaceutica={"id": 1, "nombre": form})

    assert of_type(row, "AdministrableProductDefinition")[0]["administrableDoseForm"]["text"] == form


@pytest.mark.parametrize(
    ("form", "unit"),
    [
        ("COMPRIMIDO Y CÁPSULA", None), ("COMPRIMIDO + POLVO ORAL", None), ("CÁPSULA DURA/COMPRIMIDO", None),
        ("COMPRIMIDO RECUBIERTO CON PELÍCULA Y GRANULADO EFERVESCENTE", None),
        ("POLVO Y DISOLVENTE PARA SOLUCIÓN INYECTABLE EN JERINGA PRECARGADA", None),
        ("COMPRIMIDO EFERVESCENTE", "Tablet"), ("CÁPSULA BLANDA", "Capsule"),
        ("SOLUCIÓN INYECTABLE Y PARA PERFUSIÓN EN JERINGA PRECARGADA", "Syringe"), ("GAS COMPRIMIDO", None),
    ],
)  # fmt: skip
def test_what_is_counted_is_certain_of_one_form_only(make_row: MakeRow, form: str, unit: str | None) -> None:
    (item,) = of_type(make_row("99001", formaFarmaceutica={"id": 1, "nombre": form}), "ManufacturedItemDefinition")

    assert [c["display"] for c in item.get("unitOfPresentation", {}).get("coding", [])] == ([unit] if unit else [])


def test_a_route_is_coded_where_id_and_name_agree(make_row: MakeRow) -> None:
    routes = [{"id": 48, "nombre": "VÍA NASAL"}, {"id": None, "nombre": "VÍA ORAL"}, {"id": 5, "nombre": " "}]

    (found,) = of_type(make_row("99001", viasAdministracion=routes), "AdministrableProductDefinition")

    assert [[c["code"] for c in r["code"].get("coding", [])] for r in found["routeOfAdministration"]] == [["48"], []]
    assert [r["code"]["text"] for r in found["routeOfAdministration"]] == ["VÍA NASAL", "VÍA ORAL"]


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ({"formaFarmaceutica": None}, ["MedicinalProductDefinition"]),
        ({"formaFarmaceutica": {"id": 3, "nombre": ""}}, ["MedicinalProductDefinition"]),
        ({"viasAdministracion": None}, ["ManufacturedItemDefinition", "MedicinalProductDefinition"]),
        ({"viasAdministracion": []}, ["ManufacturedItemDefinition", "MedicinalProductDefinition"]),
    ],
)
def test_without_a_form_there_is_no_item_and_without_a_route_nothing_is_given(
    make_row: MakeRow, change: Any, kinds: list[str]
) -> None:
    row = make_row("99001", **change)

    made = {"ManufacturedItemDefinition", "AdministrableProductDefinition"} & {c.ref.type for c in to_changes(row)}
    assert made == set(kinds) - {"MedicinalProductDefinition"}
    for ingredient in of_type(row, "Ingredient"):
        assert [r["reference"].split("/")[0] for r in ingredient["for"]] == kinds
    for pack in of_type(row, "PackagedProductDefinition"):
        assert ("ManufacturedItemDefinition" in json.dumps(pack)) == ("ManufacturedItemDefinition" in kinds)
