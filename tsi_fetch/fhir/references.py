"""Which resources a resource refers to (FHIR R5, references.html)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tsi_fetch.fhir.tokens import parse
from tsi_fetch.words import Json, Ref

RELATIVE = re.compile(r"([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?")
"""A relative literal reference; an absolute URL, a urn: or a `#contained` one does not match."""


def relative(reference: str) -> Ref | None:
    """The ref that a relative reference names, its version left aside; None for any other reference."""
    match = RELATIVE.fullmatch(reference)
    return Ref(match[1], match[2]) if match else None


def references(body: bytes) -> frozenset[Ref]:
    """All refs that a resource refers to by relative references, itself excepted.

    The entries of a Bundle are its own: a document is stored whole and its inner references are not resolved (HAPI).
    NotJson where the body is not JSON.
    """
    if b'"reference"' not in body:
        return frozenset()
    resource = parse(body)
    own = Ref(str(resource.get("resourceType")), str(resource.get("id")))
    return frozenset(ref for ref in _walk(resource) if ref != own)


def _walk(node: Json) -> Iterator[Ref]:
    if isinstance(node, list):
        for child in node:
            yield from _walk(child)
    elif isinstance(node, dict):
        value = node.get("reference")
        ref = relative(value) if isinstance(value, str) else None
        if ref:
            yield ref
        for key, child in node.items():
            if not (key == "entry" and node.get("resourceType") == "Bundle"):
                yield from _walk(child)
