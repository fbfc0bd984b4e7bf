"""Jobs that share refs, on PostgreSQL: one works in a note while the other settles, and neither deadlocks."""

from __future__ import annotations

import threading

import pytest

from store.handle import open_store
from store.job_store import JobBook
from tsi_fetch.errors import TsiFetchError
from tsi_fetch.words import Doubt, Known, Ref, ScopeSettled, Settlement

REFS = [Ref("Organization", f"o{n:06d}") for n in range(2000)]


def never(seconds: float) -> None:
    raise AssertionError("nobody holds the lease")


def settle(book: JobBook, refs: list[Ref], number: int) -> None:
    known = tuple(Known(ref, "b", number.to_bytes(16, "big"), str(number), number, 1) for ref in refs)
    book.settle(Settlement("s", known=known))


@pytest.mark.parametrize("what", ["arrived", "recover"])
def test_a_note_is_worked_in_while_another_job_settles(postgres_url: str, what: str) -> None:
    failed: list[TsiFetchError] = []
    over = threading.Event()

    def go_on_settling(book: JobBook) -> None:
        number = 2
        while not over.is_set():
            number += 1
            try:
                settle(book, REFS, number)
            except TsiFetchError as e:
                failed.append(e)
                return

    with (
        open_store(postgres_url) as one,
        open_store(postgres_url) as two,
        one.lease("a", "out", "run-a", wait=never) as a,
        two.lease("b", "out", "run-b", wait=never) as b,
    ):
        for start in range(len(REFS), 0, -100):  # the last first: keys run against the names
            settle(b, REFS[start - 100 : start], 1)
        scope = ScopeSettled("p", frozenset(REFS), frozenset(), None, None, "p")
        a.settle(Settlement("s", scopes=(scope,)))
        other = threading.Thread(target=go_on_settling, args=(b,))
        other.start()
        for _ in range(20):
            if what == "arrived":
                a.arrived(Doubt(tuple(REFS), (scope,), 1), [])
            else:
                a.doubt(Doubt(tuple(REFS), (scope,), 1))
                a.recover()
        over.set()
        other.join()
    assert failed == []
