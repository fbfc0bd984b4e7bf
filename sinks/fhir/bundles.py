"""Cutting writes into transactions.

A resource that refers to another of the same call travels with it or after it; resources that refer to each other in a
circle always travel together, whatever the limits (HAPI refuses a reference to what is not there: HAPI-1094).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from tsi_fetch.fhir.references import references
from tsi_fetch.words import Ref, Write, WriteAction

ENVELOPE = 200  # bytes that an entry adds to its resource, at most

_REFERENCE = re.compile(rb'"([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/[^"]*)?"')

References = Mapping[Ref, frozenset[Ref]]
"""What each resource of a call refers to within the call."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Writes that must not be separated."""

    writes: tuple[Write, ...]

    @property
    def size(self) -> int:
        return sum(len(w.body or b"") + ENVELOPE for w in self.writes)


@dataclass(frozen=True, slots=True)
class Bundle:
    """One transaction.  `needs`: numbers of the bundles that must have been written before this one is sent."""

    number: int
    units: tuple[Unit, ...]
    needs: frozenset[int]


def links(writes: Sequence[Write]) -> References:
    """What each write refers to, among the refs of `writes`."""
    refs = {w.ref for w in writes}
    return {w.ref: _links(w, refs) for w in writes}


def _links(write: Write, refs: set[Ref]) -> frozenset[Ref]:
    body = write.body or b""
    # the cheap look first: most resources refer to nothing of their batch, and parsing costs
    seen = {Ref(kind.decode(), ident.decode()) for kind, ident in _REFERENCE.findall(body)}
    if seen & refs - {write.ref}:
        return references(body) & refs - {write.ref}
    return frozenset()


def units(writes: Sequence[Write], linked: References) -> list[Unit]:
    """The circles, and the single ones, each after all that it refers to; otherwise in the order given."""
    by_ref = {w.ref: w for w in writes}
    return [Unit(tuple(by_ref[ref] for ref in circle)) for circle in _components(by_ref, linked)]


def cut(writes: Sequence[Write], linked: References, *, entries: int, size: int) -> list[Bundle]:
    """Transactions of at most `entries` resources and `size` bytes; a unit that is larger goes alone."""
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
    home = {w.ref: n for n, group in enumerate(groups) for unit in group for w in unit.writes}
    return [Bundle(n, tuple(group), _needs(n, group, linked, home)) for n, group in enumerate(groups)]


def _needs(number: int, group: Sequence[Unit], linked: References, home: Mapping[Ref, int]) -> frozenset[int]:
    targets = {target for unit in group for w in unit.writes for target in linked[w.ref]}
    return frozenset(home[target] for target in targets) - {number}


def _components(nodes: Mapping[Ref, Write], linked: References) -> Iterator[list[Ref]]:
    """Strongly connected components, targets before what refers to them (Tarjan, 1972; without recursion)."""
    index: dict[Ref, int] = {}
    low: dict[Ref, int] = {}
    open_: dict[Ref, None] = {}
    for start in nodes:
        if start in index:
            continue
        work = [(start, iter(sorted(linked[start])))]
        index[start] = low[start] = len(index)
        open_[start] = None
        while work:
            node, targets = work[-1]
            target = next((t for t in targets if t not in index or t in open_), None)
            if target is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    yield _closed(open_, node)
            elif target in index:
                low[node] = min(low[node], index[target])
            else:
                index[target] = low[target] = len(index)
                open_[target] = None
                work.append((target, iter(sorted(linked[target]))))


def _closed(open_: dict[Ref, None], root: Ref) -> list[Ref]:
    component = []
    while True:
        ref, _ = open_.popitem()
        component.append(ref)
        if ref == root:
            return component[::-1]


def transaction(writes: Sequence[Write]) -> bytes:
    """The Bundle that carries these writes; bodies go in byte for byte."""
    return b'{"resourceType":"Bundle","type":"transaction","entry":[%b]}' % b",".join(_entry(w) for w in writes)


def _entry(write: Write) -> bytes:
    if write.action is WriteAction.DELETE:  # without ifMatch: HAPI ignores it here
        return b'{"request":{"method":"DELETE","url":"%b"}}' % str(write.ref).encode()
    # W/"0" is HAPI's "create only": 409 where anything is there, a deleted resource included
    match = msgspec.json.encode(f'W/"{write.version or 0}"')
    request = b'{"method":"PUT","url":"%b","ifMatch":%b}' % (str(write.ref).encode(), match)
    return b'{"resource":%b,"request":%b}' % (write.body or b"{}", request)
