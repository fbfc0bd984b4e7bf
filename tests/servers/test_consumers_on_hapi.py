"""What FOSPS does with what the job has written: finds it by search, and takes the texts apart.

Products are loaded by the command line from a register over HTTP; everything else here is plain HTTP, and what must be
found is told by what the register was made of.  Ids and systems are spelled out: other readers have no code of ours.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from html import escape
from typing import Any

import pytest

from dev.cima.truth import Truth
from tests.servers import hard_leaflet
from tests.servers.chosen_products import KINDS
from tests.servers.conversation import Fhir
from tests.servers.lens_engine import Section, opened
from tests.servers.loaded_products import HARD, Loaded

pytestmark = pytest.mark.servers

DOC = "https://www.gravitatehealth.eu/sid/doc"
OWN = "https://www.gravitatehealth.eu/sid/es-aemps"
NAMES = {1: "ft", 2: "p"}

every_kind = pytest.mark.parametrize("kind", KINDS)


def found(epi: Fhir, search: str, **parameters: str) -> list[Any]:
    """All that a search finds."""
    answer = epi.http.get(search, params={**parameters, "_count": "500"})
    assert answer.status_code == 200, answer.status_code
    body = answer.json()
    assert not any(link["relation"] == "next" for link in body.get("link", []))
    return [entry["resource"] for entry in body.get("entry", [])]


def as_value(text: str) -> str:
    """A text as the value of a search: a comma would mean "or" (FHIR, search, escaping)."""
    return re.sub(r"([\\,|$])", r"\\\1", text)


def the_only(some: list[Any]) -> Any:
    assert len(some) == 1, [resource["id"] for resource in some]
    return some[0]


def product(epi: Fhir, truth: Truth) -> Any:
    return the_only(found(epi, "MedicinalProductDefinition", identifier=f"{OWN}/nregistro|{truth.number}"))


def subject(epi: Fhir, truth: Truth) -> str:
    return f"MedicinalProductDefinition/{product(epi, truth)['id']}"


def document(epi: Fhir, truth: Truth, kind: int) -> Any:
    return the_only(found(epi, "Bundle", identifier=f"{DOC}|{truth.number}-{NAMES[kind]}"))


def letters(text: str) -> str:
    return re.sub(r"\s+", "", text)


def shown(number: str, title: str) -> str:
    """A section's title as the page shows it, without white space."""
    return title if title.startswith((f"{number}.", f"{number} ")) else f"{number}.{title}"


def texts(loaded: Loaded) -> Iterator[tuple[Truth, int]]:
    for truth in loaded.chosen.truths.values():
        for kind in truth.texts or {}:
            if (truth.number, kind) != (HARD, 2):
                yield truth, kind


def test_the_job_wrote_every_product_and_quarantined_none(loaded: Loaded) -> None:
    assert (loaded.run["outcome"], loaded.run["exit_code"]) == ("done", 0)
    assert sum(loaded.run["counts"]["MedicinalProductDefinition"].values()) == len(KINDS)
    assert loaded.run["quarantined"] == []


@every_kind
def test_a_product_is_found_by_each_of_its_numbers_and_by_its_name(epi: Fhir, loaded: Loaded, kind: str) -> None:
    truth = loaded.chosen.of(kind)
    own = product(epi, truth)
    assert [name["productName"] for name in own["name"]] == [truth.name]
    assert own["status"]["coding"][0]["code"] == ("retired" if truth.status == "withdrawn" else "active")
    systems = [f"{OWN}/nregistro", "https://spor.ema.europa.eu/pmswi"]
    for system in systems:
        assert the_only(found(epi, "MedicinalProductDefinition", identifier=f"{system}|{truth.number}")) == own
    for search in ("name", "name:exact"):
        assert own in found(epi, "MedicinalProductDefinition", **{search: as_value(truth.name)})
    assert own in found(epi, "MedicinalProductDefinition", name=truth.name.split()[0].lower())
    assert the_only(found(epi, "MedicinalProductDefinition", **{"name:exact": as_value(truth.name)})) == own


@pytest.mark.parametrize(
    ("kind", "number"), [("of ten digits", "EU/1/15/1011/002"), ("of eight digits", "EU/1/96/102/005")]
)
def test_a_product_of_the_ema_is_found_by_the_unions_number(epi: Fhir, loaded: Loaded, kind: str, number: str) -> None:
    own = the_only(found(epi, "MedicinalProductDefinition", identifier=number))
    assert own == product(epi, loaded.chosen.of(kind))


@every_kind
def test_the_list_of_a_product_is_found_both_ways_and_leads_to_its_documents(
    epi: Fhir, loaded: Loaded, kind: str
) -> None:
    truth = loaded.chosen.of(kind)
    by_subject = found(epi, "List", subject=subject(epi, truth))
    assert found(epi, "List", identifier=f"{DOC}|{truth.number}") == by_subject
    if not truth.texts:
        assert by_subject == []
        return
    own = the_only(by_subject)
    assert own["status"] == ("retired" if truth.status == "withdrawn" else "current")
    led_to = [epi.read(entry["item"]["reference"])["identifier"]["value"] for entry in own["entry"]]
    assert led_to == [f"{truth.number}-{NAMES[k]}" for k in sorted(truth.texts)]


