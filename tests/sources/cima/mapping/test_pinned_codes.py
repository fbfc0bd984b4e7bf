"""The codes that concepts become, once more: a slip in a table is seen here, and not first on a server.

Taken from the tables when these had been reviewed against the sources that they name.  Whoever means to change a code
changes it in both places.
"""

from __future__ import annotations

import csv
from importlib.resources import files
from pathlib import Path

import pytest

from sources.cima.mapping.terms import (
    coding,
    document_kind,
    dose_form_coding,
    pack_words,
    route_coding,
    system,
    unit,
    unit_of_presentation,
)

TABLES = files("sources.cima.mapping") / "tables"


def rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((TABLES / f"{name}.csv").read_text(encoding="utf-8").splitlines(), strict=True))


SYSTEMS = """
pmswi https://spor.ema.europa.eu/pmswi
rmswi https://spor.ema.europa.eu/rmswi
omswi https://spor.ema.europa.eu/omswi
name-part https://spor.ema.europa.eu/lists/220000000000
document-type https://spor.ema.europa.eu/v1/lists/100000155531/terms/
section https://spor.ema.europa.eu/v1/lists/200000029659/terms/
atc http://www.whocc.no/atc
snomed http://snomed.info/sct
country urn:iso:std:iso:3166
language urn:ietf:bcp:47
publication-status http://hl7.org/fhir/publication-status
product-type http://hl7.org/fhir/medicinal-product-type
product-domain http://hl7.org/fhir/medicinal-product-domain
attestation http://hl7.org/fhir/composition-attestation-mode
empty-reason http://terminology.hl7.org/CodeSystem/list-empty-reason
epi-category http://hl7.eu/fhir/ig/gravitate-health/CodeSystem/epicategory-cs
doc https://www.gravitatehealth.eu/sid/doc
medicine-name http://spor.ema.europa.eu/v2/medicine-name
list-language http://spor.ema.europa.eu/v1/100000072057
asm-category http://hl7.eu/fhir/ig/gravitate-health/CodeSystem/asm-category-cs
ucum http://unitsofmeasure.org
role-class http://terminology.hl7.org/CodeSystem/v3-RoleClass
nregistro https://www.gravitatehealth.eu/sid/es-aemps/nregistro
cn https://www.gravitatehealth.eu/sid/es-aemps/cn
organization https://www.gravitatehealth.eu/sid/es-aemps/organization
document-version https://www.gravitatehealth.eu/sid/es-aemps/document-version
substitution https://www.gravitatehealth.eu/sid/es-aemps/nosustituible
document https://www.gravitatehealth.eu/sid/es-aemps/document
photo https://www.gravitatehealth.eu/sid/es-aemps/photo
safety-note https://www.gravitatehealth.eu/sid/es-aemps/nota
material https://www.gravitatehealth.eu/sid/es-aemps/material
supply-problem https://www.gravitatehealth.eu/sid/es-aemps/psuministro
active-substance https://www.gravitatehealth.eu/sid/es-aemps/principio-activo
declared-excipient https://www.gravitatehealth.eu/sid/es-aemps/excipiente
dose-form https://www.gravitatehealth.eu/sid/es-aemps/forma-farmaceutica
simplified-dose-form https://www.gravitatehealth.eu/sid/es-aemps/forma-farmaceutica-simplificada
route https://www.gravitatehealth.eu/sid/es-aemps/via-administracion
supply-problem-kind https://www.gravitatehealth.eu/sid/es-aemps/tipo-problema-suministro
"""

