"""The marker: one resource per (store, job) on the sink, by which a wiped or restored server is noticed.

Moved before a run's first write and at its end; the intended value is committed to the store before each move, so that
a run killed between the two is recognised.  It detects restores; other writers are caught by `ifMatch`.
"""

from __future__ import annotations

from dataclasses import replace

from tsi_fetch.errors import Guarded
from tsi_fetch.ports import JobStore, Permit, Sink
from tsi_fetch.words import Mark

_WAY_OUT = "if the server was wiped or restored, or this store is a copy: tsi-fetch reconcile {job}"


def marker_name(store_id: str, job: str) -> str:
    """The marker's name on the sink."""
    return f"tsi-fetch-{store_id}-{job}"


class Marker:
    """A job's marker during one run.  `still`: it is looked at, and never moved."""

    def __init__(
        self, sink: Sink, store: JobStore, run_id: str, job: str, permit: Permit, *, still: bool = False
    ) -> None:
        self._still = still
        self._sink, self._store, self._run_id, self._job, self._permit = sink, store, run_id, job, permit
        self._name = marker_name(store.store_id, job)
        self._actual: Mark | None = None
        self._counter = 0
        self._moved = False
        self._unremembered = False  # a killed run had moved it: to be remembered before anything else is intended

    def check(self) -> None:
        """The sink's marker must be the remembered or the intended one; Guarded where it is not."""
        remembered, intended = self._store.marks()
        self._actual = self._sink.read_mark(self._name)
        self._counter = max(m.counter for m in (remembered, intended, self._actual, Mark("", 0)) if m)
        if self._actual == remembered:
            return  # also where there is none, and none is remembered
        if self._actual is None:
            raise self._guarded("the sink has lost this store's marker")
        if intended and self._late(self._actual, remembered):
            self._unremembered = True
            return
        what = "is not the one remembered" if remembered else "exists, but this store does not know it"
        raise self._guarded(f"the sink's marker {what}")

    def move(self) -> None:
        """Before the run's first write."""
        if not (self._moved or self._still):
            self._step()
            self._moved = True

    def close(self) -> None:
        """At the run's end, where it wrote anything."""
        if self._moved:
            self._step()

    def _step(self) -> None:
        if self._unremembered and self._actual:
            self._store.marked(self._actual)
            self._unremembered = False
        self._counter += 1
        version = self._actual.version if self._actual else None
        intended = Mark(self._run_id, self._counter, version)
        self._store.intend(intended)
        try:
            moved = self._sink.move_mark(self._name, intended, self._permit)
        except Guarded:
            self._permit()  # LeaseLost: a successor has moved it, and that is no riddle
            there = self._sink.read_mark(self._name)
            if there is None or not self._late(there, self._actual):
                raise
            moved = self._sink.move_mark(self._name, replace(intended, version=there.version), self._permit)
        self._actual = moved
        self._store.marked(moved)

    def _late(self, there: Mark, remembered: Mark | None) -> bool:
        """A predecessor's move that was on its way when it was overtaken or killed: by a run of this store, ahead of
        what is remembered, and no further than was intended.  A server that was restored is behind; what another store
        did, this one does not know; where a store was put back from a copy, its runs have moved the marker beyond."""
        _, intended = self._store.marks()
        least, most = remembered.counter if remembered else 0, intended.counter if intended else 0
        return least < there.counter <= most and self._store.ran(there.run)

    def _guarded(self, what: str) -> Guarded:
        self._permit()
        return Guarded(what, _WAY_OUT.format(job=self._job))
