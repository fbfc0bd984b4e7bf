"""What FOSPS's raw ePIs have, as a table: checked on every product that is mapped.

The paths are those of the examples and templates of Gravitate-Health's implementation guide (rawEPI).  `always` stands
in every resource of the type; `given` where the register's answer has what it is made of.
"""

from __future__ import annotations

import importlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sources.cima.mapping import to_changes
from tsi_fetch.words import Row, Upsert

MakeRow = Callable[..., Row]
PRODUCTS = ("99001", "1998001001", "99 003-95-96")

ALWAYS = {
    "Bundle": "identifier.system identifier.value type timestamp language entry.fullUrl entry.resource",
    "Composition": "identifier status type.coding language category.coding.code subject.reference date "
    "author.reference title attester.mode section.title section.code.coding section.section.title "
    "section.section.text.div",
    "MedicinalProductDefinition": "identifier type.coding domain.coding status.coding name.productName "
    "name.type.coding name.usage.country name.usage.jurisdiction name.usage.language legalStatusOfSupply "
    "classification",
    "RegulatedAuthorization": "identifier subject.reference type.coding region.coding status holder.reference "
    "regulator.reference statusDate",
    "Organization": "identifier name",
    "PackagedProductDefinition": "identifier name status.coding statusDate packageFor.reference packaging.quantity "
    "containedItemQuantity.value",
    "AdministrableProductDefinition": "identifier status formOf.reference administrableDoseForm.coding "
    "producedFrom.reference routeOfAdministration.code.coding routeOfAdministration.targetSpecies.code",
    "ManufacturedItemDefinition": "identifier status manufacturedDoseForm.coding unitOfPresentation.coding",
    "Ingredient": "status role.coding for.reference substance.code.concept.coding",
    "List": "identifier.system identifier.value status mode title subject.reference date entry.item.reference "
    "entry.item.extension.valueCoding",
    "DocumentReference": "identifier status docStatus subject.reference content.attachment.title",
}
"""Type → paths that every resource of it has."""

PROFILED = frozenset(
    "Bundle Composition MedicinalProductDefinition Organization AdministrableProductDefinition "
    "ManufacturedItemDefinition Ingredient".split()
)
"""The raw ePIs leave RegulatedAuthorization and PackagedProductDefinition on the base type."""

EPI = ("Composition", "MedicinalProductDefinition", "RegulatedAuthorization", "Organization",
       "PackagedProductDefinition", "AdministrableProductDefinition", "ManufacturedItemDefinition",
       "Ingredient")  # fmt: skip
"""What a raw ePI's Bundle holds, in its order."""


def at(value: Any, path: str) -> Iterator[Any]:
    """Every value at a path; lists are looked through."""
    if isinstance(value, list):
        for child in value:
            yield from at(child, path)
    elif not path:
        yield value
    elif isinstance(value, dict):
        step, _, rest = path.partition(".")
        if step in value:
            yield from at(value[step], rest)


def resources(row: Row) -> list[Any]:
    return [json.loads(c.body) for c in to_changes(row) if isinstance(c, Upsert)]


def everything(row: Row) -> list[Any]:
    """The resources, and those within the Bundles."""
    found = resources(row)
    return [*found, *(e["resource"] for r in found if r["resourceType"] == "Bundle" for e in r["entry"])]


def missing(found: list[Any]) -> list[str]:
    """What the table asks for and a resource has not; a document without sections says so instead."""
    return [
        f"{r['id']}: {path}"
        for r in found
        for path in ALWAYS[r["resourceType"]].split()
        if not any(at(r, path)) and not (path.startswith("section.section.") and any(at(r, "section.emptyReason")))
    ]


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            yield value["reference"]
        value = list(value.values())
    if isinstance(value, list):
        for child in value:
            yield from references(child)


def check(row: Row) -> Counter[str]:
    """What holds for every product; how many resources of each type it has."""
    found = resources(row)
    refs = [f"{r['resourceType']}/{r['id']}" for r in found]
    assert len(refs) == len(set(refs))
    assert set(references(found)) <= set(refs)
    assert resources(row) == found
    for resource in everything(row):
        kind = resource["resourceType"]
        model = getattr(importlib.import_module(f"fhir.resources.{kind.lower()}"), kind)
        assert model.model_validate(resource).id == resource["id"]
        if kind in PROFILED:
            assert resource["meta"]["profile"] == [
                f"http://hl7.org/fhir/uv/emedicinal-product-info/StructureDefinition/{kind}-uv-epi"
            ]
    for bundle in (r for r in found if r["resourceType"] == "Bundle"):
        kinds = [e["resource"]["resourceType"] for e in bundle["entry"]]
        assert kinds == sorted(kinds, key=EPI.index)
        inside = {f"{e['resource']['resourceType']}/{e['resource']['id']}" for e in bundle["entry"]}
        assert set(references(bundle)) <= inside
    return Counter(r["resourceType"] for r in found)


@pytest.mark.parametrize("number", PRODUCTS)
def test_a_product_has_what_raw_epis_have(make_row: MakeRow, number: str) -> None:
    row = make_row(number)

    assert check(row)
    # An injection is not counted by a word for items, but here its name says a syringe.
    assert missing(everything(row)) == []


@pytest.mark.parametrize("number", PRODUCTS)
def test_a_product_with_nothing_but_what_is_required_has_what_can_be_had(make_row: MakeRow, number: str) -> None:
    bare = dict.fromkeys(
        "cpresc receta vtm dosis formaFarmaceutica formaFarmaceuticaSimplificada atcs nosustituible docs fotos "
        "viasAdministracion principiosActivos excipientes labcomercializador".split()
    )

    kinds = check(make_row(number, **bare, presentaciones=[]))

    assert kinds.keys() == {"Organization", "MedicinalProductDefinition", "RegulatedAuthorization"}


def test_every_type_stands_in_the_table(make_row: MakeRow) -> None:
    assert {r["resourceType"] for number in PRODUCTS for r in everything(make_row(number))} == ALWAYS.keys()


@pytest.mark.samples
def test_every_recorded_product_has_what_raw_epis_have(
    samples: Path, make_whole_row: Callable[..., Row], body: Callable[[str], Any]
) -> None:
    """Of the real register; its texts are of our own making."""
    own = {tipo: body(f"contenido_{tipo}_99001") for tipo in (1, 2)}
    counts: Counter[str] = Counter()
    products = 0
    for path in sorted(samples.glob("medicamento_*.json")):
        product = json.loads(path.read_bytes())
        if "cn" in path.stem:  # asked for by a pack's number: refused elsewhere
            continue
        row = make_whole_row(product, own)
        counts += check(row)
        assert missing(everything(row)) == []
        products += 1

    print(f"\n{products} products: {dict(sorted(counts.items()))}")
    assert products >= 2
    assert counts["Ingredient"] >= 9
