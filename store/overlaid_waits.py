"""What waits, for a plan: what lies beneath is read until the plan touches it; from then on the scratch speaks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from store.job_store import JobBook
from store.waits import Wait, still_wanted
from tsi_fetch.words import Pending, Ref, Settlement, Waiting


class OverlaidWaits:
    """`inner` is read once: who waits, without bodies."""

    def __init__(self, inner: JobBook, scratch: JobBook) -> None:
        self._inner = inner
        self._scratch = scratch
        self._below = {w.ref: w for w in inner.waits()}
        """What waits beneath and was not touched yet."""

    def bring(self, settlement: Settlement) -> None:
        """Copy up whatever this settlement may replace or end."""
        if not self._below:
            return
        touched = {w.ref for w in settlement.waiting} | {ref for ref, _ in settlement.arrived}
        touched |= set(settlement.departed)
        if refs := sorted(touched & self._below.keys()):
            self._scratch.settle(Settlement(settlement.stream, waiting=tuple(self._inner.waiting(refs))))
            for ref in refs:
                del self._below[ref]

    def refs(self) -> list[Ref]:
        return [w.ref for w in self._all()]

    def graph(
        self, pending: Iterable[Pending], holders: Mapping[Ref, frozenset[str]], job: str
    ) -> dict[Ref, frozenset[Ref]]:
        return still_wanted(self._all(), pending, holders, job)

    def waiting(self, refs: Sequence[Ref]) -> Sequence[Waiting]:
        below = [ref for ref in refs if ref in self._below]
        return [*self._inner.waiting(below), *self._scratch.waiting(refs)]

    def oldest(self) -> datetime | None:
        return min((w.since for w in self._all()), default=None)

    def _all(self) -> list[Wait]:
        return [*self._below.values(), *self._scratch.waits()]
