"""What the register's answers hold, as far as it is mapped.  Field names are CIMA's; dates are epoch milliseconds.

Source: the CIMA REST API's description, version 1.23, and recorded answers.  Members that are not named here are
ignored; a null is as good as absent.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Estado(msgspec.Struct, frozen=True):
    """`susp` and `rev` stand only where the product is suspended or withdrawn."""

    aut: int
    susp: int | None = None
    rev: int | None = None


class Item(msgspec.Struct, frozen=True):
    id: int | str | None = None
    nombre: str | None = None


class Doc(msgspec.Struct, frozen=True):
    """`tipo`: 1 SmPC, 2 leaflet, 3 assessment report, 4 risk management plan; `secc`: its text comes in sections."""

    tipo: int
    secc: bool | None = None
    fecha: int | None = None
    url: str | None = None
    urlHtml: str | None = None  # noqa: N815  CIMA's spelling


class Foto(msgspec.Struct, frozen=True):
    """`tipo`: `materialas` (outer packaging) or `formafarmac` (dosage form)."""

    tipo: str | None = None
    url: str | None = None
    fecha: int | None = None


class Sustancia(msgspec.Struct, frozen=True):
    """An active substance or a declared excipient; only the first have a `codigo`.

    `cantidad` is text by the description; a number is taken as it is written.
    """

    id: int | str | None = None
    codigo: str | None = None
    nombre: str | None = None
    cantidad: Any = None
    unidad: str | None = None


class Atc(msgspec.Struct, frozen=True):
    codigo: str
    nombre: str | None = None
    nivel: int | None = None


class Presentacion(msgspec.Struct, frozen=True):
    """One pack; `dcp` and `dcpf` stand only in the answer to `presentacion/{cn}`, which also names the product.

    `psum`, `notas` and `materialesInf` say what else there is to be asked for: what is no flag is refused, since it
    would be read as "nothing", and what is there would go.
    """

    cn: str
    nombre: str | None = None
    estado: Estado | None = None
    comerc: bool | None = None
    nregistro: str | None = None
    dcp: Item | None = None
    dcpf: Item | None = None
    psum: bool | None = None
    notas: bool | None = None
    materialesInf: bool | None = None  # noqa: N815  CIMA's spelling


class Seccion(msgspec.Struct, frozen=True):
    """One section of a document.  `orden` is neither unique nor sequential: the array's order is the document's."""

    seccion: str | None = None
    titulo: str | None = None
    contenido: str | None = None


class Medicamento(msgspec.Struct, frozen=True):
    """A product as `medicamento?nregistro=` gives it; `psum`, `notas`, `materialesInf` as in a pack."""

    nregistro: str
    nombre: str
    labtitular: str
    estado: Estado
    labcomercializador: str | None = None
    cpresc: str | None = None
    receta: bool | None = None
    generico: bool | None = None
    conduc: bool | None = None
    triangulo: bool | None = None
    huerfano: bool | None = None
    biosimilar: bool | None = None
    nosustituible: Item | None = None
    ema: bool | None = None
    docs: tuple[Doc, ...] | None = None
    fotos: tuple[Foto, ...] | None = None
    atcs: tuple[Atc, ...] | None = None
    principiosActivos: tuple[Sustancia, ...] | None = None  # noqa: N815  CIMA's spelling
    excipientes: tuple[Sustancia, ...] | None = None
    viasAdministracion: tuple[Item, ...] | None = None  # noqa: N815  CIMA's spelling
    presentaciones: tuple[Presentacion, ...] | None = None
    formaFarmaceutica: Item | None = None  # noqa: N815  CIMA's spelling
    formaFarmaceuticaSimplificada: Item | None = None  # noqa: N815  CIMA's spelling
    vtm: Item | None = None
    dosis: str | None = None
    psum: bool | None = None
    notas: bool | None = None
    materialesInf: bool | None = None  # noqa: N815  CIMA's spelling


class Nota(msgspec.Struct, frozen=True):
    """A note of `notas`; `tipo` 1 is a safety note.  The description calls `referencia` `ref`; the answers do not."""

    tipo: int | None = None
    num: str | None = None
    referencia: str | None = None
    ref: str | None = None
    asunto: str | None = None
    fecha: int | None = None
    url: str | None = None


class DocumentoMaterial(msgspec.Struct, frozen=True):
    """One document of a material; `video` (not in the description) marks a page that plays one."""

    nombre: str | None = None
    url: str | None = None
    fecha: int | None = None
    video: bool | None = None


class Material(msgspec.Struct, frozen=True):
    """Material on a product's safety, for patients and for professionals."""

    listaDocsPaciente: tuple[DocumentoMaterial, ...] | None = None  # noqa: N815  CIMA's spelling
    listaDocsProfesional: tuple[DocumentoMaterial, ...] | None = None  # noqa: N815  CIMA's spelling


class ProblemaSuministro(msgspec.Struct, frozen=True):
    """The answer of `psuministro/v2/cn/{cn}`.  Without `fini` there is no problem, with `activo` false there is none
    any more; `ffin` is the day on which its end is expected, or was."""

    cn: str
    nombre: str | None = None
    tipoProblemaSuministro: int | None = None  # noqa: N815  CIMA's spelling
    fini: int | None = None
    ffin: int | None = None
    activo: bool | None = None
    observ: str | None = None
