"""Work lists: the keys that are still to be done.  Here as a run takes slices of them; as workers do, in `claims`."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    literal_column,
    select,
    update,
)

from store.access import Access
from store.bulk import add_missing, add_selected, among, bytewise, chosen, given, now
from store.claims import is_alive, lock_list
from store.memory import start_watermark
from store.prepared import Prepared
from store.schema import Item, checkpoints, holds, listed, lists, pending, runs, scopes, waiting, watermarks, work
from store.signs import mark_lost
from tsi_fetch.words import Cursor, ListKind, Unlisted, WorkList


def _is(state: Item) -> ColumnElement[bool]:
    """Told to be no column, so that keys are looked up one by one: by (list, state) SQLite reads all that is open."""
    return work.c.state + 0 == int(state)


NOT_OVER: list[ColumnElement[str]] = [literal_column("'open'"), literal_column("'halted'")]
"""States of lists whose items may still be done; to a run a halted one is open, as it meets the guard itself."""

OF_RUNS: tuple[ColumnElement[bool], ...] = (lists.c.state.in_(NOT_OVER), lists.c.kind != "backfill")
"""Lists that runs go on with: those of first loads, of `--full`, and of what is to be read anew."""

_open_lists = Prepared(
    lambda postgres: select(lists.c.id, lists.c.options).where(
        lists.c.job == bindparam("job"), lists.c.stream == bindparam("stream"), lists.c.state.in_(NOT_OVER)
    )
)

_done = Prepared(
    lambda postgres: (
        update(work)
        .where(work.c.list == bindparam("number"), _is(Item.OPEN), chosen(postgres, work.c.key, "keys"))
        .values(state=int(Item.DONE), holder=None, held_until=None, attempts=0, reason=None)
    )
)


_MOST_AGAIN = 1000
"""Items of a list of what was asked for by key; then another one is begun."""


class WorkLists:
    def __init__(self, access: Access) -> None:
        self._access = access

    def open_list(self, stream: str, after: int = 0) -> WorkList | None:
        """The oldest open one, with a number above `after`, that a run works off; a backfill is left to its workers."""
        mine = (lists.c.job == self._access.job_no, lists.c.stream == stream, lists.c.id > after)
        with self._access.read() as conn:
            number = conn.scalar(select(func.min(lists.c.id)).where(*mine, *OF_RUNS))
            return None if number is None else read_list(conn, number)

    def unlisted(self, stream: str) -> Unlisted | None:
        """Of the lists after the last complete one: when the first began, and whether the run that began the last one,
        or one after it, has ended.  (Workers, and runs of single products, do not say of lists what runs do.)"""
        mine = (lists.c.job == self._access.job_no, lists.c.stream == stream, lists.c.kind.in_(("first", "full")))
        opened = (*mine, lists.c.state.in_(("open", "halted", "closed")))
        complete = select(func.max(lists.c.id)).where(*opened, lists.c.complete.is_(True)).scalar_subquery()
        after = select(lists.c.created, lists.c.options).where(*opened, lists.c.id > func.coalesce(complete, 0))
        with self._access.read() as conn:
            found = conn.execute(after.order_by(lists.c.id)).all()
            if not found:
                return None
            began = json.loads(found[-1].options or "{}").get("run", 0)
            whole = (runs.c.job == self._access.job_no, runs.c.no >= began, runs.c.whole.is_(True))
            ended = exists().where(*whole, runs.c.ended.is_not(None))
            return Unlisted(found[0].created, bool(conn.scalar(select(ended))))

    def begin_list(self, kind: ListKind, stream: str, *, again: bool = False) -> int:
        """A new list, not yet open; one that was begun and never opened is forgotten."""
        job = self._access.job_no
        with self._access.write() as conn:
            _forget_begun(conn, job, stream, kind)
            new = {"job": job, "stream": stream, "kind": kind, "state": "begun", "complete": False, "total": 0}
            options = ({"run": self._access.run[0]} if self._access.run else {}) | ({"again": True} if again else {})
            stored = {**new, "options": json.dumps(options) if options else None, "created": now(conn)}
            return int(conn.execute(insert(lists).values(stored).returning(lists.c.id)).scalar_one())

    def forget_stream(self, stream: str) -> None:
        """Back to before the stream was ever read: no watermark, no checkpoint, no list, nothing undecided, nothing
        that waits.  What is known, and which scopes hold it, stays.  For replays; whoever forgets a stream of a live
        job reads it again."""
        job = self._access.job_no
        with self._access.write() as conn:
            of_stream = select(lists.c.id).where(lists.c.job == job, lists.c.stream == stream)
            undecided = (pending.c.job == job, pending.c.stream == stream, pending.c.accepted.is_(False))
            conn.execute(delete(pending).where(*undecided))
            conn.execute(update(pending).where(pending.c.list.in_(of_stream)).values(list=None))
            conn.execute(delete(waiting).where(waiting.c.job == job, waiting.c.stream == stream))
            for table in (work, listed):
                conn.execute(delete(table).where(table.c.list.in_(of_stream)))
            for of_job in (lists, checkpoints, watermarks):
                conn.execute(delete(of_job).where(of_job.c.job == job, of_job.c.stream == stream))

    def ask_again(self, list_id: int) -> None:
        """What is left of a list is to be mapped and written anew by whoever goes on with it, even where nothing has
        changed."""
        with self._access.write() as conn:
            lock_list(conn, list_id)
            options = json.loads(conn.scalar(select(lists.c.options).where(lists.c.id == list_id)) or "{}")
            stored = {"options": json.dumps({**options, "again": True})}
            conn.execute(update(lists).where(lists.c.id == list_id).values(stored))

    def note_keys(self, list_id: int, number: int, keys: Sequence[str]) -> None:
        """Keys seen in pass `number`; the same one twice counts once."""
        with self._access.write() as conn:
            add_missing(conn, listed, [{"list": list_id, "pass": number, "key": key} for key in keys])

    def agree(self, list_id: int, number: int) -> bool:
        """True where pass `number` and the one before it saw the same keys; a first pass agrees with nothing."""
        if number < 2:
            return False
        with self._access.read() as conn:
            return not (_missing(conn, list_id, number, number - 1) or _missing(conn, list_id, number - 1, number))

    def start_list(self, list_id: int, *, complete: bool, cursor: Cursor | None) -> WorkList:
        """Open it with the keys of all its passes.  One that saw nothing is not complete, whatever the caller says:
        an empty listing proves nothing about what it lacks."""
        job = self._access.job_no
        with self._access.write() as conn:
            stream = conn.scalar(select(lists.c.stream).where(lists.c.id == list_id, lists.c.job == job))
            if stream is None:
                raise LookupError(f"this job has no work list {list_id}")
            something = conn.scalar(select(exists().where(listed.c.list == list_id)))
            if complete and something:  # as if a pass before the first had seen them, so that all have one order
                add_selected(conn, listed, ("list", "pass", "key"), _remembered(list_id, job))
            add_selected(conn, work, ("list", "key", "state"), _seen(conn, list_id))
            total = _count(conn, list_id)
            conn.execute(delete(listed).where(listed.c.list == list_id))
            opened = {"state": "open", "complete": complete and total > 0, "total": total}
            conn.execute(update(lists).where(lists.c.id == list_id).values(opened))
            if cursor:
                start_watermark(conn, job, stream, cursor)
            return read_list(conn, list_id)

    def take(self, list_id: int, count: int, after: int = 0) -> Sequence[tuple[int, str]]:
        """The next items that are not done, with numbers above `after`, in the order of the keys; the list closes
        when it is asked from the start and none is left."""
        items = self.undone(list_id, after, count)
        if not items and after == 0 and self._is_open(list_id):
            with self._access.write() as conn:
                closed = update(lists).where(lists.c.id == list_id, lists.c.state.in_(NOT_OVER))
                conn.execute(closed.values(state="closed", closed=now(conn)))
                mark_lost(conn, runs.c.list == list_id)
        return items

    def undone(self, list_id: int, after: int, count: int) -> Sequence[tuple[int, str]]:
        """A page of the items of an open list that are not done: number and key."""
        still = (work.c.list == list_id, work.c.state == Item.OPEN, work.c.id > after)
        mine = exists().where(lists.c.id == list_id, lists.c.job == self._access.job_no, lists.c.state.in_(NOT_OVER))
        with self._access.read() as conn:
            page = select(work.c.id, work.c.key).where(*still, mine).order_by(work.c.id).limit(count)
            return [(number, key) for number, key in conn.execute(page)]

    def worked_on(self, list_id: int) -> bool:
        """Whether workers are at it: somebody has a claim that has not expired."""
        with self._access.read() as conn:
            claimed = (work.c.list == list_id, work.c.holder.is_not(None), is_alive(now(conn)))
            return bool(conn.scalar(select(exists().where(*claimed))))

    def items(self, list_id: int, keys: Collection[str]) -> set[str]:
        """Those of these keys that are items of the list and not done."""
        with self._access.read() as conn:
            of_list = (work.c.list == list_id, _is(Item.OPEN), among(conn, work.c.key, keys))
            return set(conn.scalars(select(work.c.key).where(*of_list))) if keys else set()

    def _is_open(self, list_id: int) -> bool:
        mine = (lists.c.id == list_id, lists.c.job == self._access.job_no, lists.c.state.in_(NOT_OVER))
        with self._access.read() as conn:
            return conn.scalar(select(lists.c.id).where(*mine)) is not None


def read_list(conn: Connection, list_id: int) -> WorkList:
    """A list with what is left of it."""
    columns = (lists.c.id, lists.c.kind, lists.c.stream, lists.c.complete, lists.c.total, lists.c.options)
    row = conn.execute(select(*columns).where(lists.c.id == list_id)).one()
    left = conn.scalar(select(func.count()).where(work.c.list == list_id, work.c.state == Item.OPEN))
    return WorkList(row.id, row.kind, row.stream, row.complete, row.total, left or 0, asked_again(row.options))


def asked_again(options: str | None) -> bool:
    """Whether a list, by its options, was asked for `--again`."""
    return bool(json.loads(options or "{}").get("again"))


def finish(conn: Connection, job_no: int, stream: str, keys: Collection[str], *, again: bool) -> None:
    """Items of the stream's open lists with these keys are done.  Where they were asked for `--again`, they are only
    where this is `again`: what a run finds unchanged it neither maps nor sends."""
    if keys:
        some = given(conn, keys)
        for number, options in _open_lists.all(conn, job=job_no, stream=stream):
            if again or not asked_again(options):
                _done(conn, number=number, keys=some)


def lists_of(conn: Connection, job_no: int, stream: str, keys: Collection[str]) -> Mapping[str, int]:
    """The open list that each of these keys is an item of, where it is one; where several, one that a run works off."""
    numbers = _open(conn, job_no, stream) if keys else []
    if not numbers:
        return {}
    found = select(work.c.key, work.c.list).join(lists).where(work.c.list.in_(numbers), among(conn, work.c.key, keys))
    runs_last = found.order_by(case((lists.c.kind == "backfill", 0), else_=1))
    return {key: number for key, number in conn.execute(runs_last)}


def reopen(conn: Connection, job_no: int, stream: str, keys: Collection[str], closed: Collection[int]) -> None:
    """Items with these keys are to be done again: those of open lists, and those of `closed`, which opens again.  Of a
    backfill, they go to a list that runs work off: nobody may ever work on it again."""
    backfills = set(conn.scalars(select(lists.c.id).where(among(conn, lists.c.id, closed), lists.c.kind == "backfill")))
    if backfills:
        ask(conn, job_no, stream, keys)
    numbers = {*_open(conn, job_no, stream), *closed} - backfills
    if not numbers:
        return
    for number in sorted(numbers):  # a worker that looks meanwhile whether anything is left waits
        lock_list(conn, number)
    these = (work.c.list.in_(numbers), _is(Item.DONE), among(conn, work.c.key, keys))
    conn.execute(update(work).where(*these).values(state=Item.OPEN, reason=None))
    again = update(lists).where(lists.c.id.in_(numbers), lists.c.state == "closed")
    conn.execute(again.values(state="open", closed=None))


def ask(conn: Connection, job_no: int, stream: str, keys: Collection[str]) -> int:
    """Runs are to ask for these rows, whatever the feed says.  The list that they are on."""
    mine = {"job": job_no, "stream": stream, "kind": "reconcile", "state": "open"}
    found = select(func.min(lists.c.id)).where(*(lists.c[name] == value for name, value in mine.items()))
    number = conn.scalar(found)
    if number is None:
        new = {**mine, "complete": False, "total": 0, "created": now(conn)}
        number = conn.execute(insert(lists).values(new).returning(lists.c.id)).scalar_one()
    lock_list(conn, number)
    add_missing(conn, work, [{"list": number, "key": key, "state": int(Item.OPEN)} for key in sorted(keys)])
    again = (work.c.list == number, work.c.state != Item.OPEN, among(conn, work.c.key, keys))
    conn.execute(update(work).where(*again).values(state=Item.OPEN, reason=None))
    conn.execute(update(lists).where(lists.c.id == number).values(total=_count(conn, number)))
    return int(number)


def once_asked(conn: Connection, job_no: int, stream: str, keys: Collection[str]) -> int:
    """The closed list of rows that were asked for by their keys, and are done: where a guard discards what they
    decided, it opens again, since no feed brings them."""
    mine = {"job": job_no, "stream": stream, "kind": "reconcile", "state": "closed"}
    small = (*(lists.c[name] == value for name, value in mine.items()), lists.c.total < _MOST_AGAIN)
    number = conn.scalar(select(func.max(lists.c.id)).where(*small))
    if number is None:
        at = now(conn)
        new = {**mine, "complete": False, "total": 0, "created": at, "closed": at}
        number = conn.execute(insert(lists).values(new).returning(lists.c.id)).scalar_one()
    add_missing(conn, work, [{"list": number, "key": key, "state": int(Item.DONE)} for key in sorted(keys)])
    conn.execute(update(lists).where(lists.c.id == number).values(total=_count(conn, number)))
    return int(number)


def _open(conn: Connection, job_no: int, stream: str) -> Sequence[int]:
    return [number for number, _ in _open_lists.all(conn, job=job_no, stream=stream)]


def _forget_begun(conn: Connection, job_no: int, stream: str, kind: ListKind) -> None:
    """Forget what was begun and never opened; a backfill being listed beside a run is another matter."""
    alike = lists.c.kind == "backfill" if kind == "backfill" else lists.c.kind != "backfill"
    begun = select(lists.c.id).where(lists.c.job == job_no, lists.c.stream == stream, lists.c.state == "begun", alike)
    for table in (listed, work):  # windows are put on a list before it is opened
        conn.execute(delete(table).where(table.c.list.in_(begun)))
    conn.execute(delete(lists).where(lists.c.id.in_(begun)))


def _seen(conn: Connection, list_id: int) -> Select[int, Any, int]:
    """The keys of all passes, in order."""
    item = (literal(list_id), listed.c.key, literal(int(Item.OPEN)))
    keys = select(*item).where(listed.c.list == list_id).group_by(listed.c.key)
    return keys.order_by(bytewise(conn, listed.c.key))


def _remembered(list_id: int, job_no: int) -> Select[int, Any, int]:
    """The rows that speak for scopes which still hold something."""
    row = func.coalesce(scopes.c.row, scopes.c.key)
    holding = exists().where(holds.c.scope == scopes.c.id)
    return select(literal(list_id), literal(0), row).where(scopes.c.job == job_no, holding).distinct()


def _count(conn: Connection, list_id: int) -> int:
    return conn.scalar(select(func.count()).select_from(work).where(work.c.list == list_id)) or 0


def _missing(conn: Connection, list_id: int, here: int, there: int) -> bool:
    """Whether pass `here` saw a key that pass `there` did not."""
    other = listed.alias()
    same = and_(other.c.list == list_id, other.c["pass"] == there, other.c.key == listed.c.key)
    seen = (listed.c.list == list_id, listed.c["pass"] == here)
    return conn.scalar(select(listed.c.key).where(*seen, ~exists().where(same)).limit(1)) is not None
