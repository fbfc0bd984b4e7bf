"""JSON that keeps number tokens: `1.00` stays `1.00` (FHIR R5, datatypes: the precision of a decimal is significant).

A number that is not a short integer is held as `msgspec.Raw`, which `dump` writes as it was; nothing here goes through
a float.  Used for what is mapped, compared and fingerprinted; what is passed on unchanged is passed on as bytes.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from tsi_fetch.words import Json

MAX_DEPTH = 200
"""Nesting accepted from a source; no FHIR resource and no register answer comes near it."""

_LONGEST_INT = 18  # digits; what fits into 64 bits whatever the sign
_NUMBER = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?)0*([0-9]*))?")


class NotJson(ValueError):
    """The bytes are not JSON that can be kept faithfully; the message gives the rule, never the content."""


def number(token: str) -> msgspec.Raw:
    """A JSON number that is written exactly so; NotJson where `token` is not one."""
    try:
        valid = Decimal(token).is_finite() and isinstance(json.loads(token), int | float)
    except (ValueError, InvalidOperation) as e:
        raise NotJson("not a JSON number") from e
    if not valid:
        raise NotJson("not a JSON number")
    return msgspec.Raw(token.encode())


def numeral(token: str) -> str:
    """One spelling for all tokens of the same value and precision: `1e2` is `100`, and `1.00` is not `1.0`.

    Made without writing exponents out, as that may take more memory than there is.  An exponent that no server could
    count to is left as it is written.  Zero has no sign (HAPI drops it).
    """
    match = _NUMBER.fullmatch(token)
    if not match or len(match[5] or "") > _LONGEST_INT:
        return token
    sign, fraction = match[1], match[3] or ""
    exponent = int(f"{match[4] or ''}{match[5] or 0}") - len(fraction)
    digits = (match[2] + fraction).lstrip("0")
    if not digits:
        return f"0e{min(exponent, 0)}"
    if exponent >= 0:  # a whole number: its last zeros are the same as a higher exponent
        whole = digits.rstrip("0")
        return f"{sign}{whole}e{exponent + len(digits) - len(whole)}"
    return f"{sign}{digits}e{exponent}"


def _pairs(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise NotJson("an object has the same key twice")
    return result


def _int(token: str) -> Json:
    return int(token) if len(token) <= _LONGEST_INT else msgspec.Raw(token.encode())


def _constant(token: str) -> Json:
    raise NotJson(f"{token} is not JSON")


_decoder = json.JSONDecoder(
    object_pairs_hook=_pairs,
    parse_float=lambda token: msgspec.Raw(token.encode()),
    parse_int=_int,
    parse_constant=_constant,
)


def parse(body: bytes) -> Json:
    """Read JSON, keeping number tokens.

    A leading byte order mark is dropped (RFC 8259, section 8.1).  NotJson for anything that is not UTF-8 JSON, for
    duplicate keys, NaN, lone surrogates, and nesting deeper than `MAX_DEPTH`.
    """
    try:
        value = _decoder.decode(body.decode("utf-8-sig"))
    except UnicodeDecodeError as e:
        raise NotJson("not UTF-8") from e
    except json.JSONDecodeError as e:
        raise NotJson(f"not JSON: {e.msg} at character {e.pos}") from e
    except RecursionError as e:
        raise NotJson(f"nested deeper than {MAX_DEPTH}") from e
    if b"\\u" in body:
        _no_surrogates(value)
    _no_abyss(value)
    return value


def _no_surrogates(value: Json) -> None:
    try:
        json.dumps(value, ensure_ascii=False, default=lambda raw: None).encode()
    except UnicodeEncodeError as e:
        raise NotJson("a string holds a lone surrogate") from e
    except RecursionError as e:
        raise NotJson(f"nested deeper than {MAX_DEPTH}") from e


def _no_abyss(value: Json) -> None:
    level: list[Json] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node if isinstance(node, list) else ())
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise NotJson(f"nested deeper than {MAX_DEPTH}")


def dump(value: Any) -> bytes:
    """Compact JSON, keys in the order given, number tokens as they are."""
    return msgspec.json.encode(value)


def canonical(value: Any) -> bytes:
    """Compact JSON with sorted keys: what is fingerprinted."""
    return msgspec.json.encode(value, order="sorted")
