"""Ingredient: one per active substance and per excipient that has to be declared.

`dosis` is never a strength: it is one text for all substances of a product.
"""

from __future__ import annotations

from collections.abc import Sequence

from sources.cima import identity
from sources.cima.mapping import answers as opening
from sources.cima.mapping.datatypes import coded, concept, present, profile, reference
from sources.cima.mapping.product import Product
from sources.cima.mapping.quantities import Amount, amount, nothing, written
from sources.cima.mapping.register import Sustancia
from sources.cima.mapping.terms import normal, unit_of_presentation
from tsi_fetch.words import Json

ENOUGH = "cantidad suficiente"
"""Where a unit should be: as much as is needed; the number beside it is what it is filled up to (`1 ml`)."""

UNKNOWN = "-"

FILLED = frozenset({"unit-syringe", "unit-pen", "unit-cartridge"})
"""What is counted, and holds a liquid."""


def ingredients(product: Product) -> list[Json]:
    """The active substances in the register's order, then the excipients.  Unusable where one has neither a name nor a
    code: left out, the product would seem to be free of it."""
    active = _known(product.register.principiosActivos, "active", "medicamento.principiosActivos")
    excipients = _known(product.register.excipientes, "excipient", "medicamento.excipientes")
    return [
        *(_ingredient(product, part, s, "active") for part, s in zip(_parts("a", active), active, strict=True)),
        *(
            _ingredient(product, part, s, "excipient")
            for part, s in zip(_parts("e", excipients), excipients, strict=True)
        ),
    ]


def _known(substances: Sequence[Sustancia] | None, role: str, path: str) -> Sequence[Sustancia]:
    for index, substance in enumerate(substances or ()):
        if not (substance.nombre or "").strip() and not _code(substance, role):
            opening.refuse("cima-missing", f"{path}[{index}].nombre", "a substance must have a name or a code")
    return substances or ()


def _code(substance: Sustancia, role: str) -> str:
    """The register's own code: `codigo` of an active substance, `id` of an excipient."""
    return (substance.codigo or "").strip() if role == "active" else written(substance.id)


def _parts(role: str, substances: Sequence[Sustancia]) -> list[str]:
    own = ((written(s.id) or (s.codigo or "").strip() or identity.slug(s.nombre or "") or "x") for s in substances)
    return identity.numbered([f"{role}{identity.key(text)}" for text in own])


def _ingredient(product: Product, part: str, substance: Sustancia, role: str) -> Json:
    targets = [ref for ref in (product.item, product.ref, product.administrable) if ref]
    return present(
        {
            "resourceType": "Ingredient",
            "id": identity.ingredient(product.number, part),
            "meta": profile("Ingredient"),
            "status": product.status,
            "for": [reference(ref) for ref in targets],
            "role": concept("active-role" if role == "active" else "excipient"),
            "comment": _filled_up(substance),
            "substance": present(
                {"code": {"concept": _substance(substance, role)}, "strength": _strengths(product, substance, role)}
            ),
        }
    )


def _substance(substance: Sustancia, role: str) -> Json:
    name, code = substance.nombre, _code(substance, role)
    coding = coded("active-substance" if role == "active" else "declared-excipient", code, name) if code else None
    return present({"coding": [coding] if coding else None, "text": name})


def _enough(substance: Sustancia) -> bool:
    return normal(substance.unidad or "") == ENOUGH


def _filled_up(substance: Sustancia) -> str | None:
    return f"{substance.unidad}: {written(substance.cantidad)}" if _enough(substance) else None


def _strengths(product: Product, substance: Sustancia, role: str) -> Json:
    count, spelled = written(substance.cantidad), (substance.unidad or "").strip()
    if nothing(count) or UNKNOWN in (count, spelled) or _enough(substance):
        return None
    found = amount(count, spelled)
    certain = found is not None and (found.concentration or _is_a_piece(product))
    strength = _quantity(found) if found and certain else {"textPresentation": f"{count} {spelled}".strip()}
    basis = concept("basis-of-strength") if role == "active" else None
    return [present({**strength, "basis": basis})]


def _is_a_piece(product: Product) -> bool:
    """Does a bare `1.0 mg` say what one item holds?  Of tablets it does; of what is poured or injected the register
    means a millilitre as well as a syringe, and does not say which."""
    form = product.register.formaFarmaceutica
    unit = unit_of_presentation(form.nombre or "") if form else None
    return unit is not None and unit not in FILLED


def _quantity(found: Amount) -> Json:
    if found.per is not None:
        return {"concentrationRatio": {"numerator": found.value, "denominator": found.per}}
    return {"concentrationQuantity" if found.concentration else "presentationQuantity": found.value}
