"""Runs are found by what a person writes of them, and read backwards without holding them all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from store import run_history
from store.handle import Stored
from tsi_fetch.words import RunRecord

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def never(seconds: float) -> None:
    raise AssertionError("the lease is free")


def ran(stored: Stored, run_id: str, job: str = "cima", sink: str = "out", **ended: Any) -> None:
    """A run that began at nine thirty and took as many minutes as its number."""
    replay = ended.pop("replay", False)
    whole = ended.pop("whole", True)
    minutes = ended.pop("minutes", 1)
    with stored.lease(job, sink, run_id, wait=never, replay=replay) as book:
        book.begin_run(RunRecord(run_id, job, AT, whole=whole))
        book.end_run(
            RunRecord(run_id, job, AT, AT + timedelta(minutes=minutes), ended.pop("outcome", "done"), 0, whole, ended)
        )


def ids(rows: Any) -> list[str]:
    return [row.record.id for row in rows]


def test_a_run_is_found_by_id_number_and_prefix(stored: Stored) -> None:
    for run_id in ("260302-0930-ab12", "260302-0930-ab34", "260303-0930-cd56", "2"):
        ran(stored, run_id)
    assert ids(run_history.matching(stored, "260302-0930-ab12", 5)) == ["260302-0930-ab12"]
    assert ids(run_history.matching(stored, "260302-0930-ab", 5)) == ["260302-0930-ab34", "260302-0930-ab12"]
    assert ids(run_history.matching(stored, "26", 2)) == ["260303-0930-cd56", "260302-0930-ab34"]
    assert ids(run_history.matching(stored, "2", 5)) == ["2"], "an id goes before a number"
    [third] = run_history.matching(stored, "3", 5)
    assert (third.record.id, third.number) == ("260303-0930-cd56", 3)
    assert run_history.matching(stored, "%", 5) == run_history.matching(stored, "9" * 30, 5) == []


def test_the_latest_runs_are_those_of_all_jobs_or_of_some(stored: Stored) -> None:
    ran(stored, "run-1")
    ran(stored, "run-2", "other")
    ran(stored, "run-3", sink="elsewhere")
    assert ids(run_history.latest(stored, None, 2)) == ["run-3", "run-2"]
    assert ids(run_history.latest(stored, ["cima"], 20)) == ["run-3", "run-1"]
    assert run_history.latest(stored, [], 20) == []


def test_the_past_is_read_a_page_at_a_time_without_replays_and_of_one_sink(stored: Stored) -> None:
    for number in range(run_history.PAGE + 3):
        ran(stored, f"run-{number}")
    ran(stored, "replayed", replay=True)
    ran(stored, "another", sink="elsewhere")
    found = ids(run_history.backwards(stored, "cima", "out"))
    assert found == [f"run-{number}" for number in reversed(range(run_history.PAGE + 3))]
    assert ids(run_history.backwards(stored, "cima", "nowhere")) == []


def test_how_long_a_run_takes_is_told_by_whole_ones_that_succeeded(stored: Stored) -> None:
    ran(stored, "run-1", minutes=3)
    ran(stored, "run-2", minutes=5)
    ran(stored, "run-3", minutes=90, outcome="failed")
    ran(stored, "run-4", minutes=90, whole=False)
    ran(stored, "run-5", minutes=90, replay=True)
    assert run_history.usual(stored, "cima", "out", 10) == [timedelta(minutes=5), timedelta(minutes=3)]
    assert run_history.usual(stored, "cima", "out", 1) == [timedelta(minutes=5)]
    assert run_history.usual(stored, "never", "out", 1) == []


def test_a_store_knows_when_it_was_made(stored: Stored) -> None:
    at = run_history.made(stored)
    assert at is not None
    assert timedelta(0) <= stored.now() - at < timedelta(hours=1)
