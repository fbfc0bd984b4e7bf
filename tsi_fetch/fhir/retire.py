"""Retirement: what a resource becomes when its source no longer has it and it must not vanish from the server.

`status` retired on definitions, List and RegulatedAuthorization; Composition `deprecated`, also inside its Bundle;
DocumentReference `superseded`; Organization `active: false`.  A type that has no such state cannot be retired.
"""

from __future__ import annotations

from tsi_fetch.fhir.equality import without_added_text
from tsi_fetch.fhir.tokens import dump, parse
from tsi_fetch.words import Json, Ref

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


def retired(body: bytes, living: frozenset[Ref] = frozenset()) -> bytes:
    """The body of a retired resource, made from what the sink holds; generated narratives are left out at every depth.
    Of a Bundle its Composition, and all other entries but those of `living` refs: a document that ends does not end the
    product that it is about.

    A narrative that stayed would be sent as ours, and what is held later could not be told from what was written.
    Idempotent.  NotJson where the body is not JSON; ValueError where it is no resource of a type that can be retired.
    """
    return dump(_retired(without_added_text(parse(body), None), living))


def parts(body: bytes) -> frozenset[Ref]:
    """What a Bundle has as entries, by type and id; nothing of any other resource.  NotJson where it is not JSON."""
    return frozenset(ref for entry in _entries(parse(body)) if (ref := _ref(_of_entry(entry))) is not None)


def _entries(resource: Json) -> list[Json]:
    is_bundle = isinstance(resource, dict) and resource.get("resourceType") == "Bundle"
    entries = resource.get("entry") if is_bundle else None
    return entries if isinstance(entries, list) else []


def _retired(resource: Json, living: frozenset[Ref]) -> Json:
    kind = resource.get("resourceType") if isinstance(resource, dict) else None
    if not retirable(str(kind)):
        raise ValueError(f"a {kind} cannot be retired")
    if kind == "Bundle":
        return {**resource, "entry": [_retired_entry(e, living) for e in _entries(resource)]}
    if kind == "Organization":
        return {**resource, "active": False}
    return {**resource, "status": RETIRED_STATUS[str(kind)]}


def _retired_entry(entry: Json, living: frozenset[Ref]) -> Json:
    resource = _of_entry(entry)
    if resource is None:
        return entry
    kind = str(resource.get("resourceType"))
    # An Organization inside a document says who published it; that does not end with the document.
    kept = kind == "Organization" or not retirable(kind) or (kind != "Composition" and _ref(resource) in living)
    return entry if kept else {**entry, "resource": _retired(resource, living)}


def _of_entry(entry: Json) -> Json:
    resource = entry.get("resource") if isinstance(entry, dict) else None
    return resource if isinstance(resource, dict) else None


def _ref(resource: Json) -> Ref | None:
    kind, ident = (resource.get("resourceType"), resource.get("id")) if resource else (None, None)
    return Ref(kind, ident) if isinstance(kind, str) and isinstance(ident, str) else None
