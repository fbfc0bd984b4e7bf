"""Retirement: what a resource becomes when its source no longer has it and it must not vanish from the server.

`status` retired on definitions, List and RegulatedAuthorization; Composition `deprecated`, also inside its Bundle;
DocumentReference `superseded`; Organization `active: false`.  A type that has no such state cannot be retired.
"""

from __future__ import annotations

from tsi_fetch.fhir.equality import without_added_text
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
    """The body of a retired resource, made from what the sink holds; generated narratives are left out at every depth.

    One that stayed would be sent as ours, and what is held later could not be told from what was written.
    Idempotent.  NotJson where the body is not JSON; ValueError where the type cannot be retired.
    """
    return dump(_retired(without_added_text(parse(body), None)))


def _retired(resource: Json) -> Json:
    kind = resource.get("resourceType")
    if not retirable(str(kind)):
        raise ValueError(f"a {kind} cannot be retired")
    if kind == "Bundle":
        return {**resource, "entry": [_retired_entry(e) for e in resource.get("entry", [])]}
    if kind == "Organization":
        return {**resource, "active": False}
    return {**resource, "status": RETIRED_STATUS[str(kind)]}


def _retired_entry(entry: Json) -> Json:
    resource = entry.get("resource") if isinstance(entry, dict) else None
    if not isinstance(resource, dict):
        return entry
    kept = resource.get("resourceType") == "Organization" or not retirable(str(resource.get("resourceType")))
    # An Organization inside a document says who published it; that does not end with the document.
    return entry if kept else {**entry, "resource": _retired(resource)}
