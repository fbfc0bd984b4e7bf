"""The visible text of every text at hand, before and after: no word lost, the order kept, nothing active left.

Before as html5lib reads the HTML, after as an XML parser reads the narrative; both share nothing with the cleaner.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from sources.cima.mapping.register import Seccion
from sources.cima.mapping.sections import PICTURES, outer_section
from tests.tsi_fetch.fhir.narrative_rules import XHTML, breaches, letters, seen, shown
from tsi_fetch.fhir.narrative import xhtml

BODIES = Path(__file__).parents[3] / "recorded" / "cima" / "bodies"


def compare(html: str) -> str:
    """The letters of a text, once they are the same before and after."""
    div = xhtml(html, PICTURES)
    assert breaches(div, PICTURES) == []
    assert xhtml(div, PICTURES) == div
    assert shown(div) == seen(html)
    return shown(div)


def sections_of(answer: Any) -> Iterator[str]:
    yield from (section.get("contenido") or "" for section in answer)


@pytest.mark.parametrize("path", sorted(BODIES.glob("contenido_*.json")), ids=lambda path: path.stem)
def test_the_fixtures_texts_read_as_before(path: Path) -> None:
    answer = json.loads(path.read_bytes())
    assert any([compare(html) for html in sections_of(answer)]) is bool(answer)


def exported(path: Path) -> Iterator[Any]:
    """The outermost narratives of an export in XML."""
    for div in etree.parse(path).iter(f"{{{XHTML}}}div"):
        if etree.QName(div.getparent()).namespace != XHTML:
            yield div


@pytest.mark.samples
def test_every_real_text_of_the_aemps_exports_reads_as_before(samples: Path) -> None:
    """Real texts, with their styling; the export is XML, so that its words are beyond dispute."""
    paths = sorted((samples.parent / "aemps_epi_xml").glob("*/*.xml"))
    compared = 0
    for path in paths:
        for div in exported(path):
            html = etree.tostring(div, encoding="unicode", with_tail=False)
            assert compare(html) == letters("".join(div.itertext()))
            compared += 1
    assert len(paths) >= 7
    assert compared >= 400


@pytest.mark.samples
def test_every_real_text_in_sections_reads_as_before(samples: Path) -> None:
    compared = 0
    for path in sorted((samples / "docSegmentado_reconstructed").glob("*_contenido.json")):
        for html in sections_of(json.loads(path.read_bytes())):
            compared += bool(compare(html))
    assert compared >= 90


def test_pictures_come_with_the_text_or_from_the_register() -> None:
    html = (
        '<p>uno<img alt="a" src="https://cima.aemps.es/cima/a.png"><img alt="b" src="https://tracker.invalid/x.gif">'
        '<img alt="c" src="a.png"></p>'
    )
    (section,) = outer_section("p", [Seccion(seccion="1", titulo="A", contenido=html)])["section"]

    assert section["text"]["div"].count("<img ") == 1
    assert 'src="https://cima.aemps.es/cima/a.png"' in section["text"]["div"]
    assert shown(section["text"]["div"]) == "unobc"


def test_a_section_without_words_says_its_title() -> None:
    outer = outer_section("ft", [Seccion(seccion="4", titulo="DATOS CL\u00cdNICOS", contenido="<p>&nbsp;</p>")])

    assert shown(outer["section"][0]["text"]["div"]) == "4.DATOSCL\u00cdNICOS"
