"""CIMA, as the contract suite knows a source."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import httpx
from fake_cima import at, cima, register, wire
from still_clock import StillClock

from sources.cima.calendar import day_of
from sources.cima.source import Cima
from tsi_fetch.words import Cursor, CursorKind, Position


class CimaUpstream:
    """Three invented products."""

    name: ClassVar[str] = "cima"

    def __init__(self, clock: StillClock) -> None:
        self._clock, self._register = clock, register()

    def source(self, wire: httpx.BaseTransport | None = None, *, small: bool = False) -> Cima:
        return cima(wire or self._register, self._clock, batch=1 if small else 8)

    def start(self) -> Position:
        return at("2026-03-01")

    def change(self) -> None:
        stamp = int(self._clock.now().timestamp() * 1000)
        taken = {row["fecha"] for row in self._register.feed}
        while stamp in taken:  # the register never says the same twice
            stamp -= 1000
        for nregistro in self._register.products:
            self._register.feed.append({"nregistro": nregistro, "fecha": stamp, "tipoCambio": 3, "cambio": ["ft"]})

    def keys(self) -> list[str]:
        return sorted(self._register.products)

    def latest(self, started: datetime) -> Cursor:
        return Cursor(CursorKind.DATE, day_of(started).isoformat())

    def refusing(self, key: str) -> httpx.BaseTransport:
        def refuse(request: httpx.Request) -> None:
            if request.url.params.get("nregistro") == key:
                raise httpx.ReadTimeout("slow", request=request)

        return wire(self._register, refuse)
