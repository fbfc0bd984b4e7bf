"""One product, whole, or of some of its flags: everything it is mapped from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TypeVar

from sources.cima import identity
from sources.cima.answers import Unfetched, parsed
from sources.cima.client import CimaClient
from sources.cima.mapping import side_key, side_product
from sources.cima.mapping.side import FLAGS, MATERIALS, NOTES, SUPPLY, side_resources, unknown_pack
from tsi_fetch.clock import microseconds
from tsi_fetch.errors import Unusable
from tsi_fetch.http.failures import BodyTooLarge, Unreachable
from tsi_fetch.words import Answer, Fault, Json, Row, ScopeClaim, Validators

T = TypeVar("T")

SEGMENTED = (1, 2)
"""docs.tipo of the documents that CIMA gives section by section: the SmPC and the leaflet."""


PRODUCT_PARTS = ("medicamento", *(f"contenido/{kind}" for kind in SEGMENTED))
"""Parts of a product's answers that its number alone asks for."""


Answers = Iterator[Answer]


@dataclass(frozen=True, slots=True)
class Side:
    """What one flag asked for.  `bad`: why it is not the product's to say; `unfetched`: it could not even be had."""

    flag: str
    answers: tuple[Answer, ...] = ()
    unfetched: Fault | None = None
    bad: bool = False


def fetch_product(
    client: CimaClient,
    nregistro: str,
    settles: tuple[str, ...] = (),
    known: Validators | None = None,
    told: Collection[str] = (),
) -> tuple[Row, ...]:
    """Fetch a product whole: a row with all its answers, or one that says why they cannot be had.

    An unknown product is a row with its 204 alone: all its scopes are then empty.  `known`: validators of all answers
    that it had last; where the register says that each of them still holds, the row is unmodified.  `told`: flags of
    the change feed, which are asked for even where the product does not say itself that it has something of them.

    What a flag asks for and cannot be fetched, or mapped, holds nothing else back: the product's row does without it
    and does not speak for it, and after it comes a row of such flags alone.  They belong into one batch.
    """
    try:
        same = _unmodified(client, nregistro, known) if known else ()
        own, product = (same, None) if same else _own(client, nregistro)
    except Unfetched as e:
        return (Row(nregistro, settles=settles, unfetched=e.fault),)
    sides = [_side(client, product, nregistro, flag) for flag in _asked(product, told)]
    bad = [side for side in sides if side.bad]
    answers = (*own, *(answer for side in sides if not side.bad for answer in side.answers))
    if bad:  # by validators, the register would say that all is as it was, and nobody would ask for what is bad
        answers = tuple(replace(answer, validator=None) for answer in answers)
    flags = sorted(set(FLAGS.values()).difference(side.flag for side in bad))
    row = _row(nregistro, flags, answers, settles)
    if same:
        row = replace(row, answers=(), unmodified=True)
    return (row, *_rows_of_bad(nregistro, own[0], bad))


def fetch_row(client: CimaClient, key: str, settles: tuple[str, ...] = (), known: Validators | None = None) -> Row:
    """Fetch what some flags of a product ask for (`99001#matinf+psum`): a row with all answers, or one that says why
    they cannot be had; `known` as of a whole product."""
    nregistro = side_product(key)
    try:
        same = _unmodified(client, nregistro, known) if known else ()
        flags = key.removeprefix(nregistro)[1:].split("+")
        row = _row(key, flags, same or tuple(_sides(client, nregistro, flags)), settles)
    except Unfetched as e:
        return Row(key, settles=settles, unfetched=e.fault)
    return replace(row, answers=(), unmodified=True) if same else row


def _row(key: str, flags: Sequence[str], answers: tuple[Answer, ...], settles: tuple[str, ...] = ()) -> Row:
    nregistro = side_product(key)
    # The earliest request: what the register changes while we ask is then newer than this row, never older.
    order = min(microseconds(answer.requested_at) for answer in answers)
    scopes = [f"{nregistro}#{flag}" for flag in flags]
    claims = tuple(ScopeClaim(scope, whole=True) for scope in (scopes if key != nregistro else [nregistro, *scopes]))
    overtakes = tuple(part for part in _parts_of(nregistro, flags) if part != key)
    return Row(key, answers, order, claims, settles, overtakes=overtakes)


