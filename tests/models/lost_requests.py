"""Runners that are stopped while their requests are on the way, and the requests, which arrive when they like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import pytest
from house import House

from store.handle import open_scratch
from store.overlay import Overlay
from tsi_fetch.ports import JobStore, Permit
from tsi_fetch.report import Report
from tsi_fetch.words import Outcome, Write


class Paused:
    """A sink whose runner is stopped between being permitted and its bundle reaching the server; `sent`: so many writes
    reach it all the same, and nobody hears of them."""

    def __init__(self, inner: Any, under_way: list[Write], sent: int = 0) -> None:
        self._inner, self._under_way, self._sent = inner, under_way, sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def write(self, writes: Sequence[Write], permit: Permit) -> Iterator[Sequence[Outcome]]:
        permit()
        list(self._inner.write(writes[: self._sent], permit))
        self._under_way.extend(writes[self._sent :])
        raise KeyboardInterrupt
        yield ()


class Lost(NamedTuple):
    """What a run had sent."""

    run: str
    writes: list[Write]


def lose(house: House, sent: int = 0, **settings: object) -> Lost:
    """A run that is stopped with its first batch on the way."""
    under_way: list[Write] = []
    with pytest.raises(KeyboardInterrupt):
        house.run(wrap_sink=lambda sink: cast(Any, Paused(sink, under_way, sent)), **settings)
    return Lost(house.sink.run, under_way)


def arrive(house: House, lost: Lost) -> list[str]:
    """It reaches the server; what becomes of it."""
    now, house.sink.run = house.sink.run, lost.run
    outcomes = [o.result.value for some in house.sink.write(lost.writes, lambda: None) for o in some]
    house.sink.run = now
    return outcomes


def planned(house: House, **settings: object) -> Report:
    """What a plan says."""
    with open_scratch() as scratch, scratch.lease("job", "memory", "plan", expiry=60, wait=lambda s: None) as above:
        return house.run(wrap_store=lambda s: cast(JobStore, Overlay(cast(Any, s), above)), plan=True, **settings)
