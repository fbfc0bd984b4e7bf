"""Compare what is remembered with what the sink holds; and mend the memory, so that the next runs mend the sink.

The way out after a server was wiped, restored or edited, or a store was put back from a copy.  Nothing is ever written
to the sink here: what differs is forgotten, its scopes become a work list, and the sink's marker is taken over, all in
one transaction.  The runs after it look those refs up and decide, by the rules of every run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from tsi_fetch.clock import StopSignal
from tsi_fetch.differences import Counts, Difference, Entry, Kind, Repair, difference, is_repaired, repair
from tsi_fetch.errors import Exit, Guarded, TryAgain
from tsi_fetch.marker import Marker, marker_name
from tsi_fetch.ports import JobStore, Progress, Sink
from tsi_fetch.words import Held, Mark, Ref, State, WorkList

AT_ONCE = 1000
"""Refs whose versions are compared together; what is kept in memory of them at a time."""

BODIES = 50
"""Bodies that are held in memory at a time."""

NAMED = 20
"""Refs of a kind that are named; the rest are counted."""

_MARKERS = "tsi-fetch-"
"""How the id of a marker begins, of whatever store and job."""


class Books(JobStore, Protocol):
    """What reconciling asks of a job's store beside what a run does."""

    def entries(self, after: int, count: int) -> Sequence[Entry]:
        """A page of everything this job knows at its sink, by number."""
        ...

    def kinds(self) -> Mapping[str, int]:
        """How many refs of each type this job knows, whatever their state."""
        ...

    def note_repairs(self, list_id: int, number: int, repairs: Sequence[Repair]) -> None:
        """Keep what page `number` (1, 2, …) of the comparison found, for `mend`, with a list that was begun."""
        ...

    def mend(self, list_id: int | None, stream: str, mark: Mark | None, audit: Audit) -> Mended:
        """Make all repairs that were noted with this list, open it, and take the marker over: one transaction."""
        ...


@dataclass(frozen=True, slots=True)
class Audit:
    """Who changes what is remembered, and what they do; never a value."""

    actor: str
    detail: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mended:
    """`work`: the list that the next runs work off; None where there is nothing to do, or a first load will do it.

    `elsewhere`: other jobs whose scopes hold what differs; theirs are mapped again when their rows come.
    """

    work: WorkList | None = None
    elsewhere: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Marking:
    """The sink's marker against the remembered one.  `trouble`: what is wrong with it; empty where it is right."""

    name: str
    there: Mark | None
    remembered: Mark | None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is remembered, against what the sink holds.

    `counts`: per type and kind, `in step` among them.  `named`: the first refs of each kind, or of what nobody here
    knows (`unknown`).  `under_way`: an open list that an earlier repair, or a load, still works off.  `mended`: what
    was done about it, where that was asked for.  `fixed`: differences of which an earlier repair has forgotten what was
    remembered, so that another one would change nothing.
    """

    job: str
    marking: Marking
    counts: Mapping[str, Mapping[str, int]]
    named: Mapping[str, tuple[str, ...]]
    under_way: WorkList | None = None
    mended: Mended | None = None
    fixed: int = 0

    def total(self, kind: str) -> int:
        return sum(of_type.get(kind, 0) for of_type in self.counts.values())

    @property
    def differences(self) -> int:
        """What differs.  What nobody here knows is no difference: others may own it rightly."""
        return sum(self.total(kind) for kind in Kind)

    def calls_for_the_same(self, other: Comparison) -> bool:
        """Whether to mend the one is to mend the other: what is in step, or nobody knows, may have moved."""
        return self._called_for() == other._called_for()

    def _called_for(self) -> object:
        kinds = {kind: (self.total(kind), self.named.get(kind)) for kind in Kind}
        return kinds, self.marking if self.marking.trouble else None

    @property
    def exit_code(self) -> int:
        wrong = self.differences or self.marking.trouble
        return int(Exit.QUARANTINE if wrong and self.mended is None else Exit.DONE)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is compared: a job, its stream, the types that its source makes, and those that several jobs may write."""

    job: str
    stream: str
    types: frozenset[str] = frozenset()
    shared: frozenset[str] = frozenset()


Note = Callable[[Sequence[Repair]], None]
Agree = Callable[[Comparison], None]


