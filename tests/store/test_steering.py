"""Where streams stand, and moving a watermark: everything in one transaction, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event, select, update

from store.handle import Stored
from store.job_store import JobBook
from store.schema import leases, lists, scopes
from store.steering import Read, sinks_of
from store.trail import Deed, trail
from tsi_fetch.errors import LeaseLost, TryAgain
from tsi_fetch.words import Cursor, CursorKind, Known, Position, Ref, RunRecord, ScopeSettled, Settlement

S = "changes"
FROM = Cursor(CursorKind.DATE, "2026-03-10", frozenset({"r 1", "r/2"}))
BACK = Cursor(CursorKind.DATE, "2026-03-03")
ON = Cursor(CursorKind.DATE, "2026-03-12", FROM.seen)
DEED = Deed("ich@hier", "watermark rewind", "weil es nötig war", {"from": "2026-03-10", "to": "2026-03-03"})


def never(seconds: float) -> None:
    raise AssertionError("nobody holds the lease")


@pytest.fixture
def book(stored: Stored) -> Iterator[JobBook]:
    """In the middle of a pass and of a load."""
    with stored.lease("cima", "out", "run-1", wait=never) as book:
        number = book.begin_list("first", S)
        book.note_keys(number, 1, ["a", "b", "ü c"])
        book.start_list(number, complete=True, cursor=None)
        book.advance(S, FROM, clear=False)
        ref = Ref("List", "a")
        scope = ScopeSettled("a", frozenset({ref}), frozenset(), bytes(16), 1, "a", {"part": "etag"})
        known = Known(ref, "cima", bytes(16), "1", 5, 1)
        book.settle(Settlement(S, known=(known,), scopes=(scope,), checkpoint=("r3",), keys=("a",)))
        yield book


def state(stored: Stored, book: JobBook) -> tuple[Any, ...]:
    """All that steering may change."""
    with stored.database.read() as conn:
        validators = conn.scalars(select(scopes.c.validators)).all()
        states = conn.scalars(select(lists.c.state).order_by(lists.c.id)).all()
    return book.position(S), validators, states, len(trail(stored))


def test_a_stream_says_where_it_stands_and_what_is_left(stored: Stored, book: JobBook) -> None:
    [row] = book.steering.streams()
    assert (row.stream, row.cursor, row.checkpoint) == (S, FROM, 1)
    assert [(work.kind, work.left, work.total) for work in row.work] == [("first", 2, 3)]
    assert row.moved is not None
    assert book.steering.rows_remembered() == 1
    assert (sinks_of(stored, "cima"), sinks_of(stored, "nix")) == (["out"], [])
    assert list(stored.reader("cima", "elsewhere").steering.streams()) == []


def test_rewound_is_read_again_whatever_was_settled_and_the_load_goes_on(stored: Stored, book: JobBook) -> None:
    book.steering.rewind(S, FROM, BACK, DEED)
    assert book.position(S) == Position(BACK, frozenset())
    work = book.open_list(S)
    assert work is not None
    assert work.left == 2
    [row] = trail(stored, "cima")
    assert (row.actor, row.action, row.why, row.job, row.sink) == (*_head(DEED), "cima", "out")
    assert row.detail == DEED.detail


def _head(deed: Deed) -> tuple[str, str, str]:
    return deed.actor, deed.action, deed.why


def test_what_is_settled_stays_so_when_a_watermark_is_put_forward(book: JobBook) -> None:
    book.steering.skip(S, FROM, ON, DEED)
    assert book.position(S) == Position(ON, frozenset({"r3"}))


def test_forgotten_is_as_before_a_first_load_but_for_what_is_known_and_backfills(stored: Stored, book: JobBook) -> None:
    backfill = book.begin_list("backfill", S)
    book.note_keys(backfill, 1, ["z"])
    book.start_list(backfill, complete=True, cursor=None)
    book.steering.forget(S, FROM, DEED)
    assert book.position(S) == Position()
    assert book.open_list(S) is None
    assert book.validators(["a"], 1) == {}
    with stored.database.read() as conn:
        assert conn.scalars(select(lists.c.state).order_by(lists.c.id)).all() == ["cancelled", "open"]
    assert book.scopes(["a"])["a"].refs == {Ref("List", "a")}


Change = Callable[[JobBook], None]
CHANGES: dict[str, Change] = {
    "rewind": lambda book: book.steering.rewind(S, FROM, BACK, DEED),
    "skip": lambda book: book.steering.skip(S, FROM, ON, DEED),
    "forget": lambda book: book.steering.forget(S, FROM, DEED),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_where_it_has_moved_meanwhile_nothing_is_done(stored: Stored, book: JobBook, change: Change) -> None:
    book.advance(S, Cursor(CursorKind.DATE, "2026-03-11"), clear=False)
    before = state(stored, book)
    with pytest.raises(TryAgain, match="moved meanwhile"):
        change(book)
    assert state(stored, book) == before


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_lost_lease_changes_nothing(stored: Stored, book: JobBook, change: Change) -> None:
    before = state(stored, book)
    with stored.database.write() as conn:
        conn.execute(update(leases).values(fence=leases.c.fence + 1))
    with pytest.raises(LeaseLost):
        change(book)
    assert state(stored, book) == before


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_one_that_dies_at_its_last_line_has_changed_nothing(stored: Stored, book: JobBook, change: Change) -> None:
    before = state(stored, book)

    def die(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.startswith("INSERT INTO audit"):
            raise KeyboardInterrupt

    event.listen(stored.database.engine, "before_cursor_execute", die)
    with pytest.raises(KeyboardInterrupt):
        change(book)
    event.remove(stored.database.engine, "before_cursor_execute", die)
    assert state(stored, book) == before


def test_what_was_read_counts_live_whole_runs_since_then(stored: Stored, book: JobBook) -> None:
    for day, whole in ((1, True), (2, False), (3, True), (4, True)):
        began = datetime(2026, 3, day, tzinfo=UTC)
        book.begin_run(RunRecord(f"r{day}", "cima", began, whole=whole))
        if day < 4:
            book.end_run(RunRecord(f"r{day}", "cima", began, began, "done", 0, whole, {"rows": {"read": day}}))
    assert book.steering.read_since(datetime(2026, 3, 1, tzinfo=UTC)) == Read(2, 4, 1)
    assert book.steering.read_since(datetime(2026, 3, 3, tzinfo=UTC)) == Read(1, 3, 1)