def _rows_of_bad(nregistro: str, medicine: Answer, bad: Sequence[Side]) -> Iterator[Row]:
    """One row of what could not be fetched, to be asked for again; one of what cannot be mapped, as it came."""
    lost, unmapped = [s for s in bad if s.unfetched], [s for s in bad if not s.unfetched]
    if lost:
        yield Row(side_key(nregistro, (side.flag for side in lost)), unfetched=lost[0].unfetched)
    if unmapped:
        flags = sorted(side.flag for side in unmapped)
        answers = (medicine, *(answer for side in unmapped for answer in side.answers))
        yield _row(side_key(nregistro, flags), flags, answers)


def _side(client: CimaClient, product: Json, nregistro: str, flag: str) -> Side:
    """What a flag asks for, and whether it can be mapped: that is known here at once, as each answer stands alone."""
    try:
        answers = tuple(_side_answers(client, product, nregistro, [flag]))
    except Unfetched as e:
        return Side(flag, unfetched=e.fault, bad=True)
    try:
        for answer in answers:
            side_resources(nregistro, answer)
    except Unusable:  # the row of its own says why, where it is mapped
        return Side(flag, answers, bad=True)
    return Side(flag, answers)


def flag_parts(flags: Collection[str]) -> tuple[str, ...]:
    """Parts that these flags ask for by a product's number; a supply problem is one of its packs, which it names."""
    parts = [part for part, flag in FLAGS.items() if flag in flags and part != SUPPLY]
    return ("medicamento", *parts) if FLAGS[SUPPLY] in flags else tuple(parts)


def _parts_of(nregistro: str, flags: Sequence[str]) -> Iterator[str]:
    """The keys of rows that ask for nothing but some of these flags."""
    for count in range(1, len(flags) + 1):
        yield from (side_key(nregistro, some) for some in combinations(flags, count))


def _unmodified(client: CimaClient, nregistro: str, known: Validators) -> tuple[Answer, ...]:
    """The register's word that all is as it was; nothing where one answer is another one now, or one that a flag asks
    for cannot be had: that is seen to where all is fetched."""
    answers: list[Answer] = []
    for part, validator in known.items():
        try:
            answer = _ask(part, lambda part=part, v=validator: client.unmodified(part, nregistro, v))  # type: ignore[misc]
        except Unfetched:
            if part.partition("/")[0] not in FLAGS:
                raise
            return ()
        if answer is None:
            return ()
        answers.append(answer)
    return tuple(answers)


def _own(client: CimaClient, nregistro: str) -> tuple[tuple[Answer, ...], Json]:
    """The product's own answers, and the product; None where the register has none of this number."""
    medicine, product = _medicine(client, nregistro)
    return (medicine, *(_parts(client, product, nregistro) if product is not None else ())), product


def _parts(client: CimaClient, product: Json, nregistro: str) -> Answers:
    for cn in _presentations(product):
        part = f"presentacion/{cn}"
        answer = _ask(part, lambda cn=cn: client.presentation(cn))  # type: ignore[misc]
        presentation = parsed(answer)
        if presentation is not None:
            _must_be(presentation, "cn", cn, part)
        yield answer
    for kind in _documents(product):
        yield _list(f"contenido/{kind}", lambda kind=kind: client.content(kind, nregistro))  # type: ignore[misc]


def _asked(product: Json, told: Collection[str]) -> list[str]:
    """The flags that a product is asked for with the rest of it."""
    return [flag for flag in FLAGS.values() if flag in told or _has(product, flag)] if product is not None else []


def _sides(client: CimaClient, nregistro: str, flags: Sequence[str]) -> Answers:
    """What these flags ask for, whatever the product says of itself: the feed has just said that they changed."""
    medicine, product = _medicine(client, nregistro)
    yield medicine
    if product is not None:
        if FLAGS[SUPPLY] in flags:
            _must_have_codes(product)
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


def _must_have_codes(product: Json) -> None:
    """Unfetched where a pack cannot be asked for: what is known of its supply would leave as if there were no more."""
    packs = product.get("presentaciones") or []
    codes = [p.get("cn") if isinstance(p, dict) else None for p in packs] if isinstance(packs, list) else [None]
    for n, code in enumerate(codes):
        if identity.number(code) is None:
            raise Unfetched(Fault("cima-type", f"medicamento: $.presentaciones[{n}].cn", "a national code is expected"))


def _presentations(product: Json) -> list[str]:
    """The national codes, each once; what is not in the expected shape, and no code that anybody could ask for, is for
    the mapping to refuse."""
    rows = product.get("presentaciones")
    found = [row.get("cn") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return list(dict.fromkeys(cn for cn in map(identity.number, found) if cn is not None))


def _documents(product: Json) -> list[int]:
    rows = product.get("docs")
    docs = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return [kind for kind in SEGMENTED if any(d.get("tipo") == kind and d.get("secc") is True for d in docs)]
