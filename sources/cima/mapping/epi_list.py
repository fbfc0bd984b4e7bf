"""List: the way from a product to its documents (`List?subject`, `List?identifier`).

Without a profile: that of the implementation guide forbids `subject`, which FOSPS searches by.
"""

from __future__ import annotations

from sources.cima import identity
from sources.cima.mapping.composition import NAMES, day_of_text
from sources.cima.mapping.datatypes import identifier, present, reference
from sources.cima.mapping.names import medicine_name
from sources.cima.mapping.product import Product, Text
from sources.cima.mapping.terms import coding
from tsi_fetch.words import Json, Ref

DOCUMENT_TYPE = "http://ema.europa.eu/fhir/extension/documentType"
LANGUAGE = "http://ema.europa.eu/fhir/extension/language"


def epi_lists(product: Product) -> list[Json]:
    """One, dated as the latest of its Compositions is; none where no document comes in sections."""
    if not product.texts:
        return []
    name = medicine_name(product.register)
    known = [identifier("medicine-name", name.lower())] if name else []
    return [
        {
            "resourceType": "List",
            "id": identity.epi_list(product.number),
            "identifier": [identifier("doc", product.number), *known],
            "status": "retired" if product.retired else "current",
            "mode": "working",
            "title": f"List of all ePIs associated with {name or product.register.nombre}",
            "subject": [reference(product.ref)],
            "date": max(day_of_text(product, text) for text in product.texts).isoformat(),
            "entry": [_entry(product, text) for text in product.texts],
        }
    ]


def _entry(product: Product, text: Text) -> Json:
    bundle = Ref("Bundle", identity.bundle(text.document, product.number))
    document = {**coding(f"{text.document}-list"), "display": NAMES[text.document]}
    extensions = [
        {"url": DOCUMENT_TYPE, "valueCoding": document},
        {"url": LANGUAGE, "valueCoding": coding("list-spanish")},
    ]
    changed = text.changed.isoformat() if text.changed else None
    return present({"date": changed, "item": {"extension": extensions, **reference(bundle)}})
