"""RegulatedAuthorization: who may market the product, since when, and whether still."""

from __future__ import annotations

from sources.cima import identity
from sources.cima.mapping.datatypes import concept, present, reference
from sources.cima.mapping.medicinal_product import identifiers
from sources.cima.mapping.organization import REGULATOR
from sources.cima.mapping.product import Product
from tsi_fetch.words import Json, Ref


def ref(product: Product) -> Ref:
    return Ref("RegulatedAuthorization", identity.authorization(product.number))


def authorization(product: Product) -> Json:
    first, *others = identifiers(product.register)
    return {
        "resourceType": "RegulatedAuthorization",
        "id": ref(product).id,
        "identifier": [{"use": "official", **first}, *others],
        "subject": [reference(product.ref)],
        "type": concept("marketing-authorisation"),
        "region": [concept("spain")],
        "status": _status(product),
        "statusDate": product.standing.latest.isoformat(),
        "validityPeriod": _validity(product),
        "holder": reference(product.holder),
        "regulator": reference(REGULATOR),
    }


def _status(product: Product) -> Json:
    if product.retired:
        return concept("retired")
    # FHIR's publication status has no word for it, and `active` would be untrue.
    return {"text": "Suspended"} if product.standing.suspended else concept("active")


def _validity(product: Product) -> Json:
    start, end = product.standing.authorised, product.standing.withdrawn
    ended = end.isoformat() if end and end >= start else None  # FHIR: a period must not end before it starts (per-1)
    return present({"start": start.isoformat(), "end": ended})
