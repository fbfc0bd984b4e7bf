"""The register that is made up: the same from the same seed, of the size that is asked for, alive."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import pytest

from dev.cima.generated import Generated, Settings
from dev.cima.lexicon import HOLDERS, holders, substances
from dev.cima.numbers import LARGEST, MOST_PACKS, code, owner, registration
from dev.cima.products import facts
from dev.cima_server import BASE, Reply

SMALL = Settings(seed=3, products=60, text_bytes=12_000)


def small(**changes: Any) -> Generated:
    return Generated(Settings(**{"seed": 3, "products": 60, "text_bytes": 12_000} | changes))


def ask(register: Generated, call: str) -> Any:
    """The JSON of an answer; None for 204."""
    reply = register.answer(f"{BASE}/{call}")
    assert reply.status in (200, 204), call
    return json.loads(reply.body) if reply.status == 200 else None


def everything(register: Generated) -> list[Reply]:
    """Whatever there is to ask of a register."""
    calls = ["medicamentos?pagina=1", "registroCambios?fecha=20/02/2026&pagina=1", "maestras?maestra=6&pagina=2"]
    for number in register.numbers():
        asked = f"nregistro={quote(number)}"
        calls += [f"{call}?{asked}" for call in ("medicamento", "notas", "materiales")]
        calls += [f"docSegmentado/{call}/{kind}?{asked}" for call in ("secciones", "contenido") for kind in (1, 2)]
        for cn in register.truth(number).packs or ():
            calls += [f"presentacion/{cn}", f"psuministro/v2/cn/{cn}", f"medicamento?cn={cn}"]
    return [register.answer(f"{BASE}/{call}") for call in calls]


def live(register: Generated, nights: Sequence[int]) -> Generated:
    for changes in nights:
        register.pass_night(changes)
    return register


def test_two_registers_of_one_seed_and_the_same_nights_answer_alike() -> None:
    assert everything(live(small(), (10, 3))) == everything(live(small(), (10, 3)))


def test_another_seed_is_another_register() -> None:
    assert not set(small().numbers()) & set(small(seed=4).numbers())


def test_a_products_answers_stay_until_a_night_changes_it() -> None:
    register = small()
    before = {number: register.truth(number) for number in register.numbers()}
    changed = {facts(3, event.product).number for event in register.pass_night(12)}
    assert changed
    assert {number: register.truth(number) for number in before if number not in changed} == {
        number: truth for number, truth in before.items() if number not in changed
    }


def test_every_changed_text_reads_differently() -> None:
    register = small()
    before = {number: register.truth(number).digests() for number in register.numbers()}
    rewritten = [e for e in register.pass_night(40) if {"ft", "prosp"} & set(e.flags)]
    assert len(rewritten) > 10
    for event in rewritten:
        assert register.truth(facts(3, event.product).number).digests() != before[facts(3, event.product).number]


def test_a_small_register_is_the_beginning_of_a_large_one() -> None:
    large = Generated(Settings(seed=3, products=500, text_bytes=12_000))
    assert [registration(3, product) in set(large.numbers()) for product in range(60)] == [True] * 60
    number = small().numbers()[7]
    assert ask(large, f"medicamento?nregistro={quote(number)}") == ask(
        small(), f"medicamento?nregistro={quote(number)}"
    )


def test_the_full_size_is_cimas() -> None:
    register = Generated(Settings(seed=1))
    numbers = register.numbers()
    assert len(set(numbers)) == 25_400
    assert register.pack_total() == pytest.approx(42_000, rel=0.02)
    assert sum(not number.isdigit() for number in numbers) / 25_400 == pytest.approx(13 / 387, rel=0.15)
    sampled = range(0, 25_400, 127)
    sizes = [
        len(register.answer(f"{BASE}/docSegmentado/contenido/{kind}?nregistro={quote(registration(1, p))}").body)
        for p in sampled
        for kind in (1, 2)
    ]
    assert sum(sizes) * 127 == pytest.approx(4e9, rel=0.25)  # of 200 products; texts' sizes are widely spread


def test_no_two_products_share_a_number_or_a_code() -> None:
    for seed in (1, 2, 3):
        assert len({registration(seed, product) for product in range(LARGEST)}) == LARGEST
    codes = {code(product, pack) for product in range(0, LARGEST, 11) for pack in range(MOST_PACKS)}
    assert len(codes) == len(range(0, LARGEST, 11)) * MOST_PACKS
    assert owner(code(25_399, 11)) == (25_399, 11)
    assert [owner(cn) for cn in ("", "12345", "712 29", "599999", "１２３４５６")] == [None] * 5


def test_holders_have_near_doubles_and_exact_names_are_distinct() -> None:
    bare = {"".join(letter for letter in name.casefold() if letter.isalnum()) for name in holders()}
    assert len(set(holders())) == len(holders()) == HOLDERS
    assert len(bare) <= HOLDERS - 100
    assert len({s.nombre for s in substances()}) == len(substances())


def test_what_is_not_known_is_answered_as_the_register_does() -> None:
    register = small()
    for call in ("medicamento?nregistro=1", "medicamento?cn=600001", "presentacion/999999", "notas?nregistro=0"):
        assert register.answer(f"{BASE}/{call}") == Reply(204, headers={})
    assert register.answer(f"{BASE}/psuministro/v2/cn/999999").status == 404
    assert register.answer(f"{BASE}/psuministro/v2/cn").status == 400
    assert "error" in ask(register, "registroCambios")
    assert register.answer(f"{BASE}/medicamentos", "application/xml").status == 406
    assert register.answer(f"{BASE}/docSegmentado/contenido/9?nregistro=1").status == 404


def test_a_numbers_blank_may_come_in_either_spelling() -> None:
    register = Generated(Settings(seed=3, products=2_000))
    number = next(number for number in register.numbers() if " " in number)
    for spelling in (quote(number), number.replace(" ", "+")):
        assert ask(register, f"medicamento?nregistro={spelling}")["nregistro"] == number


def test_by_code_one_pack_alone_is_listed() -> None:
    register = small()
    number = next(n for n in register.numbers() if len(register.truth(n).packs or ()) > 1)
    cn = list(register.truth(number).packs or ())[1]
    shown = ask(register, f"medicamento?cn={cn}")
    assert shown["nregistro"] == number
    assert [pack["cn"] for pack in shown["presentaciones"]] == [cn]


def test_one_section_alone_can_be_asked_for() -> None:
    register = small()
    number = next(n for n in register.numbers() if 1 in (register.truth(n).texts or {}))
    asked = f"docSegmentado/contenido/1?nregistro={quote(number)}"
    whole, one = ask(register, asked), ask(register, f"{asked}&seccion=4.8")
    assert one == [section for section in whole if section["seccion"] == "4.8"]
    assert len(one) == 1


def test_documents_and_pictures_are_small_answers() -> None:
    register = small()
    for path, kind in (("pdfs/ft/1/FT_1.pdf", "application/pdf"), ("fotos/full/materialas/1/1.jpg", "image/jpeg")):
        reply = register.answer(f"/cima/{path}")
        assert reply.status == 200
        assert reply.headers["Content-Type"] == kind
        assert 0 < len(reply.body) < 100


def test_etags_are_an_option() -> None:
    plain, tagged = small(), small(etags=True)
    call = f"{BASE}/medicamento?nregistro={quote(plain.numbers()[0])}"
    assert "ETag" not in plain.answer(call).headers
    tag = tagged.answer(call).headers["ETag"]
    assert tagged.answer(call, known=tag) == Reply(304, headers={"ETag": tag})
    assert tagged.answer(call, known='"another"').status == 200


@pytest.mark.parametrize("products", [0, 40_000])
def test_a_register_is_neither_empty_nor_larger_than_there_are_codes(products: int) -> None:
    with pytest.raises(ValueError, match="products: from 1"):
        Generated(Settings(products=products))
