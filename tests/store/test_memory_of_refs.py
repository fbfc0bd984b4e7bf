"""What a settlement remembers of refs, scopes and streams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from store.handle import Stored
from store.job_store import JobBook
from tsi_fetch.words import (
    Cursor,
    CursorKind,
    Known,
    Position,
    Ref,
    ScopeSettled,
    ScopeState,
    Settlement,
    State,
)

S = "changes"
A, B, C = Ref("Organization", "a"), Ref("Organization", "b"), Ref("Bundle", "a")


def never(seconds: float) -> None:
    raise AssertionError("nobody holds the lease")


@pytest.fixture
def book(stored: Stored) -> Iterator[JobBook]:
    with stored.lease("cima", "out", "run-1", wait=never) as book:
        yield book


def know(ref: Ref, **changes: object) -> Known:
    return replace(Known(ref, "cima", b"d" * 16, "1", 5, 1), **changes)  # type: ignore[arg-type]


def scope(key: str, *refs: Ref, leaving: tuple[Ref, ...] = (), raw: bytes | None = b"r" * 16) -> ScopeSettled:
    return ScopeSettled(key, frozenset(refs), frozenset(leaving), raw, 1, key)


def test_an_empty_store_knows_nothing(book: JobBook) -> None:
    assert book.position(S) == Position()
    assert book.known([A, C]) == {}
    assert book.known([]) == {}
    assert book.scopes(["1"]) == {}
    assert book.scopes([]) == {}
    assert book.live() == {}


def test_what_is_settled_is_known_as_it_was_given(book: JobBook) -> None:
    entries = {
        A: know(A),
        B: know(B, version=None, order=None, mapping=7, state=State.DELETED),
        C: know(C, version="ab" * 32, order=1_700_000_000_000_000, state=State.RETIRED, job="other"),
    }
    book.settle(Settlement(S, known=tuple(entries.values())))
    assert book.known([A, B, C, Ref("Bundle", "b"), Ref("List", "a")]) == entries


@pytest.mark.parametrize("version", ["1", "ABCDEF0123456789", "0a", "", "ab" * 32, "ü", "abcdefabcdefabc"])
def test_a_version_comes_back_as_the_sink_gave_it(book: JobBook, version: str) -> None:
    book.settle(Settlement(S, known=(know(A, version=version),)))
    assert book.known([A])[A].version == version


def test_settling_again_replaces_what_was_known(book: JobBook) -> None:
    book.settle(Settlement(S, known=(know(A),)))
    book.settle(Settlement(S, known=(know(A, version="2", digest=b"e" * 16, mapping=2),)))
    assert book.known([A]) == {A: know(A, version="2", digest=b"e" * 16, mapping=2)}


def test_a_ref_is_known_per_sink(stored: Stored, book: JobBook) -> None:
    book.settle(Settlement(S, known=(know(A),), scopes=(scope("1", A),), checkpoint=("1",)))
    book.advance(S, Cursor(CursorKind.DATE, "2026-03-02"), clear=False)
    elsewhere = stored.reader("cima", "another")
    assert (elsewhere.known([A]), elsewhere.scopes(["1"])) == ({}, {})
    assert elsewhere.position(S) == Position()


def test_another_jobs_refs_at_the_same_sink_are_known(stored: Stored, book: JobBook) -> None:
    book.settle(Settlement(S, known=(know(A),)))
    with stored.lease("other", "out", "run-2", wait=never) as other:
        assert other.known([A])[A].job == "cima"
        assert other.live() == {}
        other.settle(Settlement(S, known=(know(B, job="other"),)))
    assert book.known([A, B])[B].job == "other"
    assert book.live() == {"Organization": 1}


def test_a_scope_holds_those_of_its_refs_that_are_known(book: JobBook) -> None:
    book.settle(Settlement(S, known=(know(A), know(C)), scopes=(scope("1", A, B, C), scope("2"))))
    assert book.scopes(["1", "2", "3"]) == {
        "1": ScopeState("1", frozenset({A, C}), b"r" * 16, 1),
        "2": ScopeState("2", frozenset(), b"r" * 16, 1),
    }


def test_a_scope_that_was_not_acknowledged_forgets_its_raw_digest(book: JobBook) -> None:
    book.settle(Settlement(S, known=(know(A),), scopes=(scope("1", A),)))
    book.settle(Settlement(S, scopes=(replace(scope("1", A), raw=None, mapping=None),)))
    assert book.scopes(["1"])["1"] == ScopeState("1", frozenset({A}), None, None)


def test_holders_are_named_by_job_and_scope(stored: Stored, book: JobBook) -> None:
    book.settle(Settlement(S, known=(know(A), know(B)), scopes=(scope("1", A), scope("2", A))))
    with stored.lease("other", "out", "run-2", wait=never) as other:
        other.settle(Settlement(S, scopes=(scope("9", A),)))
    assert book.holders([A, B, C]) == {A: {"cima/1", "cima/2", "other/9"}, B: frozenset(), C: frozenset()}


def test_the_watermark_moves_and_the_checkpoint_goes_with_it(book: JobBook) -> None:
    book.settle(Settlement(S, checkpoint=("1", "2")))
    book.settle(Settlement(S, checkpoint=("2", "3")))
    book.settle(Settlement("another", checkpoint=("9",)))
    assert book.position(S) == Position(None, frozenset({"1", "2", "3"}))
    cursor = Cursor(CursorKind.DATE, "2026-03-02", frozenset({"1", "ñ"}))
    book.advance(S, cursor, clear=False)
    assert book.position(S) == Position(cursor, frozenset({"1", "2", "3"}))
    book.advance(S, None, clear=True)
    assert book.position(S) == Position(cursor)
    assert book.position("another") == Position(None, frozenset({"9"}))


def test_live_counts_what_is_alive_by_type(book: JobBook) -> None:
    book.settle(Settlement(S, known=(know(A), know(B), know(C), know(Ref("Bundle", "z"), state=State.DELETED))))
    book.settle(Settlement(S, known=(know(B, state=State.RETIRED),)))
    assert book.live() == {"Organization": 1, "Bundle": 1}


def test_thousands_of_refs_are_settled_and_found_in_one_go(book: JobBook) -> None:
    refs = [Ref(("Bundle", "Organization", "List")[n % 3], f"id-{n}") for n in range(5000)]
    scopes = tuple(scope(f"p{n}", *refs[n * 10 : n * 10 + 10]) for n in range(500))
    book.settle(Settlement(S, known=tuple(know(r) for r in refs), scopes=scopes, checkpoint=tuple(map(str, refs))))
    assert len(book.known(refs)) == 5000
    assert len(book.position(S).checkpoint) == 5000
    assert {key: len(s.refs) for key, s in book.scopes([s.key for s in scopes]).items()} == {s.key: 10 for s in scopes}
    gone = tuple(replace(s, refs=frozenset(), leaving=s.refs) for s in scopes)
    book.settle(Settlement(S, scopes=gone))
    book.advance(S, None, clear=True)
    assert len(book.pending()) == 5000
    assert all(not holders for holders in book.holders(refs).values())
