"""Guards: where a run stops rather than believe something that looks like a disaster.  Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tsi_fetch.words import Pending, Ref

FEW_VANISHED = 3
HALF_OF_AT_LEAST = 4
FEW_ROWS = 20
SHARE_OF_ROWS = 0.05


@dataclass(frozen=True, slots=True)
class Vanishing:
    """Refs of one type that would go in one run, of so many alive."""

    type: str
    going: int
    live: int


def going(pending: Iterable[Pending], holders: Mapping[Ref, frozenset[str]], job: str) -> frozenset[Ref]:
    """Refs that no scope would hold any more once all that is pending is accepted.  `holders` name `job/scope`."""
    left: dict[Ref, set[str]] = {}
    for p in pending:
        left.setdefault(p.ref, set()).add(f"{job}/{p.scope}")
    return frozenset(ref for ref, scopes in left.items() if not holders.get(ref, frozenset()) - scopes)


def vanishing(
    refs: Iterable[Ref], live: Mapping[str, int], max_vanish: float, accepted: int, before: Mapping[str, int]
) -> list[Vanishing]:
    """The types for which the vanish guard trips.

    More than three *and* more than `max_vanish` of the live refs of the type, and always more than half of at least
    four; up to `accepted` (of each type) let through by hand.  `before`: how many of each type this run has let go
    already; they count, and are among the live ones still.
    """
    counts = Counter(ref.type for ref in refs)
    return [
        Vanishing(kind, count, live.get(kind, 0))
        for kind, new in sorted(counts.items())
        if (count := new + before.get(kind, 0)) > accepted and _too_many(count, live.get(kind, 0), max_vanish)
    ]


def _too_many(count: int, live: int, max_vanish: float) -> bool:
    if live >= HALF_OF_AT_LEAST and count * 2 > live:
        return True
    return count > FEW_VANISHED and count > max_vanish * live


def too_many_rows(count: int, read: int, accepted: int = 0) -> bool:
    """At least 20 rows *and* more than 5 % of those read (refused, or unfetched); up to `accepted` let through."""
    return count > accepted and count >= FEW_ROWS and count > SHARE_OF_ROWS * read
