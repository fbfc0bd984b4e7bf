"""The requests of a run that are worth naming in its report: the slowest, and those that were sent again.  Bounded."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tsi_fetch.words import Json

SLOWEST = 5
"""Requests kept of each host."""

RETRIED = 20
"""Requests named of those that were sent again, the most often sent first."""

WATCHED = 200
"""Different requests of which it is counted how often they were sent again; later ones are counted per host alone."""

LONGEST = 200
"""Characters of a URL that are kept: a search may name hundreds of resources."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as it may be shown: `url` without secrets, and cut where it is long.  Never its body."""

    method: str
    url: str

    @classmethod
    def of(cls, method: str, url: str) -> Sent:
        return cls(method, url if len(url) <= LONGEST else f"{url[: LONGEST - 1]}…")


@dataclass(slots=True)
class _Again:
    times: int
    why: str


class Notable:
    """Kept while a run goes on; the meter that holds it has the lock."""

    def __init__(self) -> None:
        self._slow: dict[str, list[tuple[int, int, Mapping[str, Json]]]] = {}
        self._again: dict[tuple[str, Sent], _Again] = {}
        self._numbers = itertools.count()

    def ended(self, host: str, sent: Sent, size: int, took: int, told: str) -> None:
        """An attempt is over.  `took`: microseconds; 0 was not measured.  `told`: its status, or how it failed."""
        if not took:
            return
        slow = self._slow.setdefault(host, [])
        if len(slow) == SLOWEST and took <= slow[0][0]:
            return
        seconds = round(took / 1e6, 3)
        line = {"host": host, **_shown(sent), "seconds": seconds, "bytes": size, "ended": told}
        heapq.heappush(slow, (took, -next(self._numbers), line))
        if len(slow) > SLOWEST:
            heapq.heappop(slow)

    def again(self, host: str, sent: Sent, why: str) -> None:
        """It is sent once more.  `why`: the status or the kind of failure of the last attempt."""
        known = self._again.get((host, sent))
        if known:
            known.times, known.why = known.times + 1, why
        elif len(self._again) < WATCHED:
            self._again[host, sent] = _Again(1, why)

    def slowest(self) -> Sequence[Mapping[str, Json]]:
        """The slowest of each host, by host, then the slowest first: host, method, url, seconds, bytes, ended."""
        return [line for _, slow in sorted(self._slow.items()) for _, _, line in sorted(slow, key=_order, reverse=True)]

    def retried(self) -> Sequence[Mapping[str, Json]]:
        """Those sent again most often: host, method, url, times (beyond the first), why (of the last time)."""
        most = sorted(self._again.items(), key=lambda item: -item[1].times)[:RETRIED]
        return [{"host": host, **_shown(sent), "times": again.times, "why": again.why} for (host, sent), again in most]


def _order(slow: tuple[int, int, Mapping[str, Json]]) -> tuple[int, int]:
    return slow[0], slow[1]


def _shown(sent: Sent) -> dict[str, Json]:
    return {"method": sent.method, "url": sent.url}
