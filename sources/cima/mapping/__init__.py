"""CIMA's answers become FHIR R5.  Pure: no clock, no network, the same row always gives the same bytes.

One file per FHIR resource; `answers` refuses what must not be mapped, `product` is what all resources see, `terms`
reads the tables.  What is mapped from which field stands in docs/sources/cima.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sources.cima.mapping.administrable_product import administrable_products
from sources.cima.mapping.authorization import authorization
from sources.cima.mapping.composition import composition
from sources.cima.mapping.document_bundle import document_bundle
from sources.cima.mapping.document_reference import document_references
from sources.cima.mapping.epi_list import epi_lists
from sources.cima.mapping.ingredient import ingredients
from sources.cima.mapping.manufactured_item import manufactured_items
from sources.cima.mapping.medicinal_product import medicinal_product
from sources.cima.mapping.organization import organizations
from sources.cima.mapping.package import packages
from sources.cima.mapping.product import Product, product
from sources.cima.mapping.side import FLAGS, side_resources
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.words import Change, Json, Ref, Row, Upsert

MAPPING_VERSION = 6
"""Raised by hand whenever `to_changes` would give another result for the same row."""


def to_changes(row: Row) -> Sequence[Change]:
    """The resources of a row's product, referred ones first; raises `Unusable`.

    None where the row has no answers, and where the register no longer knows the product: its whole scope is then
    empty, and what it held is retired or deleted by the job's policy.  A row of some of its flags alone touches only
    what comes of them (notes, materials, supply problems); a product's row carries them too.
    """
    if side_product(row.key) != row.key:
        return side_changes(row)
    mapped = product(row) if row.answers else None
    if mapped is None:
        return ()
    own = [_upsert(resource, row.key, row) for resource in _resources(mapped)]
    return [*own, *side_changes(row)]


def side_changes(row: Row) -> list[Change]:
    """The resources of a row's side answers, in the scopes `{nregistro}#{flag}`.  Raises `Unusable`."""
    nregistro = side_product(row.key)
    return [
        _upsert(resource, side_scope(nregistro, answer.part), row)
        for answer in row.answers
        if answer.part.partition("/")[0] in FLAGS
        for resource in side_resources(nregistro, answer)
    ]


def side_scope(nregistro: str, part: str) -> str:
    """The scope of what a side answer becomes; KeyError where the part is none."""
    return f"{nregistro}#{FLAGS[part.partition('/')[0]]}"


def side_key(nregistro: str, flags: Iterable[str]) -> str:
    """The key of a row of some of a product's flags."""
    return f"{nregistro}#{'+'.join(sorted(flags))}"


def side_product(key: str) -> str:
    """The product's number in the key of its row, or of a row of some of its flags (`99001#matinf+psum`)."""
    number, mark, flags = key.rpartition("#")
    return number if mark and set(flags.split("+")) <= set(FLAGS.values()) else key


def _resources(mapped: Product) -> list[Json]:
    composed = [composition(mapped, text) for text in mapped.texts]
    return [
        *organizations(mapped),
        medicinal_product(mapped),
        authorization(mapped),
        *manufactured_items(mapped),
        *administrable_products(mapped),
        *packages(mapped),
        *ingredients(mapped),
        *document_references(mapped),
        *(document_bundle(mapped, text, one) for text, one in zip(mapped.texts, composed, strict=True)),
        *composed,
        *epi_lists(mapped),
    ]


def _upsert(resource: Json, scope: str, row: Row) -> Upsert:
    return Upsert(Ref(resource["resourceType"], resource["id"]), dump(resource), scope, row.order)
