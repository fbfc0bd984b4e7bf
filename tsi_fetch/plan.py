"""A plan is the same loop with the sink wrapped read-only, and the store overlaid (`store.overlay`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tsi_fetch.ports import Permit, Sink
from tsi_fetch.words import Held, Mark, Outcome, Ref, Result, Write, WriteAction

PLANNED = "planned"
"""The version of what only a plan has written."""


class PlannedSink:
    """A sink that reads and never writes: it answers as the sink would, as far as versions tell."""

    def __init__(self, inner: Sink) -> None:
        self._inner = inner
        self.release = inner.release

    def open(self) -> None:
        self._inner.open()

    def find(self, refs: Sequence[Ref], *, bodies: bool = False) -> Mapping[Ref, Held]:
        return self._inner.find(refs, bodies=bodies)

    def write(self, writes: Sequence[Write], permit: Permit) -> Iterator[Sequence[Outcome]]:
        permit()
        believed = [w.ref for w in writes if w.version not in (None, PLANNED)]
        held = self._inner.find(believed) if believed else {}
        moved = [w.ref for w in writes if w.ref in believed and w.version != _version(held.get(w.ref))]
        bodies = self._inner.find(moved, bodies=True) if moved else {}
        yield [Outcome(w.ref, Result.STALE, held=bodies.get(w.ref)) if w.ref in moved else _planned(w) for w in writes]

    def read_mark(self, name: str) -> Mark | None:
        return self._inner.read_mark(name)

    def move_mark(self, name: str, mark: Mark, permit: Permit) -> Mark:
        permit()
        return mark

    def close(self) -> None:
        self._inner.close()


def _version(held: Held | None) -> str | None:
    return held.version if held else None


def _planned(write: Write) -> Outcome:
    if write.action is WriteAction.DELETE:
        return Outcome(write.ref, Result.DELETED, PLANNED)
    return Outcome(write.ref, Result.CREATED if write.version is None else Result.UPDATED, PLANNED)
