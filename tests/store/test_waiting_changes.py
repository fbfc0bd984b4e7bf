"""Changes that refer to something not there yet, as the store keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from store import queries
from store.handle import Stored, open_scratch
from store.job_store import JobBook
from store.overlay import Overlay
from store.schema import waiting_for
from tsi_fetch.words import AWAITED, Doubt, Known, Order, Ref, ScopeSettled, Settlement, State, Waiting

S = "changes"
A, B, C = Ref("Bundle", "a"), Ref("Bundle", "b"), Ref("List", "a")
X, Y = Ref("Organization", "x"), Ref("Composition", "y")
LONG_AGO = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


def never(seconds: float) -> None:
    raise AssertionError("nobody holds the lease")


@pytest.fixture
def book(stored: Stored) -> Iterator[JobBook]:
    with stored.lease("cima", "out", "run-1", wait=never) as book:
        yield book


def wait(ref: Ref = A, *missing: Ref, **changes: object) -> Waiting:
    change = Waiting(ref, b'{"a": 1}', "1", "row-1", 5, 2, frozenset(missing or (X,)))
    return replace(change, **changes)  # type: ignore[arg-type]


def settle(book: JobBook, *changes: Waiting, arrived: tuple[tuple[Ref, Order | None], ...] = ()) -> None:
    book.settle(Settlement(S, waiting=changes, arrived=arrived))


def scope(key: str, *refs: Ref, leaving: tuple[Ref, ...] = ()) -> ScopeSettled:
    return ScopeSettled(key, frozenset(refs), frozenset(leaving), None, 1, key)


def test_nothing_waits_at_first(book: JobBook) -> None:
    assert (book.waiting_graph(), book.waiting([A]), book.oldest_waiting()) == ({}, [], None)
    assert book.waiting([]) == []


def test_what_waits_comes_back_whole(stored: Stored, book: JobBook) -> None:
    settle(book, wait(A, X, Y), wait(C, B, order=None, scope="2", row="row-2"))
    assert book.waiting_graph() == {A: {X, Y}, C: {B}}
    found = {w.ref: w for w in book.waiting([A, C, B, Y])}
    assert {ref: replace(w, since=None) for ref, w in found.items()} == {
        A: wait(A, X, Y),
        C: wait(C, B, order=None, scope="2", row="row-2"),
    }
    assert all(w.since and abs(w.since - stored.now()) < timedelta(minutes=1) for w in found.values())
    assert book.oldest_waiting() == min(w.since for w in found.values() if w.since)
    assert (book.known([A]), book.holders([A])) == ({}, {A: frozenset()})


def test_a_newer_change_replaces_what_waits_and_its_age_stays(stored: Stored, book: JobBook) -> None:
    settle(book, wait(A, X, Y, since=LONG_AGO))
    settle(book, wait(A, B, order=6, body=b"{}", scope="2", row="row-2", mapping=3))
    expected = wait(A, B, order=6, body=b"{}", scope="2", row="row-2", mapping=3, since=LONG_AGO)
    assert book.waiting([A]) == [expected]
    with stored.database.read() as conn:
        assert conn.scalar(select(func.count()).select_from(waiting_for)) == 1


@pytest.mark.parametrize(("first", "second", "kept"), [(5, 4, 5), (5, 5, 5), (5, None, None), (None, 1, 1), (1, 2, 2)])
def test_an_older_change_never_replaces_a_newer_one(
    book: JobBook, first: Order | None, second: Order | None, kept: Order | None
) -> None:
    settle(book, wait(order=first, body=b"first"))
    settle(book, wait(order=second, body=b"second"))
    (found,) = book.waiting([A])
    assert (found.order, found.body) == (kept, b"first" if (first, second) == (5, 4) else b"second")


def test_of_two_changes_in_one_settlement_the_newer_waits(book: JobBook) -> None:
    settle(book, wait(A, X, order=2, body=b"new"), wait(A, Y, order=1, body=b"old"))
    assert [(w.body, w.missing) for w in book.waiting([A])] == [(b"new", {X})]


@pytest.mark.parametrize(
    ("waits", "arrived", "over"), [(5, 5, True), (5, 6, True), (5, 4, False), (None, 1, True), (5, None, True)]
)
def test_what_arrived_and_is_not_older_ends_the_wait(
    stored: Stored, book: JobBook, waits: Order | None, arrived: Order | None, over: bool
) -> None:
    settle(book, wait(A, X, order=waits), wait(B, X))
    settle(book, arrived=((A, arrived), (Y, 9)))
    assert (A not in book.waiting_graph()) is over
    assert B in book.waiting_graph()
    with stored.database.read() as conn:
        assert conn.scalar(select(func.count()).select_from(waiting_for)) == (1 if over else 2)


def test_what_begins_to_wait_again_in_the_settlement_that_ends_it_waits(book: JobBook) -> None:
    settle(book, wait(A, X, order=1))
    settle(book, wait(A, Y, order=2), arrived=((A, 1),))
    assert book.waiting_graph() == {A: {Y}}


def test_what_every_scope_lets_go_of_is_not_sent_and_ends_with_its_departure(book: JobBook) -> None:
    awaited = Known(A, "cima", AWAITED, None, None, 1, State.DELETED)
    book.settle(Settlement(S, known=(awaited,), scopes=(scope("1", A), scope("2", A)), waiting=(wait(A), wait(B))))
    book.settle(Settlement(S, scopes=(scope("1", leaving=(A,)),)))
    assert set(book.waiting_graph()) == {A, B}, "the other one still names it"
    book.settle(Settlement(S, scopes=(scope("2", leaving=(A,)),)))
    assert set(book.waiting_graph()) == {B}
    assert len(book.waiting([A])) == 1
    book.discard(S)
    assert set(book.waiting_graph()) == {A, B}
    book.settle(Settlement(S, scopes=(scope("1", leaving=(A,)), scope("2", leaving=(A,)))))
    book.advance(S, None, clear=True)
    assert [p.accepted for p in book.pending()] == [True]
    assert set(book.waiting_graph()) == {B}
    book.settle(Settlement(S, departed=(A,)))
    assert [w.ref for w in book.waiting([A, B])] == [B]


def test_what_a_killed_run_may_have_overtaken_is_held_back_until_the_source_was_read(
    stored: Stored, book: JobBook
) -> None:
    settle(book, wait(A, order=3), wait(B, order=9))
    book.doubt(Doubt((A, B), (), 1, overtakes=((A, 5), (B, 5))))
    assert Overlay(stored.reader("cima", "out"), book).recover() == {A}
    assert (book.recover(), book.recover()) == ({A}, {A}), "also for a run after one that was killed again"
    book.recovered(whole=True)
    assert (book.recover(), [note.overtakes for note in book.notes()]) == (frozenset(), [()])
    assert set(book.waiting_graph()) == {A, B}


def test_what_waits_is_of_a_job_at_a_sink(stored: Stored, book: JobBook) -> None:
    settle(book, wait(A))
    assert stored.reader("cima", "elsewhere").waiting_graph() == {}
    with stored.lease("other", "out", "run-2", wait=never) as other:
        settle(other, wait(A, Y), arrived=((A, 9),))
        assert other.waiting_graph() == {A: {Y}}
        other.settle(Settlement(S, scopes=(scope("1"),), departed=(A,)))
    assert book.waiting_graph() == {A: {X}}


def test_a_stream_that_is_forgotten_waits_for_nothing(book: JobBook) -> None:
    settle(book, wait(A))
    book.settle(Settlement("another", waiting=(wait(B),)))
    book.forget_stream(S)
    assert book.waiting_graph() == {B: {X}}


def test_status_lists_the_oldest_of_what_waits_without_bodies(stored: Stored, book: JobBook) -> None:
    settle(book, *(wait(Ref("Bundle", f"{n:02}"), X, since=LONG_AGO + timedelta(days=n)) for n in range(25)))
    (row,) = queries.status(stored)
    assert (row.waiting, len(row.waits)) == (25, 20)
    assert row.waits[0] == queries.Wait(Ref("Bundle", "00"), "1", "row-1", frozenset({X}), LONG_AGO)
    assert [w.ref.id for w in queries.waits(stored, "cima")] == [f"{n:02}" for n in range(25)]
    assert queries.waits(stored, "another") == []


def test_a_plan_reads_what_waits_beneath_but_for_what_it_has_ended_or_replaced(stored: Stored, book: JobBook) -> None:
    settle(book, *(wait(ref, X, since=LONG_AGO) for ref in (A, B, C)))
    with open_scratch() as scratch, scratch.lease("cima", "out", "plan", wait=never) as above:
        plan = Overlay(stored.reader("cima", "out"), above)
        assert plan.waiting_graph() == {A: {X}, B: {X}, C: {X}}
        assert plan.waiting([B]) == [wait(B, X, since=LONG_AGO)]
        plan.settle(Settlement(S, waiting=(wait(A, Y, order=6), wait(B, Y, order=1)), arrived=((C, 5),)))
        assert plan.waiting_graph() == {A: {Y}, B: {X}}
        assert plan.waiting([A]) == [wait(A, Y, order=6, since=LONG_AGO)]
        assert plan.oldest_waiting() == LONG_AGO
        plan.settle(Settlement(S, departed=(A, B)))
        assert (plan.waiting_graph(), plan.oldest_waiting()) == ({}, None)
    assert set(book.waiting_graph()) == {A, B, C}


def test_megabytes_can_wait(book: JobBook) -> None:
    body = b'{"resourceType": "Bundle"}' * 100_000
    settle(book, wait(body=body))
    assert [w.body for w in book.waiting([A])] == [body]
