"""Organizations: one per exact name, and the AEMPS.

CIMA gives firms by name only; what a firm is to a product stands where it is referred to (the same firm holds one
product and represents another).
"""

from __future__ import annotations

from sources.cima import identity
from sources.cima.mapping.datatypes import identifier, profile
from sources.cima.mapping.product import Product
from tsi_fetch.words import Json, Ref

REGULATOR = Ref("Organization", identity.REGULATOR)
_AEMPS = "ORG-100003943"
"""The AEMPS in EMA's organisation list, as EMA's own ePI lists write it."""


def organizations(product: Product) -> list[Json]:
    """The regulator, the holder, and the local representative where there is another one; each once."""
    named = {name: _firm(name) for name in (product.register.labtitular, product.register.labcomercializador) if name}
    return [_regulator(), *(firm for name, firm in named.items() if name.strip())]


def _firm(name: str) -> Json:
    return {
        "resourceType": "Organization",
        "id": identity.organization(name),
        "meta": profile("Organization"),
        "identifier": [identifier("organization", identity.organization_slug(name))],
        "name": name,
    }


def _regulator() -> Json:
    return {
        "resourceType": "Organization",
        "id": REGULATOR.id,
        "meta": profile("Organization"),
        "identifier": [identifier("omswi", _AEMPS)],
        "name": "Agencia Española de Medicamentos y Productos Sanitarios",
        "alias": ["AEMPS"],
    }
