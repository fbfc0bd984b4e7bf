"""What goes of a store, and what stays however old it is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from store import backfills, queries
from store.handle import Stored
from store.job_store import JobBook
from store.pruning import PAGE, Pruning
from store.schema import audit, lists, quarantine, runs, work
from store.trail import Deed, trail
from tsi_fetch.errors import Stopped
from tsi_fetch.words import (
    Cursor,
    CursorKind,
    Fault,
    Known,
    Mark,
    Quarantined,
    Ref,
    Row,
    RunRecord,
    ScopeSettled,
    Settlement,
)

S = "changes"
BEGIN = datetime(2025, 1, 1, 9, 30, tzinfo=UTC)
LATER = datetime(2040, 1, 1, tzinfo=UTC)
DEED = Deed("me@here", "db prune", "older than 90d", {"before": "2040"})
CHANGED = {"counts": {"List": {"updated": 1, "unchanged": 3}}, "rows": {"read": 2}}
UNCHANGED = {"counts": {"List": {"unchanged": 4}}}
FAULT = Fault("bad", "$", "a rule")


def never(seconds: float) -> None:
    raise AssertionError("nobody holds the lease")


def go_on() -> None:
    """Nobody wants to stop."""


@pytest.fixture
def book(stored: Stored) -> Iterator[JobBook]:
    with stored.lease("cima", "out", "holder", wait=never) as book:
        yield book


def ran(book: JobBook, name: str, night: int, report: dict[str, Any], outcome: str = "done", **more: Any) -> None:
    """A run of that night; what the book settles after it is written by it."""
    began = BEGIN + timedelta(days=night)
    record = RunRecord(name, "cima", began, whole=more.get("whole", True))
    book.begin_run(record)
    if outcome != "running":
        ended = began + timedelta(minutes=5)
        book.end_run(RunRecord(name, "cima", began, ended, outcome, 0, whole=more.get("whole", True), report=report))


def lines(stored: Stored) -> dict[str, bool]:
    """The runs that are left: whether each still has its report."""
    with stored.database.read() as conn:
        return {
            row.id: row.report != "{}" for row in conn.execute(select(runs.c.id, runs.c.report).order_by(runs.c.no))
        }


def prune(stored: Stored, before: datetime = LATER) -> dict[str, int]:
    """What went; it is what was foreseen, and nothing is left to go.  (Before `LATER`, its own entry is old, too.)"""
    pruning = Pruning(stored, before)
    foreseen = dict(pruning.count())
    gone = dict(pruning.prune(DEED, go_on))
    if before == LATER:
        assert gone.pop("audit") == 1 + foreseen.pop("audit", 0)
    assert gone == foreseen
    assert pruning.count() == {}
    return gone


def trouble(key: str) -> Quarantined:
    row = Row(key, unfetched=FAULT)
    return Quarantined(key, row.digest, FAULT, row)


def test_of_runs_those_that_wrote_keep_their_line_and_what_status_needs_stays(stored: Stored, book: JobBook) -> None:
    ran(book, "wrote", 1, CHANGED)
    ran(book, "idle", 2, UNCHANGED)
    ran(book, "down", 3, {"counts": {}}, "failed")
    ran(book, "one", 4, UNCHANGED, whole=False)
    ran(book, "last-wrote", 5, CHANGED)
    ran(book, "idle-since", 6, UNCHANGED)
    ran(book, "still", 7, {}, "running")
    before = queries.status(stored, "cima")
    assert prune(stored) == {"runs": 2, "reports": 2}
    assert lines(stored) == {"wrote": False, "down": False, "last-wrote": True, "idle-since": True, "still": False}
    assert queries.status(stored, "cima") == before
    assert all(book.ran(name) for name in ("wrote", "down", "last-wrote"))


def test_what_is_young_stays(stored: Stored, book: JobBook) -> None:
    for night in range(4):
        ran(book, f"idle-{night}", night, UNCHANGED)
    ran(book, "wrote", 4, CHANGED)
    assert prune(stored, BEGIN + timedelta(days=2)) == {"runs": 2}
    assert list(lines(stored)) == ["idle-2", "idle-3", "wrote"]


def test_nights_without_a_change_are_counted_from_the_last_one_however_old(stored: Stored, book: JobBook) -> None:
    ran(book, "idle", 0, UNCHANGED)
    ran(book, "wrote", 1, CHANGED)
    for night in range(2, 6):
        ran(book, f"idle-{night}", night, UNCHANGED)
    assert prune(stored) == {"runs": 1}
    assert [name for name, whole in lines(stored).items() if whole] == list(lines(stored))


def test_a_job_that_never_wrote_keeps_all_its_nights(stored: Stored, book: JobBook) -> None:
    ran(book, "idle-1", 1, UNCHANGED)
    ran(book, "idle-2", 2, UNCHANGED)
    assert prune(stored) == {}
    assert list(lines(stored)) == ["idle-1", "idle-2"]


def test_runs_that_something_names_keep_their_line(stored: Stored, book: JobBook) -> None:
    ref = Ref("List", "a b/ü")
    ran(book, "named", 1, UNCHANGED)
    book.settle(Settlement(S, known=(Known(ref, "cima", bytes(16), "1", 5, 1),), scopes=(scope("p1", ref),)))
    ran(book, "marker", 2, UNCHANGED)
    book.marked(Mark("marker", 1, "1"))
    ran(book, "found-it", 3, UNCHANGED)
    book.settle(Settlement(S, quarantined=(trouble("p 2"),)))
    ran(book, "nobody", 4, UNCHANGED)
    ran(book, "wrote", 5, CHANGED)
    assert prune(stored) == {"runs": 1, "reports": 3}
    assert lines(stored) == {"named": False, "marker": False, "found-it": False, "wrote": True}


def scope(key: str, *refs: Ref) -> ScopeSettled:
    return ScopeSettled(key, frozenset(refs), frozenset(), bytes(16), 1, key)


def test_closed_quarantine_goes_and_what_lies_there_or_may_open_again_stays(stored: Stored, book: JobBook) -> None:
    ref = Ref("List", "a")
    book.settle(Settlement(S, known=(Known(ref, "cima", bytes(16), "1", 5, 1),), scopes=(scope("p3", ref),)))
    book.settle(Settlement(S, quarantined=tuple(map(trouble, ("p1", "p2", "p3")))))
    book.settle(Settlement(S, closed=("p1", "p3")))
    book.settle(Settlement(S, scopes=(ScopeSettled("p3", frozenset(), frozenset({ref}), None, 1, "p3"),)))
    assert [p.accepted for p in book.pending()] == [False]
    assert prune(stored) == {"quarantine": 1}
    book.discard(S)
    assert book.unfetched(S) == ["p2", "p3"]


def make_list(book: JobBook, kind: Any, keys: list[str], *, complete: bool = True) -> int:
    """A list that was worked off."""
    number = book.begin_list(kind, S)
    book.note_keys(number, 1, keys)
    book.start_list(number, complete=complete, cursor=Cursor(CursorKind.DATE, "2025-01-01"))
    book.settle(Settlement(S, keys=tuple(keys)))
    assert list(book.take(number, 10)) == []
    return number


def test_closed_lists_go_but_for_those_that_say_since_when_none_was_complete(stored: Stored, book: JobBook) -> None:
    make_list(book, "first", ["a", "b"], complete=False)
    make_list(book, "full", ["a", "b"])
    make_list(book, "reconcile", ["a"])
    unlisted = make_list(book, "full", ["a", "b"], complete=False)
    before = book.unlisted(S)
    under_way = book.begin_list("full", S)
    book.note_keys(under_way, 1, ["a"])
    book.start_list(under_way, complete=True, cursor=None)
    assert prune(stored) == {"work": 7, "lists": 2}
    with stored.database.write() as conn:
        assert unlisted in conn.scalars(select(lists.c.id)).all()
        conn.execute(update(lists).where(lists.c.id == under_way).values(state="cancelled"))
    assert book.unlisted(S) == before


def test_a_list_that_a_departure_came_from_stays_as_it_may_open_again(stored: Stored, book: JobBook) -> None:
    ref = Ref("List", "a")
    book.settle(Settlement(S, known=(Known(ref, "cima", bytes(16), "1", 5, 1),), scopes=(scope("p1", ref),)))
    number = book.begin_list("full", S)
    book.note_keys(number, 1, ["p1"])
    book.start_list(number, complete=True, cursor=None)
    gone = ScopeSettled("p1", frozenset(), frozenset({ref}), None, 1, "p1")
    book.settle(Settlement(S, scopes=(gone,), keys=("p1",)))
    assert list(book.take(number, 10)) == []
    assert prune(stored) == {}
    book.discard(S)
    assert list(book.take(number, 10)) != []


@pytest.mark.parametrize("given_up", [False, True])
def test_what_was_set_aside_stays_until_it_is_done_or_given_up(stored: Stored, book: JobBook, given_up: bool) -> None:
    number = backfills.begin(book, stored, S, {"attempts": 1})
    backfills.note_all(book, number, ["p1", "p2", "p3"])
    book.start_list(number, complete=False, cursor=None)
    book.settle(Settlement(S, keys=("p1", "p2")))
    claims = stored.worker("cima", "out", "worker-1", number, expiry=60, attempts=1).claims
    claims.failed({claimed.number: "it was down" for claimed in claims.claim(9)})
    assert claims.close()
    make_list(book, "reconcile", ["p9"])
    assert prune(stored) == {"work": 1}
    assert how_far(stored, number) == ("closed", 2, 0, 1)
    if given_up:
        backfills.cancel(stored, number, "me@here")
        assert [deed.action for deed in trail(stored)][:1] == ["backfill cancel"]
    else:
        backfills.resume(stored, number)
        assert [claimed.key for claimed in claims.claim(9)] == ["p3"]
        book.settle(Settlement(S, keys=("p3",)))
        assert claims.close()
    assert prune(stored) == {"work": 3, "lists": 1}
    assert backfills.backfill(stored, number) is None


def how_far(stored: Stored, number: int) -> tuple[str, int, int, int]:
    """Its state, and how many of its items are done, left and set aside."""
    found = backfills.backfill(stored, number)
    assert found
    return (found.progress.state, found.progress.done, found.progress.left, found.progress.aside)


def test_of_a_cancelled_list_it_stays_known_how_far_it_was_for_as_long_as_it_is_listed(
    stored: Stored, book: JobBook
) -> None:
    number = backfills.begin(book, stored, S, {})
    backfills.note_all(book, number, ["p1", "p2"])
    book.start_list(number, complete=False, cursor=None)
    book.settle(Settlement(S, keys=("p1",)))
    backfills.cancel(stored, number, "me@here")
    assert prune(stored) == {}
    assert how_far(stored, number) == ("cancelled", 1, 1, 0)
    make_list(book, "reconcile", ["p9"])
    assert prune(stored) == {"work": 3, "lists": 1}


def test_the_trail_goes_by_age_and_says_that_it_went(stored: Stored, book: JobBook) -> None:
    Pruning(stored, BEGIN).prune(Deed("me@here", "db prune", "the first", {}), go_on)
    with stored.database.write() as conn:
        conn.execute(update(audit).values(at=BEGIN))
    assert prune(stored, BEGIN + timedelta(days=1)) == {"audit": 1}
    assert [(row.action, row.job, row.why) for row in trail(stored)] == [("db prune", None, "older than 90d")]


def test_more_than_a_page_goes_and_who_stops_it_finds_the_rest_next_time(stored: Stored, book: JobBook) -> None:
    keys = [f"p{n}" for n in range(PAGE + 100)]
    make_list(book, "reconcile", keys)
    asked = 0

    def stop_at_the_second() -> None:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise Stopped(15)

    with pytest.raises(Stopped):
        Pruning(stored, LATER).prune(DEED, stop_at_the_second)
    with stored.database.read() as conn:
        assert len(conn.scalars(select(work.c.id)).all()) == 100
    assert prune(stored) == {"work": 100}


def test_no_list_gets_a_number_that_another_had(stored: Stored, book: JobBook) -> None:
    """Reports and the audit trail name them by it; SQLite gives the number of a deleted last row once more."""
    first, last = make_list(book, "reconcile", ["p1"]), make_list(book, "reconcile", ["p2"])
    assert prune(stored) == {"work": 2, "lists": 1}
    assert first < last < make_list(book, "reconcile", ["p3"])


def test_an_entry_that_opens_between_looking_and_letting_go_stays(stored: Stored, book: JobBook) -> None:
    book.settle(Settlement(S, quarantined=(trouble("p1"),)))
    book.settle(Settlement(S, closed=("p1",)))

    def open_again() -> None:
        book.settle(Settlement(S, quarantined=(trouble("p1"),)))

    assert dict(Pruning(stored, LATER).prune(DEED, open_again)) == {"audit": 1}
    with stored.database.read() as conn:
        assert conn.scalars(select(quarantine.c.closed)).all() == [None]
