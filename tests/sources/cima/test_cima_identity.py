"""Ids that FHIR takes, HAPI takes, and that never meet."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.cima import identity

ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
numbers = st.text(min_size=1, max_size=90)


@pytest.mark.parametrize("number", ["51347", "07400013", "95-0312", "31-365-17-CIP2", "PA23198024002IP1"])
def test_a_plain_number_is_its_own_key(number: str) -> None:
    assert identity.key(number) == number


def test_a_number_with_a_blank_keeps_apart_from_the_one_with_a_hyphen() -> None:
    assert identity.key("99 003-95-96") == "99-003-95-96.b1fa45"
    assert identity.key("99-003-95-96") == "99-003-95-96"


@given(numbers, numbers)
def test_ids_are_fhir_ids_and_different_for_different_numbers(one: str, other: str) -> None:
    for make in (identity.product, identity.authorization, identity.package, identity.organization):
        assert ID.fullmatch(make(one))
        assert (make(one) == make(other)) == (one == other)


def test_an_id_of_more_than_64_characters_is_cut_and_gets_a_digest() -> None:
    long = identity.product("9" * 80)

    assert len(long) == 64
    assert long.startswith("es-aemps-mpd-999")
    assert long != identity.product("9" * 81)


def test_two_spellings_of_a_firm_are_two_organizations() -> None:
    one, other = identity.organization("Quimera, S.L."), identity.organization("Quimera S.L.")

    assert one.startswith("es-aemps-org-quimera-s-l-")
    assert other.startswith("es-aemps-org-quimera-s-l-")
    assert one != other


def test_a_name_without_latin_letters_has_an_id_all_the_same() -> None:
    assert re.fullmatch("es-aemps-org-[0-9a-f]{6}", identity.organization("Φάρμακα"))


@pytest.mark.parametrize(
    ("number", "union"),
    [
        ("1241846002", "EU/1/24/1846/002"),
        ("07400013", "EU/1/07/400/013"),
        ("2241846002", None),
        ("51347", None),
        ("PA23198024", None),
        ("٠٧٤٠٠٠١٣", None),
    ],
)
def test_the_unions_number_is_read_from_ten_or_eight_digits(number: str, union: str | None) -> None:
    assert identity.eu_number(number) == union


def test_a_part_that_holds_hyphens_is_no_part_of_another_number() -> None:
    (note,) = identity.apart(["0312/3"])
    assert identity.safety_note("95", note) != identity.safety_note("95-0312", "3")
    assert identity.photo("1", "a-b") != identity.photo("1-a", "b")
    assert identity.photo("1", "a-b") == "es-aemps-foto-1-a-b"


def test_parts_of_ids_are_apart_whatever_their_order() -> None:
    texts = ["A/1", "A 1", "B", "A/1", "Ω"]

    found = dict(zip(texts[:3], identity.apart(texts), strict=False))

    assert found["B"] == "b"
    assert found["A/1"] != found["A 1"]
    assert len(set(identity.apart(texts))) == 5
    assert sorted(identity.apart(texts)) == sorted(identity.apart(texts[::-1]))


@given(st.lists(numbers, max_size=8), st.text(min_size=1, max_size=90))
def test_ids_of_a_products_parts_are_fhir_ids_and_no_two_are_alike(texts: list[str], number: str) -> None:
    for make in (identity.safety_note, identity.ingredient, identity.photo):
        parts = (
            identity.apart(texts)
            if make is identity.safety_note
            else identity.numbered([identity.slug(t) for t in texts])
        )
        ids = [make(number, part) for part in parts]
        assert all(ID.fullmatch(ident) for ident in ids)
        assert len(set(ids)) == len(ids)
