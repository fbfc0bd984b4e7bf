"""One product, whole, or of some of its flags: everything it is mapped from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import combinations
from typing import TypeVar

from sources.cima.answers import Unfetched, parsed
from sources.cima.client import CimaClient
from sources.cima.mapping import side_key, side_product
from sources.cima.mapping.side import FLAGS, MATERIALS, NOTES, SUPPLY, unknown_pack
from tsi_fetch.clock import microseconds
from tsi_fetch.http.failures import BodyTooLarge, Unreachable
from tsi_fetch.words import Answer, Fault, Json, Row, ScopeClaim, Validators

T = TypeVar("T")

SEGMENTED = (1, 2)
"""docs.tipo of the documents that CIMA gives section by section: the SmPC and the leaflet."""


Answers = Iterator[Answer]


def fetch_row(
    client: CimaClient,
    key: str,
    settles: tuple[str, ...] = (),
    known: Validators | None = None,
    told: Collection[str] = (),
) -> Row:
    """Fetch what a row's key names: a product (`99001`), or what some flags of it ask for (`99001#matinf+psum`).

    A row with all its answers, or one that says why they cannot be had.  An unknown product is a row with its 204
    alone: all its scopes are then empty.  `known`: validators of all answers that it had last; where the register says
    that each of them still holds, the row is unmodified.
    """
    nregistro = side_product(key)
    flags = key.removeprefix(nregistro)[1:].split("+") if key != nregistro else sorted(FLAGS.values())
    read = partial(_whole, told=told) if key == nregistro else partial(_sides, flags=flags)
    try:
        same = _unmodified(client, nregistro, known) if known else ()
        answers = same or tuple(read(client, nregistro))
    except Unfetched as e:
        return Row(key, settles=settles, unfetched=e.fault)
    # The earliest request: what the register changes while we ask is then newer than this row, never older.
    order = min(microseconds(answer.requested_at) for answer in answers)
    scopes = [f"{nregistro}#{flag}" for flag in flags]
    claimed = scopes if key != nregistro else [nregistro, *scopes]
    claims = tuple(ScopeClaim(scope, whole=True) for scope in claimed)
    overtakes = tuple(part for part in _parts_of(nregistro, flags) if part != key)
    return Row(key, () if same else answers, order, claims, settles, unmodified=bool(same), overtakes=overtakes)


def _parts_of(nregistro: str, flags: Sequence[str]) -> Iterator[str]:
    """The keys of rows that ask for nothing but some of these flags."""
    for count in range(1, len(flags) + 1):
        yield from (side_key(nregistro, some) for some in combinations(flags, count))


def _unmodified(client: CimaClient, nregistro: str, known: Validators) -> tuple[Answer, ...]:
    """The register's word that all is as it was; nothing where one answer is another one now."""
    answers: list[Answer] = []
    for part, validator in known.items():
        answer = _ask(part, lambda part=part, v=validator: client.unmodified(part, nregistro, v))  # type: ignore[misc]
        if answer is None:
            return ()
        answers.append(answer)
    return tuple(answers)


def _whole(client: CimaClient, nregistro: str, told: Collection[str]) -> Answers:
    medicine, product = _medicine(client, nregistro)
    yield medicine
    if product is None:
        return
    for cn in _presentations(product):
        part = f"presentacion/{cn}"
        answer = _ask(part, lambda cn=cn: client.presentation(cn))  # type: ignore[misc]
        presentation = parsed(answer)
        if presentation is not None:
            _must_be(presentation, "cn", cn, part)
        yield answer
    for kind in _documents(product):
        yield _list(f"contenido/{kind}", lambda kind=kind: client.content(kind, nregistro))  # type: ignore[misc]
    asked = [flag for flag in FLAGS.values() if flag in told or _has(product, flag)]
    yield from _side_answers(client, product, nregistro, asked)


def _sides(client: CimaClient, nregistro: str, flags: Sequence[str]) -> Answers:
    """What these flags ask for, whatever the product says of itself: the feed has just said that they changed."""
    medicine, product = _medicine(client, nregistro)
    yield medicine
    if product is not None:
        yield from _side_answers(client, product, nregistro, flags)


def _medicine(client: CimaClient, nregistro: str) -> tuple[Answer, Json]:
    medicine = _ask("medicamento", lambda: client.medicine(nregistro))
    product = parsed(medicine)
    if product is not None:
        _must_be(product, "nregistro", nregistro, "medicamento")
    return medicine, product


def _side_answers(client: CimaClient, product: Json, nregistro: str, flags: Sequence[str]) -> Answers:
    if FLAGS[NOTES] in flags:
        yield _list(NOTES, lambda: client.notes(nregistro))
    if FLAGS[MATERIALS] in flags:
        yield _list(MATERIALS, lambda: client.materials(nregistro))
    if FLAGS[SUPPLY] in flags:
        for cn in _presentations(product):
            answer = _ask(f"{SUPPLY}/{cn}", lambda cn=cn: client.supply(cn))  # type: ignore[misc]
            if not unknown_pack(answer):
                parsed(answer)
            yield answer


SAYS_SO = {FLAGS[NOTES]: "notas", FLAGS[MATERIALS]: "materialesInf", FLAGS[SUPPLY]: "psum"}
"""The member of a product by which it says that it has something of this flag."""


def _has(product: Json, flag: str) -> bool:
    packs = product.get("presentaciones")
    of_packs = [p for p in packs if isinstance(p, dict)] if isinstance(packs, list) and flag == FLAGS[SUPPLY] else []
    return any(one.get(SAYS_SO[flag]) is True for one in (product, *of_packs))


def _list(part: str, call: Callable[[], Answer]) -> Answer:
    answer = _ask(part, call)
    value = parsed(answer)
    if value is not None and not isinstance(value, list):
        raise Unfetched(Fault("cima-type", part, "a list is expected"))
    return answer


def _ask(part: str, call: Callable[[], T]) -> T:
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
