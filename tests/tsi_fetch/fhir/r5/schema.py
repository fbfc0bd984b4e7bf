"""HL7's own JSON Schema of FHIR R5 as a second reader of what mappings give, stricter than fhir.resources.

Beyond the schema: required primitives, codes of required bindings, types of references, no null, nothing empty.
It sees no invariants and nothing of XHTML; for that see `tests/tsi_fetch/fhir/narrative_rules.py`.
"""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

Json = Any

HERE = Path(__file__).parent
SCHEMA_SHA256 = "e865a3f40d9949c72da906ee3d89ae4c7066be27fd8a258cae80705e08e4d1b7"


def official() -> bytes:
    """HL7's file as it is."""
    return lzma.decompress((HERE / "fhir.schema.json.xz").read_bytes())


@cache
def definitions() -> dict[str, Json]:
    """The schema's definitions, mended and made strict."""
    # Its patterns of numbers have a brace too many, which only lenient readers take as a character.
    found: dict[str, Json] = json.loads(official().replace(b"{1,9}})", b"{1,9})"))["definitions"]
    constraints = json.loads((HERE / "constraints.json").read_bytes())
    for name, definition in found.items():
        if "properties" in definition:
            _no_emptiness(definition)
            _constrain(definition, constraints.get(name, {}))
    found["xhtml"] = {"type": "string", "pattern": '^<div xmlns="http://www\\.w3\\.org/1999/xhtml">'}
    # Which of 158 types it is, is asked of each by itself: the answer then names what is wrong.
    found["ResourceList"] = {"type": "object", "required": ["resourceType", "id"]}
    return found


def _no_emptiness(definition: Json) -> None:
    definition["minProperties"] = 1
    for spec in definition["properties"].values():
        if spec.get("type") == "array":
            spec["minItems"] = 1


def _constrain(definition: Json, constraint: Json) -> None:
    rules = [{"anyOf": [{"required": [name]} for name in names]} for names in constraint.get("required", ())]
    for name, codes in constraint.get("enum", {}).items():
        rules.append(_rule(definition, name, {"enum": codes}))
    for name, types in constraint.get("targets", {}).items():
        literal = {"properties": {"reference": {"pattern": f"^(https?://.+/)?({'|'.join(types)})/[^/]+$"}}}
        concept = _ref(definition, name) == "CodeableReference"
        rules.append(_rule(definition, name, {"properties": {"reference": literal}} if concept else literal))
    if rules:
        definition["allOf"] = rules


def _rule(definition: Json, name: str, rule: Json) -> Json:
    array = definition["properties"][name].get("type") == "array"
    return {"properties": {name: {"items": rule} if array else rule}}


def _ref(definition: Json, name: str) -> str:
    spec = definition["properties"][name]
    return str(spec.get("items", spec).get("$ref", "")).rpartition("/")[2]


@cache
def _validator(resource_type: str) -> Any:
    schema = {"$ref": f"#/definitions/{resource_type}", "definitions": definitions()}
    return jsonschema_rs.Draft6Validator(schema)


def faults(body: bytes) -> list[str]:
    """What is wrong with a resource and those within it: places and rules."""
    misspelt: list[str] = []
    spelling = re.compile(definitions()["decimal"]["pattern"])

    def number(token: str) -> float:
        # The schema's pattern is for texts, which JSON's numbers are not: the token is looked at here.
        if spelling.search(token):
            return float(token)
        misspelt.append(f"{token[:40]}: no decimal of FHIR")
        return 0.5

    return [*_faults(json.loads(body, parse_float=number), ""), *misspelt]


def _faults(resource: Json, place: str) -> Iterator[str]:
    kind = resource.get("resourceType", "?")
    if kind not in definitions():
        yield f"{place}{kind}: no such type"
        return
    for error in _validator(kind).iter_errors(resource):
        where = ".".join(map(str, error.instance_path))
        yield f"{place}{kind}/{resource.get('id')}.{where}: {error.message[:200]}"
    for nested in _nested(resource):
        yield from _faults(nested, f"{place}{kind} > ")


def _nested(resource: Json) -> Iterator[Json]:
    yield from resource.get("contained", ())
    for entry in resource.get("entry", ()):
        if resource["resourceType"] == "Bundle" and "resource" in entry:
            yield entry["resource"]
