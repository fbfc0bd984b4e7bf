"""Runs, the marker and the quarantine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from store import queries
from store.handle import Stored
from store.job_store import JobBook
from tsi_fetch.words import Answer, Fault, Known, Mark, Quarantined, Ref, Row, RunRecord, ScopeClaim, Settlement

S = "changes"
AT = datetime(2026, 3, 2, 9, 30, 0, 123456, tzinfo=UTC)


def never(seconds: float) -> None:
    raise AssertionError("nobody holds the lease")


@pytest.fixture
def book(stored: Stored) -> Iterator[JobBook]:
    with stored.lease("cima", "out", "run-1", wait=never) as book:
        yield book


def row(key: str, body: bytes = b"{}") -> Row:
    answer = Answer("medicamento", "https://register.invalid/x", 200, body, AT)
    return Row(key, (answer,), 7, (ScopeClaim(key, whole=True),), (key, f"{key}b"))


def trouble(key: str, body: bytes = b"{}", **changes: object) -> Quarantined:
    r = row(key, body)
    q = Quarantined(key, r.digest, Fault("no-name", "$.nombre", "a name is needed"), r)
    return replace(q, **changes)  # type: ignore[arg-type]


def unfetched(key: str, code: str = "unfetched") -> Quarantined:
    r = Row(key, unfetched=Fault(code, "medicamento", "answered 503"))
    assert r.unfetched is not None
    return Quarantined(key, r.digest, r.unfetched, r)


def test_a_row_in_quarantine_comes_back_whole(stored: Stored, book: JobBook) -> None:
    book.begin_run(RunRecord("run-1", "cima", AT))
    q = replace(trouble("1", b"\x00\xff body"), ref=Ref("Bundle", "x"), body=b'{"dose": 1.00}')
    book.settle(Settlement(S, quarantined=(q,)))
    (listed,) = queries.quarantine(stored, "cima")
    assert (listed.key, listed.fault, listed.ref, listed.attempts) == ("1", q.fault, Ref("Bundle", "x"), 1)
    assert (listed.job, listed.stream, listed.run, listed.closed) == ("cima", S, "run-1", None)
    assert queries.quarantined(stored, listed.id) == (listed, q)
    assert queries.quarantined(stored, listed.id + 1) is None


def test_the_same_trouble_again_is_one_entry_with_two_attempts(stored: Stored, book: JobBook) -> None:
    book.settle(Settlement(S, quarantined=(trouble("1"), trouble("1"))))
    (before,) = queries.quarantine(stored)
    book.settle(Settlement(S, quarantined=(trouble("1", fault=Fault("other", "$", "a rule")),)))
    (after,) = queries.quarantine(stored)
    assert (before.attempts, after.attempts, after.fault.code) == (1, 2, "other")
    assert (after.id, after.opened) == (before.id, before.opened)
    assert after.last >= before.last


def test_a_good_row_closes_what_lay_there_except_what_it_says_itself(stored: Stored, book: JobBook) -> None:
    old, kept = trouble("1", b"old"), trouble("1", b"kept")
    book.settle(Settlement(S, quarantined=(old, kept, trouble("2"))))
    book.settle(Settlement("another", quarantined=(old,)))
    book.settle(Settlement(S, closed=("1", "3"), quarantined=(kept,)))
    assert {(q.stream, q.key, q.attempts) for q in queries.quarantine(stored)} == {
        (S, "1", 2),
        (S, "2", 1),
        ("another", "1", 1),
    }
    (closed,) = queries.quarantine(stored, state="closed")
    assert (closed.key, closed.why, closed.closed is None) == ("1", "overtaken", False)
    assert len(queries.quarantine(stored, state="all")) == 4


def test_what_comes_again_after_it_was_closed_opens_again(stored: Stored, book: JobBook) -> None:
    book.settle(Settlement(S, quarantined=(trouble("1"),)))
    (first,) = queries.quarantine(stored)
    book.settle(Settlement(S, closed=("1",)))
    assert book.oldest_quarantine() is None
    book.settle(Settlement(S, quarantined=(trouble("1"),)))
    (again,) = queries.quarantine(stored)
    assert (again.id, again.attempts, again.why) == (first.id, 2, None)
    assert again.opened > first.opened
    assert book.oldest_quarantine() == again.opened


def test_unfetched_rows_are_named_until_they_close(book: JobBook) -> None:
    book.settle(Settlement(S, quarantined=(unfetched("2"), unfetched("1"), trouble("3"))))
    book.settle(Settlement("another", quarantined=(unfetched("9"),)))
    assert book.unfetched(S) == ["1", "2"]
    book.settle(Settlement(S, closed=("1",)))
    assert book.unfetched(S) == ["2"]


def test_a_row_that_fails_to_be_fetched_in_another_way_each_night_lies_there_once(
    stored: Stored, book: JobBook
) -> None:
    book.settle(Settlement(S, quarantined=(unfetched("1", "too-large"),)))
    book.settle(Settlement(S, quarantined=(unfetched("1", "not-json"),)))
    (listed,) = queries.quarantine(stored)
    assert (listed.attempts, listed.fault.code) == (2, "not-json")


def test_in_quarantine_says_which_lie_open(book: JobBook) -> None:
    one, two, three = trouble("1"), trouble("2"), trouble("3")
    book.settle(Settlement(S, quarantined=(one, two)))
    book.settle(Settlement(S, closed=("2",)))
    assert book.in_quarantine(S, [one.digest, two.digest, three.digest]) == {one.digest}
    assert book.in_quarantine("another", [one.digest]) == frozenset()
    assert book.in_quarantine(S, []) == frozenset()


def test_a_fault_that_names_a_nul_or_half_a_surrogate_is_kept_readable(stored: Stored, book: JobBook) -> None:
    book.settle(Settlement(S, quarantined=(trouble("1", fault=Fault("bad", "$.a\0b\ud800", "a rule")),)))
    (listed,) = queries.quarantine(stored)
    assert listed.fault.path == "$.a\\0b\\ud800"


def test_a_run_is_recorded_from_its_beginning_to_its_end(stored: Stored, book: JobBook) -> None:
    begun = RunRecord("run-1", "cima", AT)
    book.begin_run(begun)
    listed = queries.run(stored, "run-1")
    assert listed is not None
    assert (listed.record, listed.sink, listed.replay) == (begun, "out", False)
    ended = replace(begun, ended=AT, outcome="done", exit_code=0, report={"rows": {"read": 3}})
    book.end_run(ended)
    assert [r.record for r in queries.runs(stored, "cima")] == [ended]
    assert queries.runs(stored, "other") == []
    assert queries.run(stored, "never") is None
    assert (book.ran("run-1"), book.ran("never")) == (True, False)


def test_a_replay_is_no_live_run(stored: Stored) -> None:
    assert queries.live_runs(stored, "cima") is False
    with stored.lease("cima", "out", "run-1", wait=never, replay=True) as book:
        book.begin_run(RunRecord("run-1", "cima", AT))
    assert queries.live_runs(stored, "cima") is False
    with stored.lease("cima", "out", "run-2", wait=never) as book:
        book.begin_run(RunRecord("run-2", "cima", AT))
    assert queries.live_runs(stored, "cima") is True


def test_the_run_that_wrote_a_ref_last_is_kept_with_it(stored: Stored) -> None:
    ref = Ref("Bundle", "x")
    known = Known(ref, "cima", b"d" * 16, "1", 5, 1)
    written = []
    for number, entry in enumerate([known, replace(known, mapping=2), replace(known, version="2")], 1):
        with stored.lease("cima", "out", f"run-{number}", wait=never) as book:
            book.begin_run(RunRecord(f"run-{number}", "cima", AT))
            book.settle(Settlement(S, known=(entry,)))
        with stored.database.read() as conn:
            written.append(conn.exec_driver_sql("SELECT run FROM known").scalar())
    assert written == [1, 1, 3]


def test_a_marker_is_intended_before_it_is_remembered(stored: Stored, book: JobBook) -> None:
    assert book.marks() == (None, None)
    first = Mark("run-1", 1)
    book.intend(first)
    assert book.marks() == (None, first)
    moved = replace(first, version="1")
    book.marked(moved)
    assert book.marks() == (moved, None)
    second = Mark("run-1", 2, "1")
    book.intend(second)
    assert book.marks() == (moved, second)
    assert stored.reader("cima", "another").marks() == (None, None)


def test_status_says_how_a_job_stands(stored: Stored, book: JobBook) -> None:
    book.begin_run(RunRecord("run-1", "cima", AT))
    known = tuple(Known(Ref("Bundle", f"{n}"), "cima", b"d" * 16, "1", 5, n) for n in (1, 2, 2, 3))
    book.settle(Settlement(S, known=known, quarantined=(trouble("1"),)))
    number = book.begin_list("first", S)
    book.note_keys(number, 1, ["a", "b"])
    book.start_list(number, complete=True, cursor=None)
    book.end_run(RunRecord("run-1", "cima", AT, AT, "partial", 0))
    (row,) = queries.status(stored)
    assert (row.job, row.sink, row.last_success, row.quarantined, row.waiting, row.pending) == (
        "cima",
        "out",
        None,
        1,
        0,
        0,
    )
    assert (row.older(3), row.older(1), row.work and row.work.left) == (2, 0, 2)
    assert row.last is not None
    assert row.last.outcome == "partial"
    book.end_run(RunRecord("run-1", "cima", AT, AT, "done", 0))
    (row,) = queries.status(stored, "cima")
    assert row.last_success == AT
    assert (queries.status(stored, "other"), queries.jobs_seen(stored)) == ([], ["cima"])
