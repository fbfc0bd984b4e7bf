"""A product of which one flag's answer is bad: the product and its text go on, and the answer is told of beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cima_house import CimaHouse
from fake_cima import BUSY, cima, register, rows_of

from dev.cima_server import Register, Reply
from tsi_fetch.errors import Unusable
from tsi_fetch.words import Row

A = "99001"
NOTES, SUPPLY = f"notas?nregistro={A}", "psuministro/v2/cn/999102"
SIDES = {"notas": "notasSeguridad", "materiales": "matinf", "psuministro": "psum"}
NONSENSE = b'[{"tipo": "x"}]'


@pytest.fixture
def upstream() -> Register:
    return register()


def fetched(upstream: Any) -> list[Row]:
    return rows_of(cima(upstream).fetch([A]))


def claimed(row: Row) -> set[str]:
    return {claim.key for claim in row.scopes}


def asked_by(row: Row) -> set[str]:
    """The flags of which it has answers."""
    return {SIDES[part] for part in (a.part.partition("/")[0] for a in row.answers) if part in SIDES}


@pytest.mark.parametrize(
    ("call", "flag"), [(NOTES, "notasSeguridad"), (f"materiales?nregistro={A}", "matinf"), (SUPPLY, "psum")]
)
def test_a_flag_that_cannot_be_fetched_is_a_row_beside_the_product(upstream: Register, call: str, flag: str) -> None:
    (usual,) = fetched(upstream)
    upstream.instead(call, *[BUSY] * 9)

    product, side = fetched(upstream)

    assert claimed(product) == claimed(usual) - {f"{A}#{flag}"}
    assert asked_by(product) == set(SIDES.values()) - {flag}
    assert cima(upstream).to_changes(product)
    assert (side.key, side.answers, side.scopes) == (f"{A}#{flag}", (), ())
    assert side.unfetched is not None
    assert side.unfetched.code == "cima-unreachable"


def test_a_flag_that_cannot_be_mapped_is_a_row_as_received(upstream: Register) -> None:
    upstream.instead(NOTES, Reply(200, NONSENSE))

    product, side = fetched(upstream)

    source = cima(upstream)
    assert {change.scope for change in source.to_changes(product)} <= claimed(product)
    assert f"{A}#notasSeguridad" not in claimed(product)
    assert [(a.part, a.body) for a in side.answers[1:]] == [("notas", NONSENSE)]
    assert claimed(side) == {f"{A}#notasSeguridad"}
    with pytest.raises(Unusable) as refused:
        source.to_changes(side)
    assert refused.value.fault.path == "notas[0].tipo"


def test_of_what_is_bad_in_two_ways_there_are_two_rows(upstream: Register) -> None:
    upstream.instead(NOTES, Reply(200, NONSENSE))
    upstream.instead(SUPPLY, *[BUSY] * 9)

    product, lost, unmapped = fetched(upstream)

    assert (lost.key, unmapped.key) == (f"{A}#psum", f"{A}#notasSeguridad")
    assert (lost.unfetched is None, unmapped.unfetched) == (False, None)
    assert claimed(product) == {A, f"{A}#matinf"}
    assert product.overtakes == (f"{A}#matinf",)


def test_flags_that_are_bad_alike_are_one_row(upstream: Register) -> None:
    for call in (NOTES, SUPPLY):
        upstream.instead(call, Reply(404))

    product, side = fetched(upstream)

    assert side.key == f"{A}#notasSeguridad+psum"
    assert product.overtakes == (f"{A}#matinf",)


def test_a_product_without_an_answer_of_its_own_has_no_other_row(upstream: Register) -> None:
    upstream.instead(NOTES, Reply(404))
    upstream.instead("presentacion/999102", Reply(404))

    (row,) = fetched(upstream)

    assert row.unfetched is not None
    assert row.key == A


def test_a_batch_never_parts_them(upstream: Register) -> None:
    upstream.instead(NOTES, Reply(404))

    batches = list(cima(upstream, batch=1).fetch(["1", A, "2"]))

    assert [[row.key for row in batch.rows] for batch in batches] == [["1"], [A, f"{A}#notasSeguridad"], ["2"]]


def test_a_product_with_a_bad_flag_cannot_be_asked_for_by_validators(upstream: Register) -> None:
    for target in (f"medicamento?nregistro={A}", NOTES):
        sent = upstream.answer(f"/cima/rest/{target}", "application/json")
        upstream.instead(target, *[replace(sent, headers={**sent.headers, "ETag": '"1"'})] * 2)
    upstream.instead(SUPPLY, *[BUSY] * 9)

    product, _ = fetched(upstream)

    assert {answer.validator for answer in product.answers} == {None}


@pytest.mark.parametrize("replies", [[BUSY] * 9, [Reply(200, NONSENSE)] * 9], ids=["lost", "unmapped"])
def test_the_product_goes_on_and_the_next_night_sees_to_the_flag(tmp_path: Path, replies: list[Reply]) -> None:
    house = CimaHouse(tmp_path)
    house.night()
    before = house.files()
    house.product()["nombre"] = "FANTASINA NUEVA 50 mg COMPRIMIDOS"
    house.register.instead(NOTES, *replies)
    house.tell("ft", "notasSeguridad")

    assert house.any_night().exit_code == 65
    assert house.troubles() == {f"{A}#notasSeguridad"}
    name = house.resource(f"MedicinalProductDefinition/es-aemps-mpd-{A}")["name"][0]["productName"]
    assert name == "FANTASINA NUEVA 50 mg COMPRIMIDOS"
    notes = [ref for ref in before if "-nota-" in ref.id]
    assert notes
    assert all(house.files()[ref] == before[ref] for ref in notes), "what is known of it stays"

    house.register.replies.clear()
    house.tell("notasSeguridad")
    house.night()
    assert house.troubles() == set()


def test_a_flag_that_is_lost_where_it_is_asked_for_by_validators_holds_nothing_back(upstream: Register) -> None:
    upstream.instead(NOTES, *[BUSY] * 9)
    known = {A: {"notas": '"1"', "medicamento": '"2"'}}

    product, side = rows_of(cima(upstream).fetch([A], known))

    assert (product.unfetched, product.unmodified) == (None, False)
    assert side.key == f"{A}#notasSeguridad"


LONG = "<b>" * 30_000
"""As a part of a URL it is longer than any client sends."""


def test_a_national_code_that_no_request_can_carry_is_the_products_own_mistake(upstream: Register) -> None:
    """It was told as a call that fails, with the code in its name, and the answer was lost (hostile trial 13742)."""
    upstream.products[A]["presentaciones"][0]["cn"] = LONG

    (row,) = fetched(upstream)

    assert row.unfetched is None
    with pytest.raises(Unusable) as refused:
        cima(upstream).to_changes(row)
    assert (refused.value.fault.code, refused.value.fault.path) == ("cima-type", "medicamento.presentaciones[0].cn")


@pytest.mark.parametrize("code", [LONG, "", None, 5])
def test_the_supply_of_a_product_with_such_a_pack_stays_as_it_is(upstream: Register, code: Any) -> None:
    """Nobody can ask how it is with that pack: its supply problem is not over."""
    upstream.products[A]["presentaciones"][1]["cn"] = code

    (row,) = rows_of(cima(upstream).fetch([f"{A}#psum"]))

    assert (row.scopes, row.unfetched and row.unfetched.path) == ((), "medicamento: $.presentaciones[1].cn")
    assert row.unfetched is not None
    assert row.unfetched.code == "cima-type"
