"""PackagedProductDefinition: one per national code."""

from __future__ import annotations

from datetime import date

from sources.cima import identity
from sources.cima.mapping.administrable_product import is_solid
from sources.cima.mapping.datatypes import concept, identifier, present, reference
from sources.cima.mapping.package_size import Size, size
from sources.cima.mapping.product import Pack, Product
from tsi_fetch.words import Json


def packages(product: Product, *, embedded: bool = False) -> list[Json]:
    """All packs; inside a document without marketingStatus, so that a pack put on sale does not rewrite the texts."""
    return [_package(product, pack, embedded=embedded) for pack in product.packs]


def _package(product: Product, pack: Pack, *, embedded: bool) -> Json:
    status, day = _status(product, pack)
    said = size(product.register.nombre, pack.name)
    return present(
        {
            "resourceType": "PackagedProductDefinition",
            "id": identity.package(pack.cn),
            "identifier": [identifier("cn", pack.cn)],
            "name": pack.name,
            "packageFor": [reference(product.ref)],
            "status": status,
            "statusDate": day.isoformat(),
            "containedItemQuantity": [said.items or said.counted] if said else None,
            "marketingStatus": None if embedded else _marketing(pack),
            "packaging": _packaging(product, said or Size()),
        }
    )


def _status(product: Product, pack: Pack) -> tuple[Json, date]:
    """With its day.  A pack goes by itself, or with its product; that it alone is suspended nothing else would tell
    (a product's suspension stands in its authorisation)."""
    own = pack.standing or product.standing
    if withdrawn := own.withdrawn or product.standing.withdrawn:
        return concept("retired"), withdrawn
    if pack.standing and (suspended := pack.standing.suspended):
        return concept("active", text="Suspended"), suspended
    return concept("active"), own.authorised


def _marketing(pack: Pack) -> Json:
    if pack.marketed is None:
        return None
    return [{"country": concept("spain"), "status": {"text": "Marketed" if pack.marketed else "Not marketed"}}]


def _packaging(product: Product, said: Size) -> Json:
    """The pack itself (FHIR: the outermost is always one) and, where they are known, the containers in it."""
    if said.type is None:
        item = _item(product, said.items)
        return present({"quantity": 1 if item else None, "containedItem": item})
    each = None if is_solid(product) else said.each  # 30 ml are what becomes of a powder
    inner = {"type": concept(said.type), "quantity": said.containers, "containedItem": _item(product, each)}
    return {"quantity": 1, "packaging": [present(inner)]}


def _item(product: Product, amount: Json) -> Json:
    if product.item is None:
        return None
    return [present({"item": {"reference": reference(product.item)}, "amount": amount})]
