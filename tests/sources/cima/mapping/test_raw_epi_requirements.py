"""What FOSPS's raw ePIs have, as a table: checked on every product that is mapped.

The paths are those of the examples and templates of Gravitate-Health's implementation guide (rawEPI).  `ALWAYS` stands
in every resource of the type, `GIVEN` where the register's answer has what it is made of, `VALUES` says which values
may stand there, `NEVER` what FOSPS's readers or servers do not bear.  Whether the raw ePIs at hand have anything else
is looked at in `test_raw_epis_at_hand.py`.
"""

from __future__ import annotations

import importlib
import json
import re
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
    "section.section.text.div section.section.text.status",
    "MedicinalProductDefinition": "identifier type.coding domain.coding status.coding name.productName "
    "name.type.coding name.usage.country name.usage.jurisdiction name.usage.language statusDate contact.type "
    "contact.contact.reference",
    "RegulatedAuthorization": "identifier subject.reference type.coding region.coding status holder.reference "
    "regulator.reference statusDate validityPeriod.start",
    "Organization": "identifier name",
    "PackagedProductDefinition": "identifier name status.coding statusDate packageFor.reference",
    "AdministrableProductDefinition": "identifier status formOf.reference producedFrom.reference "
    "routeOfAdministration.code.coding routeOfAdministration.targetSpecies.code",
    "ManufacturedItemDefinition": "identifier status manufacturedDoseForm.coding",
    "Ingredient": "status role.coding for.reference substance.code.concept.coding",
    "List": "identifier.system identifier.value status mode title subject.reference date entry.item.reference "
    "entry.item.extension.url entry.item.extension.valueCoding",
    "DocumentReference": "identifier status docStatus subject.reference content.attachment.title",
}
"""Type → paths that every resource of it has."""

Register = dict[str, Any]
Condition = Callable[[Register, Any], bool]

RMS, LISTS = "https://spor.ema.europa.eu/rmswi", "https://spor.ema.europa.eu/v1/lists"
COUNTED = re.compile(r"(COMPRIMIDO|C[ÁA]PSULA|SUPOSITORIO|[ÓO]VULO|PARCHE)(?!.* PARA )|.* (JERINGA|PLUMA) PRECARGADA")
PREPARED = re.compile(
    r"(POLVO|GRANULADO|CONCENTRADO|LIOFILIZADO)\b.* PARA (CONCENTRADO|SOLUCI|SUSPENSI|EMULSI)|.*EFERVES"
)
SIZE = re.compile(r", [1-9]\d* (comprimidos|c[áa]psulas|sobres|viales de \d+ ml|supositorios|[óo]vulos)( \(.*\))?$")


def given(*names: str) -> Condition:
    """Where the register's product has all of these."""
    return lambda product, _: all(product.get(name) for name in names)


def named(product: Register, resource: Any) -> bool:
    """Where a pack's name is the product's and a size."""
    return resource["name"].startswith(product["nombre"]) and bool(SIZE.search(resource["name"]))


def form(pattern: re.Pattern[str], *, is_so: bool = True) -> Condition:
    return lambda product, _: bool(pattern.match((product.get("formaFarmaceutica") or {}).get("nombre", ""))) is is_so


def numbered(_: Register, composition: Any) -> bool:
    """Where a section has one of the numbers that every such document has."""
    return any(re.match(r"[1-6]\. ", title) for title in at(composition, "section.section.title"))


def dated(product: Register, _: Any) -> bool:
    """Where a document that comes in sections has a day."""
    return any(d.get("secc") and d.get("fecha") for d in product.get("docs") or () if d["tipo"] in (1, 2))


