"""The generated register's documents: sections as CIMA cuts them, made when they are asked for and never kept.

Numbers and titles of the sections are those of the QRD template.  A text of a version differs from the one before in
one to three sections.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from dev.cima.chance import dice, number, share
from dev.cima.prose import BRAND, SUBSTANCE, Piece, Pool, in_json, joined, letters

SMPC, LEAFLET = 1, 2
MEAN = 83_000
"""Bytes of a text, on average: with 48,000 of them they are 4 GB."""

_SPREAD = 0.75
"""Of the sizes, which are spread as a log-normal distribution is."""

_HEADING = 0.0
_WEIGHT_OF_EMA = 1.6

Outline = Sequence[tuple[str, str, float]]
"""Number, title and share of the text of each section; 0: a heading alone."""

SMPC_OUTLINE: Outline = (
    ("1", "NOMBRE DEL MEDICAMENTO", 0.2), ("2", "COMPOSICIÓN CUALITATIVA Y CUANTITATIVA", 0.6),
    ("2.2.1", "Excipiente(s) con efecto conocido", 0.4), ("3", "FORMA FARMACÉUTICA", 0.4),
    ("4", "DATOS CLÍNICOS", _HEADING), ("4.1", "Indicaciones terapéuticas", 1),
    ("4.2", "Posología y forma de administración", _HEADING), ("4.2.2", "Forma de administración", 0.8),
    ("4.2.1", "Posología", 4), ("4.3", "Contraindicaciones", 1.2),
    ("4.4", "Advertencias y precauciones especiales de empleo", 7),
    ("4.5", "Interacción con otros medicamentos y otras formas de interacción", 5),
    ("4.6", "Fertilidad, embarazo y lactancia", _HEADING), ("4.6.1", "Embarazo", 1.2), ("4.6.2", "Lactancia", 0.7),
    ("4.7", "Efectos sobre la capacidad para conducir y utilizar máquinas", 0.5), ("4.8", "Reacciones adversas", 9),
    ("4.8.2", "Notificación de sospechas de reacciones adversas:", 0.6), ("4.9", "Sobredosis", 1.5),
    ("5", "PROPIEDADES FARMACOLÓGICAS", _HEADING), ("5.1", "Propiedades farmacodinámicas", 9),
    ("5.2", "Propiedades farmacocinéticas", 4), ("5.3", "Datos preclínicos sobre seguridad", 1.5),
    ("6", "DATOS FARMACÉUTICOS", _HEADING), ("6.1", "Lista de excipientes", 0.6), ("6.2", "Incompatibilidades", 0.2),
    ("6.3", "Periodo de validez", 0.2), ("6.4", "Precauciones especiales de conservación", 0.3),
    ("6.5", "Naturaleza y contenido del envase", 0.5),
    ("6.6", "Precauciones especiales de eliminación y otras manipulaciones", 0.4),
    ("7", "TITULAR DE LA AUTORIZACIÓN DE COMERCIALIZACIÓN", 0.2),
    ("8", "NÚMERO(S) DE AUTORIZACIÓN DE COMERCIALIZACIÓN", 0.1),
    ("9", "FECHA DE LA PRIMERA AUTORIZACIÓN/ RENOVACIÓN DE LA AUTORIZACIÓN", 0.2),
    ("10", "FECHA DE LA REVISIÓN DEL TEXTO", 0.3),
)  # fmt: skip
LEAFLET_OUTLINE: Outline = (
    ("1", f"Qué es {BRAND} y para qué se utiliza", 1.5),
    ("2", f"Qué necesita saber antes de empezar a tomar {BRAND}", _HEADING), ("2.1", f"No tome {BRAND}:", 1.5),
    ("2.2", "Advertencias y precauciones", 4), ("2.3", "Niños y adolescentes", 0.7),
    ("2.4", f"Uso de {BRAND} con otros medicamentos", 3), ("2.5", f"Toma de {BRAND} con alimentos y bebidas", 0.6),
    ("2.6", "Embarazoy lactancia", 1), ("2.7", "Conducción y uso de máquinas", 0.6), ("3", f"Cómo tomar {BRAND}", 3),
    ("3.1", f"Si toma más {BRAND}\u00a0 del que debe", 1), ("3.2", f"Si olvidó tomar {BRAND}", 0.5),
    ("4", "Posibles efectos adversos", 5), ("4.1", "Comunicación de efectos adversos", 0.7),
    ("5", f"Conservación de {BRAND}", 1), ("6", "Contenido del envase e información adicional", _HEADING),
    ("6.1", f"Composición de {BRAND}", 0.8), ("6.2", "Aspecto del producto y contenido del envase", 0.7),
    ("6.3", "Titular de la autorización de comercialización", 0.6),
    ("6.4", "Fecha de la última revisión de este prospecto: enero de 2024", 0.3),
)  # fmt: skip
_OUTLINES = {SMPC: SMPC_OUTLINE, LEAFLET: LEAFLET_OUTLINE}


@dataclass(frozen=True, slots=True)
class Section:
    """One section; `sent` and `title` are JSON inside their quotes, `seen` the visible letters of its text."""

    number: str
    title: bytes
    order: int
    sent: bytes
    seen: str

    def entry(self, content: bool) -> bytes:
        text = b',"contenido":"%s"' % self.sent if content else b""
        return b'{"seccion":"%s","titulo":"%s","orden":%d%s}' % (self.number.encode(), self.title, self.order, text)


@dataclass(frozen=True, slots=True)
class Document:
    """Which text: the product's number in the generator, its kind (1 SmPC, 2 leaflet) and its version, from 0."""

    product: int
    kind: int
    version: int
    ema: bool
    brand: str
    substance: str


