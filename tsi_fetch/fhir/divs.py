"""Are the narratives of a resource well-formed?  The models of fhir.resources take `Narrative.div` for any text.

What a server refuses (HAPI: an unclosed tag is a 400, a root that is not a div a 500), a folder would take.
"""

from __future__ import annotations

import re
from html.entities import html5
from xml.parsers.expat import ExpatError, ParserCreate

import msgspec

_DIV = re.compile(rb'"div"\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")')
_text = msgspec.json.Decoder(str)


def malformed(body: bytes) -> bool:
    """Has a resource that is JSON a `div` that is no XML, or is something else than a div?"""
    return any(not _well_formed(found[1]) for found in _DIV.finditer(body))


def _well_formed(token: bytes) -> bool:
    """XML, with the entities that HTML names (servers know them), and no document type of its own."""
    roots: list[str] = []
    strange: list[str] = []
    parser = ParserCreate(namespace_separator=" ")

    def start(name: str, _: object) -> None:
        roots.append(name)
        parser.StartElementHandler = None  # only the first one is of interest

    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = lambda name, *_: strange.append(name)
    parser.SkippedEntityHandler = lambda name, _: strange.append(name) if f"{name};" not in html5 else None
    parser.UseForeignDTD(True)  # else an entity that is not XML's own ends the parsing
    try:
        parser.Parse(_text.decode(token), True)
    except (msgspec.DecodeError, UnicodeDecodeError, ExpatError):  # half a surrogate is no text
        return False
    return not strange and roots[0].rpartition(" ")[2] == "div"
