"""ManufacturedItemDefinition: the product as it leaves the factory, known by its dosage form."""

from __future__ import annotations

from sources.cima.mapping.datatypes import coded, concept, present, profile
from sources.cima.mapping.medicinal_product import identifiers
from sources.cima.mapping.product import Product
from sources.cima.mapping.quantities import written
from sources.cima.mapping.register import Item, Medicamento
from sources.cima.mapping.terms import dose_form_coding, unit_of_presentation
from tsi_fetch.words import Json


def manufactured_items(product: Product) -> list[Json]:
    """One, or none where the register gives no form."""
    ref = product.item
    if ref is None:
        return []
    return [
        present(
            {
                "resourceType": ref.type,
                "id": ref.id,
                "meta": profile(ref.type),
                "identifier": identifiers(product.register),
                "status": product.status,
                "manufacturedDoseForm": dose_form(product.register),
                "unitOfPresentation": unit_of_form(product.register),
            }
        )
    ]


def dose_form(register: Medicamento) -> Json:
    """EMA's code where the table has the form, the register's own code, and that of its simplified form."""
    form, simple = register.formaFarmaceutica, register.formaFarmaceuticaSimplificada
    codings = [
        dose_form_coding(form.nombre or "") if form else None,
        _own("dose-form", form),
        _own("simplified-dose-form", simple),
    ]
    return present({"coding": [c for c in codings if c], "text": form.nombre if form else None})


def unit_of_form(register: Medicamento) -> Json:
    """What one counts; None for forms that are poured, spread or inhaled."""
    form = register.formaFarmaceutica
    name = unit_of_presentation(form.nombre or "") if form else None
    return concept(name) if name else None


def _own(system_name: str, item: Item | None) -> Json:
    code = written(item.id) if item else ""
    return coded(system_name, code, item.nombre) if item and code else None
