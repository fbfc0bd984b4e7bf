"""MedicinalProductDefinition: what the product is and is called.

No attachedDocument: DocumentReferences point at the product, and one removed photo would rewrite it.
"""

from __future__ import annotations

from collections.abc import Iterator

from sources.cima import identity
from sources.cima.mapping.datatypes import coded, concept, identifier, present, profile, reference
from sources.cima.mapping.names import invented_name
from sources.cima.mapping.product import Product
from sources.cima.mapping.register import Atc, Item, Medicamento
from sources.cima.mapping.terms import normal
from tsi_fetch.words import Json


def medicinal_product(product: Product) -> Json:
    register = product.register
    return present(
        {
            "resourceType": "MedicinalProductDefinition",
            "id": product.ref.id,
            "meta": profile("MedicinalProductDefinition"),
            "identifier": identifiers(register),
            "type": concept("medicinal-product"),
            "domain": concept("human"),
            "status": concept("retired" if product.retired else "active"),
            "statusDate": product.standing.latest.isoformat(),
            "legalStatusOfSupply": _supply(register),
            "additionalMonitoringIndicator": {"text": "Black triangle"} if register.triangulo else None,
            "specialMeasures": [{"text": "Orphan medicinal product"}] if register.huerfano else None,
            "classification": list(_classification(register)),
            "contact": list(_contacts(product)),
            "code": _clinical_codes(product),
            "name": [_name(register)],
            "characteristic": list(_characteristics(register)),
        }
    )


def identifiers(register: Medicamento) -> list[Json]:
    """The registration number in EMA's and in our own system; for EMA products the Union's number, too."""
    number = identity.eu_number(register.nregistro) if register.ema else None
    result = [identifier("pmswi", register.nregistro), identifier("nregistro", register.nregistro)]
    return [*result, identifier("pmswi", number)] if number else result


def _supply(register: Medicamento) -> Json:
    if register.receta is None:
        return concept(text=register.cpresc)
    return concept("prescription" if register.receta else "no-prescription", text=register.cpresc)


LEVELS = {1: 1, 3: 2, 4: 3, 5: 4, 7: 5}
"""Characters of an ATC code, and the level that they are (WHO: `A`, `A10`, `A10B`, `A10BA`, `A10BA02`)."""


def _level(atc: Atc) -> int | None:
    return atc.nivel or LEVELS.get(len(atc.codigo.strip()))


def _classification(register: Medicamento) -> Iterator[Json]:
    """The codes of the deepest level, and those of which nobody says how deep they are."""
    atcs = [atc for atc in register.atcs or () if atc.codigo.strip()]
    deepest = max((_level(atc) or 0 for atc in atcs), default=0)
    for atc in atcs:
        if _level(atc) in (None, deepest):
            yield {"coding": [coded("atc", atc.codigo.strip(), atc.nombre)]}
    if register.generico:
        yield {"text": "Generic"}
    if register.biosimilar:
        yield {"text": "Biosimilar"}


def _contacts(product: Product) -> Iterator[Json]:
    yield {"type": concept("holder"), "contact": reference(product.holder)}
    if product.representative and product.representative != product.holder:
        yield {"type": {"text": "Local representative"}, "contact": reference(product.representative)}


def _clinical_codes(product: Product) -> list[Json]:
    """SNOMED CT (Spanish edition): substance, then product and pack descriptions, each once, as the packs come."""
    answers = [pack.clinical for pack in product.packs if pack.clinical]
    items = [product.register.vtm, *(a.dcp for a in answers), *(a.dcpf for a in answers)]
    codes = {_code(item): item.nombre for item in items if item is not None and _code(item)}
    return [coded("snomed", code, name) for code, name in codes.items()]


def _code(item: Item) -> str:
    return "" if item.id is None else str(item.id).strip()


SEVERAL = "multicomponente"
"""What the register has in place of a substance's name for combinations that have none of their own."""


def _name(register: Medicamento) -> Json:
    form = register.formaFarmaceutica.nombre if register.formaFarmaceutica else None
    scientific = register.vtm.nombre if register.vtm and normal(register.vtm.nombre or "") != SEVERAL else None
    invented = ("invented-name-part", invented_name(register))
    parts = (invented, ("scientific-name-part", scientific), ("strength-part", register.dosis), ("form-part", form))
    return present(
        {
            "productName": register.nombre,
            "type": concept("full-name"),
            "part": [{"part": part, "type": concept(kind)} for kind, part in parts if part and part.strip()],
            "usage": [{"country": concept("spain"), "jurisdiction": concept("spain"), "language": concept("spanish")}],
        }
    )


def _characteristics(register: Medicamento) -> Iterator[Json]:
    if register.conduc:
        yield {"type": {"text": "Affects the ability to drive or use machines"}, "valueBoolean": True}
    item = register.nosustituible
    if item and _code(item) not in ("", "0"):  # 0: not applicable
        value = present({"coding": [coded("substitution", _code(item), item.nombre)], "text": item.nombre})
        yield {"type": {"text": "Not substitutable at the pharmacy"}, "valueCodeableConcept": value}
