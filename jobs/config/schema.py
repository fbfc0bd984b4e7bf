"""The JSON Schema of the job file, for editors; `python -m jobs.config.schema` writes it anew.

It is made from the models that check the file, the options of every source and sink included.  A placeholder stands for
a value of any type, so that `rate: ${RATE:-5}` is no mistake to an editor either.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.catalogue import SINKS, SOURCES, Entry, load
from jobs.config.interpolate import PATTERN
from jobs.config.models import JobFile

FILE = Path(__file__).parent.parent / "jobs.schema.json"

_PLACEHOLDER = {"type": "string", "pattern": PATTERN}


def make_schema() -> dict[str, Any]:
    """The schema as a value; definitions are named after their models."""
    schema = JobFile.model_json_schema(by_alias=True)
    definitions: dict[str, Any] = schema["$defs"]
    for definition in [schema, *definitions.values()]:
        _open(definition)
    definitions["JobSettings"]["properties"]["source"] |= _kinds("Source", SOURCES, definitions)
    schema["properties"]["sinks"]["additionalProperties"] = _kinds("Sink", SINKS, definitions)
    for room in ("stores", "sinks", "jobs"):
        _name_pattern(schema["properties"][room])
    schema["title"] = "tsi-fetch job file"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def render() -> str:
    return json.dumps(make_schema(), indent=2, ensure_ascii=False) + "\n"


def _name_pattern(room: dict[str, Any]) -> None:
    patterns = room.pop("patternProperties", None)
    if patterns:
        [(pattern, inner)] = patterns.items()
        room["additionalProperties"] = room.get("additionalProperties") or inner
        room["propertyNames"] = {"pattern": pattern}


def _kinds(role: str, entries: Mapping[str, Entry], definitions: dict[str, Any]) -> dict[str, Any]:
    """One schema for each kind, told apart by `kind`."""
    choices = []
    for kind, entry in entries.items():
        model = load(entry.options).model_json_schema(by_alias=True, ref_template="#/$defs/{model}")
        for name, inner in model.pop("$defs", {}).items():
            definitions[name] = _open(inner)
        model["properties"] = {"kind": {"const": kind}, **_open(model).get("properties", {})}
        model["required"] = ["kind", *model.get("required", [])]
        name = f"{role}_{kind}"
        definitions[name] = model
        choices.append({"$ref": f"#/$defs/{name}"})
    return {"oneOf": choices}


def _open(definition: dict[str, Any]) -> dict[str, Any]:
    """Let a placeholder stand for each property that is a single value."""
    for name, inner in definition.get("properties", {}).items():
        inner.pop("title", None)  # pydantic's: the name once more
        definition["properties"][name] = _or_placeholder(inner)
    return definition


def _or_placeholder(inner: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in inner:
        return {**inner, "anyOf": [*inner["anyOf"], _PLACEHOLDER]}
    if inner.get("type") not in {"string", "integer", "number", "boolean"}:
        return inner
    outer: dict[str, Any] = {key: inner[key] for key in ("title", "description", "default", "examples") if key in inner}
    narrow = {key: value for key, value in inner.items() if key not in outer}
    plain = narrow in ({"type": "string"}, {"type": "string", "minLength": 1})
    return {**outer, **narrow} if plain else {**outer, "anyOf": [narrow, _PLACEHOLDER]}


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
