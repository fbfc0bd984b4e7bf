"""Two jobs that settle what they share at the very same time, on PostgreSQL: neither sees what the other has not
committed, unless it waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from threading import Event

import pytest
from sqlalchemy import event

from store.handle import Stored, open_store
from store.job_store import JobBook
from tsi_fetch.clock import SystemClock
from tsi_fetch.words import DOUBTED, Known, Ref, RunRecord, ScopeSettled, Settlement, State

S = Ref("Organization", "s")
KNOWN = Known(S, "a", b"d" * 16, "1", 1, 1)
STREAM = "feed"
Step = tuple[str, Callable[[], None]]
"""What one of the jobs does."""
HELD = (ScopeSettled("p", frozenset({S}), frozenset(), b"r" * 16, 1, "p"),)
LEFT = (ScopeSettled("p", frozenset(), frozenset({S}), b"q" * 16, 1, "p"),)


def never(seconds: float) -> None:
    raise AssertionError("nobody holds the lease")


class Jobs:
    """`a` and `b`, each on a pool of its own."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        self._stores: dict[str, Stored] = {name: stack.enter_context(open_store(url)) for name in "ab"}
        self.books: dict[str, JobBook] = {}
        for name, stored in self._stores.items():
            self.books[name] = stack.enter_context(stored.lease(name, "out", f"run-{name}", wait=never))
            self.books[name].begin_run(RunRecord(f"run-{name}", name, SystemClock().now()))

    def at_once(self, first: Step, second: Step) -> None:
        """`second` begins when `first` is about to commit, which waits until the other is as far, or can be no
        further."""
        there, go_on = Event(), Event()
        self._before_commit(first[0], there, go_on)
        self._before_commit(second[0], go_on, None)
        with ThreadPoolExecutor(2) as pool:
            one = pool.submit(first[1])
            there.wait(10)
            two = pool.submit(second[1])
            one.result()
            two.result()

    def _before_commit(self, name: str, there: Event, go_on: Event | None) -> None:
        """Say that it is there, once, and wait."""

        def wait(conn: object) -> None:
            if not there.is_set():
                there.set()
                if go_on is not None:
                    go_on.wait(1)

        event.listen(self._stores[name].database.engine, "commit", wait)


@pytest.fixture
def jobs(postgres_url: str) -> Iterator[Jobs]:
    with ExitStack() as stack:
        yield Jobs(postgres_url, stack)


def test_of_two_that_let_go_of_the_same_ref_one_removes_it(jobs: Jobs) -> None:
    a, b = jobs.books["a"], jobs.books["b"]
    for book in (a, b):
        book.settle(Settlement(STREAM, known=(KNOWN,), scopes=HELD))
        book.settle(Settlement(STREAM, scopes=LEFT))
    jobs.at_once(*((name, partial(book.advance, STREAM, None, clear=True)) for name, book in jobs.books.items()))
    assert sorted(p.accepted for book in (a, b) for p in book.pending()) == [True]


@pytest.mark.parametrize("first", ["a", "b"])
def test_what_one_removes_while_the_other_takes_hold_of_it_is_in_doubt_for_whoever_holds_it(
    jobs: Jobs, first: str
) -> None:
    a, b = jobs.books["a"], jobs.books["b"]
    a.settle(Settlement(STREAM, known=(KNOWN,)))
    gone = replace(KNOWN, state=State.DELETED, version="2")
    removed = Settlement(STREAM, known=(gone,), departed=(S,), believed=((S, KNOWN),))
    taken = Settlement(STREAM, scopes=HELD, believed=((S, KNOWN),))
    steps: list[Step] = [("a", partial(a.settle, removed)), ("b", partial(b.settle, taken))]
    jobs.at_once(*(steps if first == "a" else reversed(steps)))
    known = b.known([S])[S]
    assert (known.digest, known.version, known.state) == (DOUBTED, None, State.LIVE)
    assert [note.refs for note in b.notes()] == [(S,)]
    assert b.scopes(["p"])["p"].raw is None


def test_what_a_run_has_written_itself_is_no_contention(jobs: Jobs) -> None:
    a = jobs.books["a"]
    written = replace(KNOWN, digest=b"e" * 16, version="2")
    a.settle(Settlement(STREAM, known=(KNOWN,)))
    a.settle(Settlement(STREAM, known=(written,), believed=((S, KNOWN),)))
    a.settle(Settlement(STREAM, known=(written,), scopes=HELD, believed=((S, KNOWN),)))
    assert (a.known([S])[S].version, a.notes()) == ("2", [])


def test_an_order_that_moved_up_meanwhile_is_no_contention(jobs: Jobs) -> None:
    a, b = jobs.books["a"], jobs.books["b"]
    a.settle(Settlement(STREAM, known=(KNOWN,)))
    b.settle(Settlement(STREAM, known=(replace(KNOWN, order=9),), believed=((S, KNOWN),)))
    a.settle(Settlement(STREAM, known=(replace(KNOWN, order=5),), scopes=HELD, believed=((S, KNOWN),)))
    known = a.known([S])[S]
    assert (known.digest, known.order, a.notes()) == (KNOWN.digest, 9, [])
