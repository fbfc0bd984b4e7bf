"""What must not be mapped: each with a code, a place and a rule, and never a value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sources.cima.mapping import to_changes
from tsi_fetch.errors import Unusable
from tsi_fetch.words import Fault, Row

BASE = "https://cima.invalid/cima/rest"
ASKED = f"{BASE}/medicamento?nregistro=99001"
Make = Callable[..., Any]


def fault(row: Row) -> Fault:
    with pytest.raises(Unusable) as caught:
        to_changes(row)
    return caught.value.fault


@pytest.fixture
def refused(make_row: Make, answer: Make) -> Callable[..., Fault]:
    """The fault of a whole row in which one answer is replaced."""

    def refuse(part: str, body: Any, url: str = ASKED, status: int = 200) -> Fault:
        row = make_row("99001")
        answers = tuple(answer(part, body, url, status) if a.part == part else a for a in row.answers)
        return fault(Row(row.key, answers))

    return refuse


@pytest.mark.parametrize(
    "sent", [b"<html>Mantenimiento</html>", b"", b'{"nregistro":', b'{"a":1,"a":2}', b"\xff", b"NaN"]
)
@pytest.mark.parametrize("part", ["medicamento", "presentacion/999101", "contenido/2"])
def test_what_is_not_json_is_refused(refused: Make, part: str, sent: bytes) -> None:
    found = refused(part, sent)

    assert (found.code, found.path) == ("cima-not-json", part)


@pytest.mark.parametrize("part", ["medicamento", "presentacion/999101", "contenido/2"])
def test_an_error_with_status_200_is_refused(refused: Make, part: str) -> None:
    assert refused(part, {"error": "Se ha producido un secreto"}) == Fault(
        "cima-error-answer", f"{part}.error", "must not be an error with status 200"
    )


@pytest.mark.parametrize("status", [304, 404, 500])
def test_other_statuses_are_refused(refused: Make, body: Make, status: int) -> None:
    assert refused("medicamento", body("medicamento_99001"), status=status).code == "cima-status"


def test_a_row_of_the_listing_is_refused(refused: Make, body: Make) -> None:
    whole = body("medicamento_99001")
    row = {k: v for k, v in whole.items() if k not in ("atcs", "principiosActivos", "excipientes", "presentaciones")}

    assert refused("medicamento", row).code == "cima-list-row"
    page = {"totalFilas": 1, "pagina": 1, "tamanioPagina": 25, "resultados": [row]}
    assert refused("medicamento", page).code == "cima-list-row"


@pytest.mark.parametrize(
    "url",
    [f"{BASE}/medicamento?cn=999101", f"{BASE}/medicamento", f"{BASE}/medicamento?nregistro=99002", f"{ASKED}1"],
)
def test_an_answer_that_was_not_asked_for_by_the_rows_number_is_refused(refused: Make, body: Make, url: str) -> None:
    assert refused("medicamento", body("medicamento_99001"), url=url).code == "cima-by-cn"


def test_a_pack_in_a_products_place_is_refused(refused: Make, body: Make) -> None:
    assert refused("medicamento", body("presentacion_999101")).code == "cima-presentation"


def test_another_product_is_refused(refused: Make, body: Make) -> None:
    assert refused("medicamento", body("medicamento_1998001001")).code == "cima-other-product"
    assert _other(refused("presentacion/999101", body("presentacion_999102"))) == "presentacion/999101.cn"
    found = refused("presentacion/999101", {**body("presentacion_999101"), "nregistro": "1"})
    assert _other(found) == "presentacion/999101.nregistro"


def _other(found: Fault) -> str:
    assert found.code == "cima-other-product"
    return found.path


@pytest.mark.parametrize("sign", ["\0", "\x07", "\x1b"])
def test_a_national_code_that_holds_a_control_character_is_refused_where_it_stands(
    make_row: Make, body: Make, sign: str
) -> None:
    """Printed without it, it would be another code: its answer would seem not to have been fetched."""
    packs = body("medicamento_99001")["presentaciones"]
    found = fault(make_row("99001", presentaciones=[packs[0], {**packs[1], "cn": f"9991{sign}02"}]))

    assert (found.code, found.path) == ("cima-type", "medicamento.presentaciones[1].cn")


@pytest.mark.parametrize("code", ["9" * 101, "\x7f", "99\t91"])
def test_what_nobody_could_ask_for_as_a_national_code_is_refused_where_it_stands(
    make_row: Make, body: Make, code: str
) -> None:
    packs = body("medicamento_99001")["presentaciones"]
    found = fault(make_row("99001", presentaciones=[packs[0], {**packs[1], "cn": code}]))

    assert (found.code, found.path) == ("cima-type", "medicamento.presentaciones[1].cn")


@pytest.mark.parametrize("kind", ["principiosActivos", "excipientes"])
@pytest.mark.parametrize("nothing", [{}, {"nombre": " ", "cantidad": "5", "unidad": "mg"}, {"codigo": "", "id": None}])
def test_a_substance_without_a_name_or_a_code_is_refused(make_row: Make, kind: str, nothing: Any) -> None:
    """Left out, the product would seem to be free of it; what was written of it before would go."""
    known = {"id": 5, "codigo": "5A", "nombre": "UNA"}
    found = fault(make_row("99001", **{kind: [known, nothing]}))

    assert (found.code, found.path) == ("cima-missing", f"medicamento.{kind}[1].nombre")


@pytest.mark.parametrize("name", ["nregistro", "nombre", "labtitular", "estado"])
def test_a_required_member_that_is_missing_is_named(refused: Make, body: Make, name: str) -> None:
    whole = body("medicamento_99001")
    del whole[name]

    assert refused("medicamento", whole) == Fault("cima-missing", f"medicamento.{name}", "is required")


@pytest.mark.parametrize("name", ["nombre", "labtitular"])
def test_a_required_member_must_not_be_blank(make_row: Make, name: str) -> None:
    found = fault(make_row("99001", **{name: " \u00a0"}))

    assert (found.code, found.path) == ("cima-missing", f"medicamento.{name}")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"estado": {}}, ("cima-missing", "medicamento.estado.aut")),
        ({"estado": {"aut": "27/06/2016"}}, ("cima-type", "medicamento.estado.aut")),
        ({"estado": {"aut": 1.5}}, ("cima-type", "medicamento.estado.aut")),
        ({"estado": {"aut": 10**17}}, ("cima-date", "medicamento.estado.aut")),
        ({"estado": {"aut": 0, "rev": -(10**16)}}, ("cima-date", "medicamento.estado.rev")),
        ({"nombre": 5}, ("cima-type", "medicamento.nombre")),
        ({"receta": "si"}, ("cima-type", "medicamento.receta")),
        ({"atcs": {}}, ("cima-type", "medicamento.atcs")),
        ({"atcs": [{"nivel": 5}]}, ("cima-missing", "medicamento.atcs[0].codigo")),
        ({"docs": [{"tipo": 3}, {"tipo": "1"}]}, ("cima-type", "medicamento.docs[1].tipo")),
        ({"docs": [{"tipo": 1, "secc": True, "fecha": 10**17}]}, ("cima-date", "medicamento.docs[0].fecha")),
        ({"presentaciones": [{"cn": " "}]}, ("cima-missing", "medicamento.presentaciones[0].cn")),
        ({"presentaciones": [{"nombre": "x"}]}, ("cima-missing", "medicamento.presentaciones[0].cn")),
    ],
)
def test_a_member_of_another_shape_is_named(make_row: Make, change: Any, found: tuple[str, str]) -> None:
    refused_as = fault(make_row("99001", **change))

    assert (refused_as.code, refused_as.path) == found


@pytest.mark.parametrize("flag", ["psum", "notas", "materialesInf"])
@pytest.mark.parametrize("sent", ["S", 1, "true"])
def test_what_is_no_flag_is_not_read_as_nothing_to_ask_for(make_row: Make, body: Make, flag: str, sent: Any) -> None:
    of_product = fault(make_row("99001", **{flag: sent}))
    packs = body("medicamento_99001")["presentaciones"]
    of_pack = fault(make_row("99001", presentaciones=[packs[0], {**packs[1], flag: sent}]))

    assert (of_product.code, of_product.path) == ("cima-type", f"medicamento.{flag}")
    assert (of_pack.code, of_pack.path) == ("cima-type", f"medicamento.presentaciones[1].{flag}")


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ({"seccion": "1"}, ("cima-type", "contenido/1")),
        ([{"seccion": 1}], ("cima-type", "contenido/1[0].seccion")),
        ([{"seccion": "1", "contenido": ["x"]}], ("cima-type", "contenido/1[0].contenido")),
        (["x"], ("cima-type", "contenido/1[0]")),
    ],
)
def test_a_text_of_another_shape_is_refused_with_the_whole_row(
    refused: Make, sent: Any, found: tuple[str, str]
) -> None:
    refused_as = refused("contenido/1", sent)

    assert (refused_as.code, refused_as.path) == found


@pytest.mark.parametrize("part", ["medicamento", "presentacion/999102", "contenido/1"])
def test_a_row_that_was_not_fetched_whole_is_refused(make_row: Make, part: str) -> None:
    row = make_row("99001")

    found = fault(Row(row.key, tuple(a for a in row.answers if a.part != part)))

    assert found == Fault("cima-missing", part, "must be among the row's answers")


@pytest.mark.parametrize("sent", [[], "99001", 5, True])
def test_a_product_that_is_not_an_object_is_refused(refused: Make, sent: Any) -> None:
    assert refused("medicamento", sent).code == "cima-type"


def test_no_rule_holds_a_value(refused: Make, body: Make) -> None:
    secret = {**body("medicamento_99001"), "receta": "confidencial"}

    found = refused("medicamento", secret)

    assert "confidencial" not in f"{found.code}{found.path}{found.rule}"
