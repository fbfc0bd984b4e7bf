"""Composition: the text of one document.

FOSPS's readers take `language`, `category[0].coding[0].code` and `section[0].section` for granted, and must find
nothing in `extension`.
"""

from __future__ import annotations

from datetime import date

from sources.cima import identity
from sources.cima.mapping.datatypes import concept, identifier, profile, reference
from sources.cima.mapping.product import Product, Text
from sources.cima.mapping.sections import outer_section
from tsi_fetch.words import Json

NAMES = {"ft": "Ficha técnica", "p": "Prospecto"}

SOURCE = "Fuente: Agencia Española de Medicamentos y Productos Sanitarios (AEMPS), CIMA"
"""What the AEMPS asks of whoever reuses its data, with the day of the text: it goes wherever the text goes."""


def day_of_text(product: Product, text: Text) -> date:
    """The day of its last change; EMA products' documents are not dated: then the product's latest day."""
    return text.changed or product.standing.latest


def composition(product: Product, text: Text) -> Json:
    day = day_of_text(product, text).isoformat()
    return {
        "resourceType": "Composition",
        "id": identity.composition(text.document, product.number),
        "meta": profile("Composition"),
        "language": "es",
        # A new one per version of the text, as the profile asks.
        "identifier": [identifier("document-version", f"{product.number}-{text.document}-{day}")],
        "status": "deprecated" if product.retired else "final",
        "type": concept(text.document, f"{text.document}-list", text=NAMES[text.document]),
        "category": [concept("raw")],
        "subject": [reference(product.ref)],
        "date": day,
        "author": [reference(product.holder)],
        "title": product.register.nombre,
        "note": [{"text": f"{SOURCE}, {day}"}],
        "attester": [{"mode": concept("official"), "time": day}],
        "section": [outer_section(text.document, text.sections)],
    }
