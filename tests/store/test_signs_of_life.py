"""Whether a run or a worker still lives is judged in one way; a worker needs neither claims nor its turn for that."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from store import backfills, queries, run_history
from store.handle import Stored
from store.workers import WorkerStore
from tsi_fetch.words import RunRecord, Settlement


def never(seconds: float) -> None:
    raise AssertionError("the lease is free")


def a_list(stored: Stored, *keys: str) -> int:
    with stored.beginning("cima", "out", "maker", never) as book:
        number = backfills.begin(book, stored, "changes", {})
        backfills.note_all(book, number, keys)
        book.start_list(number, complete=False, cursor=None)
    return number


def begun(stored: Stored, number: int, name: str = "worker") -> WorkerStore:
    """It has begun, and claimed nothing yet."""
    worker = stored.worker("cima", "out", name, number)
    worker.begin_run(RunRecord(name, "cima", stored.now(), whole=False))
    return worker


def expire(stored: Stored, *, years: int = -40) -> None:
    """What was heard of all workers last is as far away, on the store's clock."""
    with stored.database.write() as conn:
        at = int((stored.now() + timedelta(days=365 * years)).timestamp() * 1e6)
        conn.exec_driver_sql(f"UPDATE runs SET alive_until = {at}")
        conn.exec_driver_sql(f"UPDATE work SET held_until = {at} WHERE holder IS NOT NULL")


def silent(stored: Stored, name: str = "worker") -> set[bool]:
    """What everybody says who lists runs."""
    rows = [
        *run_history.latest(stored, None, 9),
        *run_history.matching(stored, name, 9),
        *queries.runs(stored),
        *backfills.workers(stored, 1),
    ]
    return {row.silent for row in rows if row.record.id == name}


def outcomes(stored: Stored) -> dict[str, str]:
    return {row.record.id: row.record.outcome for row in queries.runs(stored)}


def test_a_worker_lives_before_between_and_after_its_claims_until_its_sign_is_gone(stored: Stored) -> None:
    worker = begun(stored, a_list(stored, "p1"))
    assert silent(stored) == {False}, "it has claimed nothing yet"
    worker.claims.claim(1)
    assert silent(stored) == {False}
    worker.claims.release()
    assert silent(stored) == {False}, "it waits for what others have"
    expire(stored)
    assert silent(stored) == {True}
    worker.claims.renew()
    assert silent(stored) == {False}, "it was paused"


def test_a_sign_from_a_clock_that_was_set_back_is_none(stored: Stored) -> None:
    begun(stored, a_list(stored, "p1"))
    expire(stored, years=40)
    assert silent(stored) == {True}


def test_a_worker_lives_in_its_turn_whatever_its_claims(stored: Stored) -> None:
    worker = begun(stored, a_list(stored, "p1"))
    with worker.turn("worker", never):
        expire(stored)
        assert silent(stored) == {False}
    assert silent(stored) == {True}


def test_a_run_lives_for_as_long_as_its_lease(stored: Stored) -> None:
    with stored.lease("cima", "out", "run-1", wait=never) as book:
        book.begin_run(RunRecord("run-1", "cima", stored.now()))
        assert silent(stored, "run-1") == {False}
        [row] = queries.status(stored)
        assert row.silent is False
        with stored.database.write() as conn:
            conn.exec_driver_sql("UPDATE leases SET expires = 1")
        assert silent(stored, "run-1") == {True}
        [row] = queries.status(stored)
        assert row.silent is True


def test_what_has_ended_is_not_silent(stored: Stored) -> None:
    worker = begun(stored, a_list(stored, "p1"))
    worker.end_run(RunRecord("worker", "cima", stored.now(), stored.now(), "done", 0, whole=False))
    expire(stored)
    assert silent(stored) == {False}


def cancel(stored: Stored, number: int) -> None:
    backfills.cancel(stored, number, "me@desk")


@pytest.mark.parametrize("end", [cancel, backfills.resume], ids=["cancel", "resume"])
def test_whoever_ends_or_resumes_a_list_calls_only_those_lost_that_give_no_sign(
    stored: Stored, end: Callable[[Stored, int], None]
) -> None:
    number = a_list(stored, "p1", "p2")
    begun(stored, number, "dead").claims.claim(1)
    expire(stored)
    idle, busy = begun(stored, number, "idle"), begun(stored, number, "busy")
    busy.claims.claim(1)
    end(stored, number)
    assert {name: out for name, out in outcomes(stored).items() if name != "dead"} == {
        "idle": "running",
        "busy": "running",
    }
    assert outcomes(stored)["dead"] == "lost"
    assert silent(stored, "idle") == silent(stored, "busy") == {False}
    for worker, name in ((idle, "idle"), (busy, "busy")):
        worker.end_run(RunRecord(name, "cima", stored.now(), stored.now(), "partial", 0, whole=False))
    assert set(outcomes(stored).values()) == {"lost", "partial"}


def test_who_closes_a_list_says_who_of_its_workers_was_lost(stored: Stored) -> None:
    """One that was killed while it had claimed nothing: no claim of it will ever tell."""
    number = a_list(stored, "p1")
    begun(stored, number, "dead")
    expire(stored)
    last = begun(stored, number, "last")
    claimed = last.claims.claim(1)
    with last.turn("last", never) as book:
        book.settle(Settlement("changes", keys=tuple(item.key for item in claimed), rows=("p1",)))
    assert last.claims.close()
    assert outcomes(stored) == {"dead": "lost", "last": "running"}
