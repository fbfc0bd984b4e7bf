"""DocumentReferences of a product's own answer: the PDFs of `docs` and the photos of `fotos`.

Dates are days in Spain, written as midnight in UTC (FHIR wants an instant).  A content type is given where the address
ends in a file's name that tells it, and never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from urllib.parse import urlsplit

from sources.cima import identity
from sources.cima.dates import midnight_utc
from sources.cima.mapping.datatypes import concept, identifier, present, reference
from sources.cima.mapping.product import Product, day_of
from sources.cima.mapping.register import Doc, Foto
from sources.cima.mapping.terms import document_kind
from tsi_fetch.words import Json, Ref

CONTENT_TYPES = {
    "pdf": "application/pdf",
    "html": "text/html",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
}

PHOTOS = {"materialas": "Material de acondicionamiento secundario", "formafarmac": "Forma farmacéutica"}
"""Types of photos, as the API's description explains them."""

_LONGEST_URL = 800
"""Characters; HAPI's index takes fewer than 900, and answers more with a 500."""


def document_references(product: Product) -> list[Json]:
    return [*_documents(product), *_photos(product)]


def usable(url: str | None) -> str | None:
    """A web address that FHIR can hold; None for anything else."""
    address = re.sub(r"\s", "%20", (url or "").strip())
    return address if re.match(r"https?://[^/]", address) and len(address) <= _LONGEST_URL else None


def content_type(url: str) -> str | None:
    """What the ending of the address says; addresses without one (`…/DocsPub/16/749`) say nothing."""
    return CONTENT_TYPES.get(urlsplit(url).path.rpartition(".")[2].lower())


def document_reference(
    ident: str, subject: Ref, identifiers: list[Json], day: date | None, contents: list[Json], **members: Json
) -> Json:
    """What all DocumentReferences have in common.  `contents`: attachments."""
    return present(
        {
            "resourceType": "DocumentReference",
            "id": ident,
            "identifier": identifiers,
            "status": "current",
            "docStatus": "final",
            "subject": reference(subject),
            "date": midnight_utc(day) if day else None,
            **members,
            "content": [{"attachment": attachment} for attachment in contents],
        }
    )


def attachment(url: str | None, title: str | None, day: date | None, **members: Json) -> Json:
    """An attachment that is an address; its bytes stay at the register."""
    kind = content_type(url) if url else None
    created = day.isoformat() if day else None
    return present({"contentType": kind, **members, "url": url, "title": title, "creation": created})


def _documents(product: Product) -> Iterator[Json]:
    docs = product.register.docs or ()
    parts = identity.numbered([document_kind(doc.tipo)[0] for doc in docs])
    for index, (doc, part) in enumerate(zip(docs, parts, strict=True)):
        urls = [url for url in map(usable, (doc.url, doc.urlHtml)) if url]
        if urls:
            yield _document(product, doc, part, urls, f"medicamento.docs[{index}].fecha")


def _document(product: Product, doc: Doc, part: str, urls: list[str], path: str) -> Json:
    _, code, text = document_kind(doc.tipo)
    day = None if doc.fecha is None else day_of(doc.fecha, path)
    language = {"language": "es"} if code else {}  # assessment reports of EMA products are in English
    contents = [attachment(url, text, day, **language) for url in urls]
    kind = concept(code, f"{code}-list", text=text) if code else concept(text=text)
    own = [identifier("document", f"{product.number}-{part}")]
    return document_reference(identity.document(product.number, part), product.ref, own, day, contents, type=kind)


def _photos(product: Product) -> Iterator[Json]:
    photos = product.register.fotos or ()
    parts = identity.numbered([identity.slug(photo.tipo or "") or "x" for photo in photos])
    for index, (photo, part) in enumerate(zip(photos, parts, strict=True)):
        url = usable(photo.url)
        if url:
            yield _photo(product, photo, part, url, f"medicamento.fotos[{index}].fecha")


def _photo(product: Product, photo: Foto, part: str, url: str, path: str) -> Json:
    day = None if photo.fecha is None else day_of(photo.fecha, path)
    text = PHOTOS.get(photo.tipo or "", (photo.tipo or "").strip()) or "Fotografía"
    own = [identifier("photo", f"{product.number}-{part}")]
    ident = identity.photo(product.number, part)
    return document_reference(ident, product.ref, own, day, [attachment(url, text, day)], type=concept(text=text))
