"""Where a server checks references: it says so with each one that it misses, and nobody else can tell.

HAPI checks where a search parameter indexes the reference, and names that parameter's expression.  What stands
elsewhere, in an extension say, may refer to anything.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Set

import msgspec

from tsi_fetch.words import Json, Ref, Write

_PLAIN = re.compile(r"([A-Z][A-Za-z]+)((?:\.[a-z]\w*(?![\w(]))*)")
"""The part of an expression that leads to an element: `Observation.subject` of `Observation.subject.where(…)`."""

_OF_ALL = ("Resource", "DomainResource")
_UNSEEN = frozenset({"extension", "modifierExtension"})
_REFERENCE = re.compile(r"([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/.*)?")


class CheckedPaths:
    """The paths that one server was heard to check.  Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[str, frozenset[tuple[str, ...]]] = {}

    def learn(self, path: str) -> None:
        """Remember the expression that a refusal names; one that leads nowhere is left alone."""
        match = _PLAIN.search(path)
        if match is None:
            return
        names = tuple(match[2].split(".")[1:])
        with self._lock:
            self._of[match[1]] = self._of.get(match[1], frozenset()) | {names}

    def checked(self, write: Write, targets: Set[Ref]) -> frozenset[Ref]:
        """Those of `targets` to which a checked element of this resource refers."""
        with self._lock:
            paths = [names for kind in (write.ref.type, *_OF_ALL) for names in self._of.get(kind, ())]
        if not (paths and targets):
            return frozenset()
        try:
            resource = msgspec.json.decode(write.body or b"{}")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return frozenset()
        return frozenset(ref for names in paths for node in _nodes(resource, names) for ref in _refs(node)) & targets


def _nodes(node: Json, names: tuple[str, ...]) -> Iterator[Json]:
    """The elements that a path leads to; `value` is also `valueReference`, which of several types it has today."""
    if isinstance(node, list):
        for child in node:
            yield from _nodes(child, names)
    elif not names:
        yield node
    elif isinstance(node, dict):
        for key in (names[0], f"{names[0]}Reference", f"{names[0]}CodeableReference"):
            if key in node:
                yield from _nodes(node[key], names[1:])


def _refs(node: Json) -> Iterator[Ref]:
    """What an element refers to, its extensions left out."""
    if isinstance(node, list):
        for child in node:
            yield from _refs(child)
    elif isinstance(node, dict):
        match = _REFERENCE.fullmatch(reference) if isinstance(reference := node.get("reference"), str) else None
        if match:
            yield Ref(match[1], match[2])
        for key, child in node.items():
            if key not in _UNSEEN:
                yield from _refs(child)