CODES = """
[http://hl7.org/fhir/medicinal-product-type]
medicinal-product MedicinalProduct Medicinal Product
[http://hl7.org/fhir/medicinal-product-domain]
human Human Human use
[http://hl7.org/fhir/publication-status]
active active
retired retired
[https://spor.ema.europa.eu/rmswi]
marketing-authorisation 220000000061 Marketing Authorisation
holder 220000000034 Marketing authorisation holder
prescription 100000072084 Medicinal product subject to medical prescription
no-prescription 100000072076 Medicinal product not subject to medical prescription
[https://spor.ema.europa.eu/lists/220000000000]
full-name 220000000001 Full name
invented-name-part 220000000002 Invented name part
scientific-name-part 220000000003 Scientific name part
strength-part 220000000004 Strength part
form-part 220000000005 Pharmaceutical dose form part
[urn:iso:std:iso:3166]
spain ES Spain
[urn:ietf:bcp:47]
spanish es Spanish
[https://spor.ema.europa.eu/rmswi]
ft 100000155532
[https://spor.ema.europa.eu/v1/lists/100000155531/terms/]
ft-list 100000155532
[https://spor.ema.europa.eu/rmswi]
p 100000155538
[https://spor.ema.europa.eu/v1/lists/100000155531/terms/]
p-list 100000155538
[http://hl7.eu/fhir/ig/gravitate-health/CodeSystem/epicategory-cs]
raw R Raw
[http://hl7.org/fhir/composition-attestation-mode]
official official
[http://terminology.hl7.org/CodeSystem/list-empty-reason]
unavailable unavailable Unavailable
[https://spor.ema.europa.eu/rmswi]
active-role 100000072072 Active
excipient 100000072082 Excipient
[http://terminology.hl7.org/CodeSystem/v3-RoleClass]
basis-of-strength ACTIB active ingredient - basis of strength
[https://spor.ema.europa.eu/rmswi]
human-species 100000109093 Human
[http://hl7.eu/fhir/ig/gravitate-health/CodeSystem/asm-category-cs]
adverse-effects AE Adverse Effects Management
support-administration SA Support Administration
medication-usage MU Medication Usage
other-information OTHER Other Information
[http://spor.ema.europa.eu/v1/100000072057]
list-spanish es es
[https://spor.ema.europa.eu/rmswi]
unit-tablet 200000002152 Tablet
unit-capsule 200000002113 Capsule
unit-suppository 200000002149 Suppository
unit-pessary 200000002137 Pessary
unit-patch 200000002134 Patch
unit-lozenge 200000002128 Lozenge
unit-implant 200000002124 Implant
unit-chewing-gum 200000002123 Chewing gum
unit-syringe 200000002150 Syringe
unit-pen 200000002135 Pen
unit-cartridge 200000002114 Cartridge
pack-ampoule 100000073490 Ampoule
pack-bag 100000073493 Bag
pack-blister 100000073496 Blister
pack-bottle 100000073497 Bottle
pack-cartridge 100000073503 Cartridge
pack-gas-cylinder 100000073514 Gas cylinder
pack-inhaler 100000073517 Inhaler
pack-jar 100000073523 Jar
pack-pre-filled-pen 100000073543 Pre-filled pen
pack-pre-filled-syringe 100000073544 Pre-filled syringe
pack-sachet 100000073547 Sachet
pack-single-dose-container 100000073550 Single-dose container
pack-strip 100000073559 Strip
pack-tube 100000073561 Tube
pack-vial 100000073563 Vial
"""
"""Below each system: name, code, display."""

UNITS = {
    "mg": ("extent", "mg; miligramos"),
    "g": ("extent", "g; gramos"),
    "kg": ("extent", "kg"),
    "ug": ("extent", "µg; mcg; microgramos; microgramo"),
    "ng": ("extent", "ng"),
    "mL": ("extent", "ml; mL"),
    "L": ("extent", "l; L"),
    "uL": ("extent", "µl"),
    "%": ("share", "%; % p/p; % v/v"),
    "g/dL": ("share", "% p/v"),
    "[iU]": ("none", "UI"),
    "k[iU]": ("none", "kUI"),
    "10*6.[iU]": ("none", "millones UI"),
    "mmol": ("none", "mmol"),
    "umol": ("none", "µmol"),
    "mol": ("none", "mol"),
    "meq": ("none", "mEq"),
    "Bq": ("none", "Bq"),
    "kBq": ("none", "kBq"),
    "MBq": ("none", "MBq"),
    "GBq": ("none", "GBq"),
    "kcal": ("none", "kcal"),
}
"""UCUM → kind, and spellings of it."""

PACK_WORDS = {
    "comprimidos": ("item", "{tablet}", None),
    "grageas": ("item", "{tablet}", None),
    "cápsulas": ("item", "{capsule}", None),
    "supositorios": ("item", "{suppository}", None),
    "óvulos": ("item", "{pessary}", None),
    "parches": ("item", "{patch}", None),
    "pastillas": ("item", "{lozenge}", None),
    "ampollas": ("container", "{ampoule}", "pack-ampoule"),
    "bolsas": ("container", "{bag}", "pack-bag"),
    "frascos": ("container", "{bottle}", "pack-bottle"),
    "viales": ("container", "{vial}", "pack-vial"),
    "jeringas precargadas": ("container", "{syringe}", "pack-pre-filled-syringe"),
    "plumas precargadas": ("container", "{pen}", "pack-pre-filled-pen"),
    "tubos": ("container", "{tube}", "pack-tube"),
    "sobres": ("container", "{sachet}", "pack-sachet"),
    "inhaladores": ("container", "{inhaler}", "pack-inhaler"),
    "cartuchos": ("container", "{cartridge}", "pack-cartridge"),
    "tarros": ("container", "{jar}", "pack-jar"),
    "balas de gas": ("container", "{cylinder}", "pack-gas-cylinder"),
    "envases unidosis": ("container", "{container}", "pack-single-dose-container"),
    "blísteres": ("container", "{blister}", "pack-blister"),
    "tiras": ("container", "{strip}", "pack-strip"),
}
"""A word → whether it is an item or a container, UCUM, the name of its code."""

