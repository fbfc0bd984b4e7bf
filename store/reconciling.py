"""Reconciling: what is remembered is read page by page; what differs is noted, and repaired in one transaction.

Repairs lie in `listed`, with the list that was begun for them: `pass` is the page of the comparison, `key` is
`action number version`.  A list that was begun and never opened is forgotten with all that lies with it, so a crash
leaves nothing that counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Connection, bindparam, delete, exists, func, insert, select, update

from store.access import Access
from store.bulk import add_missing, among, now, put
from store.memory import STATES
from store.packing import pack_version, unpack_version
from store.schema import (
    Item,
    audit,
    holds,
    jobs,
    known,
    listed,
    lists,
    marks,
    pending,
    quarantine,
    runs,
    scopes,
    types,
    watermarks,
    work,
)
from store.worklists import OF_RUNS, read_list
from tsi_fetch.differences import Action, Entry, Repair
from tsi_fetch.reconcile import Audit, Mended
from tsi_fetch.settle import removal_of
from tsi_fetch.words import DOUBTED, FORGOTTEN, Known, Mark, State

AGAIN = "#reconcile"
"""The scope in whose name refs are removed that no scope holds any more.  It never holds anything."""


class Reconciling:
    def __init__(self, access: Access) -> None:
        self._access = access

    # -- reading

    def kinds(self) -> Mapping[str, int]:
        mine = select(known.c.type, func.count().label("n")).where(known.c.job == self._access.job_no)
        counted = mine.group_by(known.c.type).subquery()
        with self._access.read() as conn:
            named = select(types.c.name, counted.c.n).join(counted, counted.c.type == types.c.id)
            return {name: count for name, count in conn.execute(named)}

    def entries(self, after: int, count: int) -> Sequence[Entry]:
        """In the order of the primary key: `+ 0` keeps both databases from sorting all of the job's rows per page."""
        wanted = [known.c[n] for n in ("id", "digest", "version", "order", "mapping", "state", "run")]
        mine = (known.c.id > after, (known.c.job + 0) == self._access.job_no)
        with self._access.read() as conn:
            rows = conn.execute(select(*wanted).where(*mine).order_by(known.c.id).limit(count)).all()
            ids = [row.id for row in rows]
            refs = self._access.refs(conn, ids)
            held = set(conn.scalars(select(holds.c.known).where(among(conn, holds.c.known, ids)))) if ids else set()
            wrote = {row.run for row in rows if row.run is not None}
            found = conn.execute(select(runs.c.no, runs.c.id).where(among(conn, runs.c.no, wrote))) if wrote else ()
            writers = {number: run_id for number, run_id in found}
        return [
            Entry(
                row.id,
                Known(
                    refs[row.id],
                    self._access.job,
                    bytes(row.digest),
                    unpack_version(row.version),
                    row.order,
                    row.mapping,
                    STATES[row.state],
                ),
                row.id in held,
                writers.get(row.run),
            )
            for row in rows
        ]

    # -- noting

    def note_repairs(self, list_id: int, number: int, repairs: Sequence[Repair]) -> None:
        rows = [{"list": list_id, "pass": number, "key": f"{r.action} {r.number} {r.version or ''}"} for r in repairs]
        with self._access.write() as conn:
            add_missing(conn, listed, rows)

    # -- repairing

    def mend(self, list_id: int | None, stream: str, mark: Mark | None, by: Audit) -> Mended:
        """All or nothing, under the lease's fence."""
        with self._access.write() as conn:
            elsewhere: set[str] = set()
            target = None if list_id is None else self._target(conn, stream, list_id)
            for number in range(1, _pages(conn, list_id) + 1):
                elsewhere |= self._page(conn, stream, _noted(conn, list_id, number), target)
            opened = self._open(conn, list_id, target)
            self._mark(conn, mark)
            self._audit(conn, by, opened)
            return Mended(None if opened is None else read_list(conn, opened), tuple(sorted(elsewhere)))

    def _target(self, conn: Connection, stream: str, list_id: int) -> int | None:
        """The list that gets the keys: one that runs work off already, as they take one at a time, else the new one.
        None before a first load: that asks for every key."""
        job = self._access.job_no
        under_way = (lists.c.job == job, lists.c.stream == stream, *OF_RUNS)
        if (found := conn.scalar(select(func.min(lists.c.id)).where(*under_way))) is not None:
            return int(found)
        read = exists().where(watermarks.c.job == job, watermarks.c.stream == stream)
        return list_id if conn.scalar(select(read)) else None

    def _page(self, conn: Connection, stream: str, repairs: Sequence[Repair], target: int | None) -> set[str]:
        """Repair one page; gives the other jobs whose scopes are concerned."""
        of: dict[Action, list[Repair]] = {action: [] for action in Action}
        for one in repairs:
            of[one.action].append(one)
        _take(conn, of[Action.TAKE])
        self._remove(conn, stream, of[Action.REMOVE])
        numbers = {action: [one.number for one in some] for action, some in of.items()}
        _release(conn, numbers[Action.RELEASE])
        _forget(conn, numbers[Action.FORGET])
        self._bury(conn, stream, numbers[Action.BURY])
        return self._list(conn, numbers[Action.FORGET] + numbers[Action.BURY], target)

    def _remove(self, conn: Connection, stream: str, repairs: Sequence[Repair]) -> None:
        """Alive, of the version that the sink has; its departure is decided already, past the guard it once passed."""
        if not repairs:
            return
        _take(conn, repairs)
        ids = [one.number for one in repairs]
        alive = {"digest": DOUBTED, "state": STATES.index(State.LIVE)}
        conn.execute(update(known).where(among(conn, known.c.id, ids)).values(alive))
        job, at = self._access.job_no, now(conn)
        add_missing(conn, scopes, [{"job": job, "key": AGAIN, "raw": None, "mapping": None, "row": None}])
        scope = conn.scalar(select(scopes.c.id).where(scopes.c.job == job, scopes.c.key == AGAIN))
        going = set(conn.scalars(select(pending.c.known).where(among(conn, pending.c.known, ids))))
        rows = [_decided(job, stream, number, scope, at) for number in ids if number not in going]
        add_missing(conn, pending, rows)
        self._overtake_removals(conn, stream, ids)

    def _bury(self, conn: Connection, stream: str, ids: Sequence[int]) -> None:
        """What is not there need not be removed either, whoever kept it before."""
        if not ids:
            return
        buried = {"version": None, "digest": FORGOTTEN, "state": STATES.index(State.DELETED)}
        conn.execute(update(known).where(among(conn, known.c.id, ids)).values(buried))
        self._overtake_removals(conn, stream, ids)

    def _overtake_removals(self, conn: Connection, stream: str, ids: Sequence[int]) -> None:
        """A refusal to remove them is over: they are gone, or ours again."""
        removals = [removal_of(ref) for ref in self._access.refs(conn, ids).values()]
        mine = (quarantine.c.job == self._access.job_no, quarantine.c.stream == stream, quarantine.c.closed.is_(None))
        over = update(quarantine).where(*mine, among(conn, quarantine.c.key, removals))
        conn.execute(over.values(closed=now(conn), why="overtaken"))

    def _list(self, conn: Connection, ids: Sequence[int], target: int | None) -> set[str]:
        """The scopes that hold these are mapped again: ours are asked for, others' when their rows come."""
        numbers = set(conn.scalars(select(holds.c.scope).where(among(conn, holds.c.known, ids)))) if ids else set()
        if not numbers:
            return set()
        conn.execute(update(scopes).where(among(conn, scopes.c.id, numbers)).values(raw=None))
        row = func.coalesce(scopes.c.row, scopes.c.key)
        found = conn.execute(select(scopes.c.job, row.label("key")).where(among(conn, scopes.c.id, numbers))).all()
        if target is not None:
            _work(conn, target, sorted({key for job, key in found if job == self._access.job_no}))
        others = {job for job, _ in found} - {self._access.job_no}
        return set(conn.scalars(select(jobs.c.name).where(jobs.c.id.in_(others)))) if others else set()

    def _open(self, conn: Connection, list_id: int | None, target: int | None) -> int | None:
        """Open the new list, or count the older one anew; one that nothing came into goes."""
        if list_id is None:
            return None
        conn.execute(delete(listed).where(listed.c.list == list_id))
        total = conn.scalar(select(func.count()).select_from(work).where(work.c.list == target)) or 0
        if target != list_id or not total:
            conn.execute(delete(lists).where(lists.c.id == list_id))
        if target is None or not total:
            return None
        conn.execute(update(lists).where(lists.c.id == target).values(state="open", total=total))
        return target

    def _mark(self, conn: Connection, mark: Mark | None) -> None:
        """The sink's marker is the remembered one from now on; what was intended is over."""
        job = self._access.job_no
        conn.execute(delete(marks).where(marks.c.job == job))
        if mark:
            own = {"run": mark.run, "counter": mark.counter, "version": mark.version}
            put(conn, marks, [{"job": job, "intended": False, **own}], on=("job", "intended"))

    def _audit(self, conn: Connection, by: Audit, opened: int | None) -> None:
        detail = msgspec.json.encode({**by.detail, "list": opened}).decode()
        row = {"at": now(conn), "job": self._access.job_no, "actor": by.actor, "action": "reconcile", "detail": detail}
        conn.execute(insert(audit).values(**row, why="what is remembered differed from what the sink holds"))


