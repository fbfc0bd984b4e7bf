"""Notes of what is about to be written: one small row before each write, gone with the settlement that answers it.

What a note says is worked into the memory only where a killed run has left it: the usual write pays for one INSERT, not
for doubting every ref and undoubting it again.  There it stays for a while: a request that was on its way when its run
was overtaken may arrive after the next run has looked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, case, delete, exists, insert, or_, select, update

from store.access import Access
from store.bulk import add_missing, among, in_turn, now, put
from store.claims import withdraw_all_of
from store.memory import STATES
from store.packing import pack_doubt, unpack_doubt
from store.prepared import Prepared
from store.schema import holds, known, notes, pending, quarantine, scopes
from store.waits import orders_of
from tsi_fetch.decide import older
from tsi_fetch.words import DOUBTED, FORGOTTEN, Doubt, Known, Order, Ref, ScopeSettled, ScopeState, Settlement, State

KEPT = timedelta(days=1)
"""How long a note is looked at again by every run once it was worked in: a request that was sent by a runner which was
paused or cut off has arrived by then, or never will."""

_noted = Prepared(lambda postgres: insert(notes).returning(notes.c.id), ("job", "doubt"))

_answered = Prepared(
    lambda postgres: delete(notes).where(notes.c.id == bindparam("number"), notes.c.job == bindparam("job"))
)


class Notes:
    def __init__(self, access: Access) -> None:
        self._access = access
        self._kept: dict[int, Doubt] = {}
        self._late: list[Doubt] = []
        self.half_written: frozenset[str] = frozenset()
        """As of `recover`."""

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
        """Work in what a killed run left, each note in one transaction, and keep it: what was on its way may arrive
        yet.  What it may have written over what waits is held back until the source was read whole: a run that is
        killed before then leaves it to the next one."""
        found = self.unanswered()
        self._late = [doubt for _, doubt in found if doubt.since]
        self.half_written = half_written(doubt for _, doubt in found)
        self._kept = {number: self._work_in(number, doubt) for number, doubt in found}
        return frozenset(ref for doubt in self._kept.values() for ref, _ in doubt.overtakes)

    def recovered(self, *, whole: bool) -> frozenset[Ref]:
        """What is too old to matter is forgotten; half-written rows were read; where the source was read whole, what
        waits is released again, but for that of rows in quarantine: nobody knows what has become of them."""
        if not self._kept:
            return frozenset()
        held_back: set[Ref] = set()
        with self._access.write() as conn:
            for number, doubt in self._kept.items():
                settled = whole and not self._in_trouble(conn, doubt)
                rest = replace(doubt, overtakes=() if settled else doubt.overtakes, asked=False)
                held_back.update(ref for ref, _ in rest.overtakes)
                if not rest.overtakes and rest.since and now(conn) - rest.since > KEPT:
                    forget(conn, self._access.job_no, number)
                elif rest != doubt:
                    self._rewrite(conn, number, rest)
        self._kept = {}
        return frozenset(held_back)

    def _in_trouble(self, conn: Connection, doubt: Doubt) -> bool:
        """Whether any of its rows lies in quarantine; of no interest where it overtakes nothing."""
        rows = {s.row for s in doubt.scopes} if doubt.overtakes else set()
        lying = (quarantine.c.job == self._access.job_no, quarantine.c.closed.is_(None))
        return bool(rows) and bool(conn.scalar(select(exists().where(*lying, among(conn, quarantine.c.key, rows)))))

    def late(self) -> Iterator[Doubt]:
        """What an earlier run than this one worked in."""
        return newest(self._late)

    def rows_of(self, refs: Sequence[Ref]) -> Mapping[str, str]:
        """This job's scopes that hold any of these refs: key, and the key of the row that speaks for it."""
        with self._access.read() as conn:
            return self._holding(conn, list(self._access.ids(conn, refs).values()))

    def arrived(self, doubt: Doubt, gone: Collection[Ref]) -> Sequence[str]:
        """Work it in once more, in one transaction; `gone`: refs that it removed.  Keys of the rows to be asked for."""
        access = self._access
        access.type_numbers(ref.type for ref in doubt.refs)
        with access.write() as conn:
            in_turn(conn, access.sink_no)
            ids = self._disbelieve(conn, doubt)
            self._tell_others(conn, doubt, ids)
            lost = [number for ref, number in ids.items() if ref in gone]
            buried = {"state": STATES.index(State.DELETED), "digest": FORGOTTEN, "version": None}
            conn.execute(update(known).where(among(conn, known.c.id, lost)).values(buried))
            rows = self._holding(conn, list(ids.values()))
            named = (scopes.c.job == access.job_no, among(conn, scopes.c.key, rows))
            conn.execute(update(scopes).where(*named).values(raw=None))
        return sorted({*rows.values(), *(s.row for s in doubt.scopes)})

    def _holding(self, conn: Connection, ids: Sequence[int]) -> dict[str, str]:
        holding = select(holds.c.scope).where(among(conn, holds.c.known, ids))
        mine = (scopes.c.job == self._access.job_no, scopes.c.id.in_(holding))
        return {key: row or key for key, row in conn.execute(select(scopes.c.key, scopes.c.row).where(*mine))}

    def _work_in(self, number: int, doubt: Doubt) -> Doubt:
        """The note as it is kept: worked in but once, and of what it overtakes, that which still waits."""
        access = self._access
        access.type_numbers(ref.type for ref in doubt.refs)
        with access.write() as conn:
            in_turn(conn, access.sink_no)
            if not doubt.since:
                self._tell_others(conn, doubt, self._disbelieve(conn, doubt))
                self._overtake(conn, doubt)
            waiting = dict(orders_of(conn, access, [ref for ref, _ in doubt.overtakes]))
            kept = replace(doubt, overtakes=overtaken(doubt, waiting), since=doubt.since or now(conn))
            if kept != doubt:
                self._rewrite(conn, number, kept)
        return kept

    def _overtake(self, conn: Connection, doubt: Doubt) -> None:
        """Its rows may be at the sink, though nobody remembers: what others have fetched, or keep, of them is older."""
        job = self._access.job_no
        for s in doubt.scopes:
            if s.order is not None:
                older = or_(scopes.c.order.is_(None), scopes.c.order < s.order)
                mine = (scopes.c.job == job, scopes.c.key == s.key)
                conn.execute(update(scopes).where(*mine, older).values(order=s.order))
        withdraw_all_of(conn, job, {s.row for s in doubt.scopes})

    def _rewrite(self, conn: Connection, number: int, doubt: Doubt) -> None:
        conn.execute(update(notes).where(notes.c.id == number).values(doubt=pack_doubt(doubt)))

    def _disbelieve(self, conn: Connection, doubt: Doubt) -> Mapping[Ref, int]:
        """The keys of its refs.  One statement, in the order in which all writers take the rows: none deadlocks with
        another job."""
        access = self._access
        kinds = access.type_numbers(ref.type for ref in doubt.refs)
        before = access.ids(conn, doubt.refs)
        rows = [self._never_seen(ref, doubt, kinds) for ref in doubt.refs]
        rows.sort(key=lambda row: (row["type"], row["ident"]))
        put(conn, known, rows, on=("sink", "type", "ident"), change=_doubted)
        ids = access.ids(conn, doubt.refs)
        new = {ref: number for ref, number in ids.items() if ref not in before}
        self._hold(conn, doubt, {**self._brought_back(conn, before), **new})
        return ids

    def _tell_others(self, conn: Connection, doubt: Doubt, ids: Mapping[Ref, int]) -> None:
        """Other jobs that hold any of these refs compare them too, by a note of their own, and map their rows anew."""
        tell(conn, doubt, ids, without=self._access.job_no)

    def _brought_back(self, conn: Connection, ids: Mapping[Ref, int]) -> dict[Ref, int]:
        """What had departed, and may be at the sink again; what is to go in any case needs nobody to let go of it."""
        mine = select(pending.c.known).where(pending.c.job == self._access.job_no)
        unheld = ~exists().where(holds.c.known == known.c.id)  # left at the sink by the job's policy
        gone = (or_(known.c.state != STATES.index(State.LIVE), unheld), known.c.id.not_in(mine))
        back = set(conn.scalars(select(known.c.id).where(among(conn, known.c.id, list(ids.values())), *gone)))
        return {ref: number for ref, number in ids.items() if number in back}

    def _never_seen(self, ref: Ref, doubt: Doubt, kinds: Mapping[str, int]) -> dict[str, Any]:
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


