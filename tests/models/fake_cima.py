"""CIMA without a network: the project's own small server behind a fake wire, with three invented products."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from still_clock import StillClock

from dev.cima_server import Register, Reply
from sources.cima.options import CimaOptions
from sources.cima.source import Cima
from tsi_fetch.words import Batch, Cursor, CursorKind, Position, Row

BODIES = Path(__file__).parents[1] / "recorded" / "cima" / "bodies"
BASE_URL = "https://cima.invalid/cima/rest"

HTML = Reply(200, b"<!DOCTYPE html><html><body>Mantenimiento</body></html>", {"Content-Type": "text/html"})
BUSY = Reply(503, b"", {})


def stamp(when: str) -> int:
    """CIMA's milliseconds of an ISO instant with a zone."""
    return int(datetime.fromisoformat(when).timestamp() * 1000)


def changed(nregistro: str, when: str, *flags: str, kind: int = 3) -> dict[str, Any]:
    """A row of the feed."""
    return {"nregistro": nregistro, "fecha": stamp(when), "tipoCambio": kind, "cambio": list(flags)}


def page(rows: Iterable[Any], total: int | None = None, number: int = 1) -> Reply:
    """A page of a list as CIMA sends it."""
    some = list(rows)
    value = {"totalFilas": len(some) if total is None else total, "pagina": number, "resultados": some}
    return Reply(200, json.dumps(value).encode())


def register(**settings: Any) -> Register:
    """The register with its three products and an empty feed."""
    return Register.of_folder(BODIES, **settings)


def wire(of: Register, before: Callable[[httpx.Request], None] | None = None) -> httpx.MockTransport:
    """The register as a transport; `before` may raise instead of an answer."""

    def send(request: httpx.Request) -> httpx.Response:
        if before:
            before(request)
        reply = of.answer(request.url.raw_path.decode(), request.headers.get("Accept", ""))
        return httpx.Response(reply.status, headers={"Date": of.now(), **reply.headers}, content=reply.body)

    return httpx.MockTransport(send)


def cima(of: Register | httpx.BaseTransport, clock: StillClock | None = None, **options: Any) -> Cima:
    """The source over a register; options as in the job file."""
    given: dict[str, Any] = {"base_url": BASE_URL, "rate": 50, "attempts": 2} | options
    transport = wire(of) if isinstance(of, Register) else of
    return Cima(CimaOptions(**given), clock or StillClock(), wire=transport)


def at(day: str, *seen: str) -> Position:
    """The feed read up to a day."""
    return Position(Cursor(CursorKind.DATE, day, frozenset(seen)))


def poll(source: Cima, position: Position, started: datetime) -> list[Batch]:
    return list(source.pull(position, started))


def rows_of(batches: Iterable[Batch]) -> list[Row]:
    return [row for batch in batches for row in batch.rows]


def keys_of(batches: Iterable[Batch]) -> list[str]:
    return [row.key for row in rows_of(batches)]


def cursor_of(batches: list[Batch]) -> Cursor | None:
    """The cursor, which only the last batch may carry."""
    assert all(batch.cursor is None for batch in batches[:-1])
    return batches[-1].cursor


DAY = timedelta(days=1)
