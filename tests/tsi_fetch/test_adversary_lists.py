"""Workers on lists that runs go on with, by somebody who wants them to lose something or to leave something undone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from beside import progress
from house import House

from store import backfills
from store.handle import Stored, open_store
from store.trail import Deed
from tsi_fetch.errors import TryAgain
from tsi_fetch.ports import NOTHING
from tsi_fetch.words import Batch, RunRecord, Validators

LONG = 30.0
"""Seconds after which what should have come has not."""

EXPIRY = 0.5
"""Seconds for which a claim lasts."""


def newest(stored: Stored) -> int:
    return max(one.id for one in backfills.backfills(stored))


def test_what_a_run_has_done_and_is_to_be_done_again_is_not_given_up_before_it_is_tried(begun: House) -> None:
    """Workers gave it up, a run fetched it: that it has failed once is over when it is asked for anew."""
    begun.source.table["p2"] = {"b": "B", "b2": "B", "b3": "B", "b4": "B"}
    assert begun.run().exit_code == 0
    begun.source.table["p2"] = None
    assert begun.run(full=True, slice=1, max_duration=timedelta(seconds=40)).remainder == 2
    with open_store(begun.url) as stored:
        number = newest(stored)
    begun.source.unfetched.add("p2")
    assert begun.work(number).exit_code == 65
    begun.source.unfetched.clear()
    assert begun.run(removal="delete").exit_code == 77, "the run did p2; its guard has it asked for anew"
    assert progress(begun, number) == ("open", 1, 2, 0)
    assert begun.work(number).exit_code == 0


def test_a_dead_workers_claim_of_a_clock_that_was_set_back_does_not_keep_runs_from_their_list(begun: House) -> None:
    """It lasts for as long as the clock was wrong; a green night after the other would leave the load to nobody."""
    with open_store(begun.url) as stored:
        number = newest(stored)
        dead = stored.worker("job", "memory", "dead", number, of_runs=True)
        assert dead.claims.claim(2)
        with stored.database.write() as conn:
            conn.exec_driver_sql("UPDATE work SET held_until = held_until + 31536000000000 WHERE holder = 'dead'")
    begun.run()
    assert begun.run().remainder == 0


def test_the_claims_of_a_worker_that_ends_while_it_still_fetches_do_not_expire(begun: House) -> None:
    """Its sink is down; what it fetches ahead takes longer than a claim lasts.  The items are nobody's failure."""
    with open_store(begun.url) as stored:
        number = newest(stored)
    fetch, fetches, over, kept = begun.source.fetch, [], threading.Event(), []

    def slowly(keys: Iterable[str], known: Mapping[str, Validators] = NOTHING) -> Iterator[Batch]:
        fetches.append(list(keys))
        if len(fetches) == 2:  # ahead
            assert over.wait(LONG)
            kept.append(renewed_past_their_end(begun))
            with open_store(begun.url) as stored:
                taken = stored.worker("job", "memory", "other", number, of_runs=True).claims
                taken.claim(1)
                taken.release()
        yield from fetch(keys, known)

    def down(*given: Any) -> Any:
        over.set()
        raise TryAgain("the sink is down")

    begun.source.fetch = slowly  # type: ignore[method-assign]
    write, begun.sink.write = begun.sink.write, down  # type: ignore[method-assign]
    assert begun.work(number, at_once=1, expiry=EXPIRY).exit_code == 75
    begun.sink.write = write  # type: ignore[method-assign]
    assert len(fetches) == 2
    assert kept == [True]
    with open_store(begun.url) as stored, stored.database.read() as conn:
        assert conn.exec_driver_sql("SELECT sum(attempts) FROM work").scalar() == 0


def renewed_past_their_end(house: House) -> bool:
    """Whether claims are renewed until after they would have expired, by the clock of the database."""
    began, first = time.monotonic(), claimed_until(house)
    while time.monotonic() - began < LONG:
        until = claimed_until(house)
        if until > first + EXPIRY * 1e6:
            return True
        if until == 0:
            return False
    return False


def claimed_until(house: House) -> int:
    """Microseconds; 0 where nothing is claimed."""
    with open_store(house.url) as stored, stored.database.read() as conn:
        return int(conn.exec_driver_sql("SELECT max(held_until) FROM work WHERE holder IS NOT NULL").scalar() or 0)


