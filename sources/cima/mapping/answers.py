"""Opening a row's answers: what must not be mapped is refused here, each with a code, a place and a rule.

Only `medicamento?nregistro=` may stand for a product: a row of the listing has neither ATC nor packs nor ingredients,
an answer to `?cn=` lists one pack of several, and a `presentacion` has neither form nor routes.  Mapped as a product,
each of them would erase what the sink holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NoReturn, TypeVar
from urllib.parse import parse_qsl, urlsplit

import msgspec

from sources.cima.mapping.register import Medicamento, Presentacion, Seccion
from tsi_fetch.errors import Unusable
from tsi_fetch.fhir.tokens import NotJson, parse
from tsi_fetch.words import Answer, Fault, Json, Row

T = TypeVar("T")

WHOLE = frozenset({"atcs", "principiosActivos", "presentaciones"})
"""Members of a whole product of which a row of the listing has none."""

CODE = "cn"
"""The member that is a pack's national code; answers are asked for by it."""

_REQUIRED = ("nombre", "labtitular")
_FIELD = re.compile(r"missing required field `(\w+)`")
_PLACE = re.compile(r" - at `\$?(.*)`$")
_CONTROL = re.compile(rb"\\u00[01]")  # in JSON a control character is always an escape
_CONTROLS = dict.fromkeys(code for code in range(32) if code not in (9, 10, 13))


def refuse(code: str, path: str, rule: str) -> NoReturn:
    """Raise the fault; `rule` never holds a value of the answer."""
    raise Unusable(Fault(code, path, rule))


def medicamento(row: Row, answers: Mapping[str, Answer]) -> Medicamento | None:
    """The product; None where the register says that it has none of this number (204)."""
    answer = wanted(answers, "medicamento")
    body = opened(answer)
    if body is None:
        return None
    _is_whole(answer, body, row.key)
    product = typed(body, Medicamento, answer.part)
    for name in _REQUIRED:
        if not getattr(product, name).strip():
            refuse("cima-missing", f"{answer.part}.{name}", "must not be empty")
    return product


def presentacion(row: Row, answers: Mapping[str, Answer], cn: str) -> Presentacion | None:
    """The pack as asked for on its own; None where the register has no such answer (204)."""
    answer = wanted(answers, f"presentacion/{cn}")
    body = opened(answer)
    if body is None:
        return None
    pack = typed(body, Presentacion, answer.part)
    if pack.cn != cn:
        refuse("cima-other-product", f"{answer.part}.cn", "must be the pack that was asked for")
    if pack.nregistro not in (None, row.key):
        refuse("cima-other-product", f"{answer.part}.nregistro", "must be the row's product")
    return pack


def contenido(answers: Mapping[str, Answer], tipo: int) -> tuple[Seccion, ...]:
    """The sections of a document, in the document's order; none where the register has no text of it (204, `[]`)."""
    answer = wanted(answers, f"contenido/{tipo}")
    body = opened(answer)
    return () if body is None else typed(body, tuple[Seccion, ...], answer.part)


def wanted(answers: Mapping[str, Answer], part: str) -> Answer:
    """The answer to a question that the product's own answer makes necessary; without it a mapping would erase."""
    if part not in answers:
        refuse("cima-missing", part, "must be among the row's answers")
    return answers[part]


def opened(answer: Answer) -> Json:
    """The JSON of an answer, without characters that FHIR's strings cannot hold; None for 204."""
    if answer.status == 204:
        return None
    if answer.status != 200:
        refuse("cima-status", answer.part, "must be answered with 200 or 204")
    body = parsed_json(answer)
    if isinstance(body, dict) and "error" in body and "nregistro" not in body:
        refuse("cima-error-answer", f"{answer.part}.error", "must not be an error with status 200")
    return _printable(body, answer.part) if _CONTROL.search(answer.body) else body


def parsed_json(answer: Answer) -> Json:
    """The JSON of an answer, whatever its status."""
    try:
        return parse(answer.body)
    except NotJson:
        # Its message may name a place in the body, never the body; the code says enough.
        refuse("cima-not-json", answer.part, "must be JSON in UTF-8")


def typed(body: Json, shape: type[T], part: str) -> T:
    """The body in its shape; a member that lacks or has another type is named by its JSON path."""
    try:
        return msgspec.convert(body, shape)
    except msgspec.ValidationError as e:
        text = str(e)
        place = _PLACE.search(text)
        path = part + (place[1] if place else "")
        if field := _FIELD.search(text):
            refuse("cima-missing", f"{path}.{field[1]}", "is required")
        refuse("cima-type", path, "must have the type that the API describes")


def _is_whole(answer: Answer, body: Json, key: str) -> None:
    if not isinstance(body, dict):
        refuse("cima-type", answer.part, "must be an object")
    if "resultados" in body:
        refuse("cima-list-row", answer.part, "must be a product, not a page of the listing")
    if dict(parse_qsl(urlsplit(answer.url).query)).get("nregistro") != key:
        refuse("cima-by-cn", answer.part, "must be asked for by the row's nregistro: else packs are missing")
    if "cn" in body:
        refuse("cima-presentation", f"{answer.part}.cn", "must be a product, not one of its packs")
    if "nregistro" not in body:
        refuse("cima-missing", f"{answer.part}.nregistro", "is required")
    if body["nregistro"] != key:
        refuse("cima-other-product", f"{answer.part}.nregistro", "must be the row's key")
    if not WHOLE & body.keys():
        refuse("cima-list-row", answer.part, "must be a whole product, not a row of the listing")


def _printable(value: Json, path: str) -> Json:
    """The same without control characters; Unusable where a national code holds one: without it, it is another code."""
    if isinstance(value, str):
        return value.translate(_CONTROLS)
    if isinstance(value, list):
        return [_printable(child, f"{path}[{index}]") for index, child in enumerate(value)]
    if not isinstance(value, dict):
        return value
    code = value.get(CODE)
    if isinstance(code, str) and code.translate(_CONTROLS) != code:
        refuse("cima-type", f"{path}.{CODE}", "must be a code without control characters")
    return {name: _printable(child, f"{path}.{name}") for name, child in value.items()}
