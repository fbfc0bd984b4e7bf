"""A product as all its resources see it: the register's answers, with days for milliseconds and one status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from sources.cima import identity
from sources.cima.dates import madrid_date
from sources.cima.identity import Document
from sources.cima.mapping import answers as opening
from sources.cima.mapping.register import Estado, Item, Medicamento, Presentacion, Seccion
from tsi_fetch.words import Answer, Ref, Row

DOCUMENTS: Mapping[int, Document] = {1: "ft", 2: "p"}
"""CIMA's types of documents whose text comes in sections."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The days on which something was authorised, suspended and withdrawn."""

    authorised: date
    suspended: date | None = None
    withdrawn: date | None = None

    @property
    def latest(self) -> date:
        return max(filter(None, (self.authorised, self.suspended, self.withdrawn)))


@dataclass(frozen=True, slots=True)
class Pack:
    """One presentation.  `standing` is None where the register gives it none of its own."""

    cn: str
    name: str | None
    marketed: bool | None
    standing: Standing | None
    clinical: Presentacion | None  # its own answer, which alone has dcp and dcpf


@dataclass(frozen=True, slots=True)
class Text:
    """The text of one document and the day of its last change, None where the register does not date it."""

    document: Document
    changed: date | None
    sections: tuple[Seccion, ...]


@dataclass(frozen=True, slots=True)
class Product:
    register: Medicamento
    standing: Standing
    packs: tuple[Pack, ...]
    texts: tuple[Text, ...]

    @property
    def number(self) -> str:
        return self.register.nregistro

    @property
    def retired(self) -> bool:
        return self.standing.withdrawn is not None

    @property
    def ref(self) -> Ref:
        return Ref("MedicinalProductDefinition", identity.product(self.number))

    @property
    def holder(self) -> Ref:
        return Ref("Organization", identity.organization(self.register.labtitular))

    @property
    def representative(self) -> Ref | None:
        name = self.register.labcomercializador
        return Ref("Organization", identity.organization(name)) if name and name.strip() else None

    @property
    def status(self) -> str:
        """FHIR's publication status, of everything that goes with the product."""
        return "retired" if self.retired else "active"

    @property
    def item(self) -> Ref | None:
        """The manufactured item: FHIR asks for its dosage form, so that there is none where the register gives none."""
        form = self.register.formaFarmaceutica
        if form is None or not (form.nombre or "").strip():
            return None
        return Ref("ManufacturedItemDefinition", identity.manufactured_item(self.number))

    @property
    def administrable(self) -> Ref | None:
        """The administrable product: it needs a form and, by FHIR, a route."""
        if self.item is None or not self.routes:
            return None
        return Ref("AdministrableProductDefinition", identity.administrable_product(self.number))

    @property
    def routes(self) -> list[Item]:
        """The routes that have a name."""
        return [route for route in self.register.viasAdministracion or () if (route.nombre or "").strip()]


def product(row: Row) -> Product | None:
    """The product of a row; None where the register says that it has none of this number.  Raises `Unusable`."""
    answers = {answer.part: answer for answer in row.answers}
    register = opening.medicamento(row, answers)
    if register is None:
        return None
    return Product(
        register,
        _standing(register.estado, "medicamento.estado"),
        tuple(_packs(row, register, answers)),
        tuple(_texts(register, answers)),
    )


def _packs(row: Row, register: Medicamento, answers: Mapping[str, Answer]) -> list[Pack]:
    packs: dict[str, Pack] = {}
    for index, entry in enumerate(register.presentaciones or ()):
        path = f"medicamento.presentaciones[{index}]"
        if not entry.cn.strip():
            opening.refuse("cima-missing", f"{path}.cn", "must not be empty")
        if identity.number(entry.cn) is None:
            opening.refuse("cima-type", f"{path}.cn", "must be a code of 100 characters at most, none of them control")
        standing = _standing(entry.estado, f"{path}.estado") if entry.estado else None
        clinical = opening.presentacion(row, answers, entry.cn)
        packs.setdefault(entry.cn, Pack(entry.cn, entry.nombre, entry.comerc, standing, clinical))
    return list(packs.values())


def _texts(register: Medicamento, answers: Mapping[str, Answer]) -> list[Text]:
    texts = []
    for tipo, document in DOCUMENTS.items():
        found = ((i, doc) for i, doc in enumerate(register.docs or ()) if doc.tipo == tipo and doc.secc)
        for index, doc in list(found)[:1]:
            changed = None if doc.fecha is None else day_of(doc.fecha, f"medicamento.docs[{index}].fecha")
            texts.append(Text(document, changed, opening.contenido(answers, tipo)))
    return texts


def _standing(estado: Estado, path: str) -> Standing:
    return Standing(
        day_of(estado.aut, f"{path}.aut"),
        None if estado.susp is None else day_of(estado.susp, f"{path}.susp"),
        None if estado.rev is None else day_of(estado.rev, f"{path}.rev"),
    )


def day_of(milliseconds: int, path: str) -> date:
    """The day in Spain of an instant of CIMA's; Unusable (`cima-date`) where no calendar reaches it."""
    try:
        return madrid_date(milliseconds)
    except ValueError:
        opening.refuse("cima-date", path, "must be a day of the years 1 to 9999")
