"""The terminology tables, read once: URIs of systems, codes that the mapping gives, section codes.

A name that is not in a table is a mistake in this package: KeyError.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
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


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as the register spells it.  `share`: a part of 100; `extent`: a volume or mass, which something is per."""

    name: str
    ucum: str
    share: bool
    extent: bool


@dataclass(frozen=True, slots=True)
class PackWord:
    """A word of packs: `item`s are counted (tablets), others contain.  `type` is a name in the table of codes."""

    word: re.Pattern[str]
    item: bool
    ucum: str
    type: str | None


def _spelling(text: str) -> str:
    """One spelling of the micro sign (U+00B5, U+03BC) and of blanks; capitals count: `MBq` is not `mBq`."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


_UNITS = {
    _spelling(row["unit"]): Unit(row["unit"], row["ucum"], row["kind"] == "share", row["kind"] == "extent")
    for row in _rows("units")
}
_PACK_WORDS = tuple(
    PackWord(re.compile(row["word"], re.IGNORECASE), row["kind"] == "item", row["ucum"], row["type"] or None)
    for row in _rows("pack_words")
)
_DOSE_FORMS = {row["form"]: (row["code"], row["display"]) for row in _rows("dose_forms")}
_PRESENTATION_UNITS = [(re.compile(row["form"]), row["unit"]) for row in _rows("presentation_units")]
_ROUTES = {(row["id"], row["name"]): (row["code"], row["display"]) for row in _rows("routes")}
_DOCUMENTS = {int(row["tipo"]): (row["part"], row["code"] or None, row["text"]) for row in _rows("documents")}
_SUPPLY_PROBLEMS = {int(row["tipo"]): row["text"] for row in _rows("supply_problems")}


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


@lru_cache(maxsize=2048)
def normal(title: str) -> str:
    """A title in lower case, without accents, repeated blanks and closing punctuation."""
    letters = unicodedata.normalize("NFKD", title.casefold())
    bare = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return " ".join(bare.split()).rstrip(" :.")


def unit(spelled: str) -> Unit | None:
    """A unit of the table; None where it is not there."""
    return _UNITS.get(_spelling(spelled))


def known_units() -> list[str]:
    """All spellings of units."""
    return sorted({spelling for given in _UNITS for spelling in (given, given.replace("\u03bc", "\u00b5"))})


def pack_words() -> tuple[PackWord, ...]:
    return _PACK_WORDS


def dose_form_coding(form: str) -> Json:
    """EMA's code of a dosage form; None where the table has no form of exactly this name."""
    return _rms(_DOSE_FORMS.get(normal(form)))


_SEVERAL_FORMS = re.compile(r"[+/]| [yeou] (?!para )")
"""`COMPRIMIDO Y CÁPSULA`; `SOLUCIÓN INYECTABLE Y PARA PERFUSIÓN` is one form."""


def unit_of_presentation(form: str) -> str | None:
    """What is counted of a dosage form: a name in the table of codes; None where it may be several forms."""
    if _SEVERAL_FORMS.search(normal(form)):
        return None
    return next((name for pattern, name in _PRESENTATION_UNITS if pattern.fullmatch(normal(form))), None)


def route_coding(ident: str, name: str) -> Json:
    """EMA's code of a route, known by the register's id and name together."""
    return _rms(_ROUTES.get((ident, normal(name))))


def document_kind(tipo: int) -> tuple[str, str | None, str]:
    """A type of `docs`: its part in ids, the name of its code if it has one, and its text, which is its number where
    nobody describes it."""
    return _DOCUMENTS.get(tipo, (f"tipo{tipo}", None, f"Documento de tipo {tipo}"))


def supply_problem_text(tipo: int) -> str | None:
    return _SUPPLY_PROBLEMS.get(tipo)


def _rms(found: tuple[str, str] | None) -> Json:
    return {"system": _SYSTEMS["rmswi"], "code": found[0], "display": found[1]} if found else None
