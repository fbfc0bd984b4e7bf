"""FHIR's general-purpose types, written as JSON values; members without a value are left out (FHIR knows no null)."""

from __future__ import annotations

from collections.abc import Mapping

from sources.cima.mapping.terms import coding, system
from tsi_fetch.words import Json, Ref


def present(members: Mapping[str, Json]) -> dict[str, Json]:
    """The members that have a value: neither None, nor empty, nor a blank string."""
    return {name: value for name, value in members.items() if _has_value(value)}


def _has_value(value: Json) -> bool:
    if isinstance(value, str):
        return bool(value.strip())
    return value is not None and value not in ([], {})


def concept(*names: str, text: str | None = None) -> Json:
    """A CodeableConcept of codes of the tables, by name."""
    return present({"coding": [coding(name) for name in names], "text": text})


def coded(system_name: str, code: str, display: str | None = None) -> Json:
    """A Coding of a code that the source gives."""
    return present({"system": system(system_name), "code": code, "display": display})


def identifier(system_name: str, value: str) -> Json:
    return {"system": system(system_name), "value": value}


def reference(ref: Ref) -> Json:
    """A relative reference: within a document Bundle it resolves against the entry's fullUrl."""
    return {"reference": str(ref)}


def profile(name: str) -> Json:
    """`meta` of a resource of HL7's implementation guide for electronic product information."""
    return {"profile": [f"http://hl7.org/fhir/uv/emedicinal-product-info/StructureDefinition/{name}-uv-epi"]}
