"""Retirement: what a resource becomes when its source no longer has it and it must not vanish from the server.

`status` retired on definitions, List and RegulatedAuthorization; Composition `deprecated`, also inside its Bundle;
DocumentReference `superseded`; Organization `active: false`.  A type that has no such state cannot be retired.
"""

from __future__ import annotations

from tsi_fetch.fhir.equality import generated
from tsi_fetch.fhir.tokens import dump, parse
from tsi_fetch.words import Json

RETIRED_STATUS = {
    "MedicinalProductDefinition": {"coding": [{"system": "http://hl7.org/fhir/publication-status", "code": "retired"}]},
    "RegulatedAuthorization": {"coding": [{"system": "http://hl7.org/fhir/publication-status", "code": "retired"}]},
    "PackagedProductDefinition": {"coding": [{"system": "http://hl7.org/fhir/publication-status", "code": "retired"}]},
    "AdministrableProductDefinition": "retired",
    "ManufacturedItemDefinition": "retired",
    "Ingredient": "retired",
    "SubstanceDefinition": {"coding": [{"system": "http://hl7.org/fhir/publication-status", "code": "retired"}]},
    "ClinicalUseDefinition": {"coding": [{"system": "http://hl7.org/fhir/publication-status", "code": "retired"}]},
    "Library": "retired",
    "List": "retired",
    "Composition": "deprecated",
    "DocumentReference": "superseded",
}
"""The `status` of a retired resource; FHIR R5 types it as a code or as a CodeableConcept."""


def retirable(resource_type: str) -> bool:
    """True where `retired` knows what a resource of this type becomes."""
    return resource_type in RETIRED_STATUS or resource_type in ("Organization", "Bundle")


def retired(body: bytes) -> bytes:
    """The body of a retired resource, made from what the sink holds; a generated narrative is left out.

    Idempotent.  NotJson where the body is not JSON; ValueError where the type cannot be retired.
    """
    return dump(_retired(parse(body)))


def _retired(resource: Json) -> Json:
    kind = resource.get("resourceType")
    if not retirable(str(kind)):
        raise ValueError(f"a {kind} cannot be retired")
    result = {k: v for k, v in resource.items() if not (k == "text" and generated(resource))}
    if kind == "Bundle":
        return {**result, "entry": [_retired_entry(e) for e in resource.get("entry", [])]}
    if kind == "Organization":
        return {**result, "active": False}
    return {**result, "status": RETIRED_STATUS[str(kind)]}


def _retired_entry(entry: Json) -> Json:
    resource = entry.get("resource") if isinstance(entry, dict) else None
    if not isinstance(resource, dict):
        return entry
    kept = resource.get("resourceType") == "Organization" or not retirable(str(resource.get("resourceType")))
    # An Organization inside a document says who published it; that does not end with the document.
    if kept:
        return {**entry, "resource": {k: v for k, v in resource.items() if not (k == "text" and generated(resource))}}
    return {**entry, "resource": _retired(resource)}
