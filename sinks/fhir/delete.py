"""Deletions: never conditional, never cascading, referrers with what they refer to or before it.

HAPI ignores If-Match on DELETE, so the versions are read right before; what is not as believed is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from sinks.fhir.bundles import Unit
from sinks.fhir.find import Finder
from sinks.fhir.lanes import Emit
from sinks.fhir.send import Delivery
from tsi_fetch.words import Held, Outcome, Ref, Result, Write


class Removal:
    """The deletions of one call."""

    def __init__(self, delivery: Delivery, finder: Finder, entries: int) -> None:
        self._delivery, self._finder, self._entries = delivery, finder, entries

    def delete(self, writes: Sequence[Write], emit: Emit) -> None:
        """Delete in rounds: what others referred to is tried again once some of those others are gone."""
        todo = list(writes)
        while todo:
            one = _Round(emit)
            for start in range(0, len(todo), self._entries):
                self._some(todo[start : start + self._entries], one)
            todo = [w for w in todo if w.ref in one.kept]
            if not one.gone:
                break
        if todo:
            emit(list(one.kept.values()))

    def _some(self, writes: Sequence[Write], one: _Round) -> None:
        held = self._finder.find([w.ref for w in writes])
        moved = [w.ref for w in writes if w.ref in held and held[w.ref].version != w.version]
        bodies: dict[Ref, Held] = self._finder.all(moved)
        one.take([Outcome(ref, Result.STALE, held=bodies.get(ref)) for ref in moved])
        self._delivery.deliver([Unit((w,)) for w in writes if w.ref not in moved], one.take)


class _Round:
    """What became of each in one round: handed on at once, but for what others still refer to (`kept`)."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self.kept: dict[Ref, Outcome] = {}
        self.gone = 0

    def take(self, outcomes: Sequence[Outcome]) -> None:
        self.kept |= {o.ref: o for o in outcomes if o.result is Result.REFERRED}
        self.gone += sum(o.result is Result.DELETED for o in outcomes)
        if done := [o for o in outcomes if o.ref not in self.kept]:
            self._emit(done)