GIVEN: dict[str, dict[str, Condition]] = {
    "Composition": {"section.section.code.coding": numbered},
    "List": {"entry.date": dated},
    "MedicinalProductDefinition": {
        "legalStatusOfSupply.coding": lambda product, _: product.get("receta") is not None,
        "legalStatusOfSupply.text": given("cpresc"),
        "classification.coding": given("atcs"),
        "name.part.part": given("dosis"),
        "code.code": given("vtm"),
        "additionalMonitoringIndicator": given("triangulo"),
        "specialMeasures": given("huerfano"),
    },
    "RegulatedAuthorization": {"validityPeriod.end": lambda product, _: "rev" in product["estado"]},
    "PackagedProductDefinition": {
        "containedItemQuantity.value": named,
        "packaging.quantity": lambda product, pack: named(product, pack) and bool(product.get("formaFarmaceutica")),
    },
    "ManufacturedItemDefinition": {"unitOfPresentation.coding": form(COUNTED)},
    "AdministrableProductDefinition": {
        "administrableDoseForm.coding": form(PREPARED, is_so=False),
        "unitOfPresentation.coding": lambda *of: form(COUNTED)(*of) and form(PREPARED, is_so=False)(*of),
    },
}
"""Type → path → when it has to be there."""

VALUES: dict[str, dict[str, set[Any]]] = {
    "Bundle": {
        "type": {"document"},
        "language": {"es"},
        "identifier.system": {"https://www.gravitatehealth.eu/sid/doc"},
    },
    "Composition": {
        "language": {"es"},
        "status": {"final", "deprecated"},
        "type.coding.system": {RMS, f"{LISTS}/100000155531/terms/"},
        "type.coding.code": {"100000155532", "100000155538"},
        "category.coding.code": {"R"},
        "attester.mode.coding.code": {"official"},
        "section.code.coding.system": {RMS, f"{LISTS}/100000155531/terms/", f"{LISTS}/200000029659/terms/"},
        "section.section.code.coding.system": {f"{LISTS}/200000029659/terms/"},
        "section.section.text.status": {"additional"},
    },
    "MedicinalProductDefinition": {
        "type.coding.code": {"MedicinalProduct"},
        "domain.coding.code": {"Human"},
        "status.coding.code": {"active", "retired"},
        "legalStatusOfSupply.coding.code": {"100000072084", "100000072076"},
        "name.type.coding.code": {"220000000001"},
        "name.part.type.coding.code": {f"22000000000{n}" for n in range(2, 6)},
        "name.usage.country.coding.code": {"ES"},
        "name.usage.jurisdiction.coding.code": {"ES"},
        "name.usage.language.coding.code": {"es"},
        "classification.coding.system": {"http://www.whocc.no/atc"},
        "code.system": {"http://snomed.info/sct"},
    },
    "RegulatedAuthorization": {
        "type.coding.code": {"220000000061"},
        "region.coding.code": {"ES"},
        "status.coding.code": {"active", "retired"},
        "identifier.use": {"official"},
        "regulator.reference": {"Organization/es-aemps-org-aemps"},
    },
    "PackagedProductDefinition": {"status.coding.code": {"active", "retired"}, "packaging.quantity": {1}},
    "AdministrableProductDefinition": {
        "status": {"active", "retired"},
        "routeOfAdministration.targetSpecies.code.coding.code": {"100000109093"},
    },
    "ManufacturedItemDefinition": {"status": {"active", "retired"}},
    "Ingredient": {
        "status": {"active", "retired"},
        "role.coding.code": {"100000072072", "100000072082"},
        "substance.strength.basis.coding.code": {"ACTIB"},
    },
    "List": {
        "mode": {"working"},
        "status": {"current", "retired"},
        "identifier.system": {
            "https://www.gravitatehealth.eu/sid/doc",
            "http://spor.ema.europa.eu/v2/medicine-name",
        },
    },
    "DocumentReference": {
        "status": {"current"},
        "category.coding.code": {"AE", "SA", "MU", "OTHER", *map(str, range(11))},
    },
}
"""Type → path → what may stand there, where anything does."""

NEVER = {
    "Composition": "extension section.section.section",
    "MedicinalProductDefinition": "attachedDocument",
    "List": "meta",  # its profile forbids the subject that FOSPS searches by
}
"""Type → paths at which nothing may stand."""

UNPROFILED = ("RegulatedAuthorization", "PackagedProductDefinition")
"""Types that the guide's own raw ePIs leave on the base type; of packs, Nordic ones have profiles of their own."""

NUMBERED = ("MedicinalProductDefinition", "RegulatedAuthorization", "ManufacturedItemDefinition",
            "AdministrableProductDefinition")  # fmt: skip