COUNTED = {
    "COMPRIMIDO RECUBIERTO": "unit-tablet",
    "GRAGEA": "unit-tablet",
    "CÁPSULA DURA": "unit-capsule",
    "SUPOSITORIO": "unit-suppository",
    "ÓVULO": "unit-pessary",
    "PARCHE TRANSDÉRMICO": "unit-patch",
    "PASTILLA PARA CHUPAR": "unit-lozenge",
    "IMPLANTE": "unit-implant",
    "CHICLE MEDICAMENTOSO": "unit-chewing-gum",
    "SOLUCIÓN INYECTABLE EN JERINGA PRECARGADA": "unit-syringe",
    "SOLUCIÓN INYECTABLE EN PLUMA PRECARGADA": "unit-pen",
    "SOLUCIÓN INYECTABLE EN CARTUCHO": "unit-cartridge",
}
"""A dosage form → the name of the code of what is counted."""

FORMS = {
    "COMPRIMIDO": ("100000073664", "Tablet"),
    "COMPRIMIDO RECUBIERTO CON PELÍCULA": ("100000073665", "Film-coated tablet"),
    "CÁPSULA DURA": ("100000073375", "Capsule, hard"),
}
ROUTES = {
    ("48", "VÍA ORAL"): ("100000073619", "Oral use"),
    ("42", "VÍA INTRAVENOSA"): ("100000073611", "Intravenous use"),
    ("58", "VÍA SUBCUTÁNEA"): ("100000073633", "Subcutaneous use"),
}
DOCUMENTS = {
    1: ("ft", "ft", "Ficha técnica"),
    2: ("p", "p", "Prospecto"),
    3: ("ipe", None, "Informe público de evaluación"),
    4: ("pgr", None, "Plan de gestión de riesgos"),
}


def pinned(text: str) -> list[list[str]]:
    return [line.split(" ", 2) for line in text.strip().splitlines()]


def test_every_system_has_its_uri() -> None:
    assert [[row["name"], system(row["name"])] for row in rows("systems")] == pinned(SYSTEMS)


def test_every_name_has_its_system_code_and_display() -> None:
    expected, at = {}, ""
    for name, *rest in pinned(CODES):
        if rest:
            code, *display = rest
            expected[name] = {"system": at, "code": code, **({"display": display[0]} if display else {})}
        else:
            at = name.strip("[]")

    assert {row["name"]: coding(row["name"]) for row in rows("codes")} == expected


def test_every_unit_has_its_code() -> None:
    found = {}
    for row in rows("units"):
        known = unit(row["unit"])
        assert known is not None
        assert (known.share, known.extent) == (row["kind"] == "share", row["kind"] == "extent")
        found.setdefault(known.ucum, (row["kind"], []))[1].append(row["unit"])

    assert {ucum: (kind, "; ".join(spelled)) for ucum, (kind, spelled) in found.items()} == UNITS


def test_every_word_of_packs_has_its_meaning() -> None:
    found = {
        word: [("item" if known.item else "container", known.ucum, known.type) for known in pack_words()
               if known.word.fullmatch(word)]
        for word in PACK_WORDS
    }  # fmt: skip

    assert found == {word: [meaning] for word, meaning in PACK_WORDS.items()}
    assert len(PACK_WORDS) == len(pack_words())


def test_every_form_has_what_is_counted_of_it() -> None:
    assert {form: unit_of_presentation(form) for form in COUNTED} == COUNTED
    assert len(COUNTED) == len(rows("presentation_units"))


def test_forms_routes_and_documents_have_their_codes() -> None:
    forms = {form: dose_form_coding(form) for form in FORMS}
    routes = {known: route_coding(*known) for known in ROUTES}

    for found, expected in ((forms, FORMS), (routes, ROUTES)):
        rms = "https://spor.ema.europa.eu/rmswi"
        assert found == {key: {"system": rms, "code": c, "display": d} for key, (c, d) in expected.items()}
    assert {tipo: document_kind(tipo) for tipo in DOCUMENTS} == DOCUMENTS
    assert [len(rows(name)) for name in ("dose_forms", "routes", "documents")] == [3, 3, 4]


@pytest.mark.samples
def test_the_codes_of_sections_are_those_counted_over_the_exports(samples: Path) -> None:
    path = samples.parent / "aemps_epi_xml" / "rms_sections.csv"
    counted: dict[tuple[str, str], str] = {}
    for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines(), strict=True):
        document = {"100000155532": "ft", "100000155538": "p"}[row["docTypeCode_100000155531"]]
        counted.setdefault((document, row["section_number"]), row["rms_code_200000029659"])
    known = {(row["document"], row["number"]): row["code"] for row in rows("sections")}

    assert len(known) > 40
    assert known.items() <= counted.items()
