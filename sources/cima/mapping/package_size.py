"""What a presentation's name says of its size: `…, 5 ampollas de 10 ml`.

The register gives the size of a pack in its name only.  It is certain where the name is the product's name and then one
count of one word of the table (or a container and what is in it), and nothing else; two parts (`1 vial + 1 jeringa`)
and all other sentences say nothing here, and the name stays as it is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from sources.cima.mapping.quantities import decimal, quantity
from sources.cima.mapping.terms import PackWord, normal, pack_words, unit
from tsi_fetch.words import Json

_COUNT = re.compile(r"(?P<count>[1-9][0-9]{0,4}) (?P<rest>.+?)(?P<notes>(?: ?\([^()+]*\))*)", re.IGNORECASE)
_INNER = re.compile(r"de (?P<count>[1-9][0-9]{0,4}) (?P<rest>.+)", re.IGNORECASE)
_EXTENT = re.compile(r"(?:de )?(?P<number>[0-9][0-9.,]*) ?(?P<unit>[a-zµμ]+)", re.IGNORECASE)
_NOTE = re.compile(r"\((\w+)")
_EITHER = re.compile(r"\(\w+(?: ?/ ?|, ?| [ouy] )\w", re.IGNORECASE)
_VOLUMES = frozenset({"mL", "L", "uL"})
_WEIGHED = frozenset({"pack-tube", "pack-jar"})
"""Containers of which grams are what is in them; on a vial they are the substance's."""


@dataclass(frozen=True, slots=True)
class Size:
    """`items`: how many tablets there are in all.  `containers` of a type: how many, None where only the type is
    certain.  `each`: what is in one container.  Quantities are FHIR's."""

    items: Json = None
    containers: int | None = None
    type: str | None = None
    counted: Json = None
    each: Json = None


def size(product_name: str, pack_name: str | None) -> Size | None:
    """None where the name says nothing that is certain."""
    said = _said(product_name, pack_name or "")
    match = _COUNT.fullmatch(said)
    if match is None:
        return None
    count, rest = int(match["count"]), match["rest"]
    for word in pack_words():
        found = word.word.match(rest)
        if found is None or (len(rest) > found.end() and rest[found.end()] != " "):
            continue
        after = rest[found.end() :].strip()
        if _parted(match["notes"], one=not word.item and count == 1):
            return None
        if word.item:
            return None if after else Size(items=_counted(count, rest, word), type=_noted(match["notes"]))
        return _contained(count, found[0], word, after)
    return None


def _parted(notes: str, *, one: bool) -> bool:
    """May what is counted be of several kinds (`28 comprimidos (24 activos y 4 placebo)`)?  Any number in brackets may
    say so; the one beside a single container is what that holds (`1 inhalador (120 pulsaciones)`)."""
    return len(re.findall("[0-9]+", notes)) > (1 if one else 0)


def _said(product_name: str, pack_name: str) -> str:
    """What follows the product's name, compared without accents and capitals."""
    product, pack = normal(product_name), normal(pack_name)
    spelled = " ".join(unicodedata.normalize("NFC", pack_name).split()).rstrip(" :.")
    rest = spelled[len(product) :]
    if not product or not pack.startswith(product) or len(pack) != len(spelled) or rest[:1] not in (" ", ","):
        return ""
    return rest.strip(" ,.")


def _counted(count: int, spelled: str, word: PackWord) -> Json:
    return quantity(str(count), spelled, word.ucum)


def _noted(notes: str) -> str | None:
    """A container named first in brackets (`28 comprimidos (Blister PVC/Al)`); how many there are is not said.  None
    where another one is named, or may be (`(blister o frasco)`, `(Blister/bote)`)."""
    first, all_of_them = _kinds(_NOTE.findall(notes)), _kinds(re.findall(r"\w+", notes))
    return first.pop() if len(first) == len(all_of_them) == 1 and not _EITHER.search(notes) else None


def _kinds(words: Sequence[str]) -> set[str]:
    """The types of containers that are among these words."""
    return {known.type for word in words for known in pack_words() if known.type and known.word.fullmatch(word)}


def _contained(count: int, spelled: str, word: PackWord, after: str) -> Size | None:
    counted = _counted(count, spelled, word)
    if not after:
        return Size(containers=count, type=word.type, counted=counted)
    inner = _INNER.fullmatch(after)
    for other in pack_words() if inner else ():
        if inner and other.item and other.word.fullmatch(inner["rest"]):
            each = int(inner["count"])
            items = _counted(count * each, inner["rest"], other)
            return Size(items, count, word.type, counted, _counted(each, inner["rest"], other))
    extent = _EXTENT.fullmatch(after)
    if extent is None or unit(extent["unit"].lower()) is None:
        return None  # `10 blister de 5 ampollas`, `1 frasco de 200 pulsaciones`
    return Size(containers=count, type=word.type, counted=counted, each=_extent(extent, word))


def _extent(match: re.Match[str], word: PackWord) -> Json:
    """A volume, or the weight of what is in a tube; None for the strength of a vial and for what is no plain number."""
    found, number = unit(match["unit"].lower()), decimal(match["number"].replace(",", "."))
    if found is None or number is None or word.type == "pack-gas-cylinder":  # a cylinder's litres are not the gas's
        return None
    if found.ucum not in _VOLUMES and not (found.ucum == "g" and word.type in _WEIGHED):
        return None
    return quantity(number, match["unit"], found.ucum)
