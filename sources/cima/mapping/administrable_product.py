"""AdministrableProductDefinition: the product as it is given, by which routes."""

from __future__ import annotations

import re

from sources.cima.mapping.datatypes import coded, concept, present, profile, reference
from sources.cima.mapping.manufactured_item import dose_form, unit_of_form
from sources.cima.mapping.medicinal_product import identifiers
from sources.cima.mapping.product import Product
from sources.cima.mapping.quantities import written
from sources.cima.mapping.register import Item
from sources.cima.mapping.terms import normal, route_coding
from tsi_fetch.words import Json

_SOLID = ("polvo", "granulado", "liofilizado", "equipo")
_USE = re.compile(
    r"(inhalacion|nebulizacion|pulverizacion|chupar|masticar|perfusion|inyeccion|irrigacion|lavado|dialisis|hemodialisis"
    r"|hemofiltracion|hemodiafiltracion|gargarismos|iontoforesis|pruebas?|puncion)\b"
)
"""What comes behind `PARA` where it says how a form is used; all else may be what the form is made into."""

_USE_OF_SOLIDS = re.compile(r"(inhalacion|pulverizacion)\b")
_TO_BE_PREPARED = re.compile(
    r"concentrado\b.*|.*\b(efervescente|dispersable|soluble|disolvente|reactivos?|precursor|generador)\b.*"
)
"""Words of forms that are dissolved, dispersed, diluted or labelled first (EDQM Standard Terms)."""


def administrable_products(product: Product) -> list[Json]:
    """One, or none where the register gives no form or no route."""
    ref, item = product.administrable, product.item
    if ref is None or item is None:
        return []
    prepared = must_be_prepared(product)
    return [
        present(
            {
                "resourceType": ref.type,
                "id": ref.id,
                "meta": profile(ref.type),
                "identifier": identifiers(product.register),
                "status": product.status,
                "formOf": [reference(product.ref)],
                "administrableDoseForm": None if prepared else dose_form(product.register),
                "unitOfPresentation": None if prepared else unit_of_form(product.register),
                "producedFrom": [reference(item)],
                "routeOfAdministration": [_route(route) for route in product.routes],
            }
        )
    ]


def must_be_prepared(product: Product) -> bool:
    """True where the register's form is, or may be, one that nobody is given (`POLVO PARA SOLUCIÓN INYECTABLE`): it is
    made into something first, or is `PARA` something that is no known use."""
    form = product.register.formaFarmaceutica
    name = normal((form.nombre if form else None) or "")
    _, made_into, what = name.partition(" para ")
    use = _USE_OF_SOLIDS if is_solid(product) else _USE
    return bool(made_into and not use.match(what)) or bool(_TO_BE_PREPARED.fullmatch(name))


def is_solid(product: Product) -> bool:
    """True of powders and granules, whatever they become, and of kits: a volume on their pack is not theirs."""
    form = product.register.formaFarmaceutica
    return normal((form.nombre if form else None) or "").startswith(_SOLID)


def _route(route: Item) -> Json:
    code = written(route.id)
    codings = [route_coding(code, route.nombre or ""), coded("route", code, route.nombre) if code else None]
    return {
        "code": present({"coding": [c for c in codings if c], "text": route.nombre}),
        "targetSpecies": [{"code": concept("human-species")}],
    }