def tell(conn: Connection, doubt: Doubt, ids: Mapping[Ref, int], *, without: int | None = None) -> None:
    """Whoever holds any of these refs, by their keys, compares them, by a note of its own, and maps its rows anew."""
    found = select(scopes.c.job, scopes.c.id, holds.c.known).join(holds, holds.c.scope == scopes.c.id)
    holding = found.where(among(conn, holds.c.known, list(ids.values())), scopes.c.job != (without or 0))
    refs = {number: ref for ref, number in ids.items()}
    of_job: dict[int, set[Ref]] = {}
    touched: list[int] = []
    for job, scope, number in conn.execute(holding):
        of_job.setdefault(job, set()).add(refs[number])
        touched.append(scope)
    if touched:
        conn.execute(update(scopes).where(among(conn, scopes.c.id, touched)).values(raw=None))
    for job, some in of_job.items():
        note = Doubt(tuple(sorted(some)), (), doubt.mapping, removes=doubt.removes, since=now(conn))
        _noted(conn, job=job, doubt=pack_doubt(note))


def ask_for_noted(conn: Connection, job_no: int) -> None:
    """No feed brings again what this job's notes are about: the next run asks for it."""
    for number, packed in conn.execute(select(notes.c.id, notes.c.doubt).where(notes.c.job == job_no)).all():
        asked = pack_doubt(replace(unpack_doubt(packed), asked=True))
        conn.execute(update(notes).where(notes.c.id == number).values(doubt=asked))


