"""Validation with fhir.resources, of the job's release, in this one place and lazily: by type, when first needed.

A model is made, looked at and dropped: it never reaches the sink (its dump loses digits, `.000` and empty arrays).
R5 is the package's own release; R4 is validated as R4B, which lacks the types of `R4_ONLY`.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection
from functools import cache
from typing import Any

import msgspec

from tsi_fetch.fhir.divs import malformed
from tsi_fetch.fhir.familiar import Familiar, items, members
from tsi_fetch.words import Fault, Ref

R4_ONLY = frozenset(
    "EffectEvidenceSynthesis Evidence EvidenceVariable MedicinalProduct MedicinalProductAuthorization "
    "MedicinalProductContraindication MedicinalProductIndication MedicinalProductIngredient "
    "MedicinalProductInteraction MedicinalProductManufactured MedicinalProductPackaged MedicinalProductPharmaceutical "
    "MedicinalProductUndesirableEffect RiskEvidenceSynthesis SubstanceNucleicAcid SubstancePolymer SubstanceProtein "
    "SubstanceReferenceInformation SubstanceSourceMaterial SubstanceSpecification".split()
)
"""Types of R4 that R4B does not know or shapes differently: they are passed on unvalidated."""

_PACKAGE = {"R5": "fhir.resources", "R4": "fhir.resources.R4B"}
_MOST_FAULTS = 5
_familiar = {release: Familiar() for release in _PACKAGE}


class UnknownType(ValueError):
    """The release has no resource of this type."""


@cache
def _model(release: str, resource_type: str) -> Any:
    if not resource_type.isalpha():
        raise UnknownType(resource_type)
    try:
        module = importlib.import_module(f"{_PACKAGE[release]}.{resource_type.lower()}")
    except ModuleNotFoundError as e:
        raise UnknownType(resource_type) from e
    model = getattr(module, resource_type, None)
    resource = importlib.import_module(f"{_PACKAGE[release]}.resource").Resource
    if not (isinstance(model, type) and issubclass(model, resource)):
        raise UnknownType(resource_type)  # HumanName is a type, but not a resource
    return model


def validatable(resource_type: str, release: str) -> bool:
    """Can a resource of this type be validated?  False for what is passed on as it is: the types of `R4_ONLY` on R4.

    True for a type that the release does not have: such a resource is refused.  Imports nothing.
    """
    return release != "R4" or resource_type not in R4_ONLY


def validate(body: bytes, ref: Ref, release: str, sound: Collection[bytes] = ()) -> tuple[Fault, ...]:
    """What is wrong with a resource: at most five faults, each with its path and rule, never a value.

    `sound`: bodies in which nothing was found, of the same release.  Where a Bundle has one of them, byte for byte, as
    an entry's resource, that is not looked at again: a model is the same wherever it stands.
    """
    if not validatable(ref.type, release):
        return ()
    try:
        model = _model(release, ref.type)
    except UnknownType:
        return (Fault("fhir-unknown-type", "resourceType", f"{release} has no resource of this type"),)
    body = _unseen(body, sound) if ref.type == "Bundle" and sound else body
    faults = (
        _of_composition(model, body, ref, release)
        if ref.type == "Composition"
        else _of_model(model, body, ref, release)
    )
    if not faults and malformed(body):
        return (Fault("fhir-narrative", "div", "must be well-formed XHTML"),)
    return faults


def _of_model(model: Any, body: bytes, ref: Ref, release: str) -> tuple[Fault, ...]:
    from pydantic import ValidationError  # heavy; comes with fhir.resources

    try:
        made = model.model_validate_json(body)
    except ValidationError as e:
        found = e.errors(include_url=False, include_context=False, include_input=False)
        return tuple(Fault("fhir-invalid", _path(f["loc"]), f["type"]) for f in found[:_MOST_FAULTS])
    except KeyError:
        # fhir.resources looks the type of a Bundle's entry up in a dictionary
        return (Fault("fhir-unknown-type", "entry.resource", f"{release} has no resource of an entry's type"),)
    if made.id != ref.id:
        return (Fault("fhir-id", "id", "the resource's id is not the id it is written to"),)
    return ()


def _of_composition(model: Any, body: bytes, ref: Ref, release: str) -> tuple[Fault, ...]:
    shorter, kinds = _familiar[release].without(body)
    if _of_model(model, shorter, ref, release):
        return _of_model(model, body, ref, release)  # by the places that things have in the whole
    _familiar[release].learn(kinds)
    return ()


def _unseen(body: bytes, sound: Collection[bytes]) -> bytes:
    """The Bundle without what is sound of it; as it is where it is none that has entries."""
    try:
        bundle = members.decode(body)
        entries = [members.decode(entry) for entry in items.decode(bundle["entry"])]
    except (msgspec.DecodeError, RecursionError, KeyError):
        return body
    for entry in entries:
        if "resource" in entry and bytes(entry["resource"]) in sound:
            del entry["resource"]
    return msgspec.json.encode({**bundle, "entry": entries})


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "$"
