"""The terminology tables, read once: URIs of systems, codes that the mapping gives, section codes.

A name that is not in a table is a mistake in this package: KeyError.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterator
from importlib.resources import files

from sources.cima.identity import Document
from tsi_fetch.words import Json


def _rows(name: str) -> Iterator[dict[str, str]]:
    text = files("sources.cima.mapping").joinpath("tables", f"{name}.csv").read_text(encoding="utf-8")
    return csv.DictReader(text.splitlines(), strict=True)


_SYSTEMS = {row["name"]: row["uri"] for row in _rows("systems")}
_CODES = {row["name"]: (row["system"], row["code"], row["display"]) for row in _rows("codes")}
_SECTIONS = {(row["document"], row["number"]): row["code"] for row in _rows("sections")}
_LEAFLET_TITLES = [(re.compile(row["title"]), row["code"]) for row in _rows("leaflet_titles")]


def system(name: str) -> str:
    """The URI of a system."""
    return _SYSTEMS[name]


def coding(name: str) -> Json:
    """A code that the mapping gives by itself, as a Coding."""
    system_name, code, display = _CODES[name]
    result = {"system": _SYSTEMS[system_name], "code": code}
    return {**result, "display": display} if display else result


def section_code(document: Document, number: str, title: str) -> str | None:
    """The code of a section in RMS list 200000029659; None where the tables do not know it.

    An SmPC's sections, and a leaflet's six, are known by number (empty: the document); a leaflet's subsections have
    no fixed numbers and are known by title.
    """
    if document == "p" and "." in number:
        return next((code for pattern, code in _LEAFLET_TITLES if pattern.fullmatch(normal(title))), None)
    return _SECTIONS.get((document, number))


def normal(title: str) -> str:
    """A title in lower case, without accents, repeated blanks and closing punctuation."""
    letters = unicodedata.normalize("NFKD", title.casefold())
    bare = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return " ".join(bare.split()).rstrip(" :.")
