"""What holds of every product that is mapped, tried on generated ones: HL7's schema, the table of raw ePIs, the words.

TSI_GENERATED_PRODUCTS sets how many there are.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from sources.cima.mapping import to_changes
from tests.sources.cima.mapping.generated_rows import register, row, rows
from tests.sources.cima.mapping.test_raw_epi_requirements import missing, with_entries, wrong
from tests.tsi_fetch.fhir.narrative_rules import breaches, letters, seen, shown
from tests.tsi_fetch.fhir.r5.schema import faults
from tsi_fetch.words import Row, Upsert

PRODUCTS = int(os.environ.get("TSI_GENERATED_PRODUCTS", "120"))


Mapped = list[tuple[Row, list[bytes]]]


@pytest.fixture(scope="module")
def generated() -> Mapped:
    return [(one, bodies(one)) for one in rows(register(PRODUCTS))]


def bodies(row: Row) -> list[bytes]:
    return [change.body for change in to_changes(row) if isinstance(change, Upsert)]


def answered(row: Row, part: str) -> Any:
    return next(json.loads(a.body) for a in row.answers if a.part == part)


def test_every_resource_is_what_hl7s_schema_asks_for(generated: Mapped) -> None:
    kinds: Counter[str] = Counter()
    for _, mapped in generated:
        for body in mapped:
            assert faults(body) == []
            kinds[json.loads(body)["resourceType"]] += 1
    assert len(kinds) == 11
    assert kinds["MedicinalProductDefinition"] > PRODUCTS * 0.9
    assert kinds["DocumentReference"] > kinds["Bundle"]


def test_every_product_has_what_raw_epis_have(generated: Mapped) -> None:
    for one, mapped in generated:
        product = answered(one, "medicamento")
        found = with_entries([json.loads(body) for body in mapped])
        assert missing(found, product) == []
        assert wrong(found) == []


def test_the_generated_products_are_of_all_kinds(generated: Mapped) -> None:
    products = [answered(one, "medicamento") for one, _ in generated]
    assert {"rev", "susp"} <= {name for product in products for name in product["estado"]}
    assert {product["ema"] for product in products} == {True, False}
    assert any("formaFarmaceutica" not in product for product in products)
    assert any(not [d for d in product["docs"] if d["secc"]] for product in products)


def sections(one: Row, mapped: list[bytes]) -> Iterator[tuple[Any, Any]]:
    """Each section of a text as it was answered, and as it is in the Composition."""
    found = [json.loads(body) for body in mapped]
    for composition in (r for r in found if r["resourceType"] == "Composition"):
        kind = 1 if "-comp-ft-" in composition["id"] else 2
        sent, outer = answered(one, f"contenido/{kind}"), composition["section"][0]
        yield from zip(sent, outer["section"], strict=True)


def test_every_visible_word_is_there_in_its_order(generated: Mapped) -> None:
    """As html5lib reads them, and as they were when the texts were made: before there was any HTML."""
    compared = 0
    for one, resources in generated[:20]:
        truth = register(PRODUCTS).truth(one.key)
        made = [text for kind in (1, 2) if truth.texts and kind in truth.texts for _, _, text in truth.texts[kind]]
        for (sent, mapped), words in zip(sections(one, resources), made, strict=True):
            div = mapped["text"]["div"]
            assert breaches(div) == []
            visible = seen(sent["contenido"] or "")
            silent = "" if "<img " in div else letters(mapped["title"])  # a picture speaks for itself
            assert shown(div) == (visible or silent)
            assert words in (visible, shown(div))
            compared += 1
    assert compared > 400


def test_a_product_of_the_full_size_is_whole() -> None:
    large = register(20, text_bytes=80_000)
    for number in large.numbers()[:4]:
        for body in bodies(row(large, number)):
            assert faults(body) == []
