"""Where a resource or a row came from, as the store tells it: by key, and the same on both databases."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from store.explaining import MOST_REFS, MOST_SCOPES, places, trace_key, trace_ref
from store.handle import Stored, open_store
from store.job_store import JobBook
from store.traces import KeyTrace, RefTrace
from tsi_fetch.settle import removal_of
from tsi_fetch.words import (
    Answer,
    Doubt,
    Fault,
    Known,
    Quarantined,
    Ref,
    Row,
    RunRecord,
    ScopeSettled,
    Settlement,
    State,
    Waiting,
)

S = "changes"
NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
DIGEST = bytes(range(16))
BAD = Fault("bad", "$.x", "is bad")


def never(seconds: float) -> None:
    raise AssertionError("nobody holds the lease")


def ref(ident: str, kind: str = "Basic") -> Ref:
    return Ref(kind, ident)


def known(ident: str, job: str = "cima", version: str = "1") -> Known:
    return Known(ref(ident), job, DIGEST, version, 5, 1)


def scope(
    key: str, *idents: str, row: str | None = None, leaving: str = "", raw: bytes | None = DIGEST
) -> ScopeSettled:
    return ScopeSettled(key, frozenset(map(ref, idents)), frozenset(map(ref, leaving)), raw, 1, row or key)


@pytest.fixture
def book(stored: Stored) -> Iterator[JobBook]:
    with stored.lease("cima", "out", "run-1", wait=never) as book:
        book.begin_run(RunRecord("run-1", "cima", NOW))
        yield book


def refs_of(stored: Stored, ident: str, job: str | None = None) -> list[RefTrace]:
    return trace_ref(stored, ref(ident), places(stored, job))


def rows_of(stored: Stored, key: str, job: str | None = None) -> list[KeyTrace]:
    return trace_key(stored, key, places(stored, job))


def trouble(key: str, of: Ref | None = None) -> Quarantined:
    row = Row(key, (Answer("a", "https://register.invalid/a", 200, b"{}", NOW),))
    digest = row.digest if of is None else bytes(15) + str(of).encode()[-1:]
    return Quarantined(key, digest, BAD, row, of, b"{}")


def test_an_empty_store_knows_nothing(stored: Stored) -> None:
    assert places(stored) == []
    assert (refs_of(stored, "a"), rows_of(stored, "a")) == ([], [])


def test_a_resource_is_told_with_its_run_its_scopes_and_what_ran_since(stored: Stored, book: JobBook) -> None:
    book.settle(Settlement(S, known=(known("a"),), scopes=(scope("1", "a"), scope("1#part", "a", row="1", raw=None))))
    book.end_run(RunRecord("run-1", "cima", NOW, NOW, "done", 0))
    [trace] = refs_of(stored, "a")
    assert trace.known == known("a")
    assert (trace.sink, trace.wrote and trace.wrote.id, trace.since and trace.since.runs) == ("out", "run-1", 0)
    assert [(s.key, s.row, s.doubted) for s in trace.scopes] == [("1", "1", False), ("1#part", "1", True)]
    assert (trace.more_scopes, trace.removals, trace.waits, trace.troubles, trace.noted) == (0, (), (), (), False)
    assert refs_of(stored, "b") == []


def test_a_later_run_that_only_looked_is_counted_and_does_not_become_the_writer(stored: Stored, book: JobBook) -> None:
    book.settle(Settlement(S, known=(known("a"),), scopes=(scope("1", "a"),)))
    book.begin_run(RunRecord("run-2", "cima", NOW))
    book.settle(Settlement(S, known=(replace(known("a"), order=6),)))
    [trace] = refs_of(stored, "a")
    assert trace.wrote is not None
    assert trace.since is not None
    assert (trace.wrote.id, trace.since.runs) == ("run-1", 1)
    assert (trace.since.last and trace.since.last.id) == "run-2"


def test_what_waits_lies_in_quarantine_or_is_to_be_removed_is_told(stored: Stored, book: JobBook) -> None:
    book.settle(
        Settlement(
            S,
            known=(known("a"), known("b")),
            scopes=(scope("1", "a", "b"),),
            waiting=(Waiting(ref("a"), b"{}", "1", "1", 9, 1, frozenset({ref("x")})),),
            quarantined=(trouble("1"), trouble("1", ref("b"))),
        )
    )
    book.settle(Settlement(S, scopes=(scope("1", "b", leaving="a"),), quarantined=(trouble(removal_of(ref("a"))),)))
    [trace] = refs_of(stored, "a")
    assert [(w.job, w.wait.missing) for w in trace.waits] == [("cima", {ref("x")})]
    assert sorted(t.key for t in trace.troubles) == ["1", "removal of Basic/a"]  # not what is of b alone
    assert [(r.scope, r.row, r.accepted) for r in trace.removals] == [("1", "1", False)]
    [trace] = refs_of(stored, "b")
    assert {t.ref for t in trace.troubles} == {None, ref("b")}
    [row] = rows_of(stored, "1")
    assert [m.known.ref for m in row.made] == [ref("a"), ref("b")]
    assert sorted(t.key for t in row.troubles) == ["1", "1", "removal of Basic/a"]
    assert len(row.waits) == 1
    assert [(r.ref, r.row, r.accepted) for r in row.removals] == [(ref("a"), "1", False)]


def test_what_was_refused_before_it_was_ever_written_is_found(stored: Stored, book: JobBook) -> None:
    book.settle(Settlement(S, quarantined=(trouble("some other key", ref("new")),)))
    [trace] = refs_of(stored, "new")
    assert (trace.known, [t.key for t in trace.troubles], trace.searched) == (None, ["some other key"], True)
    [row] = rows_of(stored, "some other key")
    assert (row.scopes, [t.ref for t in row.troubles]) == ((), [ref("new")])


def test_the_parts_of_a_row_are_its_own_and_no_other_rows(stored: Stored, book: JobBook) -> None:
    parts = (
        scope("1", "a"),
        scope("1#x", "b", row="1#x+y"),
        scope("1#y", "c", row="1#x+y"),
        scope("1#z", "d", row="1"),
    )
    others = (scope("10", "e"), scope("1 #x", "f"), scope("1a#x", "g"), scope("1/2", "h"), scope("ñ 1", "i"))
    idents = "abcdefghi"
    book.settle(Settlement(S, known=tuple(map(known, idents)), scopes=(*parts, *others)))

    def made(key: str) -> str:
        return "".join(m.known.ref.id for row in rows_of(stored, key) for m in row.made)

    found = {key: made(key) for key in ("1", "1#x", "1#x+y", "1#z", "10", "1 #x", "1/2", "ñ 1", "2", "")}
    assert found == {
        "1": "abcd", "1#x": "b", "1#x+y": "bc", "1#z": "d", "10": "e", "1 #x": "f", "1/2": "h", "ñ 1": "i",
        "2": "", "": "",
    }  # fmt: skip


def test_much_is_named_in_part_and_the_rest_counted(stored: Stored, book: JobBook) -> None:
    many = [f"a{n:03}" for n in range(MOST_REFS + 5)]
    scopes = [scope("all", *many), *(scope(f"s{n}", "a000") for n in range(MOST_SCOPES + 5))]
    book.settle(Settlement(S, known=tuple(map(known, many)), scopes=tuple(scopes)))
    [row] = rows_of(stored, "all")
    assert (len(row.made), row.more) == (MOST_REFS, True)
    [trace] = refs_of(stored, "a000")
    assert (len(trace.scopes), trace.more_scopes) == (MOST_SCOPES, 6)


def test_each_sink_and_each_job_that_knows_it_is_told(stored: Stored) -> None:
    for job, sink, version in (("cima", "out", "1"), ("cima", "other", "7"), ("second", "out", None)):
        with stored.lease(job, sink, f"run-{job}-{sink}", wait=never) as book:
            entries = (known("a", version=version),) if version else ()
            book.settle(Settlement(S, known=entries, scopes=(scope("1", "a"),)))
    assert [(t.sink, t.known and t.known.version, [s.job for s in t.scopes]) for t in refs_of(stored, "a")] == [
        ("out", "1", ["cima", "second"]),
        ("other", "7", ["cima"]),
    ]
    assert sorted((t.job, t.sink) for t in rows_of(stored, "1")) == [
        ("cima", "other"),
        ("cima", "out"),
        ("second", "out"),
    ]
    assert [(t.job, t.sink) for t in rows_of(stored, "1", "second")] == [("second", "out")]
    assert [t.sink for t in refs_of(stored, "a", "second")] == ["out"]


def test_a_write_that_nobody_answered_is_told(stored: Stored, book: JobBook) -> None:
    book.settle(Settlement(S, known=(known("a"),), scopes=(scope("1", "a"),)))
    book.doubt(Doubt((ref("a"),), (), 1))
    [trace] = refs_of(stored, "a")
    assert trace.noted


def test_runs_whose_reports_name_the_row_are_its_history(stored: Stored, book: JobBook) -> None:
    book.settle(Settlement(S, known=(known("a"),), scopes=(scope("a b", "a"),)))
    named = ["a b", "a b Basic/a", "a b Basic/z", "a bc", "a"]
    report = {"quarantined": [{"key": key, "code": str(n)} for n, key in enumerate(named)]}
    book.end_run(RunRecord("run-1", "cima", NOW, NOW, "quarantined", 65, report=report))
    [trace] = refs_of(stored, "a")
    assert [m.code for m in trace.mentions] == ["0", "1"]
    [row] = rows_of(stored, "a b")
    assert [m.code for m in row.mentions] == ["0", "1", "2"]


def test_a_removed_resource_is_still_told(stored: Stored, book: JobBook) -> None:
    book.settle(Settlement(S, known=(replace(known("a"), state=State.DELETED, version="3"),)))
    [trace] = refs_of(stored, "a")
    assert trace.known is not None
    assert (trace.known.state, trace.scopes) == (State.DELETED, ())


def test_a_key_that_is_still_to_be_read_is_told(stored: Stored, book: JobBook) -> None:
    number = book.begin_list("full", S)
    book.note_keys(number, 1, ["1", "2"])
    book.note_keys(number, 2, ["1", "2"])
    book.start_list(number, complete=True, cursor=None)
    [row] = rows_of(stored, "2")
    assert row.work == ("full",)


def test_nothing_is_scanned_that_grows_with_the_register(tmp_path: Path, sqlite_template: Path) -> None:
    """What explain asks goes by an index, each step of it, but for the few jobs, sinks, types and runs."""
    asked: list[tuple[str, Any]] = []
    shutil.copy(sqlite_template, tmp_path / "store.db")
    with open_store(f"sqlite:///{tmp_path / 'store.db'}") as stored:
        with stored.lease("cima", "out", "run-1", wait=never) as book:
            book.begin_run(RunRecord("run-1", "cima", NOW))
            waits = (Waiting(ref("a"), b"{}", "1", "1", 9, 1, frozenset({ref("x")})),)
            troubles = (trouble("1"), trouble("1", ref("a")))
            book.settle(
                Settlement(S, known=(known("a"),), scopes=(scope("1", "a"),), waiting=waits, quarantined=troubles)
            )
        event.listen(stored.database.engine, "before_cursor_execute", lambda *args: asked.append((args[2], args[3])))
        assert refs_of(stored, "a")
        assert rows_of(stored, "1")
        looked = list(asked)
        with stored.database.read() as conn:
            steps = [
                row[3] for sql, given in looked for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", given)
            ]
    grown = "known|holds|scopes|pending|waiting|waiting_for|quarantine|work|notes"
    assert [step for step in steps if re.match(rf"SCAN ({grown})\b", step)] == []
    assert sum(step.startswith("SEARCH") for step in steps) > 20
