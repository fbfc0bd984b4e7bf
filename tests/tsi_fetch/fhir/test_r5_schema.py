"""The second, stricter check sees what it is there for: a check that finds nothing proves nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.tsi_fetch.fhir.r5.schema import SCHEMA_SHA256, faults, official

Change = Callable[[Any], object]

DIV = '<div xmlns="http://www.w3.org/1999/xhtml">uno</div>'
COMPOSITION: Any = {
    "resourceType": "Composition",
    "id": "c",
    "status": "final",
    "type": {"text": "x"},
    "subject": [{"reference": "MedicinalProductDefinition/m"}],
    "date": "2024-05-01",
    "author": [{"reference": "Organization/o"}],
    "title": "x",
    "section": [{"title": "1", "text": {"status": "additional", "div": DIV}}],
}
INGREDIENT: Any = {
    "resourceType": "Ingredient",
    "id": "i",
    "status": "active",
    "for": [{"reference": "ManufacturedItemDefinition/m"}],
    "role": {"text": "x"},
    "substance": {
        "code": {"concept": {"text": "x"}},
        "strength": [{"presentationQuantity": {"value": 72.5, "unit": "mg"}}],
    },
}
BUNDLE: Any = {
    "resourceType": "Bundle",
    "id": "b",
    "type": "document",
    "timestamp": "2024-05-01T00:00:00Z",
    "entry": [{"fullUrl": "http://x.invalid/Composition/c", "resource": COMPOSITION}],
}
ALL = {"Composition": COMPOSITION, "Ingredient": INGREDIENT, "Bundle": BUNDLE}


def quantity(ingredient: Any) -> Any:
    return ingredient["substance"]["strength"][0]["presentationQuantity"]


def copied(name: str) -> Any:
    return json.loads(json.dumps(ALL[name]))


def found(resource: Any) -> list[str]:
    return faults(json.dumps(resource).encode())


@pytest.mark.parametrize("name", ALL)
def test_what_is_right_is_passed(name: str) -> None:
    assert found(copied(name)) == []


DEFECTS: dict[str, tuple[str, Change]] = {
    "an unknown element": ("Composition", lambda r: r.update(colour="red")),
    "an unknown element below": ("Composition", lambda r: r["section"][0].update(colour="red")),
    "an element of R4": ("Composition", lambda r: r.update(confidentiality="N")),
    "a required primitive missing": ("Composition", lambda r: r.pop("title")),
    "a required concept missing": ("Composition", lambda r: r.pop("type")),
    "a required code missing": ("Ingredient", lambda r: r.pop("status")),
    "a status of another value set": ("Composition", lambda r: r.update(status="current")),
    "a code in capitals": ("Ingredient", lambda r: r.update(status="Active")),
    "a narrative's status": ("Composition", lambda r: r["section"][0]["text"].update(status="final")),
    "one where many may stand": ("Composition", lambda r: r.update(subject=r["subject"][0])),
    "many where one may stand": ("Composition", lambda r: r.update(title=["x"])),
    "null": ("Composition", lambda r: r.update(title=None)),
    "null in a list": ("Composition", lambda r: r["author"].append(None)),
    "an empty list": ("Composition", lambda r: r.update(category=[])),
    "an empty object": ("Composition", lambda r: r.update(type={})),
    "an empty text": ("Composition", lambda r: r.update(title="")),
    "a flag as text": ("Composition", lambda r: r["subject"][0].update(display=True)),
    "a number as text": ("Ingredient", lambda r: quantity(r).update(value="1")),
    "a month of 13": ("Composition", lambda r: r.update(date="2024-13-01")),
    "an instant without a zone": ("Bundle", lambda r: r.update(timestamp="2024-05-01T00:00:00")),
    "a day as an instant": ("Bundle", lambda r: r.update(timestamp="2024-05-01")),
    "an id with a blank": ("Composition", lambda r: r.update(id="a b")),
    "an id of 65 characters": ("Composition", lambda r: r.update(id="a" * 65)),
    "an address with a blank": ("Bundle", lambda r: r["entry"][0].update(fullUrl="http://x.invalid/a b")),
    "a reference to another type": ("Composition", lambda r: r["author"][0].update(reference="Substance/o")),
    "a reference to another type, of many": ("Ingredient", lambda r: r["for"][0].update(reference="Organization/o")),
    "two kinds of one choice, misspelt": ("Ingredient", lambda r: r["substance"]["strength"][0].update(presentation=1)),
    "a type that is none": ("Composition", lambda r: r.update(resourceType="Compositon")),
    "another release's type": ("Composition", lambda r: r.update(resourceType="MedicinalProduct")),
    "a fault of an entry": ("Bundle", lambda r: r["entry"][0]["resource"].pop("title")),
    "an entry without an id": ("Bundle", lambda r: r["entry"][0]["resource"].pop("id")),
    "a narrative that is no div": ("Composition", lambda r: r["section"][0]["text"].update(div="uno")),
}  # fmt: skip


@pytest.mark.parametrize("case", DEFECTS)
def test_a_defect_is_seen(case: str) -> None:
    name, change = DEFECTS[case]
    resource = copied(name)

    change(resource)

    assert found(resource)


@pytest.mark.parametrize("token", ["72.50", "1e2", "0.1", "-3.0"])
def test_a_decimal_is_passed_as_it_is_spelt(token: str) -> None:
    assert faults(json.dumps(INGREDIENT).replace("72.5", token).encode()) == []


@pytest.mark.parametrize("token", ["1.00000000000000000000001", "1e1234567890"])
def test_a_decimal_beyond_fhir_is_seen(token: str) -> None:
    assert faults(json.dumps(INGREDIENT).replace("72.5", token).encode())


def test_the_schema_is_the_official_one() -> None:
    assert hashlib.sha256(official()).hexdigest() == SCHEMA_SHA256
