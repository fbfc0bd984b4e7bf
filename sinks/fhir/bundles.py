"""Cutting writes into transactions.

A resource that refers to another of the same call travels with it or after it; resources that refer to each other in a
circle, and are not all there already, always travel together, whatever the limits (HAPI refuses a reference to what is
not there: HAPI-1094).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from tsi_fetch.components import components
from tsi_fetch.fhir.references import references
from tsi_fetch.fhir.tokens import NotJson
from tsi_fetch.words import Ref, Write, WriteAction

ENVELOPE = 200  # bytes that an entry adds to its resource, at most

_KEY = b'"reference"'
_VALUE = re.compile(rb'\s*:\s*"([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})["/]')

References = Mapping[Ref, frozenset[Ref]]
"""What each resource of a call refers to, whether it is of the call or not."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Writes that must not be separated."""

    writes: tuple[Write, ...]

    @property
    def size(self) -> int:
        return sum(len(w.body or b"") + ENVELOPE for w in self.writes)


Bundle = tuple[Unit, ...]
"""One transaction: each unit after all that it refers to."""


def links(writes: Sequence[Write]) -> References:
    """What each write refers to, read once per write."""
    return {w.ref: _links(w) for w in writes}


def _links(write: Write) -> frozenset[Ref]:
    """Found by their key, which is exact but for a Bundle: its entries are its own, so it is parsed where it must be.

    Parsing every resource would cost more than sending it.
    """
    body = write.body or b""
    if write.ref.type == "Bundle" and b'"signature"' not in body:
        return frozenset()  # nothing but its signature refers to anything outside its entries
    if write.ref.type == "Bundle":
        return _parsed(body)
    if b"\\/" in body:
        body = body.replace(b"\\/", b"/")
    found = {match.groups() for part in body.split(_KEY)[1:] if (match := _VALUE.match(part))}
    return frozenset(Ref(kind.decode(), ident.decode()) for kind, ident in found) - {write.ref}


def _parsed(body: bytes) -> frozenset[Ref]:
    try:
        return references(body)
    except NotJson:
        return frozenset()  # what the server makes of it is the server's to say


def creates(write: Write) -> bool:
    """True where nothing is believed to be there yet, or no longer: what refers to it cannot be written before it."""
    return write.action is WriteAction.PUT and (write.version is None or write.revives)


def units(writes: Sequence[Write], linked: References) -> list[Unit]:
    """The circles, and the single ones, each after all that it refers to; otherwise in the order given.

    A circle of which everything is there may be taken apart: nothing of it waits for the others.
    """
    by_ref = {w.ref: w for w in writes}
    within = {ref: linked[ref] & by_ref.keys() for ref in by_ref}
    circles = (tuple(by_ref[ref] for ref in circle) for circle in components(within))
    return [unit for circle in circles for unit in _together(circle)]


def _together(circle: tuple[Write, ...]) -> list[Unit]:
    return [Unit(circle)] if any(map(creates, circle)) else [Unit((write,)) for write in circle]


def cut(writes: Sequence[Write], linked: References, *, entries: int, size: int) -> list[Bundle]:
    """Transactions of at most `entries` resources and `size` bytes; a unit that is larger goes alone.

    What a bundle refers to is in itself or in an earlier one.
    """
    groups: list[list[Unit]] = []
    filled = count = 0
    for unit in units(writes, linked):
        full = count + len(unit.writes) > entries or filled + unit.size > size
        if not groups or full:
            groups.append([])
            filled = count = 0
        groups[-1].append(unit)
        filled += unit.size
        count += len(unit.writes)
    return [tuple(group) for group in groups]


def transaction(writes: Sequence[Write]) -> bytes:
    """The Bundle that carries these writes; bodies go in byte for byte."""
    return _carrying(b",".join(_entry(w) for w in writes))


def unguarded(write: Write) -> bytes:
    """The Bundle that carries one PUT, whatever is there."""
    return _carrying(_put(write, b""))


def _carrying(entries: bytes) -> bytes:
    return b'{"resourceType":"Bundle","type":"transaction","entry":[%b]}' % entries


def _entry(write: Write) -> bytes:
    if write.action is WriteAction.DELETE:  # without ifMatch: HAPI ignores it here
        return b'{"request":{"method":"DELETE","url":"%b"}}' % str(write.ref).encode()
    # W/"0" is HAPI's "create only": 409 where anything is there, a deleted resource included
    return _put(write, b',"ifMatch":%b' % msgspec.json.encode(f'W/"{write.version or 0}"'))


def _put(write: Write, match: bytes) -> bytes:
    request = b'{"method":"PUT","url":"%b"%b}' % (str(write.ref).encode(), match)
    return b'{"resource":%b,"request":%b}' % (write.body or b"{}", request)