def _pages(conn: Connection, list_id: int | None) -> int:
    return conn.scalar(select(func.max(listed.c["pass"])).where(listed.c.list == list_id)) or 0


def _noted(conn: Connection, list_id: int | None, number: int) -> list[Repair]:
    keys = conn.scalars(select(listed.c.key).where(listed.c.list == list_id, listed.c["pass"] == number))
    parts = [key.split(" ", 2) for key in keys]
    return sorted((Repair(int(ident), Action(action), version or None) for action, ident, version in parts), key=_order)


def _order(one: Repair) -> int:
    """One order for all writers, so that none deadlock."""
    return one.number


def _take(conn: Connection, repairs: Sequence[Repair]) -> None:
    if repairs:
        one = update(known).where(known.c.id == bindparam("number")).values(version=bindparam("there"))
        conn.execute(one, [{"number": r.number, "there": pack_version(r.version)} for r in repairs])


def _decided(job: int, stream: str, ref: int, scope: int | None, at: datetime) -> dict[str, object]:
    """A departure that is past the guard."""
    own = {"job": job, "stream": stream, "known": ref, "scope": scope, "row": AGAIN}
    return {**own, "accepted": True, "decided": at}


def _forget(conn: Connection, ids: Sequence[int]) -> None:
    if ids:
        conn.execute(update(known).where(among(conn, known.c.id, ids)).values(version=None, digest=DOUBTED))


def _release(conn: Connection, ids: Sequence[int]) -> None:
    """Not remembered any more; one that a scope holds by now, or that is still to go, is forgotten only."""
    if not ids:
        return
    _forget(conn, ids)
    held = exists().where(holds.c.known == known.c.id)
    going = exists().where(pending.c.known == known.c.id)
    conn.execute(delete(known).where(among(conn, known.c.id, ids), ~held, ~going))


def _work(conn: Connection, list_id: int, keys: Sequence[str]) -> None:
    """These keys are to be done, again where they were done before."""
    again = (work.c.list == list_id, work.c.state != Item.OPEN, among(conn, work.c.key, keys))
    conn.execute(update(work).where(*again).values(state=Item.OPEN))
    add_missing(conn, work, [{"list": list_id, "key": key, "state": int(Item.OPEN)} for key in keys])
