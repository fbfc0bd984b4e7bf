"""The document Bundles: what FOSPS's readers take for granted, section by section."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from lxml import etree

from sources.cima.mapping import to_changes
from sources.cima.mapping.composition import SOURCE
from sources.cima.mapping.terms import section_code
from tsi_fetch.words import Row, Upsert

MakeRow = Callable[..., Row]
XHTML = "{http://www.w3.org/1999/xhtml}"


def bundle(row: Row, document: str = "ft") -> Any:
    found = [c.body for c in to_changes(row) if isinstance(c, Upsert) and f"-bundle-{document}-" in c.ref.id]
    assert len(found) == 1
    return json.loads(found[0])


def composition(row: Row, document: str = "ft") -> Any:
    return bundle(row, document)["entry"][0]["resource"]


def sections(row: Row, document: str = "ft") -> list[Any]:
    inner: list[Any] = composition(row, document)["section"][0]["section"]
    return inner


def words(section: Any) -> str:
    return " ".join("".join(map(str, etree.fromstring(section["text"]["div"]).itertext())).split())


def test_a_bundle_is_a_document_with_the_composition_first(make_row: MakeRow) -> None:
    found = bundle(make_row("99001"), "p")

    assert [e["resource"]["resourceType"] for e in found["entry"]] == [
        "Composition",
        "MedicinalProductDefinition",
        "RegulatedAuthorization",
        "Organization",
        "Organization",
        "PackagedProductDefinition",
        "PackagedProductDefinition",
        "AdministrableProductDefinition",
        "ManufacturedItemDefinition",
        "Ingredient",
        "Ingredient",
    ]
    for entry in found["entry"]:
        r = entry["resource"]
        assert entry["fullUrl"] == f"http://hl7.eu/fhir/ig/gravitate-health/{r['resourceType']}/{r['id']}"
    assert found["type"] == "document"
    assert found["language"] == "es"
    assert found["identifier"] == {"system": "https://www.gravitatehealth.eu/sid/doc", "value": "99001-p"}
    assert found["timestamp"] == "2016-06-27T00:00:00Z"
    assert all("marketingStatus" not in e["resource"] for e in found["entry"])


@pytest.mark.parametrize(("document", "code"), [("ft", "100000155532"), ("p", "100000155538")])
def test_a_composition_has_what_readers_take_for_granted(make_row: MakeRow, document: str, code: str) -> None:
    found = composition(make_row("99001"), document)

    assert found["id"] == f"es-aemps-comp-{document}-99001"
    assert found["language"] == "es"
    assert found["status"] == "final"
    assert found["category"][0]["coding"][0] == {
        "system": "http://hl7.eu/fhir/ig/gravitate-health/CodeSystem/epicategory-cs",
        "code": "R",
        "display": "Raw",
    }
    assert [(c["system"], c["code"]) for c in found["type"]["coding"]] == [
        ("https://spor.ema.europa.eu/rmswi", code),
        ("https://spor.ema.europa.eu/v1/lists/100000155531/terms/", code),
    ]
    assert found["title"] == "FANTASINA QUIMERA 50 mg COMPRIMIDOS RECUBIERTOS CON PELICULA EFG"
    assert found["identifier"][0]["value"] == f"99001-{document}-2024-03-05"
    assert found["date"] == "2024-03-05"
    assert "extension" not in found
    assert found["section"][0]["code"]["coding"][0]["code"] == code


def test_a_text_names_the_register_and_its_day_as_whoever_reuses_it_must(make_row: MakeRow) -> None:
    said = composition(make_row("99001"), "p")["note"]

    source = "Fuente: Agencia Española de Medicamentos y Productos Sanitarios (AEMPS), CIMA"
    assert said == [{"text": f"{source}, 2024-03-05"}]


def test_a_text_that_the_register_does_not_date_has_the_products_latest_day(make_row: MakeRow) -> None:
    suspended = {"aut": 941_497_200_000, "susp": 1_714_514_400_000}

    assert composition(make_row("1998001001"))["date"] == "1999-11-02"
    assert composition(make_row("1998001001", estado=suspended))["date"] == "2024-05-01"


def test_a_text_without_a_day_says_none_and_is_a_version_of_its_own(
    make_row: MakeRow, body: Callable[[str], Any]
) -> None:
    """What CIMA dates nowhere: the authorisation's day is none of the text's."""
    leaflet = body("contenido_2_99001")
    other = [{**leaflet[0], "contenido": "<p>Otro texto.</p>"}, *leaflet[1:]]
    row = make_row("1998001001")
    first, second = (composition(make_row("1998001001", texts={2: text}), "p") for text in (leaflet, other))
    known, changed = (found["identifier"][0]["value"] for found in (first, second))

    assert re.fullmatch("1998001001-p-[0-9a-f]{12}", known)
    assert re.fullmatch("1998001001-p-[0-9a-f]{12}", changed)
    assert known != changed
    elsewhere = composition(make_row("1998001001", texts={2: leaflet}, labtitular="Otra"), "p")
    assert known == elsewhere["identifier"][0]["value"]
    assert first["note"] == [{"text": SOURCE}]
    assert first["attester"] == [{"mode": first["attester"][0]["mode"]}]
    (index,) = (json.loads(c.body) for c in to_changes(row) if isinstance(c, Upsert) and c.ref.type == "List")
    assert [set(entry) for entry in index["entry"]] == [{"item"}, {"item"}]
    assert index["date"] == first["date"] == "1999-11-02"


def test_of_two_texts_only_the_one_that_has_a_day_says_it_in_the_list(make_row: MakeRow) -> None:
    docs = [{"tipo": 1, "secc": True, "url": "https://x.invalid/a"}]
    docs += [{"tipo": 2, "secc": True, "url": "https://x.invalid/b", "fecha": 1709634041000}]
    changes = to_changes(make_row("99001", docs=docs))
    (index,) = (json.loads(c.body) for c in changes if isinstance(c, Upsert) and c.ref.type == "List")

    assert [entry.get("date") for entry in index["entry"]] == [None, "2024-03-05"]
    assert index["date"] == "2024-03-05"


def test_sections_are_flat_in_the_documents_order_with_their_numbers(make_row: MakeRow) -> None:
    found = sections(make_row("99001"))

    assert [s["title"].split()[0] for s in found] == [
        "0.", "1.", "2.", "2.2.1.", "3.", "4.", "4.1.", "4.2.", "4.2.2.", "4.2.1.", "4.3.", "4.4.", "4.8.", "4.7.",
        "5.", "5.1.", "6.5.", "10.",
    ]  # fmt: skip
    assert all("section" not in s for s in found)
    assert found[12]["title"] == "4.8. Reacciones adversas"
    assert len(composition(make_row("99001"))["section"]) == 1


@pytest.mark.parametrize("document", ["ft", "p"])
def test_every_section_has_one_well_formed_div_with_words(make_row: MakeRow, document: str) -> None:
    for section in sections(make_row("99001"), document):
        assert section["text"]["status"] == "additional"
        assert section["text"]["div"].count("xmlns=") == 1
        assert etree.fromstring(section["text"]["div"]).tag == f"{XHTML}div"
        assert words(section)


def test_a_heading_without_text_repeats_itself(make_row: MakeRow) -> None:
    found = {s["title"]: words(s) for s in sections(make_row("99001"))}

    for title in ("4. DATOS CLÍNICOS", "4.2. Posología y forma de administración", "5. PROPIEDADES FARMACOLÓGICAS"):
        assert found[title] == title
    assert found["4.1. Indicaciones terapéuticas"].startswith("Tratamiento")


def test_nothing_active_and_nothing_malformed_is_left(make_row: MakeRow) -> None:
    found = {s["title"].split()[0]: s["text"]["div"] for s in sections(make_row("99001"))}
    together = "".join(found.values())

    assert not [bad for bad in ("<script", "onclick", "<o:p", "<!--", "position", "<em></em>") if bad in together]
    assert "bostezos © 2024" in found["4.8."]
    assert 'style="text-decoration:underline"' in found["4.8."]
    assert 'alt="imagen"' in found["6.5."]
    assert "&lt; 73\u00a0mg &amp; nada más" in found["2.2.1."]


def test_an_smpc_is_coded_by_number_and_section_0_not_at_all(make_row: MakeRow) -> None:
    coded = {s["title"].split()[0]: s.get("code") for s in sections(make_row("99001"))}

    assert coded["0."] is None
    assert coded["4.8."]["coding"] == [
        {"system": "https://spor.ema.europa.eu/v1/lists/200000029659/terms/", "code": "200000029816"}
    ]
    assert coded["4.2.2."]["coding"][0]["code"] == "200000029803"


def test_a_leaflet_is_coded_by_number_its_subsections_by_title(make_row: MakeRow) -> None:
    found = sections(make_row("99001"), "p")

    codes = [s["code"]["coding"][0]["code"][-3:] if "code" in s else None for s in found]
    assert codes == ["895", "896", "897", "898", "903", "905", "908", "910", None, "913", "914", "915"]


@pytest.mark.parametrize(
    ("title", "code"),
    [
        ("No tome Inventol:", "897"),
        ("ADVERTENCIAS Y  PRECAUCIONES", "898"),
        ("Niños y adolescentes", "899"),
        ("Uso de Inventol con otros medicamentos", "900"),
        ("Otros medicamentos y Inventol", "900"),
        ("Toma de Inventol con alimentos y bebidas", "901"),
        ("Toma de Inventol con alimentos, bebidas y alcohol", "901"),
        ("Embarazo, lactancia y fertilidad", "902"),
        ("Embarazo y lactancia", "902"),
        ("Conducción y uso de máquinas", "903"),
        ("Uso en niños y adolescentes", "906"),
        ("Si toma más Inventol  del que debe", "907"),
        ("Si olvidó usar Inventol", "908"),
        ("Si interrumpe el tratamiento con Inventol", "909"),
        ("Otros efectos adversos en niños", "911"),
        ("Comunicación de efectos adversos", "912"),
        ("Aspecto de Inventol y contenido del envase", "916"),
        ("Titular de la autorización de comercialización y responsable de la fabricación", "917"),
        ("Fecha de la última revisión de este prospecto: Enero 2011", "919"),
        ("Otras fuentes de información", "920"),
        ("Inventol y las personas mayores", None),
        ("No es lo mismo", None),
        ("", None),
    ],
)
def test_a_leaflets_subsection_is_known_by_its_title_or_not_at_all(title: str, code: str | None) -> None:
    found = section_code("p", "2.9", title)

    assert found == (None if code is None else f"200000029{code}")


def test_a_document_without_sections_says_that_it_is_unavailable(make_row: MakeRow) -> None:
    nothing: tuple[Any, ...] = ([], None)
    for text in nothing:
        outer = composition(make_row("1998001001", texts={2: text}), "p")["section"][0]
        assert outer["emptyReason"]["coding"][0]["code"] == "unavailable"
        assert words(outer) == "unavailable"
        assert "section" not in outer


def test_a_section_without_number_or_title_still_has_one(make_row: MakeRow) -> None:
    text: list[Any] = [
        {"seccion": "4.1", "titulo": None, "contenido": "<p>uno</p>"},
        {"seccion": " ", "titulo": "Sin número", "contenido": None},
        {"contenido": "<p>tres</p>"},
        {"seccion": "4.2", "titulo": "4.2. Posología"},
        {"seccion": "6", "titulo": "Antes de <tomar><usar> & otros"},
    ]
    found = sections(make_row("99001", texts={1: text}))

    assert [(s["title"], words(s)) for s in found] == [
        ("4.1.", "uno"),
        ("Sin número", "Sin número"),
        ("Ficha técnica o resumen de las características del producto", "tres"),
        ("4.2. Posología", "4.2. Posología"),
        ("6. Antes de <tomar><usar> & otros", "6. Antes de <tomar><usar> & otros"),
    ]


def test_a_new_text_changes_its_bundle_alone(make_row: MakeRow, body: Callable[[str], Any]) -> None:
    text = body("contenido_2_99001")
    text[5]["contenido"] = "<div><p>Dos comprimidos al día.</p></div>"

    before, after = ({c.ref: c for c in to_changes(make_row("99001", texts=texts))} for texts in ({}, {2: text}))

    changed = [str(ref) for ref in after if after[ref] != before[ref]]
    assert changed == ["Bundle/es-aemps-bundle-p-99001", "Composition/es-aemps-comp-p-99001"]