def _revision(version: int) -> Piece:
    """What makes sure that a rewritten section reads differently."""
    text = f"Texto revisado por {version}.ª vez."
    return Piece(in_json(f'<p class="MsoNormal">{text}</p>'), letters(text))


class Library:
    """All texts of a seed.  `mean`: bytes of a text, on average."""

    def __init__(self, seed: int, pool: Pool, mean: int = MEAN) -> None:
        self._seed, self._pool, self._mean = seed, pool, mean

    def body(self, document: Document, *, content: bool = True, only: str = "") -> bytes:
        """The answer to `contenido`, or to `secciones`; of one section where `only` says so."""
        some = (section for section in self._sections(document) if only in ("", section.number))
        return self._named(b"[%s]" % b",".join([section.entry(content) for section in some]), document)

    def sections(self, document: Document) -> list[tuple[str, str, str]]:
        """Of each section the number, and the visible letters of its title and of its text."""
        mark = str.maketrans({BRAND: letters(document.brand), SUBSTANCE: letters(document.substance)})
        titles = self._titles(document)
        return [
            (section.number, letters(title).translate(mark), section.seen.translate(mark))
            for section, title in zip(self._sections(document), titles, strict=True)
        ]

    def _named(self, body: bytes, document: Document) -> bytes:
        for stand_in, name in ((BRAND, document.brand), (SUBSTANCE, document.substance)):
            body = body.replace(stand_in.encode(), in_json(escape(name, quote=False)))
        return body

    def _sections(self, document: Document) -> Iterator[Section]:
        """The sections in the document's order; `orden` repeats from some place on, as in the register."""
        outline = self._outline(document)
        weight = sum(part for _, _, part in outline)
        size = self._size(document)
        versions = self._versions(document, len(outline))
        repeats = 1 + number(self._seed, "repeats", document.product, document.kind) % (2 * len(outline))
        for place, (name, title, part) in enumerate(outline):
            pieces = self._pieces(document, place, versions[place], size * part / weight)
            sent, seen = joined(pieces)
            order = place + 1 - (place >= repeats)
            yield Section(name, in_json(title), order, b"<div>%s</div>" % sent, seen)

    def _pieces(self, document: Document, place: int, version: int, size: float) -> list[Piece]:
        rng = dice(self._seed, "text", document.product, document.kind, place, version)
        if not size:
            return [rng.choice(self._pool.empties)]
        some = self._pool.some(rng, max(1, round(size / self._pool.mean * rng.uniform(0.5, 1.5))))
        return [*some, _revision(version)] if version else some

    def _titles(self, document: Document) -> list[str]:
        return [title for _, title, _ in self._outline(document)]

    def _outline(self, document: Document) -> Outline:
        """The template's; one in 20 begins with a section 0, one in 30 forgot to choose between two words."""
        outline = _OUTLINES[document.kind]
        if share(self._seed, "zero", document.product, document.kind) < 0.05:
            outline = (("0", "Introducción", 0.4), *outline)
        if document.kind == LEAFLET and share(self._seed, "choice", document.product) < 0.03:
            outline = tuple((n, t.replace("tomar", "<tomar><usar>"), p) for n, t, p in outline)
        return outline

    def _size(self, document: Document) -> float:
        rng = dice(self._seed, "size", document.product, document.kind)
        weight = (1.03 if document.kind == SMPC else 0.67) * (_WEIGHT_OF_EMA if document.ema else 0.95)
        return self._mean * weight * math.exp(rng.gauss(-_SPREAD * _SPREAD / 2, _SPREAD))

    def _versions(self, document: Document, places: int) -> list[int]:
        """How often each section was rewritten up to this version."""
        counts = [0] * places
        for version in range(1, document.version + 1):
            rng = dice(self._seed, "rewritten", document.product, document.kind, version)
            for place in rng.sample(
                [p for p, part in enumerate(self._outline(document)) if part[2]], rng.randint(1, 3)
            ):
                counts[place] += 1
        return counts
