"""Pending departures: decided, cancelled, accepted, discarded, over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from store.handle import Stored
from store.job_store import JobBook
from tsi_fetch.words import Cursor, CursorKind, Known, Pending, Ref, ScopeSettled, Settlement

S = "changes"
A, B = Ref("Organization", "a"), Ref("Organization", "b")


def never(seconds: float) -> None:
    raise AssertionError("nobody holds the lease")


def scope(key: str, *refs: Ref, leaving: tuple[Ref, ...] = ()) -> ScopeSettled:
    return ScopeSettled(key, frozenset(refs), frozenset(leaving), b"r" * 16, 1, f"row-{key}")


@pytest.fixture
def book(stored: Stored) -> Iterator[JobBook]:
    """A and B are held by scope 1, B by scope 2 as well."""
    with stored.lease("cima", "out", "run-1", wait=never) as book:
        known = tuple(Known(ref, "cima", b"d" * 16, "1", 5, 1) for ref in (A, B))
        book.settle(Settlement(S, known=known, scopes=(scope("1", A, B), scope("2", B))))
        yield book


def test_what_leaves_a_scope_is_pending_and_still_held(book: JobBook) -> None:
    book.settle(Settlement(S, scopes=(scope("1", leaving=(A, B)),)))
    assert sorted(book.pending(), key=str) == [Pending(A, "1", "row-1"), Pending(B, "1", "row-1")]
    assert book.scopes(["1"])["1"].refs == {A, B}


def test_what_comes_back_to_its_scope_is_no_longer_pending(book: JobBook) -> None:
    book.settle(Settlement(S, scopes=(scope("1", B, leaving=(A,)),)))
    book.settle(Settlement(S, scopes=(scope("1", A, B),)))
    assert book.pending() == []


def test_another_scope_that_holds_it_does_not_cancel_an_undecided_departure(book: JobBook) -> None:
    book.settle(Settlement(S, scopes=(scope("1", A, leaving=(B,)),)))
    book.settle(Settlement(S, scopes=(scope("2", B),)))
    assert book.pending() == [Pending(B, "1", "row-1")]


def test_past_the_guard_holds_go_and_only_what_nobody_holds_stays_pending(book: JobBook) -> None:
    book.settle(Settlement(S, scopes=(scope("1", leaving=(A, B)),)))
    book.advance(S, None, clear=False)
    assert book.pending() == [Pending(A, "1", "row-1", accepted=True)]
    assert book.holders([A, B]) == {A: frozenset(), B: {"cima/2"}}


def test_a_ref_that_two_scopes_let_go_departs_once(book: JobBook) -> None:
    book.settle(Settlement(S, scopes=(scope("1", A, leaving=(B,)), scope("2", leaving=(B,)))))
    book.advance(S, None, clear=False)
    assert [(p.ref, p.accepted) for p in book.pending()] == [(B, True)]


def test_only_what_the_named_scopes_left_is_accepted(book: JobBook) -> None:
    book.settle(Settlement(S, scopes=(scope("1", B, leaving=(A,)), scope("2", leaving=(B,)))))
    book.advance(S, None, clear=False, scopes=["1"])
    assert {(p.ref, p.accepted) for p in book.pending()} == {(A, True), (B, False)}
    book.advance(S, None, clear=False, scopes=[])
    assert {(p.ref, p.accepted) for p in book.pending()} == {(A, True), (B, False)}


def test_a_later_upsert_cancels_an_accepted_departure_whoever_makes_it(stored: Stored, book: JobBook) -> None:
    book.settle(Settlement(S, scopes=(scope("1", B, leaving=(A,)),)))
    book.advance(S, None, clear=False)
    with stored.lease("other", "out", "run-2", wait=never) as other:
        other.settle(Settlement(S, scopes=(scope("9", A),)))
    assert book.pending() == []


def test_a_departure_that_is_over_is_forgotten_and_another_jobs_is_not(stored: Stored, book: JobBook) -> None:
    with stored.lease("other", "out", "run-2", wait=never) as other:
        other.settle(Settlement(S, scopes=(scope("9", A),)))
        other.settle(Settlement(S, scopes=(scope("9", leaving=(A,)),)))
        book.settle(Settlement(S, scopes=(scope("1", B, leaving=(A,)),)))
        book.settle(Settlement(S, departed=(A, Ref("List", "never"))))
        assert book.pending() == []
        assert other.pending() == [Pending(A, "9", "row-9")]


def test_discarding_forgets_what_is_undecided_and_has_its_scopes_mapped_again(book: JobBook) -> None:
    book.settle(Settlement(S, scopes=(scope("1", B, leaving=(A,)),)))
    book.advance(S, Cursor(CursorKind.DATE, "2026-03-01"), clear=False)
    book.settle(Settlement(S, scopes=(scope("2", leaving=(B,)),), checkpoint=("row-2",)))
    book.discard(S)
    assert book.pending() == [Pending(A, "1", "row-1", accepted=True)]
    scopes = book.scopes(["1", "2"])
    assert (scopes["1"].raw, scopes["2"].raw) == (b"r" * 16, None)
    assert scopes["2"].refs == {B}
    assert book.position(S).checkpoint == frozenset()
    assert book.position(S).cursor == Cursor(CursorKind.DATE, "2026-03-01")


def test_discarding_opens_the_items_that_decided_it_and_their_closed_list(book: JobBook) -> None:
    number = book.begin_list("full", S)
    book.note_keys(number, 1, ["row-1", "row-2"])
    book.start_list(number, complete=False, cursor=None)
    book.settle(Settlement(S, scopes=(scope("1", B, leaving=(A,)),), keys=("row-1", "row-2")))
    assert book.take(number, 10) == []
    assert book.open_list(S) is None
    book.discard(S)
    reopened = book.open_list(S)
    assert reopened is not None
    assert (reopened.id, reopened.left) == (number, 1)
    assert [key for _, key in book.take(number, 10)] == ["row-1"]


def test_an_unfinished_departure_decided_again_keeps_its_list(book: JobBook) -> None:
    number = book.begin_list("full", S)
    book.note_keys(number, 1, ["row-1"])
    book.start_list(number, complete=False, cursor=None)
    leaving = scope("1", B, leaving=(A,))
    book.settle(Settlement(S, scopes=(leaving,), keys=("row-1",)))
    book.settle(Settlement(S, scopes=(replace(leaving, raw=b"q" * 16),)))
    assert book.take(number, 1) == []
    book.discard(S)
    assert [key for _, key in book.take(number, 1)] == ["row-1"]


def test_what_was_asked_for_by_key_is_so_again_where_a_feed_has_decided_the_same_since(book: JobBook) -> None:
    """A part that could not be fetched, then its whole product: the part's own row is settled nowhere else."""
    part = replace(scope("1", B, leaving=(A,)), row="row-1#part")
    book.settle(Settlement(S, scopes=(part,), rows=("row-1#part",), asked=True))
    book.settle(Settlement(S, scopes=(scope("1", B, leaving=(A,)),), rows=("row-1",), checkpoint=("1",)))
    book.discard(S)
    reopened = book.open_list(S)
    assert reopened is not None
    assert [key for _, key in book.take(reopened.id, 10)] == ["row-1#part"]