"""Types that carry the registration number in EMA's system, and in our own."""

PROFILED = frozenset(
    "Bundle Composition MedicinalProductDefinition Organization AdministrableProductDefinition "
    "ManufacturedItemDefinition Ingredient".split()
)

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
    return with_entries(resources(row))


def with_entries(found: list[Any]) -> list[Any]:
    return [*found, *(e["resource"] for r in found if r["resourceType"] == "Bundle" for e in r["entry"])]


def missing(found: list[Any], product: Register) -> list[str]:
    """What the tables ask for and a resource has not; a document without sections says so instead."""
    return [
        f"{r['id']}: {path}"
        for r in found
        for path in asked(r, product)
        if not any(at(r, path)) and not (path.startswith("section.section.") and any(at(r, "section.emptyReason")))
    ]


def asked(resource: Any, product: Register) -> list[str]:
    kind = resource["resourceType"]
    return [
        *ALWAYS[kind].split(),
        *(path for path, must_be in GIVEN.get(kind, {}).items() if must_be(product, resource)),
    ]


def wrong(found: list[Any]) -> list[str]:
    """What stands where it must not, or is another value than it may be."""
    faults = []
    for r in found:
        kind = r["resourceType"]
        faults += [f"{r['id']}: {path}" for path in NEVER.get(kind, "").split() if any(True for _ in at(r, path))]
        for path, values in VALUES.get(kind, {}).items():
            faults += [f"{r['id']}: {path} {value}" for value in at(r, path) if value not in values]
        if kind in NUMBERED and r["identifier"][0]["system"] != "https://spor.ema.europa.eu/pmswi":
            faults.append(f"{r['id']}: identifier")
        if kind in UNPROFILED and "meta" in r:
            faults.append(f"{r['id']}: meta")
        if kind == "Bundle":
            faults += of_bundle(r)
        if kind == "Composition":
            faults += of_sections(r)
    return faults


def of_bundle(bundle: Any) -> list[str]:
    """Full addresses as the raw ePIs have them, the original approval as its time, nothing that would rewrite texts."""
    faults = [] if bundle["timestamp"].endswith("T00:00:00Z") else [f"{bundle['id']}: timestamp"]
    for entry in bundle["entry"]:
        own = f"{entry['resource']['resourceType']}/{entry['resource']['id']}"
        if entry["fullUrl"] != f"http://hl7.eu/fhir/ig/gravitate-health/{own}":
            faults.append(f"{bundle['id']}: fullUrl of {own}")
        if "marketingStatus" in entry["resource"]:
            faults.append(f"{bundle['id']}: marketingStatus of {own}")
    return faults


def of_sections(composition: Any) -> list[str]:
    """One outer section; below it each has a title and exactly one div with xmlns, or readers lose count."""
    faults = [] if len(composition["section"]) == 1 else [f"{composition['id']}: section"]
    for section in composition["section"][0].get("section", ()):
        div = section["text"]["div"]
        if not section["title"].strip() or len(re.findall(r"<div\b[^<>]*\sxmlns=", div)) != 1:
            faults.append(f"{composition['id']}: {section['title']}")
    return faults


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
    assert missing(everything(row), register_of(row)) == []
    assert wrong(everything(row)) == []


def register_of(row: Row) -> Register:
    return next(json.loads(a.body) for a in row.answers if a.part == "medicamento")


@pytest.mark.parametrize("number", PRODUCTS)
def test_the_fixtures_have_sizes_forms_and_what_is_counted(make_row: MakeRow, number: str) -> None:
    found = everything(make_row(number))
    for kind in ("PackagedProductDefinition", "ManufacturedItemDefinition", "AdministrableProductDefinition"):
        for path in GIVEN[kind]:
            assert all(any(at(r, path)) for r in found if r["resourceType"] == kind), path


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
        assert missing(everything(row), product) == []
        assert wrong(everything(row)) == []
        products += 1

    print(f"\n{products} products: {dict(sorted(counts.items()))}")
    assert products >= 2
    assert counts["Ingredient"] >= 9
