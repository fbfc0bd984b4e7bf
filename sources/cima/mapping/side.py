"""Safety notes, materials and supply problems: answers of their own, each of a scope of its own (product and flag).

Pure functions of one answer; `side_resources` finds the right one by the answer's part.  All refer to the product,
which another row maps; an answer without rows, and 204, is none: what was there leaves its scope.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date

from sources.cima import identity
from sources.cima.mapping import answers as opening
from sources.cima.mapping.datatypes import coded, concept, identifier, present, reference
from sources.cima.mapping.document_reference import attachment, document_reference, usable
from sources.cima.mapping.organization import REGULATOR
from sources.cima.mapping.product import day_of
from sources.cima.mapping.register import DocumentoMaterial, Material, Nota, ProblemaSuministro
from sources.cima.mapping.terms import coding, normal, supply_problem_text
from tsi_fetch.errors import Unusable
from tsi_fetch.words import Answer, Json, Ref

NOTES, MATERIALS, SUPPLY = "notas", "materiales", "psuministro"
FLAGS: Mapping[str, str] = {NOTES: "notasSeguridad", MATERIALS: "matinf", SUPPLY: "psum"}
"""The part of an answer (before any slash) and the flag of the change feed that asks for it."""

SUPPORT_MATERIAL = "http://hl7.eu/fhir/ig/gravitate-health/StructureDefinition/AdditionalSupportMaterial"
SAFETY = 1
"""`tipo` of a safety note."""


def side_resources(nregistro: str, answer: Answer) -> list[Json]:
    """The resources of one answer; KeyError where its part is none of `FLAGS`."""
    mapping: Mapping[str, Callable[[str, Answer], list[Json]]] = {
        NOTES: safety_notes,
        MATERIALS: materials,
        SUPPLY: supply_problems,
    }
    return mapping[answer.part.partition("/")[0]](nregistro, answer)


def safety_notes(nregistro: str, answer: Answer) -> list[Json]:
    """One per note of `notas`, identified by its reference."""
    body = opening.opened(answer)
    notes = opening.typed(body, tuple[Nota, ...], answer.part) if body is not None else ()
    parts = zip(notes, identity.apart([_known_as(note) for note in notes]), strict=True)
    return [_note(nregistro, note, part, f"{answer.part}[{n}]") for n, (note, part) in enumerate(parts)]


def _known_as(note: Nota) -> str:
    return next((t.strip() for t in (note.referencia, note.ref, note.num, note.url) if t and t.strip()), "")


def _note(nregistro: str, note: Nota, part: str, path: str) -> Json:
    day = _day(note.fecha, f"{path}.fecha")
    known = _known_as(note)
    kind = "Nota de seguridad" if note.tipo == SAFETY else "Nota informativa"
    return _document(
        (identity.safety_note(nregistro, part), identity.product(nregistro)),
        [identifier("safety-note", known)] if known else [],
        day,
        attachment(usable(note.url), _title(note.asunto, kind), day, language="es"),
        category=concept("adverse-effects" if note.tipo == SAFETY else "other-information"),
        type={"text": kind},
        author=[reference(REGULATOR)],
        description=note.asunto,
    )


def materials(nregistro: str, answer: Answer) -> list[Json]:
    """One per document of `materiales`; one for patients and professionals says so."""
    body = opening.opened(answer)
    found = opening.typed(body, tuple[Material, ...], answer.part) if body is not None else ()
    papers: dict[str, tuple[list[DocumentoMaterial], list[str], list[str]]] = {}
    for n, material in enumerate(found):
        for name, audience in (("listaDocsPaciente", "pacientes"), ("listaDocsProfesional", "profesionales")):
            for m, paper in enumerate(getattr(material, name) or ()):
                url = usable(paper.url)
                if url:
                    listed, audiences, paths = papers.setdefault(url, ([], [], []))
                    listed.append(paper)
                    paths.append(f"{answer.part}[{n}].{name}[{m}]")
                    audiences.extend([audience] if audience not in audiences else [])
    return [_material(nregistro, url, *paper) for url, paper in papers.items()]


def _material(
    nregistro: str, url: str, papers: Sequence[DocumentoMaterial], audiences: list[str], paths: Sequence[str]
) -> Json:
    """One document, however often it is listed: under all its names, of the latest day."""
    days = [day for paper, path in zip(papers, paths, strict=True) if (day := _day(paper.fecha, f"{path}.fecha"))]
    names = [(paper.nombre or "").strip() for paper in papers]
    day, name = max(days, default=None), " / ".join(dict.fromkeys(filter(None, names)))
    kind = {"contentType": "text/html"} if any(p.video for p in papers) else {}  # a page that plays it, no film
    audience = f"Material informativo para {' y '.join(audiences)}"
    return _document(
        (identity.material(nregistro, url), identity.product(nregistro)),
        [identifier("material", url)],
        day,
        attachment(url, _title(name, audience), day, language="es", **kind),
        category={**concept(_use(name)), "text": audience},
        type={"text": audience},
        description=f"{name} ({audience})" if name else audience,
    )


def _title(given: str | None, kind: str) -> str:
    """What the register calls it; else what it is, as readers take a title for granted."""
    return given if given and given.strip() else kind


def _use(title: str) -> str:
    """Instructions support the administration; all other material is on the use of the medicine."""
    words = normal(title)
    return "support-administration" if "instrucciones de" in words or "administracion" in words else "medication-usage"


SUPPLY_PROBLEM = "Problema de suministro"


def supply_problems(nregistro: str, answer: Answer) -> list[Json]:
    """The supply problem of a pack, or none: without `fini` there is no problem, and one that is over stays in the
    register's answer for years, while the product says that there is none.

    404 is the API's answer to a pack that it does not know; it comes with an error message, and means none.
    """
    if unknown_pack(answer):
        return []
    body = opening.opened(answer)
    if body is None:
        return []
    found = opening.typed(body, ProblemaSuministro, answer.part)
    if found.cn != answer.part.partition("/")[2]:
        opening.refuse("cima-other-product", f"{answer.part}.cn", "must be the pack that was asked for")
    if found.fini is None or found.activo is False:
        return []
    return [_supply_problem(nregistro, found, found.fini, answer.part)]


def unknown_pack(answer: Answer) -> bool:
    """True where the register's own 404 says that it does not know the pack; a web page's says nothing."""
    if answer.status != 404:
        return False
    try:
        body = opening.parsed_json(answer)
    except Unusable:
        return False
    return isinstance(body, dict) and isinstance(body.get("error"), str)


def _supply_problem(nregistro: str, found: ProblemaSuministro, began: int, part: str) -> Json:
    start, end = _day(began, f"{part}.fini"), _day(found.ffin, f"{part}.ffin")
    kind = found.tipoProblemaSuministro
    text = supply_problem_text(kind) if kind else None
    codings = [coding("other-information"), *([coded("supply-problem-kind", str(kind), text)] if kind else [])]
    return _document(
        (identity.supply_problem(found.cn, began), identity.product(nregistro)),
        [identifier("supply-problem", f"{found.cn}-{began}")],
        start,
        attachment(None, f"{SUPPLY_PROBLEM}: {found.nombre}" if found.nombre else SUPPLY_PROBLEM, None, language="es"),
        category={"coding": codings, "text": SUPPLY_PROBLEM},
        type={"text": SUPPLY_PROBLEM},
        author=[reference(REGULATOR)],
        description=(found.observ or "").strip() or text,
        period=present({"start": _iso(start), "end": _iso(end if end and start and end >= start else None)}),
    )


def _document(
    ids: tuple[str, str], known: list[Json], day: date | None, paper: Json, *, category: Json, **rest: Json
) -> Json:
    """`ids`: the document's and its product's."""
    subject = Ref("MedicinalProductDefinition", ids[1])
    meta = {"profile": [SUPPORT_MATERIAL]}
    return document_reference(ids[0], subject, known, day, [paper], meta=meta, category=[category], **rest)


def _day(milliseconds: int | None, path: str) -> date | None:
    return None if milliseconds is None else day_of(milliseconds, path)


def _iso(day: date | None) -> str | None:
    return day.isoformat() if day else None
