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
            assert there.wait(10)
            two = pool.submit(second[1])
            one.result()
            two.result()

    def together(self, before: str, first: Settlement, *second: Settlement) -> None:
        """`a` settles `first`, and stops before this statement while `b` settles `second`; errors are raised."""
        there, go_on = Event(), Event()

        def pause(conn: object, cursor: object, statement: str, *rest: object) -> None:
            if statement.startswith(before) and not there.is_set():
                there.set()
                go_on.wait(1)

        event.listen(self._stores["a"].database.engine, "before_cursor_execute", pause)
        with ThreadPoolExecutor(2) as pool:
            one = pool.submit(self.books["a"].settle, first)
            assert there.wait(10)
            two = pool.submit(lambda: [self.books["b"].settle(each) for each in second])
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


def test_what_both_create_at_once_is_in_doubt(jobs: Jobs) -> None:
    """b wrote first (version 1), a over it (version 2); a remembers, and b at the very same time."""
    a, b = jobs.books["a"], jobs.books["b"]
    for book in (a, b):  # the type has its number
        book.settle(Settlement(STREAM, known=(SECOND,)))
    mine = replace(KNOWN, digest=b"e" * 16, version="2")
    settled = [
        Settlement(STREAM, known=(k,), scopes=HELD, believed=((S, None),)) for k in (mine, replace(KNOWN, job="b"))
    ]
    jobs.at_once(("a", partial(a.settle, settled[0])), ("b", partial(b.settle, settled[1])))
    known = b.known([S])[S]
    assert (known.digest, known.version) == (DOUBTED, None)


FIRST, SECOND = (Known(Ref("Organization", name), "a", b"d" * 16, "1", 1, 1) for name in "rt")
BOTH = Settlement(
    STREAM,
    known=tuple(replace(k, order=3) for k in (FIRST, SECOND)),
    believed=((FIRST.ref, FIRST), (SECOND.ref, SECOND)),
)
REFS = frozenset({FIRST.ref, SECOND.ref})


def test_one_that_lets_go_of_what_the_other_settles_does_not_block_it(jobs: Jobs) -> None:
    for book in jobs.books.values():
        scope = ScopeSettled("p", REFS, frozenset(), b"r" * 16, 1, "p")
        book.settle(Settlement(STREAM, known=(FIRST, SECOND), scopes=(scope,)))
    left = ScopeSettled("p", frozenset({SECOND.ref}), frozenset({FIRST.ref}), b"q" * 16, 1, "p")
    moved = (replace(SECOND, order=2),)
    jobs.together("INSERT INTO pending", Settlement(STREAM, moved, (left,), believed=((SECOND.ref, SECOND),)), BOTH)
    assert jobs.books["a"].known([FIRST.ref])[FIRST.ref].order == 3


def test_one_that_newly_holds_what_it_refused_does_not_block_the_other(jobs: Jobs) -> None:
    jobs.books["b"].settle(Settlement(STREAM, known=(FIRST, SECOND)))
    held = ScopeSettled("p", REFS, frozenset(), None, None, "p")
    moved = (replace(SECOND, order=2),)
    jobs.together("INSERT INTO holds", Settlement(STREAM, moved, (held,), believed=((SECOND.ref, SECOND),)), BOTH)
    assert jobs.books["a"].known([FIRST.ref])[FIRST.ref].order == 3


def test_one_that_brings_what_is_new_beside_what_is_not_does_not_block_the_other(jobs: Jobs) -> None:
    for book in jobs.books.values():
        book.settle(Settlement(STREAM, known=(SECOND,)))
    mine = (FIRST, replace(SECOND, order=2))
    believed = ((FIRST.ref, None), (SECOND.ref, SECOND))
    created = Settlement(STREAM, known=(FIRST,), believed=((FIRST.ref, None),))
    jobs.together("INSERT INTO known", Settlement(STREAM, mine, believed=believed), created, BOTH)
    assert jobs.books["a"].known([FIRST.ref])[FIRST.ref].order == 3
