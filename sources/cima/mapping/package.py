"""PackagedProductDefinition: one per national code."""

from __future__ import annotations

from datetime import date

from sources.cima import identity
from sources.cima.mapping.datatypes import concept, identifier, present, reference
from sources.cima.mapping.product import Pack, Product
from tsi_fetch.words import Json


def packages(product: Product, *, embedded: bool = False) -> list[Json]:
    """All packs; inside a document without marketingStatus, so that a pack put on sale does not rewrite the texts."""
    return [_package(product, pack, embedded=embedded) for pack in product.packs]


def _package(product: Product, pack: Pack, *, embedded: bool) -> Json:
    withdrawn = _withdrawn(product, pack)
    authorised = (pack.standing or product.standing).authorised
    return present(
        {
            "resourceType": "PackagedProductDefinition",
            "id": identity.package(pack.cn),
            "identifier": [identifier("cn", pack.cn)],
            "name": pack.name,
            "packageFor": [reference(product.ref)],
            "status": concept("retired" if withdrawn else "active"),
            "statusDate": (withdrawn or authorised).isoformat(),
            "marketingStatus": None if embedded else _marketing(pack),
        }
    )


def _withdrawn(product: Product, pack: Pack) -> date | None:
    """A pack goes by itself, or with its product."""
    own = pack.standing.withdrawn if pack.standing else None
    return own or product.standing.withdrawn


def _marketing(pack: Pack) -> Json:
    if pack.marketed is None:
        return None
    return [{"country": concept("spain"), "status": {"text": "Marketed" if pack.marketed else "Not marketed"}}]
