"""A plan is the same loop with the sink wrapped read-only, and the store overlaid (`store.overlay`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Protocol

from tsi_fetch.fhir.references import references
from tsi_fetch.ports import Permit, Sink
from tsi_fetch.words import Held, Known, Mark, Outcome, Ref, Result, State, Write, WriteAction

PLANNED = "planned"
"""The version of what only a plan has written."""

BODIES = 20
"""Bodies that are read of the sink together, to show what would change in them."""


class Witness(Protocol):
    """Who wants to know what a plan would do to each resource; told of each before it is counted."""

    def wants_body(self) -> bool:
        """Is what the sink holds asked for, of an update?"""
        ...

    def would_write(self, write: Write, outcome: Outcome, held: bytes | None) -> None:
        """`held`: what it would be written over, where that was asked for and is there."""
        ...

    def counted(self, ref: Ref, fate: str, number: int) -> None: ...


class PlannedSink:
    """A sink that reads and never writes: it answers as the sink would, as far as versions and references tell.

    `known`: what the plan's store knows, with what the plan has written so far.  A reference to what is not there is
    `MISSING`, where the sink is referential; that it would overlook one (HAPI: where no search parameter indexes the
    element) cannot be told from outside.

    `witness`: told what would become of each write, and of an update what is there.
    """

    ahead = 0

    def __init__(
        self, inner: Sink, known: Callable[[Sequence[Ref]], Mapping[Ref, Known]], witness: Witness | None = None
    ) -> None:
        self._inner, self._known, self._witness = inner, known, witness
        self.release, self.referential = inner.release, inner.referential

    def open(self, types: Collection[str] = (), *, deletes: bool = False) -> None:
        self._inner.open(types, deletes=deletes)

    def find(self, refs: Sequence[Ref], *, bodies: bool = False) -> Mapping[Ref, Held]:
        return self._inner.find(refs, bodies=bodies)

    def listing(self, resource_type: str) -> Iterator[Sequence[Held]]:
        return self._inner.listing(resource_type)

    def write(self, writes: Sequence[Write], permit: Permit) -> Iterator[Sequence[Outcome]]:
        permit()
        believed = [w.ref for w in writes if w.version not in (None, PLANNED)]
        held = self._inner.find(believed) if believed else {}
        moved = [w.ref for w in writes if w.ref in believed and not _as_believed(w, held.get(w.ref))]
        bodies = self._inner.find(moved, bodies=True) if moved else {}
        missing = self._missing(writes) if self.referential else {}
        outcomes: list[Outcome] = []
        for w in writes:
            if w.ref in moved:
                outcomes.append(Outcome(w.ref, Result.STALE, held=bodies.get(w.ref)))
            elif w.ref in missing:
                outcomes.append(Outcome(w.ref, Result.MISSING, missing=tuple(sorted(missing[w.ref]))))
            else:
                outcomes.append(_planned(w))
        if self._witness:
            self._tell(self._witness, list(zip(writes, outcomes, strict=True)))
        yield outcomes

    def _tell(self, witness: Witness, planned: Sequence[tuple[Write, Outcome]]) -> None:
        """A few bodies of the sink are held at a time."""
        for start in range(0, len(planned), BODIES):
            some = planned[start : start + BODIES]
            updated = [w.ref for w, o in some if o.result is Result.UPDATED]
            held = self._inner.find(updated, bodies=True) if updated and witness.wants_body() else {}
            for write, outcome in some:
                there = held.get(write.ref)
                witness.would_write(write, outcome, there.body if there else None)

    def _missing(self, writes: Sequence[Write]) -> dict[Ref, set[Ref]]:
        """What refers to something that is neither there nor comes with it, and what refers to that in turn."""
        targets = {w.ref: references(w.body or b"") for w in writes if w.action is WriteAction.PUT}
        lacking = self._not_there({t for found in targets.values() for t in found} - targets.keys())
        missing: dict[Ref, set[Ref]] = {}
        creates = {w.ref for w in writes if w.version is None}
        while lacking:
            hit = {ref: found & lacking for ref, found in targets.items() if found & lacking}
            for ref, found in hit.items():
                missing.setdefault(ref, set()).update(found)
                targets[ref] = targets[ref] - found
            lacking = frozenset(ref for ref in hit if ref in creates)
        return missing

    def _not_there(self, refs: set[Ref]) -> frozenset[Ref]:
        known = self._known(sorted(refs))
        unsure = sorted(ref for ref in refs if ref not in known or known[ref].state is State.DELETED)
        return frozenset(unsure) - self._inner.find(unsure).keys() if unsure else frozenset()

    def read_mark(self, name: str) -> Mark | None:
        return self._inner.read_mark(name)

    def move_mark(self, name: str, mark: Mark, permit: Permit) -> Mark:
        permit()
        return mark

    def close(self) -> None:
        self._inner.close()


def _as_believed(write: Write, held: Held | None) -> bool:
    """A tombstone is not looked up: what is believed to be gone, and is, is as it was."""
    return write.revives if held is None else held.version == write.version


def _planned(write: Write) -> Outcome:
    if write.action is WriteAction.DELETE:
        return Outcome(write.ref, Result.DELETED, PLANNED)
    return Outcome(write.ref, Result.CREATED if write.version is None or write.revives else Result.UPDATED, PLANNED)
