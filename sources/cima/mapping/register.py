"""What the register's answers hold, as far as it is mapped.  Field names are CIMA's; dates are epoch milliseconds.

Source: the CIMA REST API's description, version 1.23, and recorded answers.  Members that are not named here are
ignored; a null is as good as absent.
"""

from __future__ import annotations

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


class Atc(msgspec.Struct, frozen=True):
    codigo: str
    nombre: str | None = None
    nivel: int | None = None


class Presentacion(msgspec.Struct, frozen=True):
    """One pack; `dcp` and `dcpf` stand only in the answer to `presentacion/{cn}`, which also names the product."""

    cn: str
    nombre: str | None = None
    estado: Estado | None = None
    comerc: bool | None = None
    nregistro: str | None = None
    dcp: Item | None = None
    dcpf: Item | None = None


class Seccion(msgspec.Struct, frozen=True):
    """One section of a document.  `orden` is neither unique nor sequential: the array's order is the document's."""

    seccion: str | None = None
    titulo: str | None = None
    contenido: str | None = None


class Medicamento(msgspec.Struct, frozen=True):
    """A product as `medicamento?nregistro=` gives it."""

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
    atcs: tuple[Atc, ...] | None = None
    presentaciones: tuple[Presentacion, ...] | None = None
    formaFarmaceutica: Item | None = None  # noqa: N815  CIMA's spelling
    vtm: Item | None = None
    dosis: str | None = None