def dead_worker(house: House, number: int) -> None:
    """It claimed what was left, and was killed; its claims have expired."""
    with open_store(house.url) as stored:
        dead = stored.worker("job", "memory", "dead", number, expiry=0, of_runs=True)
        dead.begin_run(RunRecord("dead", "job", house.clock.now(), whole=False))
        assert dead.claims.claim(2)


def outcomes(house: House, number: int) -> list[str]:
    with open_store(house.url) as stored:
        return [row.record.outcome for row in backfills.workers(stored, number)]


def test_a_dead_worker_whose_items_a_run_has_done_is_not_said_to_be_running(begun: House) -> None:
    """Nobody ever claims anything of that list again, and its claims, which told that it had died, are gone."""
    with open_store(begun.url) as stored:
        number = newest(stored)
    dead_worker(begun, number)
    assert begun.run().outcome == "done"
    assert progress(begun, number)[0] == "closed"
    assert outcomes(begun, number) == ["lost"]


def test_a_dead_worker_of_a_list_that_a_reset_cancelled_is_not_said_to_be_running(begun: House) -> None:
    with open_store(begun.url) as stored:
        number = newest(stored)
        dead_worker(begun, number)
        with stored.lease("job", "memory", "person", expiry=60, wait=lambda s: None) as book:
            [row] = book.steering.streams()
            assert row.cursor is not None
            book.steering.forget(row.stream, row.cursor, Deed("me@desk", "watermark reset", "anew", {}))
    assert begun.run().outcome == "done"
    assert progress(begun, number)[0] == "cancelled"
    assert outcomes(begun, number) == ["lost"]


def asked_for(house: House, key: str) -> int:
    """A second open list, of one row that is to be read anew; its number."""
    with open_store(house.url) as stored, stored.lease("job", "memory", "person", wait=lambda _: None) as book:
        number = book.begin_list("reconcile", "changes")
        book.note_keys(number, 1, [key])
        return book.start_list(number, complete=False, cursor=None).id


def test_a_run_works_off_every_open_list(begun: House) -> None:
    """Where a guard held back what was removed, the lists that removed it are open again: one was left, and the run
    called it a planned stop."""
    begun.source.table["p1"] = {"a": "A2", "s": "shared"}
    asked_for(begun, "p1")
    report = begun.run()
    assert (report.exit_code, report.outcome, report.remainder) == (0, "done", 0)
    assert begun.names()["a"] == "A2"
    assert begun.reader(lambda book: book.open_list("changes")) is None


def test_a_run_works_off_the_lists_at_which_no_workers_are_and_says_what_is_left_of_all(begun: House) -> None:
    with open_store(begun.url) as stored:
        first = newest(stored)
        assert stored.worker("job", "memory", "worker", first, of_runs=True).claims.claim(1)
    begun.source.table["p1"] = {"a": "A2", "s": "shared"}
    second = asked_for(begun, "p1")
    report = begun.run()
    assert (report.outcome, report.remainder) == ("partial", 2)
    assert [progress(begun, number)[0] for number in (first, second)] == ["open", "closed"]
    assert begun.names()["a"] == "A2"


def test_what_is_left_of_every_list_is_told_where_time_is_up(begun: House) -> None:
    asked_for(begun, "p1")
    begun.slow_fetches(60)
    report = begun.run(slice=1, max_duration=timedelta(seconds=30))
    assert (report.outcome, report.remainder) == ("partial", 2)
    assert [note for note in report.notes if "left for the next run" in note] == [
        "1 of 3 keys of the first load is left for the next run",
        "1 of 1 key of the reconcile load is left for the next run",
    ]


def test_full_reads_everything_where_all_of_the_open_list_is_done(begun: House) -> None:
    """The worker that did the last of it was killed before it could close it: there is nothing to go on with."""
    with open_store(begun.url) as stored:
        number = newest(stored)
        assert begun.work(number).exit_code == 0
        with stored.database.write() as conn:
            conn.exec_driver_sql("UPDATE lists SET state = 'open', closed = NULL")
    begun.source.table["p1"] = {"a": "A2", "s": "shared"}
    report = begun.run(full=True)
    assert report.outcome == "done"
    assert begun.names()["a"] == "A2"
