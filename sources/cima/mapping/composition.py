"""Composition: the text of one document.

FOSPS's readers take `language`, `category[0].coding[0].code` and `section[0].section` for granted, and must find
nothing in `extension`.
"""

from __future__ import annotations

from datetime import date
from hashlib import sha256

from sources.cima import identity
from sources.cima.mapping.datatypes import concept, identifier, present, profile, reference
from sources.cima.mapping.product import Product, Text
from sources.cima.mapping.sections import outer_section
from tsi_fetch.fhir.tokens import canonical
from tsi_fetch.words import Json

NAMES = {"ft": "Ficha técnica", "p": "Prospecto"}

SOURCE = "Fuente: Agencia Española de Medicamentos y Productos Sanitarios (AEMPS), CIMA"
"""What the AEMPS asks of whoever reuses its data, with the day of the text where it gives one: it goes wherever the
text goes."""


def day_of_text(product: Product, text: Text) -> date:
    """Composition.date, which FHIR requires: the day of the text's last change.

    EMA products' documents are not dated: then the product's latest day.  Nothing that may be left out states that one.
    """
    return text.changed or product.standing.latest


def version(text: Text) -> str:
    """What tells one version of a text from the next: its day; where it has none, 12 hex digits of its sections'
    sha256, as the register gave them."""
    if text.changed:
        return text.changed.isoformat()
    sections = [[section.seccion, section.titulo, section.contenido] for section in text.sections]
    return sha256(canonical(sections)).hexdigest()[:12]


def composition(product: Product, text: Text) -> Json:
    changed = text.changed.isoformat() if text.changed else None
    return {
        "resourceType": "Composition",
        "id": identity.composition(text.document, product.number),
        "meta": profile("Composition"),
        "language": "es",
        # A new one per version of the text, as the profile asks.
        "identifier": [identifier("document-version", f"{product.number}-{text.document}-{version(text)}")],
        "status": "deprecated" if product.retired else "final",
        "type": concept(text.document, f"{text.document}-list", text=NAMES[text.document]),
        "category": [concept("raw")],
        "subject": [reference(product.ref)],
        "date": day_of_text(product, text).isoformat(),
        "author": [reference(product.holder)],
        "title": product.register.nombre,
        "note": [{"text": f"{SOURCE}, {changed}" if changed else SOURCE}],
        "attester": [present({"mode": concept("official"), "time": changed})],
        "section": [outer_section(text.document, text.sections)],
    }
