"""Deletions: never conditional, never cascading, referrers with what they refer to or before it.

HAPI ignores If-Match on DELETE, so the versions are read right before; what is not as believed is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from sinks.fhir.answers import Verdict, referred_fault, referred_ref, refusal, verdict
from sinks.fhir.find import Finder
from sinks.fhir.lanes import Emit
from sinks.fhir.send import Delivery
from tsi_fetch.errors import TryAgain
from tsi_fetch.words import Fault, Held, Outcome, Ref, Result, Write


class Removal:
    """The deletions of one call."""

    def __init__(self, delivery: Delivery, finder: Finder, entries: int) -> None:
        self._delivery, self._finder, self._entries = delivery, finder, entries
        self._referred: dict[Ref, Fault] = {}  # kept so far, and who refers to it

    def delete(self, writes: Sequence[Write], emit: Emit) -> None:
        """Delete in rounds: what others referred to is tried again once some of those others are gone."""
        todo = list(writes)
        while todo:
            self._referred.clear()
            gone = 0
            for start in range(0, len(todo), self._entries):
                outcomes = self._some(todo[start : start + self._entries])
                gone += sum(o.result is Result.DELETED for o in outcomes)
                if outcomes:
                    emit(outcomes)
            todo = [w for w in todo if w.ref in self._referred]
            if not gone:
                break
        if todo:
            emit([Outcome(w.ref, Result.REFERRED, fault=self._referred[w.ref]) for w in todo])

    def _some(self, writes: Sequence[Write]) -> list[Outcome]:
        held = self._finder.find([w.ref for w in writes])
        moved = [w.ref for w in writes if w.ref in held and held[w.ref].version != w.version]
        bodies: dict[Ref, Held] = self._finder.all(moved)
        stale = [Outcome(ref, Result.STALE, held=bodies.get(ref)) for ref in moved]
        return stale + self._send([w for w in writes if w.ref not in moved])

    def _send(self, writes: Sequence[Write]) -> list[Outcome]:
        """All of them but those that others refer to; what is refused otherwise is narrowed down by halves."""
        left = list(writes)
        while left:
            reply = self._delivery.post(left)
            found = verdict(reply)
            if found is Verdict.OK:
                return self._delivery.acknowledged(left, reply)
            named = referred_ref(reply) if found is Verdict.REFERRED else None
            if named in {w.ref for w in left}:
                self._referred[named] = referred_fault(reply)
                left = [w for w in left if w.ref != named]
            elif len(left) > 1:
                middle = len(left) // 2
                return self._send(left[:middle]) + self._send(left[middle:])
            elif found is Verdict.REFERRED:
                self._referred[left[0].ref] = referred_fault(reply)
                return []
            elif found is Verdict.REFUSED:
                return [Outcome(left[0].ref, Result.REFUSED, fault=refusal(reply))]
            else:
                raise TryAgain(f"{left[0].ref} cannot be deleted (status {reply.status})", "look at the server's log")
        return []
