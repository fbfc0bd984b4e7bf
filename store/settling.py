"""Settling: everything one batch brought is remembered in one transaction, after its write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    update,
)

from store.access import Access
from store.bulk import add_missing, adding_each, among, chosen, given, now, put
from store.claims import lock_settled, withdraw
from store.contention import contend, contended
from store.memory import STATES
from store.notes import forget
from store.packing import pack_payload, pack_validators, pack_version, printable
from store.prepared import Prepared
from store.schema import checkpoints, holds, known, pending, quarantine, scopes, waiting
from store.waits import begin_to_wait, kinds_of, wait_no_more
from store.worklists import finish, lists_of, once_asked
from tsi_fetch.words import DOUBTED, Known, Quarantined, Ref, ScopeSettled, Settlement

Ids = Mapping[Ref, int]


class _ToEnd(NamedTuple):
    """What there is at all that a settlement may bring to an end: mostly nothing, and then nobody looks for it."""

    pending: bool
    troubles: bool
    waits: bool


_anything = Prepared(
    lambda postgres: select(
        exists().select_from(pending),
        exists().where(quarantine.c.job == bindparam("job"), quarantine.c.closed.is_(None)),
        exists().where(waiting.c.job == bindparam("job")),
    )
)

_scope_ids = Prepared(
    lambda postgres: select(scopes.c.key, scopes.c.id).where(
        scopes.c.job == bindparam("job"), chosen(postgres, scopes.c.key, "keys")
    )
)

_open_troubles = Prepared(
    lambda postgres: select(quarantine.c.id, quarantine.c.digest, quarantine.c.key, quarantine.c.opened).where(
        quarantine.c.job == bindparam("job"),
        quarantine.c.stream == bindparam("stream"),
        quarantine.c.closed.is_(None),
        chosen(postgres, quarantine.c.key, "keys"),
    )
)

_passed = Prepared(lambda postgres: adding_each(postgres, checkpoints, ("job", "stream"), "key", "keys"))

_pending_of = Prepared(
    lambda postgres: select(pending.c.id, pending.c.scope, pending.c.known, pending.c.accepted).where(
        chosen(postgres, pending.c.known, "refs")
    )
)


class Settling:
    def __init__(self, access: Access) -> None:
        self._access = access

    def settle(self, settlement: Settlement) -> None:
        """Remember it all or nothing.  `LeaseLost` where another holds the job now: then nothing has changed."""
        access = self._access
        kinds = access.type_numbers({k.ref.type for k in settlement.known} | kinds_of(settlement.waiting))
        owners = access.job_numbers(k.job for k in settlement.known)
        with access.write() as conn:
            to_end = _to_end(conn, access)
            torn = contended(conn, access, settlement)
            sure = [k for k in settlement.known if k.ref not in torn]
            # first, since scopes hold only what is known
            self._know(conn, sure, kinds, owners, frozenset(settlement.lost))
            ids = access.ids(conn, _refs(settlement))
            self._hold(conn, settlement, ids, cancel=to_end.pending)
            self._replayed(conn, settlement)
            if to_end.troubles:
                self._see(conn, settlement)
            since = self._close(conn, settlement) if to_end.troubles else {}  # before the same keys' new ones open
            self._quarantine(conn, settlement, since)
            self._checkpoint(conn, settlement)
            lock_settled(conn, access.job_no, settlement.stream, settlement.keys, settlement.rows)
            finish(conn, access.job_no, settlement.stream, settlement.keys, again=settlement.again)
            withdraw(conn, access.job_no, settlement.stream, settlement.rows)
            self._depart(conn, [ids[ref] for ref in settlement.departed if ref in ids])
            if to_end.waits:
                wait_no_more(conn, access, settlement)  # before what this very batch says has to wait
            begin_to_wait(conn, access, settlement.stream, settlement.waiting, kinds)
            if torn:
                contend(conn, torn)
            if settlement.doubt is not None:
                forget(conn, access.job_no, settlement.doubt)

    def _know(
        self,
        conn: Connection,
        entries: Sequence[Known],
        kinds: Mapping[str, int],
        owners: Mapping[str, int],
        lost: frozenset[Ref],
    ) -> None:
        this = self._access.run[0] if self._access.run else None
        sink = self._access.sink_no
        rows = [_known_row(k, kinds[k.ref.type], owners[k.job], sink, None if k.ref in lost else this) for k in entries]
        rows.sort(key=lambda row: (row["type"], row["ident"]))  # one order for all writers, so that none deadlock
        put(conn, known, rows, on=("sink", "type", "ident"), change=_written)

    def _hold(self, conn: Connection, settlement: Settlement, ids: Ids, *, cancel: bool) -> None:
        if not settlement.scopes:
            return
        numbers = self._scopes(conn, settlement.scopes)
        held = {(numbers[s.key], ids[ref]) for s in settlement.scopes for ref in s.refs if ref in ids}
        add_missing(conn, holds, [{"scope": scope, "known": ref} for scope, ref in sorted(held)])
        if cancel:
            _cancel(conn, held)
        self._leave(conn, settlement, numbers, ids)

    def _scopes(self, conn: Connection, settled: Sequence[ScopeSettled]) -> dict[str, int]:
        job = self._access.job_no
        rows = [
            {
                "job": job,
                "key": s.key,
                "raw": s.raw,
                "mapping": s.mapping,
                "row": None if s.row == s.key else s.row,
                "order": s.order,
                "validators": pack_validators(s.validators),
            }
            for s in settled
        ]
        put(conn, scopes, rows, on=("job", "key"))
        found = _scope_ids.all(conn, job=job, keys=given(conn, [s.key for s in settled]))
        return {key: number for key, number in found}

    def _leave(self, conn: Connection, settlement: Settlement, numbers: Mapping[str, int], ids: Ids) -> None:
        leaving = [(s, ref) for s in settlement.scopes for ref in s.leaving if ref in ids]
        if not leaving:
            return
        deciders = self._deciders(conn, settlement, {s.row for s, _ in leaving})
        at = now(conn)
        rows = [
            {
                "job": self._access.job_no,
                "stream": settlement.stream,
                "known": ids[ref],
                "scope": numbers[s.key],
                "row": s.row,
                "accepted": False,
                "list": deciders.get(s.row),
                "decided": at,
            }
            for s, ref in leaving
        ]
        put(conn, pending, rows, on=("scope", "known"), change=_decided_again)

    def _deciders(self, conn: Connection, settlement: Settlement, rows: set[str]) -> Mapping[str, int]:
        """The list that asked for each of these rows, to be opened again where the guard discards what they decided.

        What no feed brings again (`asked`) was asked for by a list of its own."""
        job, stream = self._access.job_no, settlement.stream
        found = lists_of(conn, job, stream, rows & set(settlement.keys))
        if settlement.asked and (rest := sorted(rows - found.keys())):
            return {**found, **dict.fromkeys(rest, once_asked(conn, job, stream, rest))}
        return found

    def _close(self, conn: Connection, settlement: Settlement) -> dict[str, datetime]:
        """What is good now is no trouble any more, except what this very batch says is.

        Since when each key has been in trouble: new answers that cannot be used either make it no younger.
        """
        if not settlement.closed:
            return {}
        again = {q.digest for q in settlement.quarantined}
        keys = given(conn, settlement.closed)
        open_now = _open_troubles.all(conn, job=self._access.job_no, stream=settlement.stream, keys=keys)
        since: dict[str, datetime] = {}
        for _, _, key, opened in open_now:
            since[key] = min(opened, since.get(key, opened))
        over = [entry for entry, digest, *_ in open_now if bytes(digest) not in again]
        if over:
            chosen = among(conn, quarantine.c.id, over)
            conn.execute(update(quarantine).where(chosen).values(closed=now(conn), why="overtaken"))
        return since

    def _see(self, conn: Connection, settlement: Settlement) -> None:
        """From when the answers are that these scopes are mapped from.  Only where something lies in quarantine, as
        nothing but that may ever come again, and be older."""
        if not settlement.seen:
            return
        job = self._access.job_no
        rows = [
            {"job": job, "key": s.key, "row": None if s.row == s.key else s.row, "raw": s.raw, "mapping": s.mapping}
            for s in settlement.seen
            if s.raw is not None
        ]
        add_missing(conn, scopes, rows)
        older = or_(scopes.c.order.is_(None), scopes.c.order < bindparam("later"))
        mine = (scopes.c.job == job, scopes.c.key == bindparam("scope"), older)
        moved = update(scopes).where(*mine).values(order=bindparam("later"))
        conn.execute(moved, [{"scope": s.key, "later": s.order} for s in settlement.seen])

    def _replayed(self, conn: Connection, settlement: Settlement) -> None:
        """Entries whose rows went through the loop once more are over, but for what this very batch says again."""
        if settlement.replayed:
            again = [q.digest for q in settlement.quarantined]
            mine = (quarantine.c.job == self._access.job_no, quarantine.c.closed.is_(None))
            these = (*mine, among(conn, quarantine.c.id, settlement.replayed), quarantine.c.digest.not_in(again))
            conn.execute(update(quarantine).where(*these).values(closed=now(conn), why="replayed"))

    def _quarantine(self, conn: Connection, settlement: Settlement, since: Mapping[str, datetime]) -> None:
        if settlement.quarantined:
            run = self._access.run[1] if self._access.run else None
            each = {q.digest: q for q in settlement.quarantined}  # the same trouble twice in one batch is one attempt
            job, at = self._access.job_no, now(conn)
            rows = [
                {**_trouble_row(q, job, settlement.stream, at, run), "opened": since.get(q.key, at)}
                for q in each.values()
            ]
            put(conn, quarantine, rows, on=("job", "stream", "digest"), change=_once_more)

    def _checkpoint(self, conn: Connection, settlement: Settlement) -> None:
        if settlement.checkpoint:
            keys = given(conn, settlement.checkpoint)
            _passed(conn, job=self._access.job_no, stream=settlement.stream, keys=keys)

    def _depart(self, conn: Connection, gone: Sequence[int]) -> None:
        if gone:
            mine = pending.c.job == self._access.job_no
            conn.execute(delete(pending).where(mine, among(conn, pending.c.known, gone)))


def _to_end(conn: Connection, access: Access) -> _ToEnd:
    ((left, troubles, waits),) = _anything.all(conn, job=access.job_no)
    return _ToEnd(bool(left), bool(troubles), bool(waits))


def _refs(settlement: Settlement) -> set[Ref]:
    """The refs whose keys the transaction needs."""
    return set(settlement.departed).union(*(s.refs | s.leaving for s in settlement.scopes))


def _known_row(entry: Known, kind: int, owner: int, sink: int, run: int | None) -> dict[str, Any]:
    return {
        "sink": sink,
        "type": kind,
        "ident": entry.ref.id,
        "job": owner,
        "digest": entry.digest,
        "version": pack_version(entry.version),
        "order": entry.order,
        "mapping": entry.mapping,
        "state": STATES.index(entry.state),
        "run": run,
    }


def _trouble_row(q: Quarantined, job: int, stream: str, at: datetime, run: str | None) -> dict[str, Any]:
    return {
        "job": job,
        "stream": stream,
        "digest": q.digest,
        "key": q.key,
        "ref": str(q.ref) if q.ref else None,
        "code": printable(q.fault.code),
        "path": printable(q.fault.path),
        "rule": printable(q.fault.rule),
        "unfetched": q.row.unfetched is not None,
        "payload": pack_payload(q.row, q.body),
        "attempts": 1,
        "opened": at,
        "last": at,
        "run": run,
        "closed": None,
        "why": None,
    }


def _written(new: Any) -> dict[str, ColumnElement[Any]]:
    """`run` names the run that wrote last, not the one that merely looked, or believes no more what is remembered; none
    where the sink has lost it.  An order that another job has moved up since stays."""
    differs = or_(known.c.digest != new.digest, known.c.version.is_distinct_from(new.version))
    differs = and_(differs, new.digest != literal(DOUBTED))
    order = case((known.c.order > new.order, known.c.order), else_=new.order)
    return {"run": case((differs, new.run), else_=known.c.run), "order": order}


def _decided_again(new: Any) -> dict[str, ColumnElement[Any]]:
    """What a feed brings comes again where a guard refuses; a row that a list asked for has that list alone."""
    return {
        "row": case((and_(new.list.is_(None), pending.c.list.is_not(None)), pending.c.row), else_=new.row),
        "accepted": pending.c.accepted,
        "decided": pending.c.decided,
        "list": func.coalesce(new.list, pending.c.list),
    }


def _once_more(new: Any) -> dict[str, ColumnElement[Any]]:
    """One more attempt; its age counts from when it opened last."""
    opened = case((quarantine.c.closed.is_(None), quarantine.c.opened), else_=new.opened)
    return {"attempts": quarantine.c.attempts + 1, "opened": opened}


def _cancel(conn: Connection, held: set[tuple[int, int]]) -> None:
    """A scope that holds a ref has not let go of it; and what is held by anyone is not to be deleted, whoever
    had decided so."""
    if not held:
        return
    found = _pending_of.all(conn, refs=given(conn, {ref for _, ref in held}))
    over = [number for number, scope, ref, accepted in found if accepted or (scope, ref) in held]
    if over:
        conn.execute(delete(pending).where(among(conn, pending.c.id, over)))
