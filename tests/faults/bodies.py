"""Bodies, compared and retired as the contract has it, with nothing of the program's own: what is wrong there must not
be wrong here in the same way."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

_SERVERS_OWN = ("versionId", "lastUpdated", "source")
_ENDS = {"Composition": "deprecated", "DocumentReference": "superseded"}
_RETIRABLE = (
    "MedicinalProductDefinition RegulatedAuthorization PackagedProductDefinition AdministrableProductDefinition"
    " ManufacturedItemDefinition Ingredient SubstanceDefinition ClinicalUseDefinition Library List"
    " Composition DocumentReference Organization Bundle"
).split()


class _Number(str):
    """A number as it is written: `1.0` is another one than `1.00`."""


def read(body: bytes) -> Any:
    return json.loads(body, parse_float=_Number, parse_int=_Number)


@lru_cache(20_000)
def plain(body: bytes) -> str:
    """One text for all spellings; without what a server adds to a resource's own meta."""
    return _text(_without_servers_own(read(body)))


def _without_servers_own(resource: Any) -> Any:
    meta = {key: value for key, value in resource.get("meta", {}).items() if key not in _SERVERS_OWN}
    return {key: value for key, value in resource.items() if key != "meta"} | ({"meta": meta} if meta else {})


def _text(node: Any) -> str:
    if isinstance(node, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_text(node[key])}" for key in sorted(node)) + "}"
    if isinstance(node, list):
        return "[" + ",".join(map(_text, node)) + "]"
    return str(node) if isinstance(node, _Number) else json.dumps(node)


def identical(one: bytes, other: bytes) -> bool:
    """The same content, number for number."""
    return one == other or plain(one) == plain(other)


def can_be_retired(kind: str) -> bool:
    return kind in _RETIRABLE


@lru_cache(20_000)
def is_retired(body: bytes) -> bool:
    """What it is says that it is over; a document does so where what it begins with does."""
    return _is_over(read(body))


def _is_over(resource: Any) -> bool:
    kind = resource["resourceType"]
    if kind == "Organization":
        return resource.get("active") is False
    if kind == "Bundle":
        inner = [entry["resource"] for entry in resource.get("entry", []) if "resource" in entry]
        return bool(inner) and _is_over(inner[0])
    return can_be_retired(kind) and _code(resource.get("status")) == _ENDS.get(kind, "retired")


def _code(status: Any) -> Any:
    """Of a code, or of the one coding of a concept."""
    codings = status.get("coding", [{}]) if isinstance(status, dict) else [{"code": status}]
    return codings[0].get("code") if len(codings) == 1 else None


def retires(before: bytes, after: bytes) -> bool:
    """`after` is `before`, and over; nothing else about it has changed."""
    one, two = (_endless(_without_servers_own(read(body))) for body in (before, after))
    return is_retired(after) and _text(one) == _text(two)


def _endless(resource: Any) -> Any:
    """Without what retirement changes: the status, and narratives that were generated."""
    rest = {key: value for key, value in resource.items() if key not in ("status", "active", "entry")}
    if isinstance(rest.get("text"), dict) and rest["text"].get("status") == "generated":
        del rest["text"]
    entries = resource.get("entry", [])
    return rest | {"entry": [{**e, "resource": _endless(e["resource"])} if "resource" in e else e for e in entries]}
