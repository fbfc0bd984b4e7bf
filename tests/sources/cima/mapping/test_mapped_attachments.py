"""PDFs, photos and the List; and names that people use."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from sources.cima.mapping import to_changes
from tsi_fetch.errors import Unusable
from tsi_fetch.words import Row, Upsert

MakeRow = Callable[..., Row]
NOON = 1_709_636_400_000  # 2024-03-05T11:00Z


def of_type(row: Row, resource_type: str) -> list[Any]:
    return [json.loads(c.body) for c in to_changes(row) if isinstance(c, Upsert) and c.ref.type == resource_type]


def of_docs(make_row: MakeRow, *docs: Any) -> list[Any]:
    return of_type(make_row("99001", docs=list(docs), fotos=None), "DocumentReference")


def test_a_pdf_is_a_document_with_its_web_page_beside_it(make_row: MakeRow) -> None:
    found = of_type(make_row("99001"), "DocumentReference")[0]

    assert found["id"] == "es-aemps-doc-99001-ft"
    assert found["subject"] == {"reference": "MedicinalProductDefinition/es-aemps-mpd-99001"}
    assert found["date"] == "2024-03-05T00:00:00Z"
    assert [c["attachment"]["contentType"] for c in found["content"]] == ["application/pdf", "text/html"]
    assert found["content"][0]["attachment"]["url"] == "https://cima.aemps.es/cima/pdfs/ft/99001/FT_99001.pdf"
    assert found["type"]["text"] == "Ficha técnica"
    assert "category" not in found


@pytest.mark.parametrize(
    ("tipo", "part", "text"),
    [(1, "ft", "Ficha técnica"), (2, "p", "Prospecto"), (3, "ipe", "Informe público de evaluación"),
     (4, "pgr", "Plan de gestión de riesgos"), (9, "tipo9", "Documento de tipo 9")],
)  # fmt: skip
def test_every_type_of_document_has_its_id(make_row: MakeRow, tipo: int, part: str, text: str) -> None:
    (found,) = of_docs(make_row, {"tipo": tipo, "url": "https://cima.invalid/x.pdf", "secc": False})

    assert found["id"] == f"es-aemps-doc-99001-{part}"
    assert found["type"]["text"] == found["content"][0]["attachment"]["title"] == text
    assert "date" not in found
    assert ("language" in found["content"][0]["attachment"]) == (tipo in (1, 2))


def test_two_documents_of_a_type_are_two(make_row: MakeRow) -> None:
    found = of_docs(make_row, *({"tipo": 3, "url": f"https://cima.invalid/{n}.pdf"} for n in (1, 2)))

    assert [f["id"] for f in found] == ["es-aemps-doc-99001-ipe", "es-aemps-doc-99001-ipe.2"]


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        " ",
        "x.pdf",
        "javascript:alert(1)",
        "ftp://a.invalid/b",
        "https:///x",
        "https://a.invalid/" + "x" * 900,
    ],
)
def test_a_document_without_a_usable_address_is_none(make_row: MakeRow, url: str | None) -> None:
    assert of_docs(make_row, {"tipo": 3, "url": url}) == []


def test_a_document_that_is_a_web_page_alone_is_given(make_row: MakeRow) -> None:
    (found,) = of_docs(make_row, {"tipo": 2, "urlHtml": "https://cima.invalid/P_99001.html", "secc": False})

    assert found["id"] == "es-aemps-doc-99001-p"
    assert [c["attachment"]["url"] for c in found["content"]] == ["https://cima.invalid/P_99001.html"]


def test_an_address_is_written_without_blanks_and_its_ending_alone_tells_the_type(make_row: MakeRow) -> None:
    plain, blank = of_docs(
        make_row,
        {"tipo": 3, "url": "https://cima.invalid/DocsPub/16/749"},
        {"tipo": 4, "url": "https://cima.invalid/a b.PDF?x=1"},
    )

    assert "contentType" not in plain["content"][0]["attachment"]
    assert blank["content"][0]["attachment"]["url"] == "https://cima.invalid/a%20b.PDF?x=1"
    assert blank["content"][0]["attachment"]["contentType"] == "application/pdf"


def test_photos_are_named_by_what_they_show(make_row: MakeRow) -> None:
    fotos = [{"tipo": t, "url": f"https://cima.invalid/{n}.jpg", "fecha": NOON} for n, t in
             enumerate(["materialas", "formafarmac", "formafarmac", "Otra Cosa", None])]  # fmt: skip

    found = of_type(make_row("99001", docs=[], fotos=fotos), "DocumentReference")

    assert [f["id"].removeprefix("es-aemps-foto-99001-") for f in found] == [
        "materialas", "formafarmac", "formafarmac.2", "otra-cosa", "x",
    ]  # fmt: skip
    assert [f.get("type", {}).get("text") for f in found][:2] == [
        "Material de acondicionamiento secundario", "Forma farmacéutica",
    ]  # fmt: skip
    assert found[0]["content"][0]["attachment"]["contentType"] == "image/jpeg"
    assert found[0]["content"][0]["attachment"]["creation"] == "2024-03-05"


def test_a_photo_of_which_nobody_says_what_it_shows_is_a_photo(make_row: MakeRow) -> None:
    (found,) = of_type(make_row("99001", docs=None, fotos=[{"url": "https://cima.invalid/x.jpg"}]), "DocumentReference")

    assert found["type"]["text"] == found["content"][0]["attachment"]["title"] == "Fotografía"


def test_a_photo_that_goes_changes_nothing_else(make_row: MakeRow) -> None:
    before, after = ({c.ref: c for c in to_changes(make_row("99001", **c))} for c in ({}, {"fotos": []}))

    gone = before.keys() - after.keys()
    assert [str(ref) for ref in gone] == ["DocumentReference/es-aemps-foto-99001-materialas"]
    assert {ref: before[ref] for ref in after} == after


@pytest.mark.parametrize(("member", "path"), [("docs", "medicamento.docs[0]"), ("fotos", "medicamento.fotos[0]")])
def test_a_day_beyond_the_calendar_is_refused(make_row: MakeRow, member: str, path: str) -> None:
    one = {"tipo": 3 if member == "docs" else "x", "url": "https://cima.invalid/x", "fecha": 10**17}

    with pytest.raises(Unusable) as caught:
        to_changes(make_row("99001", **{"docs": [], member: [one]}))

    assert (caught.value.fault.code, caught.value.fault.path) == ("cima-date", f"{path}.fecha")


def test_the_list_leads_from_a_product_to_its_documents(make_row: MakeRow) -> None:
    (found,) = of_type(make_row("99001"), "List")

    assert "meta" not in found
    assert found["identifier"] == [
        {"system": "https://www.gravitatehealth.eu/sid/doc", "value": "99001"},
        {"system": "http://spor.ema.europa.eu/v2/medicine-name", "value": "fantasina quimera"},
    ]
    assert found["subject"] == [{"reference": "MedicinalProductDefinition/es-aemps-mpd-99001"}]
    assert (found["status"], found["mode"], found["date"]) == ("current", "working", "2024-03-05")
    assert [e["item"]["reference"] for e in found["entry"]] == [
        "Bundle/es-aemps-bundle-ft-99001",
        "Bundle/es-aemps-bundle-p-99001",
    ]
    kinds = [
        {x["url"].split("/")[-1]: x["valueCoding"]["code"] for x in e["item"]["extension"]} for e in found["entry"]
    ]
    assert kinds == [{"documentType": code, "language": "es"} for code in ("100000155532", "100000155538")]


def test_a_list_has_the_day_of_its_latest_document(make_row: MakeRow, body: Callable[[str], Any]) -> None:
    docs = body("medicamento_99001")["docs"]
    docs[1]["fecha"] = NOON + 86_400_000

    (found,) = of_type(make_row("99001", docs=docs), "List")

    assert found["date"] == "2024-03-06"
    assert [e["date"] for e in found["entry"]] == ["2024-03-05", "2024-03-06"]


def test_without_documents_there_is_no_list_no_bundle_and_no_composition(make_row: MakeRow) -> None:
    kinds = {c.ref.type for c in to_changes(make_row("99 003-95-96"))}

    assert not kinds & {"List", "Bundle", "Composition"}


def test_a_document_that_disappears_takes_its_bundle_composition_and_entry_with_it(
    make_row: MakeRow, body: Callable[[str], Any]
) -> None:
    docs = body("medicamento_99001")["docs"][1:]

    before, after = (list(map(str, (c.ref for c in to_changes(make_row("99001", **x))))) for x in ({}, {"docs": docs}))

    assert [ref for ref in before if ref not in after] == [
        "DocumentReference/es-aemps-doc-99001-ft",
        "Bundle/es-aemps-bundle-ft-99001",
        "Composition/es-aemps-comp-ft-99001",
    ]
    assert len(of_type(make_row("99001", docs=docs), "List")[0]["entry"]) == 1


def test_a_composition_on_its_own_is_the_bundles_first_entry(make_row: MakeRow) -> None:
    row = make_row("99001")

    alone = {c["id"]: c for c in of_type(row, "Composition")}

    inside = [b["entry"][0]["resource"] for b in of_type(row, "Bundle")]
    assert {c["id"]: c for c in inside} == alone
    assert len(alone) == 2


@pytest.mark.parametrize(
    ("nombre", "substance", "generic", "invented"),
    [
        ("NUBEX 50 mg COMPRIMIDOS", "UNA COSA", False, "NUBEX"),
        ("NUBEX C 400 mg/240 mg COMPRIMIDOS", "ACIDO COSICO", False, "NUBEX C"),
        ("NUBEX PLUS 500/50 mg COMPRIMIDOS", "UNA COSA", False, "NUBEX PLUS"),
        ("NUBEX 10 microgramos/ 5 ml SOLUCION", "UNA COSA", False, "NUBEX"),
        ("COSICOL 50 mg COMPRIMIDOS", "ACIDO COSICO", False, None),  # could be its salt or short form
        ("UREA 10 % CREMA", "UREA", False, None),
        ("AGUA PARA INYECTABLES 10 ml", "AGUA", False, None),
        ("NUREA 10 % CREMA", "UREA", False, "NUREA"),
        ("THALIDOMIDE BMS 50 mg CAPSULAS", "TALIDOMIDA", False, None),  # the Union's names come in any language
        ("HYDROXYCARBAMIDE SUR 500 mg CAPSULAS", "HIDROXICARBAMIDA", False, None),
        ("PHENYLBUTYRATE SUR 1 g GRANULADO", "FENILBUTIRATO DE SODIO", False, None),
        ("KETOCONAZOLE SUR 200 mg COMPRIMIDOS", "CETTOCONAZOL", False, None),
        ("CHLORPROM SUR 25 mg COMPRIMIDOS", "CHLOROMIDA", False, None),  # as they are spelled, too
        ("CHENODEOXYCHOLIC ACID SUR 250 mg CAPSULAS", "QUENODESOXICOLICO ACIDO", False, None),
        ("NUBEX 50 mg COMPRIMIDOS", "UNA COSA", True, None),
        ("NUBEX 50 mg COMPRIMIDOS", "UNA COSA", None, None),
        ("NUBEX 3 COMPRIMIDOS", "UNA COSA", False, None),
        ("NUBEX COMPRIMIDOS", "UNA COSA", False, None),
        ("5 FLUOR 50 mg COMPRIMIDOS", "UNA COSA", False, None),
        ("50 mg NUBEX", "UNA COSA", False, None),
    ],
)
def test_a_name_is_invented_where_a_strength_follows_it_and_it_is_no_substances(
    make_row: MakeRow, nombre: str, substance: str, generic: bool | None, invented: str | None
) -> None:
    active = [{"id": 1, "codigo": "1A", "nombre": substance}]
    row = make_row("99001", nombre=nombre, principiosActivos=active, generico=generic, vtm=None, ema=True)

    assert invented_part(row) == invented


@pytest.mark.parametrize("ema", [False, None])
@pytest.mark.parametrize(
    ("nombre", "substance"),
    [
        ("NUBEX 50 mg COMPRIMIDOS", "UNA COSA"),
        ("VITAMINA C 1 g COMPRIMIDOS", "ACIDO ASCORBICO"),
        ("HIERRO 30 mg COMPRIMIDOS", "FERROSO SULFATO"),
        ("ADRENALINA LEVEL 1 mg/ml SOLUCION INYECTABLE", "EPINEFRINA BITARTRATO"),
    ],
)
def test_a_national_name_is_never_called_invented_as_it_may_be_another_word_for_a_substance(
    make_row: MakeRow, nombre: str, substance: str, ema: bool | None
) -> None:
    active = [{"id": 1, "codigo": "1A", "nombre": substance}]
    row = make_row("99001", nombre=nombre, principiosActivos=active, generico=False, vtm=None, ema=ema)

    assert invented_part(row) is None


def invented_part(row: Row) -> str | None:
    (product,) = of_type(row, "MedicinalProductDefinition")
    parts = {p["type"]["coding"][0]["code"]: p["part"] for p in product["name"][0]["part"]}
    return parts.get("220000000002")
