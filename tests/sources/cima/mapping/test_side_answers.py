"""Safety notes, materials and supply problems: answers and scopes of their own."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from sources.cima.mapping import side_changes, side_product, to_changes
from tsi_fetch.errors import Unusable
from tsi_fetch.words import Fault, Row, Upsert

Make = Callable[..., Any]
NOTE = {"tipo": 1, "num": "7/2021", "referencia": "Nota inventada 7", "asunto": "Bostezos graves",
        "fecha": 1_639_954_800_000, "url": "https://www.aemps.invalid/informa/7"}  # fmt: skip
PROBLEM = {"cn": "999101", "nombre": "FANTASINA, 28 comprimidos",
           "tipoProblemaSuministro": 5, "fini": 1_641_510_000_000,
           "ffin": 1_642_719_600_000, "activo": True, "observ": "Existe otra. "}  # fmt: skip


@pytest.fixture
def mapped(answer: Make) -> Callable[..., list[Any]]:
    """The resources of a row that has this side answer alone."""

    def of(part: str, body: Any, status: int = 200, key: str = "99001#matinf+notasSeguridad+psum") -> list[Any]:
        changes = to_changes(Row(key, (answer(part, body, status=status),), 7))
        for change in changes:
            assert isinstance(change, Upsert)
            model = importlib.import_module("fhir.resources.documentreference").DocumentReference
            assert model.model_validate_json(change.body).id == change.ref.id
        return [json.loads(c.body) for c in changes if isinstance(c, Upsert)]

    return of


def test_a_safety_note_is_a_document_of_the_product(mapped: Make) -> None:
    (found,) = mapped("notas", [NOTE])

    assert found["id"] == "es-aemps-nota-99001-nota-inventada-7"
    assert found["identifier"] == [
        {"system": "https://www.gravitatehealth.eu/sid/es-aemps/nota", "value": "Nota inventada 7"}
    ]
    assert found["subject"] == {"reference": "MedicinalProductDefinition/es-aemps-mpd-99001"}
    assert found["category"][0]["coding"][0] == {
        "system": "http://hl7.eu/fhir/ig/gravitate-health/CodeSystem/asm-category-cs",
        "code": "AE",
        "display": "Adverse Effects Management",
    }
    assert (found["date"], found["description"]) == ("2021-12-20T00:00:00Z", "Bostezos graves")  # a day in Madrid
    assert found["content"][0]["attachment"]["url"] == NOTE["url"]
    assert "contentType" not in found["content"][0]["attachment"]


def test_a_note_that_is_none_of_safety_is_other_information_and_may_call_its_reference_ref(mapped: Make) -> None:
    (found,) = mapped("notas", [{"tipo": 2, "ref": "A/1", "asunto": "Algo"}])

    assert found["category"][0]["coding"][0]["code"] == "OTHER"
    assert found["id"] == "es-aemps-nota-99001-a-1"
    assert found["content"] == [{"attachment": {"language": "es", "title": "Algo"}}]


def test_what_the_register_gives_no_title_is_called_what_it_is(mapped: Make) -> None:
    (note,) = mapped("notas", [{"tipo": 1, "referencia": "A/1", "asunto": " "}])
    (paper,) = mapped("materiales", [{"listaDocsPaciente": [{"url": "https://x.invalid/1"}]}])

    assert note["content"][0]["attachment"]["title"] == "Nota de seguridad"
    assert paper["content"][0]["attachment"]["title"] == "Material informativo para pacientes"
    assert paper["description"] == "Material informativo para pacientes"


def test_references_that_look_alike_are_two_notes_in_whatever_order(mapped: Make) -> None:
    notes = [{**NOTE, "referencia": r} for r in ("A/1", "A 1", "A/1", "B", "", "Ω")]

    ids = [n["id"] for n in mapped("notas", notes)]
    back = [n["id"] for n in mapped("notas", notes[::-1])]

    assert len(set(ids)) == 6
    assert sorted(ids) == sorted(back)
    assert "es-aemps-nota-99001-b" in ids


def test_materials_are_documents_for_patients_professionals_or_both(mapped: Make) -> None:
    guide = {"nombre": "GUÍA", "url": "https://cima.invalid/DocsPub/16/1", "fecha": 1_625_652_934_000}
    film = {"nombre": "INSTRUCCIONES DE USO (VIDEO)", "url": "https://tube.invalid/embed/x?rel=0", "video": True}
    sheet = {"nombre": "FICHA", "url": "https://cima.invalid/DocsPub/15/2.pdf"}

    found = mapped("materiales", [{"listaDocsPaciente": [guide, film], "listaDocsProfesional": [guide, sheet]}])

    assert [f["category"][0]["text"].removeprefix("Material informativo para ") for f in found] == [
        "pacientes y profesionales", "pacientes", "profesionales",
    ]  # fmt: skip
    assert [f["category"][0]["coding"][0]["code"] for f in found] == ["MU", "SA", "MU"]
    assert [f["content"][0]["attachment"].get("contentType") for f in found] == [None, "text/html", "application/pdf"]
    assert found[0]["date"] == "2021-07-07T00:00:00Z"
    assert all(f["id"].startswith("es-aemps-mat-99001-") for f in found)
    assert len({f["id"] for f in found}) == 3


def test_a_material_under_two_names_is_one_document_of_both(mapped: Make) -> None:
    address = "https://cima.invalid/DocsPub/16/1"
    card = {"nombre": "INSTRUCCIONES DE USO", "url": address, "fecha": 1_625_652_934_000}
    guide = {"nombre": "GUÍA PROFESIONAL", "url": address, "fecha": 1_714_514_400_000}

    (found,) = mapped("materiales", [{"listaDocsPaciente": [card], "listaDocsProfesional": [guide, card]}])

    assert found["content"][0]["attachment"]["title"] == "INSTRUCCIONES DE USO / GUÍA PROFESIONAL"
    assert found["description"].startswith("INSTRUCCIONES DE USO / GUÍA PROFESIONAL (")
    assert found["date"].startswith("2024-05-01")


def test_a_supply_problem_has_its_period_and_the_registers_words(mapped: Make) -> None:
    (found,) = mapped("psuministro/999101", PROBLEM)

    assert found["id"] == "es-aemps-psum-999101-1641510000000"
    assert found["period"] == {"start": "2022-01-07", "end": "2022-01-21"}
    assert found["description"] == "Existe otra."
    assert [c["code"] for c in found["category"][0]["coding"]] == ["OTHER", "5"]
    assert found["category"][0]["text"] == "Problema de suministro"
    assert found["content"][0]["attachment"]["title"] == "Problema de suministro: FANTASINA, 28 comprimidos"


@pytest.mark.parametrize(
    ("change", "description", "codes", "period"),
    [
        ({"observ": None}, "Existe/n otro/s medicamento/s con el mismo principio activo y para la misma vía de "
         "administración.", ["OTHER", "5"], {"start": "2022-01-07", "end": "2022-01-21"}),
        ({"observ": None, "tipoProblemaSuministro": 0}, None, ["OTHER"], {"start": "2022-01-07", "end": "2022-01-21"}),
        ({"tipoProblemaSuministro": 10}, "Existe otra.", ["OTHER", "10"], {"start": "2022-01-07", "end": "2022-01-21"}),
        ({"ffin": None}, "Existe otra.", ["OTHER", "5"], {"start": "2022-01-07"}),
        ({"ffin": 0}, "Existe otra.", ["OTHER", "5"], {"start": "2022-01-07"}),
    ],
)  # fmt: skip
def test_what_a_supply_problem_lacks_is_left_out(
    mapped: Make, change: Any, description: str | None, codes: list[str], period: Any
) -> None:
    (found,) = mapped("psuministro/999101", {**PROBLEM, **change})

    assert found.get("description") == description
    assert [c["code"] for c in found["category"][0]["coding"]] == codes
    assert found["period"] == period


@pytest.mark.parametrize(
    ("part", "body", "status"),
    [
        ("notas", [], 200),
        ("notas", None, 204),
        ("materiales", [], 200),
        ("materiales", [{}], 200),
        ("materiales", None, 204),
        ("psuministro/999101", {"cn": "999101", "observ": "Sin problemas"}, 200),
        ("psuministro/999101", {**PROBLEM, "activo": False}, 200),
        ("psuministro/999101", None, 204),
        ("psuministro/999101", {"error": "El código nacional no existe"}, 404),
    ],
)
def test_what_is_closed_or_was_never_there_gives_nothing(mapped: Make, part: str, body: Any, status: int) -> None:
    assert mapped(part, body, status) == []


@pytest.mark.parametrize(
    ("part", "body", "status", "code"),
    [
        ("notas", {"error": "no"}, 200, "cima-error-answer"),
        ("notas", {}, 200, "cima-type"),
        ("notas", [{"fecha": "hoy"}], 200, "cima-type"),
        ("notas", [{"fecha": 10**17}], 200, "cima-date"),
        ("materiales", [{"listaDocsPaciente": {}}], 200, "cima-type"),
        ("psuministro/999101", {**PROBLEM, "cn": "1"}, 200, "cima-other-product"),
        ("psuministro/999101", {"fini": 5}, 200, "cima-missing"),
        ("psuministro/999101", b"<html>", 404, "cima-status"),
        ("psuministro/999101", {"error": "no"}, 400, "cima-status"),
        ("notas", {"error": "no"}, 404, "cima-status"),
    ],
)
def test_what_is_no_answer_is_refused(answer: Make, part: str, body: Any, status: int, code: str) -> None:
    with pytest.raises(Unusable) as caught:
        to_changes(Row("99001#psum", (answer(part, body, status=status),)))

    assert caught.value.fault.code == code
    assert isinstance(caught.value.fault, Fault)


def test_side_answers_have_scopes_of_their_own_also_in_a_products_row(make_row: Make, answer: Make) -> None:
    row = make_row("99001")
    own = to_changes(row)
    side = (answer("notas", [NOTE]), answer("psuministro/999101", PROBLEM))

    together = to_changes(Row(row.key, (*row.answers, *side), row.order, row.scopes))

    assert list(together[: len(own)]) == list(own)
    assert [c.scope for c in together[len(own) :]] == ["99001#notasSeguridad", "99001#psum"]
    assert together[-1].order == row.order


@pytest.mark.parametrize("key", ["99001#psum", "99001#matinf+notasSeguridad", "99001"])
def test_a_row_of_flags_speaks_of_its_product(answer: Make, key: str) -> None:
    (found,) = side_changes(Row(key, (answer("notas", [NOTE]),)))

    assert (str(found.ref), found.scope) == (
        "DocumentReference/es-aemps-nota-99001-nota-inventada-7",
        "99001#notasSeguridad",
    )


def test_a_number_that_holds_the_mark_is_a_number() -> None:
    assert side_product("99#01") == "99#01"
    assert side_product("99#01#psum") == "99#01"