class Reconciler:
    """One comparison of one job's store with its sink."""

    def __init__(self, subject: Subject, books: Books, sink: Sink, stop: StopSignal, progress: Progress) -> None:
        self._subject, self._books, self._sink = subject, books, sink
        self._stop, self._progress = stop, progress
        self._counts = Counts(NAMED)
        self._runs: dict[tuple[str, bool], bool] = {}
        self._fixed = 0

    def compare(self) -> Comparison:
        """Look, and write nothing.  TryAgain where the sink is down."""
        return self._compare(lambda repairs: None)

    def mend(self, actor: str, agree: Agree = lambda found: None) -> Comparison:
        """Compare, and repair what is remembered, in one transaction at the end.  Needs the job's lease.

        `agree` hears what is to be mended before it is, and may raise.  Killed before that, nothing has changed but
        notes, which the next attempt forgets.
        """
        self._books.recover()
        noted = _Noted(self._books, self._subject.stream)
        found = self._compare(noted.add)
        if not (found.differences or found.marking.trouble):
            return found
        agree(found)
        if self._sink.read_mark(found.marking.name) != found.marking.there:
            raise TryAgain("the sink's marker moved while it was compared", "who writes to it?  Then reconcile again")
        detail = {"counts": found.counts, "marker": found.marking.trouble or "right"}
        mended = self._books.mend(noted.list_id, self._subject.stream, found.marking.there, Audit(actor, detail))
        return replace(found, mended=mended)

    def _compare(self, note: Note) -> Comparison:
        known = self._books.kinds()
        types = sorted(self._subject.types | known.keys())
        self._sink.open(types)
        marking = self._marking()
        self._remembered(sum(known.values()), note, restored=bool(marking.trouble))
        self._unknown(types)
        under_way = self._books.open_list(self._subject.stream)
        counts, named = self._counts.by_type(), self._counts.named()
        return Comparison(self._subject.job, marking, counts, named, under_way, fixed=self._fixed)

    # -- the marker

    def _marking(self) -> Marking:
        """By the same rule as a run's."""
        job, name = self._subject.job, marker_name(self._books.store_id, self._subject.job)
        remembered, _ = self._books.marks()
        try:
            there = self._sink.read_mark(name)
        except Guarded as e:  # it is there, and cannot be read: nothing that could be taken over
            raise Guarded(e.message, f"delete {name} at the sink, then tsi-fetch reconcile {job} --fix") from e
        try:
            Marker(self._sink, self._books, "", job, self._stop.check).check()
        except Guarded as e:
            return Marking(name, there, remembered, e.message)
        return Marking(name, there, remembered)

    # -- what is remembered

    def _remembered(self, total: int, note: Note, *, restored: bool) -> None:
        after, done = 0, 0
        while entries := self._books.entries(after, AT_ONCE):
            self._stop.check()
            note([r for r in (self._judge(e, held) for e, held in self._looked_up(entries, restored)) if r])
            after, done = entries[-1].number, done + len(entries)
            self._progress("compare", done, total)

    def _looked_up(self, entries: Sequence[Entry], restored: bool) -> Iterator[tuple[Entry, Held | None]]:
        """Each with what the sink holds of it; with its body where the version alone does not tell."""
        there = self._sink.find([e.known.ref for e in entries])
        unclear: list[Entry] = []
        for entry in entries:
            held = there.get(entry.known.ref)
            if held and not held.deleted and self._is_unclear(entry, held, restored):
                unclear.append(entry)
            else:
                yield entry, held and replace(held, body=None)
        for start in range(0, len(unclear), BODIES):
            self._stop.check()
            some = unclear[start : start + BODIES]
            bodies = self._sink.find([e.known.ref for e in some], bodies=True)
            yield from ((e, bodies.get(e.known.ref)) for e in some)

    def _is_unclear(self, entry: Entry, held: Held, restored: bool) -> bool:
        """A server that was restored counts its versions anew: there, somebody's version may bear our number, and so
        may that of another run of ours, whose request was still on its way."""
        if entry.known.state is State.DELETED or held.version != entry.known.version:
            return True
        return restored and held.run is not None and held.run != entry.writer

    def _judge(self, entry: Entry, held: Held | None) -> Repair | None:
        ours = held is not None and self._wrote(held)
        found: Difference | None = difference(entry, held, ours=ours)
        self._counts.add(entry.known.ref, found.kind if found else None, gone=entry.known.state is State.DELETED)
        mended = repair(entry, found) if found else None
        self._fixed += mended is not None and is_repaired(entry, mended)
        return mended

    def _wrote(self, held: Held) -> bool:
        """Did a run of this job write it?  (Of a shared type: of any job of this store.)"""
        if held.run is None:
            return False
        asked = held.run, held.ref.type in self._subject.shared
        if asked not in self._runs:
            self._runs[asked] = self._books.ran(held.run, anybody=asked[1])
        return self._runs[asked]

    # -- what is not

    def _unknown(self, types: Collection[str]) -> None:
        for kind in types:
            seen = 0
            for page in self._sink.listing(kind):
                self._stop.check()
                refs = [held.ref for held in page if not _is_marker(held.ref)]
                known = self._books.known(refs) if refs else {}
                for ref in refs:
                    if ref not in known:
                        self._counts.unknown(ref)
                seen += len(page)
                self._progress(f"list {kind}", seen, None)


class _Noted:
    """Repairs on their way to the store, page by page, with a list that is begun at the first of them."""

    def __init__(self, books: Books, stream: str) -> None:
        self._books, self._stream, self._pages = books, stream, 0
        self.list_id: int | None = None

    def add(self, repairs: Sequence[Repair]) -> None:
        if not repairs:
            return
        if self.list_id is None:
            self.list_id = self._books.begin_list("reconcile", self._stream)
        self._pages += 1
        self._books.note_repairs(self.list_id, self._pages, repairs)


def _is_marker(ref: Ref) -> bool:
    return ref.type == "Device" and ref.id.startswith(_MARKERS)
