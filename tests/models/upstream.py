"""What the contract suite must know of a source's other side."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Protocol

import httpx
from still_clock import StillClock

from tsi_fetch.ports import Source
from tsi_fetch.words import Cursor, Position


class Upstream(Protocol):
    """A faked external system with at least three rows, none of them changed until `change`."""

    name: ClassVar[str]

    def __init__(self, clock: StillClock) -> None: ...

    def source(self, wire: httpx.BaseTransport | None = None, *, small: bool = False) -> Source:
        """A new source over this system, or over another wire; `small`: with one row a batch."""
        ...

    def start(self) -> Position:
        """A watermark before every change."""
        ...

    def change(self) -> None:
        """Change every row, now."""
        ...

    def keys(self) -> list[str]:
        """The keys of all rows."""
        ...

    def latest(self, started: datetime) -> Cursor:
        """The latest cursor that a run which started then may return."""
        ...

    def refusing(self, key: str) -> httpx.BaseTransport:
        """A wire over which this key alone cannot be fetched."""
        ...
