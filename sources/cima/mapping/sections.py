"""A document's sections, flat below one outer section.

FOSPS's lens engine joins the sections' divs, splits at `div[xmlns]` and titles the pieces by the index of the second
level: nested sections, or two such divs in one, would put texts under wrong titles.
"""

from __future__ import annotations

from collections.abc import Sequence

from sources.cima.identity import Document
from sources.cima.mapping.datatypes import coded, concept, present
from sources.cima.mapping.register import Seccion
from sources.cima.mapping.terms import coding, section_code
from tsi_fetch.fhir.narrative import blank, paragraph, xhtml
from tsi_fetch.words import Json

PICTURES = "https://cima.aemps.es/"
"""The register's own site: pictures from anywhere else would tell others who reads a leaflet."""

TITLES: dict[Document, str] = {
    "ft": "Ficha técnica o resumen de las características del producto",
    "p": "Prospecto",
}


def outer_section(document: Document, sections: Sequence[Seccion]) -> Json:
    """The one section of the first level; without sections it says that the text is unavailable."""
    outer = {"title": TITLES[document], "code": _document_code(document)}
    if not sections:
        return {**outer, "text": _text(paragraph("unavailable")), "emptyReason": concept("unavailable")}
    return {**outer, "section": [_section(document, section) for section in sections]}


def _document_code(document: Document) -> Json:
    heading = section_code(document, "", "")
    codings = [coding(document), coding(f"{document}-list")]
    return {"coding": [*codings, coded("section", heading)] if heading else codings}


def _section(document: Document, section: Seccion) -> Json:
    number, heading = (section.seccion or "").strip(), section.titulo or ""
    title = _title(number, heading) or TITLES[document]
    code = section_code(document, number, heading) if number else None
    div = xhtml(section.contenido or "", PICTURES)
    return present(
        {
            "title": title,
            "code": {"coding": [coded("section", code)]} if code else None,
            # A heading without text of its own repeats itself: FHIR wants words in every narrative (txt-2).
            "text": _text(paragraph(title) if blank(div) else div),
        }
    )


def _title(number: str, heading: str) -> str:
    if not number or heading.startswith((f"{number}.", f"{number} ")):
        return heading.strip()
    return f"{number}. {heading}".strip()


def _text(div: str) -> Json:
    return {"status": "additional", "div": div}
