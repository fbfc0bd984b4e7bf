"""Deletions and retirements decided and not yet carried out, and who still holds what."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import ColumnElement, Connection, delete, exists, func, select, update

from store.access import Access
from store.bulk import among, in_turn
from store.ledger import ask_again, not_overtaken
from store.memory import STATES, move_watermark
from store.schema import checkpoints, holds, jobs, known, pending, scopes, types
from store.worklists import reopen
from tsi_fetch.words import Cursor, Pending, Ref, State

Conditions = tuple[ColumnElement[bool], ...]


class Departures:
    def __init__(self, access: Access) -> None:
        self._access = access

    def pending(self, of: Sequence[Ref] | None = None) -> Sequence[Pending]:
        """All of this job, or those of these refs, in the order they were decided."""
        wanted = select(pending.c.known, scopes.c.key, pending.c.row, pending.c.accepted, pending.c.decided)
        of_scope = wanted.join(scopes, scopes.c.id == pending.c.scope)
        mine = of_scope.where(pending.c.job == self._access.job_no).order_by(pending.c.id)
        with self._access.read() as conn:
            if of is not None:
                mine = mine.where(among(conn, pending.c.known, list(self._access.ids(conn, of).values())))
            found = conn.execute(mine).all()
            refs = self._access.refs(conn, {row.known for row in found})
        return [Pending(refs[ref], *which) for ref, *which in found]

    def live(self) -> Mapping[str, int]:
        """How many refs of each type this job has alive at its sink: a count over an index that holds all it needs
        (linear: some tenths of a second for millions; asked once a run)."""
        mine = (known.c.job == self._access.job_no, known.c.state == STATES.index(State.LIVE))
        counted = select(known.c.type, func.count().label("n")).where(*mine).group_by(known.c.type).subquery()
        with self._access.read() as conn:
            named = select(types.c.name, counted.c.n).join(counted, counted.c.type == types.c.id)
            return {name: count for name, count in conn.execute(named)}

    def holders(self, refs: Sequence[Ref]) -> Mapping[Ref, frozenset[str]]:
        """For each of these refs the scopes that hold it, as `job/scope`; none for one that is not known."""
        with self._access.read() as conn:
            ids = {number: ref for ref, number in self._access.ids(conn, refs).items()}
            found: dict[Ref, set[str]] = {ref: set() for ref in refs}
            pairs = conn.execute(select(holds).where(among(conn, holds.c.known, list(ids)))).all() if ids else []
            names = _names(conn, {row.scope for row in pairs})
            for row in pairs:
                found[ids[row.known]].add(names[row.scope])
        return {ref: frozenset(by_scope) for ref, by_scope in found.items()}

    def advance(
        self,
        stream: str,
        cursor: Cursor | None,
        *,
        clear: bool,
        scopes: Sequence[str] | None = None,
        elsewhere: Collection[Ref] = (),
    ) -> None:
        """End a pass, in one transaction.  `elsewhere`: refs held by scopes that this store does not know (a plan)."""
        access = self._access
        with access.write() as conn:
            if cursor:
                move_watermark(conn, access.job_no, stream, cursor)
            self._accept(conn, self._left_by(conn, stream, scopes), set(access.ids(conn, elsewhere).values()))
            if clear:
                self._forget_checkpoint(conn, stream)

    def _accept(self, conn: Connection, mine: Conditions, elsewhere: set[int]) -> None:
        decided = conn.execute(select(pending.c.id, pending.c.known).where(*mine)).all()
        if not decided:
            return
        refs = {row.known for row in decided}
        in_turn(conn, self._access.sink_no)  # of two that let go of a ref, the second sees what the first has done
        left = exists().where(pending.c.scope == holds.c.scope, pending.c.known == holds.c.known, *mine)
        conn.execute(delete(holds).where(among(conn, holds.c.known, refs), left))
        held = set(conn.scalars(select(holds.c.known).where(among(conn, holds.c.known, refs)).distinct()))
        before = (pending.c.accepted.is_(True), among(conn, pending.c.known, refs))
        over = held | elsewhere | set(conn.scalars(select(pending.c.known).where(*before)))
        keep: dict[int, int] = {}  # one departure a ref, however many scopes let go of it
        for row in decided:
            if row.known not in over:
                keep.setdefault(row.known, row.id)
        accepted = among(conn, pending.c.id, list(keep.values()))
        conn.execute(update(pending).where(accepted).values(accepted=True))
        conn.execute(delete(pending).where(*mine))

    def _left_by(self, conn: Connection, stream: str, keys: Sequence[str] | None) -> Conditions:
        """What is pending and not accepted, of these scopes (None: of all)."""
        mine = self._undecided(stream)
        if keys is None:
            return mine
        named = select(scopes.c.id).where(scopes.c.job == self._access.job_no, among(conn, scopes.c.key, keys))
        return (*mine, pending.c.scope.in_(named))

    def _undecided(self, stream: str) -> Conditions:
        """What is pending and not accepted."""
        return (pending.c.job == self._access.job_no, pending.c.stream == stream, pending.c.accepted.is_(False))

    def _forget_checkpoint(self, conn: Connection, stream: str) -> None:
        mine = (checkpoints.c.job == self._access.job_no, checkpoints.c.stream == stream)
        conn.execute(delete(checkpoints).where(*mine))

    def discard(self, stream: str) -> None:
        """The guard refused: what is pending and not accepted is forgotten, and will be decided anew.

        The work items that decided it open again, and so does their list where it has closed since; keys that lay in
        quarantine as unfetched lie there again, since no feed may ever name them anew.  So do entries that the same
        answers had overtaken: the watermark may have passed their rows, which are settled nowhere else.
        """
        job = self._access.job_no
        mine = self._undecided(stream)
        with self._access.write() as conn:
            columns = (pending.c.scope, pending.c.row, pending.c.list, pending.c.decided)
            decided = conn.execute(select(*columns).where(*mine)).all()
            conn.execute(delete(pending).where(*mine))
            if decided:
                again = among(conn, scopes.c.id, {row.scope for row in decided})
                conn.execute(update(scopes).where(again).values(raw=None))
                rows, lists = {row.row for row in decided}, {row.list for row in decided if row.list is not None}
                reopen(conn, job, stream, rows, lists)
                ask_again(conn, job, stream, rows)
                not_overtaken(conn, job, stream, rows, since=min(row.decided for row in decided))
            self._forget_checkpoint(conn, stream)


def _names(conn: Connection, scope_ids: set[int]) -> dict[int, str]:
    """Scopes as `job/scope`."""
    named = select(scopes.c.id, jobs.c.name, scopes.c.key).join(jobs, jobs.c.id == scopes.c.job)
    found = conn.execute(named.where(among(conn, scopes.c.id, scope_ids))) if scope_ids else ()
    return {number: f"{job}/{key}" for number, job, key in found}
