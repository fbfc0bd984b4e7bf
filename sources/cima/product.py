"""One product, whole: everything it is mapped from."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sources.cima.answers import Unfetched, parsed
from sources.cima.client import CimaClient
from tsi_fetch.clock import microseconds
from tsi_fetch.http.failures import BodyTooLarge, Unreachable
from tsi_fetch.words import Answer, Fault, Json, Row, ScopeClaim

SEGMENTED = (1, 2)
"""docs.tipo of the documents that CIMA gives section by section: the SmPC and the leaflet."""


def fetch_product(client: CimaClient, nregistro: str, settles: tuple[str, ...] = ()) -> Row:
    """Fetch a product: a row with all its answers, or one that says why they cannot be had.

    An unknown product is a row with its 204 alone: its whole scope is then empty.
    """
    try:
        answers = tuple(_answers(client, nregistro))
    except Unfetched as e:
        return Row(nregistro, settles=settles, unfetched=e.fault)
    # The earliest request: what the register changes while we ask is then newer than this row, never older.
    order = min(microseconds(answer.requested_at) for answer in answers)
    return Row(nregistro, answers, order, (ScopeClaim(nregistro, whole=True),), settles)


def _answers(client: CimaClient, nregistro: str) -> Iterator[Answer]:
    medicine = _ask("medicamento", lambda: client.medicine(nregistro))
    product = parsed(medicine)
    yield medicine
    if product is None:
        return
    _must_be(product, "nregistro", nregistro, "medicamento")
    for cn in _presentations(product):
        part = f"presentacion/{cn}"
        answer = _ask(part, lambda cn=cn: client.presentation(cn))  # type: ignore[misc]
        presentation = parsed(answer)
        if presentation is not None:
            _must_be(presentation, "cn", cn, part)
        yield answer
    for kind in _documents(product):
        part = f"contenido/{kind}"
        answer = _ask(part, lambda kind=kind: client.content(kind, nregistro))  # type: ignore[misc]
        sections = parsed(answer)
        if sections is not None and not isinstance(sections, list):
            raise Unfetched(Fault("cima-type", part, "a list of sections is expected"))
        yield answer


def _ask(part: str, call: Callable[[], Answer]) -> Answer:
    try:
        return call()
    except Unreachable as e:
        raise Unfetched(Fault("cima-unreachable", part, e.reason)) from e
    except BodyTooLarge as e:
        raise Unfetched(Fault("cima-too-large", part, "larger than max_body")) from e


def _must_be(value: Json, field: str, expected: str, part: str) -> None:
    """Unfetched where the answer is about something else than was asked for."""
    if not isinstance(value, dict):
        raise Unfetched(Fault("cima-type", part, "an object is expected"))
    if value.get(field) != expected:
        raise Unfetched(Fault("cima-other-answer", f"{part}: $.{field}", "not what was asked for"))


def _presentations(product: Json) -> list[str]:
    """The national codes, each once; what is not in the expected shape is for the mapping to refuse."""
    rows = product.get("presentaciones")
    found = [row.get("cn") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return list(dict.fromkeys(cn for cn in found if isinstance(cn, str) and cn))


def _documents(product: Json) -> list[int]:
    rows = product.get("docs")
    docs = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return [kind for kind in SEGMENTED if any(d.get("tipo") == kind and d.get("secc") is True for d in docs)]
