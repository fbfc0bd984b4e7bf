"""A sink in memory that answers as the contract of `tsi_fetch.ports.Sink` says; versions count up, history is kept."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from tsi_fetch.errors import Guarded, TryAgain
from tsi_fetch.fhir.references import references
from tsi_fetch.ports import Permit
from tsi_fetch.words import Fault, Held, Mark, Outcome, Ref, Result, Write, WriteAction


class MemorySink:
    """`ahead`: as a far sink; `referential`: a reference to what is not there is `MISSING`, a referred one is kept."""

    release = "R5"

    def __init__(self, run: str = "run-1", bundle: int = 100, ahead: int = 0) -> None:
        self.run, self.bundle, self.ahead = run, bundle, ahead
        self.referential = False
        self.lookups = 0
        self._lock = threading.Lock()
        self.history: dict[Ref, list[tuple[bytes | None, str]]] = {}
        self.marks: dict[str, Mark] = {}
        self.writes = 0
        self.down = False
        self.refuse: dict[Ref, Fault] = {}

    def open(self, types: Collection[str] = (), *, deletes: bool = False) -> None:
        if self.down:
            raise TryAgain("the sink is down")

    def body(self, ref: Ref) -> bytes | None:
        return self.history[ref][-1][0] if ref in self.history else None

    def live(self) -> dict[Ref, bytes]:
        return {ref: body for ref in self.history if (body := self.body(ref)) is not None}

    def edit(self, ref: Ref, body: bytes | None, run: str = "somebody") -> None:
        """Somebody else's work."""
        self.history.setdefault(ref, []).append((body, run))

    def find(self, refs: Sequence[Ref], *, bodies: bool = False) -> Mapping[Ref, Held]:
        self.open()
        with self._lock:
            self.lookups += 1
            return {ref: held for ref in refs if (held := self._held(ref)) and not held.deleted}

    def listing(self, resource_type: str) -> Iterator[Sequence[Held]]:
        refs = [ref for ref in sorted(self.live()) if ref.type == resource_type]
        for start in range(0, len(refs), 2):
            yield [replace(held, body=None) for ref in refs[start : start + 2] if (held := self._held(ref))]

    def _held(self, ref: Ref) -> Held | None:
        if ref not in self.history:
            return None
        body, run = self.history[ref][-1]
        return Held(ref, str(len(self.history[ref])), body, deleted=body is None, run=run)

    def write(self, writes: Sequence[Write], permit: Permit) -> Iterator[Sequence[Outcome]]:
        for start in range(0, len(writes), self.bundle):
            permit()
            self.open()
            with self._lock:
                outcomes = self._some(writes[start : start + self.bundle])
            yield outcomes

    def _some(self, writes: Sequence[Write]) -> list[Outcome]:
        missing = self._missing(writes) if self.referential else {}
        return [
            Outcome(w.ref, Result.MISSING, missing=tuple(sorted(missing[w.ref]))) if w.ref in missing else self._one(w)
            for w in writes
        ]

    def _missing(self, writes: Sequence[Write]) -> dict[Ref, frozenset[Ref]]:
        """What cannot be written as it refers to what is not there, nor comes with it."""
        there = set(self.live()) | {w.ref for w in writes}
        missing: dict[Ref, frozenset[Ref]] = {}
        while True:
            more = {w.ref: lacking for w in writes if (lacking := references(w.body or b"") - there)}
            if more.keys() <= missing.keys():
                return missing
            missing |= more
            there -= {ref for ref in more if ref not in self.live()}

    def _one(self, write: Write) -> Outcome:
        held = self._held(write.ref)
        if write.ref in self.refuse:
            return Outcome(write.ref, Result.REFUSED, fault=self.refuse[write.ref])
        if (held.version if held else None) != write.version:
            return Outcome(write.ref, Result.STALE, held=held)
        self.writes += 1
        if write.action is WriteAction.DELETE:
            if self.referential and self._referred(write.ref):
                return Outcome(write.ref, Result.REFERRED)
            self.edit(write.ref, None, self.run)
            return Outcome(write.ref, Result.DELETED, str(len(self.history[write.ref])))
        if held and held.body == write.body:
            return Outcome(write.ref, Result.UNCHANGED, held.version)
        self.edit(write.ref, write.body, self.run)
        created = held is None or held.deleted
        return Outcome(write.ref, Result.CREATED if created else Result.UPDATED, str(len(self.history[write.ref])))

    def _referred(self, ref: Ref) -> bool:
        return any(ref in references(body) for other, body in self.live().items() if other != ref)

    def read_mark(self, name: str) -> Mark | None:
        self.open()
        return self.marks.get(name)

    def move_mark(self, name: str, mark: Mark, permit: Permit) -> Mark:
        permit()
        held = self.marks.get(name)
        if (held.version if held else None) != mark.version:
            raise Guarded("the marker moved")
        self.marks[name] = Mark(mark.run, mark.counter, str(int(mark.version or 0) + 1))
        return self.marks[name]

    def close(self) -> None:
        """There is nothing to let go of."""
