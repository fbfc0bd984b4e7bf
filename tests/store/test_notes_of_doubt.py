"""What a killed run noted and never answered is worked in by the next one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from store.handle import Stored, open_scratch
from store.job_store import JobBook
from store.overlay import Overlay
from store.schema import known, notes
from tsi_fetch.errors import LeaseLost
from tsi_fetch.words import DOUBTED, FORGOTTEN, Doubt, Known, Ref, ScopeSettled, ScopeState, Settlement, State

S = "changes"
A, B, NEW = Ref("Organization", "a"), Ref("Organization", "b"), Ref("Bundle", "new")


def never(seconds: float) -> None:
    raise AssertionError("nobody holds the lease")


@pytest.fixture
def book(stored: Stored) -> Iterator[JobBook]:
    with stored.lease("cima", "out", "run-1", wait=never) as book:
        yield book


def know(ref: Ref, **changes: object) -> Known:
    return replace(Known(ref, "cima", b"d" * 16, "1", 5, 1), **changes)  # type: ignore[arg-type]


def scope(key: str, *refs: Ref, row: str | None = None, raw: bytes | None = b"r" * 16) -> ScopeSettled:
    return ScopeSettled(key, frozenset(refs), frozenset(), raw, 1, row or key)


def doubt(*scopes: ScopeSettled, refs: tuple[Ref, ...] = (A, NEW)) -> Doubt:
    return Doubt(refs, scopes, 7)


def noted(stored: Stored) -> int:
    with stored.database.read() as conn:
        return conn.scalar(select(func.count()).select_from(notes)) or 0


def test_what_was_to_be_changed_keeps_all_but_its_digest(book: JobBook) -> None:
    before = {
        A: know(A, version="4", order=9, mapping=3, job="other"),
        B: know(B, state=State.DELETED, version="2"),
    }
    book.settle(Settlement(S, known=tuple(before.values())))
    book.doubt(doubt(refs=(A, B)))
    assert book.known([A, B]) == before
    book.recover()
    assert book.known([A, B]) == {ref: replace(k, digest=DOUBTED) for ref, k in before.items()}


def test_what_was_to_be_created_is_held_by_the_scopes_that_name_it(book: JobBook) -> None:
    book.settle(Settlement(S, known=(know(A), know(B)), scopes=(scope("1", A, B), scope("2", B))))
    book.doubt(doubt(scope("1", A, NEW), scope("9#psum", NEW, row="9")))
    book.recover()
    assert book.known([NEW])[NEW] == Known(NEW, "cima", DOUBTED, None, None, 7, State.LIVE)
    assert book.holders([A, NEW]) == {A: {"cima/1"}, NEW: {"cima/1", "cima/9#psum"}}
    assert book.scopes(["1", "2", "9#psum"]) == {
        "1": ScopeState("1", frozenset({A, B, NEW}), None, 1),
        "2": ScopeState("2", frozenset({B}), b"r" * 16, 1),
        "9#psum": ScopeState("9#psum", frozenset({NEW}), None, None),
    }
    assert dict(book.scope_rows("", 9))["9#psum"] == "9"
    assert book.live() == {"Organization": 2, "Bundle": 1}


def test_a_note_goes_with_the_settlement_that_answers_it(stored: Stored, book: JobBook) -> None:
    first, second = book.doubt(doubt(refs=(A,))), book.doubt(doubt(refs=(B,)))
    assert noted(stored) == 2
    book.settle(Settlement(S, known=(know(A), know(B)), doubt=second))
    assert noted(stored) == 1
    book.recover()
    assert (book.known([A])[A].digest, book.known([B])[B].digest) == (DOUBTED, b"d" * 16)
    book.settle(Settlement(S, known=(know(A),)))
    book.recover()
    assert book.known([A])[A] == know(A), "it is worked in but once"
    book.settle(Settlement(S, doubt=first))
    assert noted(stored) == 0


def test_a_note_that_was_worked_in_is_looked_at_by_the_runs_of_the_next_day(stored: Stored, book: JobBook) -> None:
    book.doubt(doubt(scope("1", A, NEW)))
    book.recover()
    assert list(book.late()) == [], "this run has just worked it in"
    book.recovered(whole=True)
    book.recover()
    (late,) = book.late()
    assert late.since is not None
    assert replace(late, since=None) == doubt(scope("1", A, NEW))
    book.recovered(whole=True)
    assert noted(stored) == 1
    book.doubt(replace(doubt(refs=(A, B)), since=late.since - timedelta(days=2)))
    book.recover()
    assert [note.refs for note in book.late()] == [(A, B), (NEW,)], "each ref once"
    book.recovered(whole=True)
    assert [note.refs for note in book.notes()] == [(A, NEW)]


def test_what_arrived_late_is_doubted_again_and_its_rows_are_told(book: JobBook) -> None:
    book.settle(Settlement(S, known=(know(A), know(B)), scopes=(scope("1", A, B), scope("2#psum", B, row="2"))))
    assert book.arrived(doubt(scope("9", NEW), refs=(B, NEW)), []) == ["1", "2", "9"]
    assert {ref: k.digest for ref, k in book.known([A, B, NEW]).items()} == {A: b"d" * 16, B: DOUBTED, NEW: DOUBTED}
    assert {key: state.raw for key, state in book.scopes(["1", "2#psum", "9"]).items()} == dict.fromkeys(
        ["1", "2#psum", "9"]
    )
    assert book.holders([NEW]) == {NEW: {"cima/9"}}


def test_what_was_removed_late_is_remembered_as_gone(book: JobBook) -> None:
    book.settle(Settlement(S, known=(know(A), know(B)), scopes=(scope("1", A, B),)))
    assert book.arrived(doubt(refs=(A,)), [A]) == ["1"]
    assert book.known([A, B]) == {A: know(A, digest=FORGOTTEN, state=State.DELETED, version=None), B: know(B)}


def test_notes_are_of_a_job_at_a_sink(stored: Stored, book: JobBook) -> None:
    book.settle(Settlement(S, known=(know(A),)))
    number = book.doubt(doubt())
    with stored.lease("other", "out", "run-2", wait=never) as other:
        other.recover()
        other.settle(Settlement(S, doubt=number))
    assert (book.known([A])[A].digest, noted(stored)) == (b"d" * 16, 1)


def test_a_note_is_made_under_the_fence(stored: Stored) -> None:
    with stored.lease("cima", "out", "run-1", wait=never) as book:
        with stored.database.write() as conn:
            conn.exec_driver_sql("UPDATE leases SET fence = fence + 1")
        with pytest.raises(LeaseLost):
            book.doubt(doubt())
    assert noted(stored) == 0


def test_a_view_that_only_reads_takes_no_notes(stored: Stored) -> None:
    with pytest.raises(RuntimeError, match="only reads"):
        stored.reader("cima", "out").doubt(doubt())


def test_a_plan_sees_the_doubted_state_and_leaves_the_note(stored: Stored, book: JobBook) -> None:
    book.settle(Settlement(S, known=(know(A), know(B)), scopes=(scope("1", A, B),)))
    gone = ScopeSettled("1", frozenset({A}), frozenset({B}), b"r" * 16, 1, "1")
    book.settle(Settlement(S, scopes=(gone,)))
    book.doubt(doubt(scope("1", A, NEW)))
    with open_scratch() as scratch, scratch.lease("cima", "out", "plan", wait=never) as above:
        plan = Overlay(stored.reader("cima", "out"), above)
        plan.recover()
        plan.settle(Settlement(S))
        assert plan.known([A])[A].digest == DOUBTED
        assert plan.scopes(["1"])["1"] == ScopeState("1", frozenset({A, B, NEW}), None, 1)
        assert plan.live() == {"Organization": 2, "Bundle": 1}
        plan.settle(Settlement(S, known=(know(A),), doubt=plan.doubt(doubt())))
        assert plan.known([A])[A] == know(A)
    assert book.known([A, NEW]) == {A: know(A)}
    assert noted(stored) == 1


def test_a_note_of_a_hundred_refs_takes_less_room_than_their_rows(stored: Stored, book: JobBook) -> None:
    refs = [Ref("MedicinalProductDefinition", f"es-aemps-product-{n:06}") for n in range(100)]
    scopes = tuple(replace(scope(ref.id, ref), raw=None) for ref in refs)
    book.doubt(Doubt(tuple(refs), scopes, 1))
    with stored.database.read() as conn:
        size = conn.scalar(select(func.sum(func.length(notes.c.doubt))))
        rows = conn.scalar(select(func.count()).select_from(known))
    assert size is not None
    assert size < 100 * 40
    assert rows == 0
