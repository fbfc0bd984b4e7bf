"""What the answers of a row can be asked for by, as long as they are what all that is remembered of it came from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from store.handle import Stored, open_scratch
from store.job_store import JobBook
from store.overlay import Overlay
from tsi_fetch.words import Doubt, Known, Ref, ScopeSettled, Settlement, Validators

A = Ref("List", "a")
TAGS = {"medicamento": '"1"', "contenido/1": 'W/"ñ"'}
RAW = b"r" * 16


def never(seconds: float) -> None:
    raise AssertionError("nobody holds the lease")


@pytest.fixture
def book(stored: Stored) -> Iterator[JobBook]:
    with stored.lease("cima", "out", "run-1", wait=never) as book:
        yield book


def settle(
    book: JobBook, key: str, row: str, tags: Validators | None, raw: bytes | None = RAW, mapping: int = 1
) -> None:
    scope = ScopeSettled(key, frozenset({A}), frozenset(), raw, mapping, row, tags)
    book.settle(Settlement("s", known=(Known(A, "cima", b"d" * 16, "1", 1, 1),), scopes=(scope,)))


def test_they_are_kept_of_the_row_and_given_to_the_mapping_that_they_were_mapped_by(book: JobBook) -> None:
    settle(book, "1", "1", TAGS)
    settle(book, "2", "2", None)
    assert book.validators(["1", "2", "3"], 1) == {"1": TAGS}
    assert book.validators(["1"], 2) == {}
    settle(book, "1", "1", None)
    assert book.validators(["1"], 1) == {}


def test_in_doubt_they_are_good_for_nothing(book: JobBook) -> None:
    settle(book, "1", "1", TAGS)
    book.doubt(Doubt((A,), (ScopeSettled("1", frozenset({A}), frozenset(), None, None, "1"),), 1))
    book.recover()
    assert book.validators(["1"], 1) == {}


def test_nor_are_they_where_a_row_of_its_own_has_spoken_for_a_part_since(book: JobBook) -> None:
    settle(book, "1", "1", TAGS)
    settle(book, "1#psum", "1", None)
    settle(book, "10#psum", "10#psum", None)
    assert book.validators(["1"], 1) == {"1": TAGS}
    settle(book, "1#psum", "1#matinf+psum", None)
    assert book.validators(["1"], 1) == {}
    settle(book, "1#psum", "1", None)
    assert book.validators(["1"], 1) == {"1": TAGS}


@pytest.mark.parametrize(("raw", "mapping"), [(None, 1), (b"s" * 16, 1), (RAW, 2)])
def test_nor_are_they_where_a_part_is_in_doubt_or_came_of_other_answers(
    book: JobBook, raw: bytes | None, mapping: int
) -> None:
    settle(book, "1", "1", TAGS)
    settle(book, "1#psum", "1", None, raw, mapping)
    settle(book, "2", "2", TAGS)
    assert book.validators(["1", "2"], 1) == {"2": TAGS}


def test_a_plan_is_given_those_of_what_it_has_not_mapped_anew(stored: Stored, book: JobBook) -> None:
    settle(book, "1", "1", TAGS)
    settle(book, "2", "2", TAGS)
    with open_scratch() as scratch, scratch.lease("cima", "out", "plan", wait=never) as above:
        plan = Overlay(stored.reader("cima", "out"), above)
        assert plan.validators(["1", "2"], 1) == {"1": TAGS, "2": TAGS}
        plan.settle(Settlement("s", scopes=(ScopeSettled("2", frozenset({A}), frozenset(), RAW, 1, "2"),)))
        assert plan.validators(["1", "2"], 1) == {"1": TAGS}
        plan.settle(Settlement("s", scopes=(ScopeSettled("1#psum", frozenset({A}), frozenset(), RAW, 1, "1#psum"),)))
        assert plan.validators(["1", "2"], 1) == {}
