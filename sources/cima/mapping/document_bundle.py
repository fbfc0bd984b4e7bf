"""The document Bundle: a Composition with everything that it needs to be read on its own.

As FOSPS's raw ePIs have it: product, authorisation, firms, packs, items, ingredients.  What would rewrite the texts for
something that is no matter of theirs stays outside: where a pack is on sale, photos, PDFs, notes, supply problems.
"""

from __future__ import annotations

from sources.cima import identity
from sources.cima.dates import midnight_utc
from sources.cima.mapping.administrable_product import administrable_products
from sources.cima.mapping.authorization import authorization
from sources.cima.mapping.datatypes import identifier, profile
from sources.cima.mapping.ingredient import ingredients
from sources.cima.mapping.manufactured_item import manufactured_items
from sources.cima.mapping.medicinal_product import medicinal_product
from sources.cima.mapping.organization import organizations
from sources.cima.mapping.package import packages
from sources.cima.mapping.product import Product, Text
from tsi_fetch.words import Json


def document_bundle(product: Product, text: Text, composed: Json) -> Json:
    """The Bundle around a text's Composition (`composed`; its cleaning is what costs most: it is made once).

    `timestamp` is the original approval, as the profile means it; it never moves with the time of fetching.
    """
    return {
        "resourceType": "Bundle",
        "id": identity.bundle(text.document, product.number),
        "meta": profile("Bundle"),
        "language": "es",
        "identifier": identifier("doc", f"{product.number}-{text.document}"),
        "type": "document",
        "timestamp": midnight_utc(product.standing.authorised),
        "entry": [_entry(resource) for resource in (composed, *_product(product))],
    }


def _product(product: Product) -> list[Json]:
    return [
        medicinal_product(product),
        authorization(product),
        *organizations(product),
        *packages(product, embedded=True),
        *administrable_products(product),
        *manufactured_items(product),
        *ingredients(product),
    ]


def _entry(resource: Json) -> Json:
    return {"fullUrl": identity.full_url(resource["resourceType"], resource["id"]), "resource": resource}
