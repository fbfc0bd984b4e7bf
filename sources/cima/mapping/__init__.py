"""CIMA's answers become FHIR R5.  Pure: no clock, no network, the same row always gives the same bytes.

One file per FHIR resource; `answers` refuses what must not be mapped, `product` is what all resources see, `terms`
reads the tables.  What is mapped from which field stands in docs/sources/cima.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from sources.cima.mapping.authorization import authorization
from sources.cima.mapping.document_bundle import document_bundle
from sources.cima.mapping.medicinal_product import medicinal_product
from sources.cima.mapping.organization import organizations
from sources.cima.mapping.package import packages
from sources.cima.mapping.product import Product, product
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.words import Change, Json, Ref, Row, Upsert

MAPPING_VERSION = 1
"""Raised by hand whenever `to_changes` would give another result for the same row."""


def to_changes(row: Row) -> Sequence[Change]:
    """The resources of a row's product, referred ones first; raises `Unusable`.

    None where the row has no answers (a note, a supply problem), and where the register no longer knows the product:
    its whole scope is then empty, and what it held is retired or deleted by the job's policy.
    """
    mapped = product(row) if row.answers else None
    if mapped is None:
        return ()
    return [_upsert(row, resource) for resource in _resources(mapped)]


def _resources(mapped: Product) -> list[Json]:
    return [
        *organizations(mapped),
        medicinal_product(mapped),
        authorization(mapped),
        *packages(mapped),
        *(document_bundle(mapped, text) for text in mapped.texts),
    ]


def _upsert(row: Row, resource: Json) -> Upsert:
    return Upsert(Ref(resource["resourceType"], resource["id"]), dump(resource), row.key, row.order)
