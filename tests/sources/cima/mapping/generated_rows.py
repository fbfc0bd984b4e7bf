"""Rows of products of the generated register, with every answer that a run would fetch of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import cache
from typing import Any
from urllib.parse import quote

from dev.cima.generated import Generated, Settings
from dev.cima_server import BASE
from sources.cima.mapping import side_scope
from tsi_fetch.words import Answer, Row, ScopeClaim

SITE = "https://cima.invalid"
ASKED = datetime(2026, 3, 10, tzinfo=UTC)


@cache
def register(products: int, text_bytes: int = 6_000) -> Generated:
    """One in its fourth night: some products are withdrawn, suspended, gone, new."""
    made = Generated(Settings(seed=11, products=products, text_bytes=text_bytes, first_day=date(2026, 3, 2)))
    for _ in range(4):
        made.pass_night(max(products // 5, 1))
    return made


def rows(made: Generated) -> Iterator[Row]:
    for number in made.numbers():
        yield row(made, number)


def row(made: Generated, number: str) -> Row:
    known, asked = made.truth(number), f"nregistro={quote(number)}"
    calls = {"medicamento": f"medicamento?{asked}"}
    if known.exists:
        calls |= {f"presentacion/{cn}": f"presentacion/{cn}" for cn in known.packs or ()}
        calls |= {f"contenido/{kind}": f"docSegmentado/contenido/{kind}?{asked}" for kind in known.texts or ()}
        calls |= {call: f"{call}?{asked}" for call in ("notas", "materiales")}
        calls |= {f"psuministro/{cn}": f"psuministro/v2/cn/{cn}" for cn in known.packs or ()}
    sides = (side_scope(number, part) for part in ("notas", "materiales", "psuministro"))
    claims = tuple(ScopeClaim(scope, whole=True) for scope in (number, *sides))
    return Row(number, tuple(_answer(made, part, call) for part, call in calls.items()), 1, claims)


def _answer(made: Generated, part: str, call: str) -> Answer:
    reply: Any = made.answer(f"{BASE}/{call}")
    return Answer(part, f"{SITE}{BASE}/{call}", reply.status, reply.body, ASKED)