@every_kind
def test_each_document_is_found_by_its_identifier_and_says_whether_it_still_holds(
    epi: Fhir, loaded: Loaded, kind: str
) -> None:
    truth = loaded.chosen.of(kind)
    for text, name in NAMES.items():
        some = found(epi, "Bundle", identifier=f"{DOC}|{truth.number}-{name}")
        assert len(some) == (text in (truth.texts or {}))
        for bundle in some:
            inside = Counter(entry["resource"]["resourceType"] for entry in bundle["entry"])
            assert inside["MedicinalProductDefinition"] == 1
            assert inside["PackagedProductDefinition"] == len(truth.packs or {})
            assert bundle["entry"][0]["resource"]["status"] == (
                "deprecated" if truth.status == "withdrawn" else "final"
            )
    assert found(epi, "Bundle", identifier=f"{DOC}|{truth.number}") == []  # of two documents it would name both


@every_kind
def test_ingredients_are_those_of_the_product(epi: Fhir, loaded: Loaded, kind: str) -> None:
    truth = loaded.chosen.of(kind)
    told = loaded.chosen.register.products[truth.number]
    some = found(epi, "Ingredient", **{"for": subject(epi, truth)})
    named = Counter((r["role"]["coding"][0]["code"], r["substance"]["code"]["concept"]["text"]) for r in some)
    actives = [("100000072072", row["nombre"]) for row in told["principiosActivos"]]
    assert named == Counter([*actives, *(("100000072082", row["nombre"]) for row in told["excipientes"])])


@every_kind
def test_document_references_are_all_that_the_register_has_of_the_product(epi: Fhir, loaded: Loaded, kind: str) -> None:
    truth = loaded.chosen.of(kind)
    told = loaded.chosen.register.products[truth.number]
    some = found(epi, "DocumentReference", subject=subject(epi, truth))
    addresses = [c["attachment"].get("url") for r in some for c in r["content"]]
    papers = [row[name] for row in told["docs"] for name in ("url", "urlHtml") if name in row]
    notes = [row["url"] for row in loaded.chosen.register.notes[truth.number]]
    photos = [row["url"] for row in told.get("fotos", ())]
    problems = [None for _ in truth.supply or {}]
    assert Counter(addresses) == Counter([*papers, *photos, *notes, *truth.materials, *problems])


@pytest.mark.parametrize(
    ("kind", "categories"),
    [("with a note", "AE"), ("with materials", "MU,SA"), ("with a supply problem", "OTHER")],
)
def test_a_note_a_material_and_a_supply_problem_are_found_by_their_category(
    epi: Fhir, loaded: Loaded, kind: str, categories: str
) -> None:
    truth, register = loaded.chosen.of(kind), loaded.chosen.register
    some = found(epi, "DocumentReference", subject=subject(epi, truth), category=categories)
    told = {
        "AE": {f"{OWN}/nota|{reference}" for reference in truth.notes},
        "MU,SA": {f"{OWN}/material|{url}" for url in truth.materials},
        "OTHER": {f"{OWN}/psuministro|{cn}-{register.supply[cn]['fini']}" for cn in truth.supply or {}},
    }
    assert {f"{r['identifier'][0]['system']}|{r['identifier'][0]['value']}" for r in some} == told[categories]


def test_a_suspended_products_authorisation_says_so(epi: Fhir, loaded: Loaded) -> None:
    truth = loaded.chosen.of("suspended")
    own = the_only(found(epi, "RegulatedAuthorization", subject=subject(epi, truth)))
    assert own["status"] == {"text": "Suspended"}


def test_every_section_comes_back_under_its_own_title_with_its_own_text(epi: Fhir, loaded: Loaded) -> None:
    """The generator says what a reader sees of each section, in letters; a heading alone shows its title again.

    Each piece is also, byte for byte, what its section has, in the Bundle and in the Composition that stands alone.
    """
    for truth, kind in texts(loaded):
        bundle = document(epi, truth, kind)
        page = opened(bundle)
        told = [(shown(number, title), text) for number, title, text in (truth.texts or {})[kind]]
        assert [(letters(s.title), words(s)) for s in page.sections] == told, (truth.number, kind)
        single = the_only(found(epi, "Composition", subject=subject(epi, truth), type=_type(bundle)))
        for composition in (bundle["entry"][0]["resource"], single):
            divs = [section["text"]["div"] for section in composition["section"][0]["section"]]
            assert [f'<div xmlns="http://www.w3.org/1999/xhtml">{s.html}</div>' for s in page.sections] == divs


def words(section: Section) -> str:
    """A section's own words, without white space: none where its title stands in their place."""
    return "" if section.html == f"<p>{escape(section.title, quote=False)}</p>" else letters(section.words)


def _type(bundle: Any) -> str:
    coding = bundle["entry"][0]["resource"]["type"]["coding"][0]
    return f"{coding['system']}|{coding['code']}"


def test_a_leaflet_of_hard_markup_comes_back_section_by_section(epi: Fhir, loaded: Loaded) -> None:
    page = opened(document(epi, loaded.chosen.truths[HARD], 2))
    told = [(letters(title), letters(text)) for title, text in hard_leaflet.expected()]
    assert [(letters(s.title), letters(s.words.replace("\u200b", ""))) for s in page.sections] == told
