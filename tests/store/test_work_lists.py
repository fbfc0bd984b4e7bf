"""Lists of keys that are still to be done."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from store.handle import Stored
from store.job_store import JobBook
from tsi_fetch.words import Cursor, CursorKind, Known, Position, Ref, ScopeSettled, Settlement, WorkList

S = "changes"
A = Ref("Organization", "a")
FROM = Cursor(CursorKind.DATE, "2026-03-02")


def never(seconds: float) -> None:
    raise AssertionError("nobody holds the lease")


@pytest.fixture
def book(stored: Stored) -> Iterator[JobBook]:
    with stored.lease("cima", "out", "run-1", wait=never) as book:
        yield book


def begun(book: JobBook, *passes: list[str]) -> int:
    number = book.begin_list("first", S)
    for n, keys in enumerate(passes, 1):
        book.note_keys(number, n, keys)
    return number


def taken(book: JobBook, number: int, count: int) -> list[str]:
    return [key for _, key in book.take(number, count)]


def test_a_list_is_open_once_it_is_started(book: JobBook) -> None:
    number = begun(book, ["2", "10", "1", "2"])
    assert book.open_list(S) is None
    assert taken(book, number, 10) == []
    started = book.start_list(number, complete=True, cursor=None)
    assert started == WorkList(number, "first", S, complete=True, total=3, left=3)
    assert book.open_list(S) == started
    assert book.open_list("another") is None


def test_keys_are_taken_in_order_until_they_are_done(book: JobBook) -> None:
    number = begun(book, ["b", "a", "Ñ", "B"])
    book.start_list(number, complete=True, cursor=None)
    assert taken(book, number, 3) == ["B", "a", "b"]
    assert taken(book, number, 3) == ["B", "a", "b"]
    book.settle(Settlement(S, keys=("a", "B", "unheard of")))
    book.settle(Settlement("another", keys=("b",)))
    assert taken(book, number, 3) == ["b", "Ñ"]
    assert book.open_list(S) == WorkList(number, "first", S, complete=True, total=4, left=2)


def test_a_list_closes_when_nothing_is_left(book: JobBook) -> None:
    number = begun(book, ["a"])
    book.start_list(number, complete=True, cursor=None)
    book.settle(Settlement(S, keys=("a",)))
    left = book.open_list(S)
    assert left is not None
    assert left.left == 0
    assert taken(book, number, 1) == []
    assert book.open_list(S) is None


def test_a_list_is_taken_from_behind_what_is_in_flight_and_closes_only_from_the_start(book: JobBook) -> None:
    number = begun(book, ["a", "b", "c"])
    book.start_list(number, complete=True, cursor=None)
    first = book.take(number, 2)
    assert [key for _, key in first] == ["a", "b"]
    rest = book.take(number, 2, after=first[-1][0])
    assert [key for _, key in rest] == ["c"]
    assert book.take(number, 2, after=rest[-1][0]) == []
    book.settle(Settlement(S, keys=("b", "c")))
    assert book.take(number, 2, after=first[-1][0]) == []
    assert book.take(number, 2) == first[:1]
    book.settle(Settlement(S, keys=("a",)))
    assert book.take(number, 2, after=rest[-1][0]) == []
    assert book.open_list(S) is not None
    assert book.take(number, 2) == []
    assert book.open_list(S) is None


@pytest.mark.parametrize(
    ("first", "second", "agree"),
    [(["a", "b"], ["b", "a", "a"], True), (["a", "b"], ["a"], False), (["a"], ["a", "b"], False), ([], [], True)],
)
def test_two_passes_agree_where_they_saw_the_same_keys(
    book: JobBook, first: list[str], second: list[str], agree: bool
) -> None:
    number = begun(book, first, second)
    assert book.agree(number, 2) is agree
    assert book.agree(number, 1) is False


def test_only_the_last_two_passes_have_to_agree_and_the_keys_of_all_are_asked(book: JobBook) -> None:
    number = begun(book, ["a", "gone"], ["a", "b"], ["b", "a"])
    assert (book.agree(number, 2), book.agree(number, 3)) == (False, True)
    assert book.start_list(number, complete=True, cursor=None).total == 3


def test_a_complete_list_asks_after_the_scopes_that_it_lacks(book: JobBook) -> None:
    known = (Known(A, "cima", b"d" * 16, "1", 5, 1),)
    held = [
        ScopeSettled(k, frozenset({A}), frozenset(), None, 1, r) for k, r in (("7", "7"), ("8#psum", "8"), ("a", "a"))
    ]
    empty = ScopeSettled("9", frozenset(), frozenset(), None, 1, "9")
    book.settle(Settlement(S, known=known, scopes=(*held, empty)))
    incomplete = begun(book, ["a"])
    assert book.start_list(incomplete, complete=False, cursor=None).total == 1
    book.settle(Settlement(S, keys=("a",)))
    book.take(incomplete, 1)
    complete = begun(book, ["a", "b"])
    started = book.start_list(complete, complete=True, cursor=None)
    assert (started.total, started.complete) == (4, True)
    assert set(taken(book, complete, 9)) == {"a", "b", "7", "8"}


def test_an_empty_listing_is_never_complete(book: JobBook) -> None:
    book.settle(
        Settlement(
            S,
            known=(Known(A, "cima", b"d" * 16, "1", 5, 1),),
            scopes=(ScopeSettled("7", frozenset({A}), frozenset(), None, 1, "7"),),
        )
    )
    started = book.start_list(begun(book, []), complete=True, cursor=None)
    assert (started.total, started.complete) == (0, False)


def test_a_first_list_sets_the_watermark_only_where_there_is_none(book: JobBook) -> None:
    book.start_list(begun(book, ["a"]), complete=True, cursor=FROM)
    assert book.position(S) == Position(FROM)
    book.start_list(begun(book, ["a"]), complete=True, cursor=Cursor(CursorKind.DATE, "2026-04-01"))
    assert book.position(S) == Position(FROM)


def test_a_list_that_was_begun_and_never_opened_is_forgotten(book: JobBook) -> None:
    abandoned = begun(book, ["old"])
    number = book.begin_list("full", S)
    book.note_keys(number, 1, ["new"])
    if abandoned != number:  # SQLite gives the number again
        with pytest.raises(LookupError):
            book.start_list(abandoned, complete=True, cursor=None)
    assert book.start_list(number, complete=True, cursor=None).total == 1
    assert taken(book, number, 9) == ["new"]


def test_the_oldest_open_list_comes_first_and_a_key_is_done_in_both(book: JobBook) -> None:
    first, second = begun(book, ["a"]), 0
    book.start_list(first, complete=True, cursor=None)
    second = book.begin_list("full", S)
    book.note_keys(second, 1, ["a", "b"])
    book.start_list(second, complete=True, cursor=None)
    opened = book.open_list(S)
    assert opened is not None
    assert opened.id == first
    after = [book.open_list(S, number) for number in (first, second)]
    assert [work and work.id for work in after] == [second, None]
    book.settle(Settlement(S, keys=("a",)))
    assert (taken(book, first, 1), taken(book, second, 1)) == ([], ["b"])


def test_another_job_cannot_take_from_a_list(stored: Stored, book: JobBook) -> None:
    number = begun(book, ["a"])
    book.start_list(number, complete=True, cursor=None)
    assert stored.reader("other", "out").take(number, 9) == []
    assert taken(book, number, 9) == ["a"]
