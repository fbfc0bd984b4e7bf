"""What reconciling reads of the store, what it notes, and what it repairs in one transaction."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Table, func, select, update

from store.handle import Stored
from store.job_store import JobBook
from store.reconciling import AGAIN
from store.schema import audit, leases, listed, lists
from tsi_fetch.differences import Action, Entry, Repair
from tsi_fetch.errors import LeaseLost
from tsi_fetch.reconcile import Audit, Mended
from tsi_fetch.words import (
    DOUBTED,
    FORGOTTEN,
    Cursor,
    CursorKind,
    Known,
    Mark,
    Pending,
    Ref,
    ScopeSettled,
    Settlement,
    State,
    WorkList,
)

S = "changes"
FROM = Cursor(CursorKind.DATE, "2026-03-02")
DIGEST = bytes(range(16))
ME = Audit("me@here", {"counts": {"Organization": {"missing": 2}}})


def never(seconds: float) -> None:
    raise AssertionError("nobody holds the lease")


@pytest.fixture
def book(stored: Stored) -> Iterator[JobBook]:
    with stored.lease("cima", "out", "run-1", wait=never) as book:
        yield book


def ref(ident: str) -> Ref:
    return Ref("Organization", ident)


def entry(ident: str, job: str = "cima", state: State = State.LIVE, version: str = "1") -> Known:
    return Known(ref(ident), job, DIGEST, version, 5, 1, state)


def scope(key: str, *idents: str, row: str | None = None, leaving: str = "") -> ScopeSettled:
    gone = frozenset(map(ref, leaving))
    return ScopeSettled(key, frozenset(map(ref, idents)), gone, DIGEST, 1, row or key)


def remember(book: JobBook, known: list[Known], *scopes: ScopeSettled, watermark: bool = True) -> dict[str, int]:
    """Settle these; gives the numbers of all entries by id."""
    book.settle(Settlement(S, known=tuple(known), scopes=scopes))
    if watermark:
        book.advance(S, FROM, clear=False)
    return {e.known.ref.id: e.number for e in book.entries(0, 10_000)}


def mend(book: JobBook, *pages: list[Repair], mark: Mark | None = None) -> Mended:
    number = book.begin_list("reconcile", S)
    for n, repairs in enumerate(pages, 1):
        book.note_repairs(number, n, repairs)
    return book.mend(number, S, mark, ME)


def count(stored: Stored, table: Table) -> Any:
    with stored.database.read() as conn:
        return conn.scalar(select(func.count()).select_from(table))


def todo(book: JobBook, mended: Mended) -> list[str]:
    assert mended.work is not None
    return [key for _, key in book.take(mended.work.id, 100)]


def test_entries_come_by_number_in_pages_with_their_holds_and_without_those_of_other_jobs(
    stored: Stored, book: JobBook
) -> None:
    with stored.lease("fda", "out", "run-f", wait=never) as other:
        other.settle(Settlement(S, known=(entry("f", "fda"),), scopes=(scope("f1", "f"),)))
    gone = entry("b", state=State.DELETED)
    remember(book, [entry("a"), gone, entry("c", version="0" * 64)], scope("p", "a", "c"))
    first = book.entries(0, 2)
    rest = book.entries(first[-1].number, 2)
    assert book.entries(rest[-1].number, 2) == []
    found = [*first, *rest]
    assert [e.number for e in found] == sorted(e.number for e in found)
    by_id = {e.known.ref.id: e for e in found}
    assert [(by_id[i].known, by_id[i].held) for i in "abc"] == [
        (entry("a"), True),
        (gone, False),
        (entry("c", version="0" * 64), True),
    ]
    assert book.kinds() == {"Organization": 3}


def test_a_job_that_never_ran_has_no_entries(stored: Stored) -> None:
    reader = stored.reader("nobody", "out")
    assert (list(reader.entries(0, 10)), dict(reader.kinds())) == ([], {})


def test_every_repair_does_what_it_says_in_whatever_page_it_was_noted(stored: Stored, book: JobBook) -> None:
    known = [entry(i) for i in "abcdef"] + [entry("g", state=State.DELETED), entry("z")]
    no = remember(book, known, scope("p1", "a", "b", row="row-1"), scope("p2", "b", "c"), scope("p3", "z"))
    mended = mend(
        book,
        [Repair(no["a"], Action.TAKE, "9 x"), Repair(no["b"], Action.FORGET), Repair(no["c"], Action.BURY)],
        [Repair(no["d"], Action.BURY), Repair(no["e"], Action.RELEASE)],
        [Repair(no["f"], Action.REMOVE, "0" * 64), Repair(no["g"], Action.REMOVE, "3")],
    )
    after = book.known([ref(i) for i in "abcdefgz"])
    assert {k.ref.id: (k.digest, k.version, k.state) for k in after.values()} == {
        "a": (DIGEST, "9 x", State.LIVE),
        "b": (DOUBTED, None, State.LIVE),
        "c": (FORGOTTEN, None, State.DELETED),
        "d": (FORGOTTEN, None, State.DELETED),
        "f": (DOUBTED, "0" * 64, State.LIVE),
        "g": (DOUBTED, "3", State.LIVE),
        "z": (DIGEST, "1", State.LIVE),
    }
    assert {k.order for k in after.values()} == {5}
    scopes = book.scopes(["p1", "p2", "p3"])
    assert [scopes[k].raw for k in ("p1", "p2", "p3")] == [None, None, DIGEST]
    assert scopes["p2"].refs == {ref("b"), ref("c")}
    assert book.pending() == [Pending(ref(i), AGAIN, AGAIN, accepted=True) for i in "fg"]
    assert sorted(todo(book, mended)) == ["p2", "row-1"]
    assert mended.work == book.open_list(S)
    assert (mended.work and (mended.work.kind, mended.work.complete, mended.work.total)) == ("reconcile", False, 2)
    assert count(stored, listed) == 0


def test_a_list_under_way_gets_the_keys_since_runs_work_off_one_at_a_time(stored: Stored, book: JobBook) -> None:
    no = remember(book, [entry("a"), entry("b"), entry("c")], scope("p1", "a"), scope("p2", "b"), scope("p3", "c"))
    number = book.begin_list("full", S)
    book.note_keys(number, 1, ["p1", "p2", "p9"])
    book.start_list(number, complete=True, cursor=None)
    book.settle(Settlement(S, keys=("p1", "p2", "p3")))
    mended = mend(book, [Repair(no["a"], Action.BURY), Repair(no["c"], Action.FORGET)])
    assert mended.work == WorkList(number, "full", S, complete=True, total=4, left=3)
    assert sorted(todo(book, mended)) == ["p1", "p3", "p9"]
    assert count(stored, lists) == 1
    again = mend(book, [Repair(no["b"], Action.FORGET)])
    assert (again.work and again.work.left) == 4


def test_before_a_first_load_no_list_is_opened_since_that_asks_for_every_key(stored: Stored, book: JobBook) -> None:
    no = remember(book, [entry("a")], scope("p1", "a"), watermark=False)
    assert mend(book, [Repair(no["a"], Action.BURY)]) == Mended()
    assert (count(stored, lists), book.scopes(["p1"])["p1"].raw) == (0, None)


def test_what_no_scope_holds_opens_no_list(stored: Stored, book: JobBook) -> None:
    no = remember(book, [entry("a"), entry("b")])
    repairs = [Repair(no["a"], Action.BURY), Repair(no["b"], Action.TAKE, "2")]
    assert mend(book, repairs) == Mended()
    assert (book.open_list(S), count(stored, lists)) == (None, 0)


def test_scopes_of_other_jobs_are_mapped_again_and_named(stored: Stored, book: JobBook) -> None:
    no = remember(book, [entry("a")], scope("p1", "a"))
    with stored.lease("fda", "out", "run-f", wait=never) as other:
        other.settle(Settlement(S, scopes=(scope("f1", "a"),)))
        mended = mend(book, [Repair(no["a"], Action.BURY)])
        assert (mended.elsewhere, todo(book, mended)) == (("fda",), ["p1"])
        assert other.scopes(["f1"])["f1"].raw is None
        assert other.open_list(S) is None


def test_what_is_held_or_still_to_go_by_now_is_forgotten_and_never_released(book: JobBook) -> None:
    no = remember(book, [entry("a"), entry("b")], scope("p1", "a", "b"))
    book.settle(Settlement(S, scopes=(scope("p1", "a", leaving="b"),)))
    book.advance(S, None, clear=False)
    assert [p.accepted for p in book.pending()] == [True]
    mend(book, [Repair(no["a"], Action.RELEASE), Repair(no["b"], Action.RELEASE)])
    assert {k.ref.id: (k.digest, k.version) for k in book.known([ref("a"), ref("b")]).values()} == {
        "a": (DOUBTED, None),
        "b": (DOUBTED, None),
    }


def test_a_departure_that_is_decided_already_is_not_decided_twice(book: JobBook) -> None:
    no = remember(book, [entry("b")], scope("p1", "b"))
    book.settle(Settlement(S, scopes=(scope("p1", leaving="b"),)))
    book.advance(S, None, clear=False)
    mend(book, [Repair(no["b"], Action.REMOVE, "7")])
    assert book.pending() == [Pending(ref("b"), "p1", "p1", accepted=True)]
    book.settle(Settlement(S, departed=(ref("b"),)))
    mend(book, [Repair(no["b"], Action.REMOVE, "7")])
    assert book.pending() == [Pending(ref("b"), AGAIN, AGAIN, accepted=True)]


@pytest.mark.parametrize("mark", [None, Mark("run-9", 4, "12")])
def test_the_marker_is_taken_over_with_an_entry_in_the_audit(stored: Stored, book: JobBook, mark: Mark | None) -> None:
    book.marked(Mark("run-1", 1, "1"))
    book.intend(Mark("run-1", 2, "1"))
    assert book.mend(None, S, mark, ME) == Mended()
    assert book.marks() == (mark, None)
    with stored.database.read() as conn:
        row = conn.execute(select(audit.c.actor, audit.c.action, audit.c.detail)).one()
    assert (row.actor, row.action) == ("me@here", "reconcile")
    assert json.loads(row.detail) == {"counts": {"Organization": {"missing": 2}}, "list": None}


def test_notes_that_were_never_used_are_forgotten_by_the_next_attempt(stored: Stored, book: JobBook) -> None:
    no = remember(book, [entry("a"), entry("b")], scope("p1", "a", "b"))
    first = book.begin_list("reconcile", S)
    book.note_repairs(first, 1, [Repair(no["a"], Action.BURY)])
    assert book.open_list(S) is None
    mend(book, [Repair(no["b"], Action.BURY)])
    assert book.known([ref("a")])[ref("a")] == entry("a")
    assert (count(stored, lists), count(stored, listed)) == (1, 0)


def test_a_lease_that_was_lost_repairs_nothing(stored: Stored, book: JobBook) -> None:
    no = remember(book, [entry("a")], scope("p1", "a"))
    number = book.begin_list("reconcile", S)
    book.note_repairs(number, 1, [Repair(no["a"], Action.BURY)])
    with stored.database.write() as conn:
        conn.execute(update(leases).values(fence=leases.c.fence + 1))
    with pytest.raises(LeaseLost):
        book.mend(number, S, None, ME)
    reader = stored.reader("cima", "out")
    assert (reader.known([ref("a")])[ref("a")], reader.open_list(S)) == (entry("a"), None)
    assert count(stored, audit) == 0


def test_a_repair_that_dies_at_its_last_line_has_changed_nothing(stored: Stored, book: JobBook) -> None:
    no = remember(book, [entry("a"), entry("b"), entry("c")], scope("p1", "a"))
    number = book.begin_list("reconcile", S)
    book.note_repairs(number, 1, [Repair(no["a"], Action.BURY), Repair(no["b"], Action.RELEASE)])
    book.note_repairs(number, 2, [Repair(no["c"], Action.REMOVE, "4")])
    with pytest.raises(TypeError):
        book.mend(number, S, Mark("run-9", 1), Audit("me@here", {"not JSON": object()}))
    assert {k.ref.id: k for k in book.known([ref(i) for i in "abc"]).values()} == {i: entry(i) for i in "abc"}
    assert (book.scopes(["p1"])["p1"].raw, book.pending(), book.marks()) == (DIGEST, [], (None, None))
    assert (book.open_list(S), count(stored, listed)) == (None, 3)


def test_a_view_that_only_reads_notes_and_mends_nothing(stored: Stored, book: JobBook) -> None:
    reader = stored.reader("cima", "out")
    with pytest.raises(RuntimeError):
        reader.mend(None, S, None, ME)
    with pytest.raises(RuntimeError):
        reader.note_repairs(1, 1, [Repair(1, Action.BURY)])
    assert reader.marks() == book.marks() == (None, None)


def test_many_repairs_are_made_page_by_page(book: JobBook) -> None:
    names = [f"n{i:04}" for i in range(2500)]
    no = remember(book, [entry(n) for n in names], *(scope(f"p{n}", n) for n in names))
    pages = [names[i : i + 1000] for i in range(0, len(names), 1000)]
    mended = mend(book, *([Repair(no[n], Action.BURY) for n in page] for page in pages))
    assert (mended.work and mended.work.total) == 2500
    entries: list[Entry] = []
    while page := book.entries(entries[-1].number if entries else 0, 700):
        entries += page
    assert {e.known.digest for e in entries} == {FORGOTTEN}
    assert len(entries) == 2500
