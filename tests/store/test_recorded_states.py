"""A recording's state: taken from one store, brought into another."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from store import queries
from store.handle import Stored, open_scratch
from tsi_fetch.words import Cursor, CursorKind, Fault, Quarantined, Row, RunRecord, Settlement

S = "changes"


def never(seconds: float) -> None:
    raise AssertionError("nobody holds the lease")


def test_a_state_is_json_and_a_seeded_store_stands_where_it_stood(stored: Stored) -> None:
    lost = Row("8", unfetched=Fault("unfetched", "medicamento", "answered 503"))
    with stored.lease("cima", "out", "run-1", wait=never) as book:
        trouble = Quarantined("8", lost.digest, Fault("unfetched", "", ""), lost)
        book.settle(Settlement(S, checkpoint=("1", "2"), quarantined=(trouble,)))
        book.advance(S, Cursor(CursorKind.DATE, "2026-03-01", frozenset({"a", "b"})), clear=False)
        number = book.begin_list("first", S)
        book.note_keys(number, 1, [f"{n:04}" for n in range(1500)])
        book.start_list(number, complete=True, cursor=None)
        book.settle(Settlement(S, keys=("0000",)))
        number = book.begin_list("reconcile", S)
        book.note_keys(number, 1, ["0001", "7"])
        book.start_list(number, complete=False, cursor=None)
    state = json.loads(json.dumps(queries.export_state(stored.reader("cima", "out"), S)))
    with open_scratch() as other, other.lease("cima", "out", "run-1", wait=never) as book:
        queries.seed_state(book, state)
        assert queries.export_state(book, S) == state
        assert book.position(S) == stored.reader("cima", "out").position(S)
        work = book.open_list(S)
        assert work is not None
        assert (work.kind, work.complete, work.left) == ("first", True, 1499)
        later = book.open_list(S, work.id)
        assert later is not None
        assert (later.kind, later.complete, later.left) == ("reconcile", False, 2)
        assert book.unfetched(S) == ["8"]
        assert book.live() == {}


def test_an_empty_state_seeds_an_empty_store(stored: Stored) -> None:
    state = queries.export_state(stored.reader("cima", "out"), S)
    assert state == {"stream": S, "watermark": None, "checkpoint": [], "work": [], "unfetched": []}
    with stored.lease("cima", "out", "run-1", wait=never) as book:
        queries.seed_state(book, state)
        assert queries.export_state(book, S) == state


def test_runs_are_listed_newest_first_and_no_more_than_asked(stored: Stored) -> None:
    at = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
    with stored.lease("cima", "out", "run-0", wait=never) as book:
        for n in range(5):
            book.begin_run(RunRecord(f"run-{n}", "cima", at))
    assert [r.record.id for r in queries.runs(stored, "cima", 2)] == ["run-4", "run-3"]
    assert queries.lease(stored, "never") is None


def test_a_store_that_is_seeded_again_stands_where_it_stood_the_first_time(stored: Stored) -> None:
    with stored.lease("cima", "out", "run-1", wait=never) as book:
        begun = queries.export_state(book, S)
        book.settle(Settlement(S, checkpoint=("1", "2")))
        book.advance(S, Cursor(CursorKind.DATE, "2026-03-01", frozenset({"a"})), clear=False)
        number = book.begin_list("first", S)
        book.note_keys(number, 1, ["1", "2"])
        book.start_list(number, complete=True, cursor=None)
        book.begin_list("full", S)
        queries.seed_state(book, begun)
        assert queries.export_state(book, S) == begun
