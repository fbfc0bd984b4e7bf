"""Notes of what is about to be written: one small row before each write, gone with the settlement that answers it.

What a note says is worked into the memory only where a killed run has left it: the usual write pays for one INSERT, not
for doubting every ref and undoubting it again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from store.access import Access
from store.bulk import add_missing, among
from store.memory import STATES
from store.packing import pack_doubt, unpack_doubt
from store.prepared import Prepared
from store.schema import holds, known, notes, pending, scopes
from store.waits import orders_of
from tsi_fetch.decide import older
from tsi_fetch.words import DOUBTED, FORGOTTEN, Doubt, Known, Order, Ref, ScopeSettled, ScopeState, Settlement, State

_noted = Prepared(lambda postgres: insert(notes).returning(notes.c.id), ("job", "doubt"))

_answered = Prepared(
    lambda postgres: delete(notes).where(notes.c.id == bindparam("number"), notes.c.job == bindparam("job"))
)


class Notes:
    def __init__(self, access: Access) -> None:
        self._access = access
        self._kept: list[int] = []

    def add(self, doubt: Doubt) -> int:
        """Note it, in a transaction of its own; the number that the answer names."""
        packed = pack_doubt(doubt)
        with self._access.write() as conn:
            return int(_noted(conn, job=self._access.job_no, doubt=packed).scalar_one())

    def unanswered(self) -> Sequence[tuple[int, Doubt]]:
        """The notes of this job at this sink, in the order they were made."""
        mine = select(notes.c.id, notes.c.doubt).where(notes.c.job == self._access.job_no).order_by(notes.c.id)
        with self._access.read() as conn:
            return [(number, unpack_doubt(doubt)) for number, doubt in conn.execute(mine)]

    def recover(self) -> frozenset[Ref]:
        """Work in what a killed run left, each note in one transaction.  What it may have written over what waits stays
        noted until `recovered`: a run that is killed before then leaves it to the next one."""
        held_back: set[Ref] = set()
        for number, doubt in self.unanswered():
            left = self._work_in(number, doubt)
            if left:
                self._kept.append(number)
                held_back.update(left)
        return frozenset(held_back)

    def recovered(self) -> None:
        """The source was read: what waits is released again."""
        if self._kept:
            with self._access.write() as conn:
                for number in self._kept:
                    forget(conn, self._access, number)
            self._kept.clear()

    def _work_in(self, number: int, doubt: Doubt) -> frozenset[Ref]:
        access = self._access
        kinds = access.type_numbers(ref.type for ref in doubt.refs)
        with access.write() as conn:
            ids = access.ids(conn, doubt.refs)
            these = (among(conn, known.c.id, list(ids.values())), known.c.digest != FORGOTTEN)
            conn.execute(update(known).where(*these).values(digest=DOUBTED))
            new = set(doubt.refs) - ids.keys()
            add_missing(conn, known, [self._never_seen(ref, doubt, kinds) for ref in sorted(new)])
            self._hold(conn, doubt, {**self._brought_back(conn, ids), **access.ids(conn, new)})
            waiting = dict(orders_of(conn, access, [ref for ref, _ in doubt.overtakes]))
            left = overtaken(doubt, waiting)
            if left:
                rest = pack_doubt(Doubt((), (), doubt.mapping, left))
                conn.execute(update(notes).where(notes.c.id == number).values(doubt=rest))
            else:
                forget(conn, access, number)
        return frozenset(ref for ref, _ in left)

    def _brought_back(self, conn: Connection, ids: Mapping[Ref, int]) -> dict[Ref, int]:
        """What had departed, and may be at the sink again; what is to go in any case needs nobody to let go of it."""
        mine = select(pending.c.known).where(pending.c.job == self._access.job_no)
        gone = (known.c.state != STATES.index(State.LIVE), known.c.id.not_in(mine))
        back = set(conn.scalars(select(known.c.id).where(among(conn, known.c.id, list(ids.values())), *gone)))
        return {ref: number for ref, number in ids.items() if number in back}

    def _never_seen(self, ref: Ref, doubt: Doubt, kinds: Mapping[str, int]) -> dict[str, object]:
        """A ref that was to be created: no version of it was ever seen."""
        return {
            "sink": self._access.sink_no,
            "type": kinds[ref.type],
            "ident": ref.id,
            "job": self._access.job_no,
            "digest": DOUBTED,
            "mapping": doubt.mapping,
            "state": STATES.index(State.LIVE),
        }

    def _hold(self, conn: Connection, doubt: Doubt, new: Mapping[Ref, int]) -> None:
        """The answers of its scopes are forgotten, and they hold what was to be created or brought back: named no more,
        it is to go again."""
        job = self._access.job_no
        named = {s.key: s.row for s in doubt.scopes}
        rows = [{"job": job, "key": key, "row": None if row == key else row} for key, row in named.items()]
        add_missing(conn, scopes, rows)
        mine = (scopes.c.job == job, among(conn, scopes.c.key, named))
        conn.execute(update(scopes).where(*mine).values(raw=None))
        numbers = {key: number for key, number in conn.execute(select(scopes.c.key, scopes.c.id).where(*mine))}
        held = {(numbers[s.key], new[ref]) for s in doubt.scopes for ref in s.refs if ref in new}
        add_missing(conn, holds, [{"scope": scope, "known": ref} for scope, ref in sorted(held)])


def forget(conn: Connection, access: Access, number: int) -> None:
    """The note is answered, within the transaction that answers it."""
    _answered(conn, number=number, job=access.job_no)


def doubted(
    doubt: Doubt, job: str, before: Mapping[Ref, Known], states: Mapping[str, ScopeState], to_go: Collection[Ref]
) -> Settlement:
    """What working in a note comes to, as a settlement: for a plan, which may not touch the note itself.

    `to_go`: refs of which a departure is pending.
    """
    never_seen = [
        Known(ref, job, DOUBTED, None, None, doubt.mapping) for ref in sorted(set(doubt.refs) - before.keys())
    ]
    new = {k.ref for k in never_seen} | {
        ref for ref, k in before.items() if k.state is not State.LIVE and ref not in to_go
    }
    settled: dict[str, ScopeSettled] = {}
    for s in doubt.scopes:
        state = states.get(s.key, ScopeState(s.key))
        held = settled[s.key].refs if s.key in settled else state.refs
        settled[s.key] = ScopeSettled(s.key, held | (s.refs & new), frozenset(), None, state.mapping, s.row)
    seen = [before[ref] for ref in sorted(before)]
    known = [k if k.digest == FORGOTTEN else replace(k, digest=DOUBTED) for k in seen]
    return Settlement("", known=(*known, *never_seen), scopes=tuple(settled.values()))


def overtaken(doubt: Doubt, waiting: Mapping[Ref, Order | None]) -> tuple[tuple[Ref, Order | None], ...]:
    """Of what was to be written, what is not older than what waits for the same ref."""
    return tuple((ref, order) for ref, order in doubt.overtakes if ref in waiting and not older(order, waiting[ref]))
