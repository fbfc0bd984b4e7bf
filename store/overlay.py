"""A plan's store: what a run would write goes to a scratch store, and is read before what lies beneath.

Scopes are copied up before they first change, with all they hold, and so is everything pending at the start: of both
the scratch then speaks alone.  What a killed run noted beneath is worked in above.  The rest is read from the scratch
first and from beneath where it has nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from store.job_store import JobBook
from store.notes import doubted, half_written, newest, overtaken
from store.overlaid_lists import OverlaidLists
from store.overlaid_waits import OverlaidWaits
from tsi_fetch.words import (
    FORGOTTEN,
    Cursor,
    Doubt,
    Known,
    ListKind,
    Mark,
    Pending,
    Position,
    Ref,
    RunRecord,
    ScopeSettled,
    ScopeState,
    Settlement,
    State,
    Unlisted,
    Validators,
    Waiting,
    WorkList,
)


class Overlay:
    """A `JobStore` of two: `inner` is never written to; `scratch` is private, empty, of the same job and sink."""

    def __init__(self, inner: JobBook, scratch: JobBook) -> None:
        self.store_id = inner.store_id
        self._inner = inner
        self._scratch = scratch
        self._lists = OverlaidLists(inner, scratch)
        self._waits = OverlaidWaits(inner, scratch)
        self._cleared: set[str] = set()
        self._lying = list(inner.troubles())
        """What lies in quarantine beneath, and would still lie there."""
        self._marked = False
        self._alive: Counter[str] = Counter()
        self._begun = False
        self._late = [doubt for doubt in inner.notes() if doubt.since]
        self._half_written = half_written(inner.notes())
        self._held_back = frozenset(ref for doubt in inner.notes() for ref in self._work_in(doubt))

    # -- refs, scopes and streams

    def position(self, stream: str) -> Position:
        below, above = self._inner.position(stream), self._scratch.position(stream)
        kept = frozenset() if stream in self._cleared else below.checkpoint
        return Position(above.cursor or below.cursor, above.checkpoint | kept)

    def validators(self, keys: Sequence[str], mapping: int) -> Mapping[str, Validators]:
        """Of what the plan has not mapped anew."""
        above = self._scratch.spoken_for(keys)
        return self._inner.validators([key for key in keys if key not in above], mapping)

    def scopes(self, keys: Sequence[str]) -> Mapping[str, ScopeState]:
        above = self._scratch.scopes(keys)
        below = self._inner.scopes([key for key in keys if key not in above])
        unsure = {key: replace(state, known={}) for key, state in below.items()}  # of a ref, the scratch may know more
        return {**unsure, **above}

    def known(self, refs: Sequence[Ref]) -> Mapping[Ref, Known]:
        above = self._scratch.known(refs)
        return {**self._inner.known([ref for ref in refs if ref not in above]), **above}

    def _work_in(self, doubt: Doubt) -> frozenset[Ref]:
        """What the next run would do first of all with what a killed one has left."""
        if not doubt.since:
            self._disbelieve(doubt)
        waiting = {w.ref: w.order for w in self._inner.waiting([ref for ref, _ in doubt.overtakes])}
        return frozenset(ref for ref, _ in overtaken(doubt, waiting))

    def _disbelieve(self, doubt: Doubt) -> None:
        states, known = self.scopes([s.key for s in doubt.scopes]), self.known(doubt.refs)
        to_go = {p.ref for p in self._inner.pending(doubt.refs)}
        unheld = {ref for ref, holders in self.holders(list(known)).items() if not holders}
        settlement = doubted(doubt, self._inner.job, known, states, to_go=to_go, unheld=unheld)
        self._copy(settlement.stream, {ref for state in states.values() for ref in state.refs}, ())
        self._count(settlement.known)
        self._scratch.settle(settlement)

    def doubt(self, doubt: Doubt) -> int:
        return self._scratch.doubt(doubt)

    def recover(self) -> frozenset[Ref]:
        return self._held_back

    def recovered(self, *, whole: bool) -> frozenset[Ref]:
        """What was held back is beneath, and stays there."""
        if not whole:
            return self._held_back
        lying = {t.key for t in (*self._lying, *self._scratch.troubles())}
        troubled = [doubt for doubt in self._inner.notes() if lying.intersection(s.row for s in doubt.scopes)]
        return self._held_back.intersection(ref for doubt in troubled for ref, _ in doubt.overtakes)

    def half_written(self) -> Collection[str]:
        return self._half_written

    def late(self) -> Iterator[Doubt]:
        return newest(self._late)

    def arrived(self, doubt: Doubt, gone: Collection[Ref]) -> Sequence[str]:
        rows = self._inner.rows_of(doubt.refs)
        self._disbelieve(doubt)
        states = self.scopes(list(rows))
        self._copy("", {ref for state in states.values() for ref in state.refs}, ())
        buried = [
            replace(k, state=State.DELETED, digest=FORGOTTEN, version=None) for k in self.known(list(gone)).values()
        ]
        asked = [replace(_as_it_is(state, rows[key]), raw=None) for key, state in states.items()]
        self._count(buried)
        self._scratch.settle(Settlement("", known=tuple(buried), scopes=tuple(asked)))
        return sorted({*rows.values(), *(s.row for s in doubt.scopes)})

    def settle(self, settlement: Settlement) -> None:
        self._bring_pending(settlement.stream)
        self._bring_scopes(settlement)
        self._waits.bring(settlement)
        self._count(settlement.known)
        self._scratch.settle(replace(settlement, believed=()))
        self._lists.finish(settlement.stream, settlement.keys)
        if self._lying and settlement.closed:
            closed = {(settlement.stream, key) for key in settlement.closed}
            again = {q.digest for q in settlement.quarantined}
            self._lying = [t for t in self._lying if (t.stream, t.key) not in closed or t.digest in again]

    def _bring_scopes(self, settlement: Settlement) -> None:
        """Copy up the scopes that this changes, and every known ref it speaks of."""
        wanted = {s.key: s.row for s in settlement.scopes}
        above = self._scratch.scopes(list(wanted))
        states = self._inner.scopes([key for key in wanted if key not in above])
        refs = set(settlement.departed).union(*(s.refs | s.leaving for s in settlement.scopes))
        refs |= frozenset().union(*(state.refs for state in states.values()))
        held = [_as_it_is(state, wanted[key]) for key, state in states.items()]
        self._copy(settlement.stream, refs, held)

    def _copy(self, stream: str, refs: set[Ref], scopes: Sequence[ScopeSettled]) -> None:
        missing = sorted(refs - self._scratch.known(list(refs)).keys())
        known = self._inner.known(missing)
        if known or scopes:
            self._scratch.settle(Settlement(stream, known=tuple(known.values()), scopes=tuple(scopes)))

    def _count(self, known: Sequence[Known]) -> None:
        """Keep the difference in what is alive, so that nobody counts millions twice."""
        before = self.known([k.ref for k in known])
        for k in {k.ref: k for k in known}.values():
            self._alive[k.ref.type] += self._is_ours(k) - self._is_ours(before.get(k.ref))

    def _is_ours(self, known: Known | None) -> bool:
        return known is not None and known.state is State.LIVE and known.job == self._inner.job

    def advance(self, stream: str, cursor: Cursor | None, *, clear: bool, scopes: Sequence[str] | None = None) -> None:
        self._bring_pending(stream)
        undecided = [p.ref for p in self._scratch.pending() if not p.accepted]
        elsewhere = {ref for ref, holders in self._outside(undecided).items() if holders}
        self._scratch.advance(stream, cursor, clear=clear, scopes=scopes, elsewhere=elsewhere)
        if clear:
            self._cleared.add(stream)

    # -- departures

    def _bring_pending(self, stream: str) -> None:
        """Copy up what is pending, once: first what is accepted, which needs no hold, then what is not."""
        if self._begun:
            return
        self._begun = True
        found = self._inner.pending()
        for accepted in (True, False):
            some = [p for p in found if p.accepted is accepted]
            states = self.scopes([p.scope for p in some])
            settled = [_leaving(states[p.scope], p) for p in some]
            self._copy(stream, {ref for s in settled for ref in s.refs | s.leaving}, settled)
            if accepted and some:
                self._scratch.advance(stream, None, clear=False)

    def pending(self, of: Sequence[Ref] | None = None) -> Sequence[Pending]:
        return self._scratch.pending(of) if self._begun else self._inner.pending(of)

    def live(self) -> Mapping[str, int]:
        below = self._inner.live()
        counts = {kind: below.get(kind, 0) + self._alive[kind] for kind in below.keys() | self._alive.keys()}
        return {kind: count for kind, count in counts.items() if count}

    def holders(self, refs: Sequence[Ref]) -> Mapping[Ref, frozenset[str]]:
        above, below = self._scratch.holders(refs), self._outside(refs)
        return {ref: above[ref] | below[ref] for ref in refs}

    def _outside(self, refs: Sequence[Ref]) -> Mapping[Ref, frozenset[str]]:
        """Holders of which the scratch does not speak."""
        below = self._inner.holders(refs)
        mine = f"{self._inner.job}/"
        keys = {name.removeprefix(mine) for names in below.values() for name in names if name.startswith(mine)}
        above = {mine + key for key in self._scratch.scopes(sorted(keys))}
        return {ref: names - above for ref, names in below.items()}

    def discard(self, stream: str) -> None:
        self._bring_pending(stream)
        rows = {p.row for p in self._scratch.pending() if not p.accepted}
        self._lists.reopen(stream, rows)
        lying = {(t.stream, t.digest) for t in self._lying}
        overtaken = [t for t in self._inner.troubles() if t.stream == stream and t.key in rows]
        again = [*self._inner.once_unfetched(stream, rows), *overtaken]
        self._lying += [t for t in again if (t.stream, t.digest) not in lying]
        self._scratch.discard(stream)
        self._cleared.add(stream)

    # -- work lists

    def open_list(self, stream: str, after: int = 0) -> WorkList | None:
        return self._lists.open_list(stream, after)

    def unlisted(self, stream: str) -> Unlisted | None:
        return self._lists.unlisted(stream)

    def begin_list(self, kind: ListKind, stream: str, *, again: bool = False) -> int:
        return self._lists.begin_list(kind, stream, again=again)

    def note_keys(self, list_id: int, number: int, keys: Sequence[str]) -> None:
        self._lists.note_keys(list_id, number, keys)

    def agree(self, list_id: int, number: int) -> bool:
        return self._lists.agree(list_id, number)

    def ask_again(self, list_id: int) -> None:
        self._lists.ask_again(list_id)

    def start_list(self, list_id: int, *, complete: bool, cursor: Cursor | None) -> WorkList:
        return self._lists.start_list(list_id, complete=complete, cursor=cursor)

    def take(self, list_id: int, count: int, after: int = 0) -> Sequence[tuple[int, str]]:
        return self._lists.take(list_id, count, after)

    def worked_on(self, list_id: int) -> bool:
        return self._lists.worked_on(list_id)

    # -- what waits

    def waiting_graph(self) -> Mapping[Ref, frozenset[Ref]]:
        pending = self.pending(self._waits.refs())
        return self._waits.graph(pending, self.holders([p.ref for p in pending]), self._inner.job)

    def waiting(self, refs: Sequence[Ref]) -> Sequence[Waiting]:
        return self._waits.waiting(refs)

    def oldest_waiting(self) -> datetime | None:
        return self._waits.oldest()

    # -- runs, the marker, quarantine

    def unfetched(self, stream: str) -> Sequence[str]:
        below = {t.key for t in self._lying if t.unfetched and t.stream == stream}
        return sorted(below.union(self._scratch.unfetched(stream)))

    def in_quarantine(self, stream: str, digests: Sequence[bytes]) -> frozenset[bytes]:
        below = {t.digest for t in self._lying if t.stream == stream}
        return frozenset(below.intersection(digests)) | self._scratch.in_quarantine(stream, digests)

    def ran(self, run: str, *, anybody: bool = False) -> bool:
        return self._scratch.ran(run, anybody=anybody) or self._inner.ran(run, anybody=anybody)

    def oldest_quarantine(self) -> datetime | None:
        above = self._scratch.oldest_quarantine()
        return min([*(t.opened for t in self._lying), *([above] if above else [])], default=None)

    def marks(self) -> tuple[Mark | None, Mark | None]:
        below, above = self._inner.marks(), self._scratch.marks()
        return above[0] or below[0], above[1] or (None if self._marked else below[1])

    def intend(self, mark: Mark) -> None:
        self._scratch.intend(mark)

    def marked(self, mark: Mark) -> None:
        self._scratch.marked(mark)
        self._marked = True

    def begin_run(self, record: RunRecord) -> None:
        self._scratch.begin_run(record)

    def end_run(self, record: RunRecord) -> None:
        self._scratch.end_run(record)

    def permit(self) -> None:
        self._scratch.permit()


def _as_it_is(state: ScopeState, row: str) -> ScopeSettled:
    return ScopeSettled(state.key, state.refs, frozenset(), state.raw, state.mapping, row, order=state.order)


def _leaving(state: ScopeState, pending: Pending) -> ScopeSettled:
    return replace(_as_it_is(state, pending.row), leaving=frozenset({pending.ref}))
