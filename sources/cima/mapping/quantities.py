"""Amounts as the register writes them (`"72.50"`, `"mg"`) become FHIR quantities, with the very digits.

What is not certain is no quantity: a number that is not a plain decimal, three digits behind a point (`12.000` may be
twelve thousand in Spanish), a unit that the table does not know.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

from sources.cima.mapping.terms import Unit, system, unit
from tsi_fetch.fhir.tokens import number
from tsi_fetch.words import Json

_DECIMAL = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_THOUSANDS = re.compile(r"[1-9][0-9]{0,2}\.[0-9]{3}")
_LONGEST = 18
"""Characters; no amount in a medicine has as many digits, and what indexes numbers need not bear more."""

_PER = re.compile(r"(?P<number>[0-9]+)?\s*(?P<unit>\D+)")


@dataclass(frozen=True, slots=True)
class Amount:
    """A quantity, and what it is an amount per: None, one of a unit, or (`per`) a quantity of its own."""

    value: Json
    concentration: bool = False
    per: Json = None


def written(given: Json) -> str:
    """A number or text of the source as it is written."""
    if isinstance(given, msgspec.Raw):
        return bytes(given).decode()
    return str(given).strip() if isinstance(given, str | int) and not isinstance(given, bool) else ""


def decimal(text: str) -> str | None:
    """The token of a plain decimal that can be read in one way only; None for all others."""
    plain = len(text) <= _LONGEST and _DECIMAL.fullmatch(text) and not _THOUSANDS.fullmatch(text)
    return text if plain else None


def nothing(text: str) -> bool:
    """True for `0`, `0.0` and no text: the register's way to say that it does not know."""
    return not text or re.fullmatch(r"0+([.,]0+)?", text) is not None


def quantity(token: str, spelled: str, code: str) -> Json:
    """A FHIR Quantity; `token` is written exactly so."""
    return {"value": number(token), "unit": spelled, "system": system("ucum"), "code": code}


def amount(count: str, spelled: str) -> Amount | None:
    """`50` and `mg/ml`; None where number or unit are not certain.

    A part of 100 and an amount per volume or mass are concentrations; per time or dose is neither: no quantity.
    """
    token, simple = decimal(count), unit(spelled)
    above, _, below = spelled.partition("/")
    first = unit(above)
    if token is None:
        return None
    if simple:
        return Amount(quantity(token, spelled.strip(), simple.ucum), simple.share)
    per = _PER.fullmatch(below.strip())
    second = unit(per["unit"]) if per else None
    if first is None or per is None or second is None or not second.extent or first.share:
        return None
    return _concentration(token, spelled, first, second, per["number"])


def _concentration(token: str, spelled: str, above: Unit, below: Unit, count: str | None) -> Amount | None:
    if count in (None, "1"):
        return Amount(quantity(token, spelled.strip(), f"{above.ucum}/{below.ucum}"), True)
    numerator = quantity(token, spelled.partition("/")[0].strip(), above.ucum)
    if decimal(count or "") is None or nothing(count or ""):
        return None
    return Amount(numerator, True, quantity(count or "", below.name, below.ucum))