def half_written(found: Iterable[Doubt]) -> frozenset[str]:
    """Keys of the rows that were asked for, and of which no whole run has heard since they were about to be written."""
    return frozenset(scope.row for doubt in found if doubt.asked for scope in doubt.scopes)


def newest(found: Sequence[Doubt]) -> Iterator[Doubt]:
    """Notes without what newer ones say too: in the end each ref is in one of them, or in one that removes it beside
    one that does not."""
    seen: dict[Ref, bool] = {}
    for doubt in reversed(found):
        left = frozenset(ref for ref in doubt.refs if ref not in seen or (doubt.removes and not seen[ref]))
        if left:
            yield doubt.of(left)
        seen.update({ref: doubt.removes or seen.get(ref, False) for ref in doubt.refs})


def _doubted(new: Any) -> dict[str, ColumnElement[Any]]:
    """Of what is known already, only the digest goes."""
    kept = {name: known.c[name] for name in ("job", "mapping", "state")}
    return {**kept, "digest": case((known.c.digest == FORGOTTEN, known.c.digest), else_=new.digest)}


def forget(conn: Connection, job_no: int, number: int) -> None:
    """The note is answered, within the transaction that answers it."""
    _answered(conn, number=number, job=job_no)


def doubted(
    doubt: Doubt,
    job: str,
    before: Mapping[Ref, Known],
    states: Mapping[str, ScopeState],
    *,
    to_go: Collection[Ref],
    unheld: Collection[Ref],
) -> Settlement:
    """What working in a note comes to, as a settlement: for a plan, which may not touch the note itself.

    `to_go`: refs of which a departure is pending; `unheld`: those that no scope holds.
    """
    never_seen = [
        Known(ref, job, DOUBTED, None, None, doubt.mapping) for ref in sorted(set(doubt.refs) - before.keys())
    ]
    new = {k.ref for k in never_seen} | {
        ref for ref, k in before.items() if (k.state is not State.LIVE or ref in unheld) and ref not in to_go
    }
    settled: dict[str, ScopeSettled] = {}
    for s in doubt.scopes:
        state = states.get(s.key, ScopeState(s.key))
        held = settled[s.key].refs if s.key in settled else state.refs
        settled[s.key] = ScopeSettled(
            s.key, held | (s.refs & new), frozenset(), None, state.mapping, s.row, order=state.order
        )
    seen = [before[ref] for ref in sorted(before)]
    known = [k if k.digest == FORGOTTEN else replace(k, digest=DOUBTED) for k in seen]
    return Settlement("", known=(*known, *never_seen), scopes=tuple(settled.values()))


def overtaken(doubt: Doubt, waiting: Mapping[Ref, Order | None]) -> tuple[tuple[Ref, Order | None], ...]:
    """Of what was to be written, what is not older than what waits for the same ref."""
    return tuple((ref, order) for ref, order in doubt.overtakes if ref in waiting and not older(order, waiting[ref]))
