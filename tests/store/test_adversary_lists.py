"""Lists that runs go on with, on PostgreSQL, where a worker and a run truly come at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from house import House
from sqlalchemy import Connection, Engine, event
from table_source import TableSource

from jobs.backfill_views import lines
from jobs.crews import figures
from store import backfills, queries
from store.handle import open_store
from store.pruning import Pruning
from store.trail import Deed
from tsi_fetch.ports import JobStore

FAR = 5.0
"""Seconds after which a thread that waits for a lock has it."""

TABLE = {"p1": {"a": "A", "s": "shared"}, "p2": {"b": "B", "s": "shared"}, "p3": {"c": "C"}}


@pytest.fixture
def house(tmp_path: Path, postgres_url: str) -> House:
    made = House(tmp_path, TableSource(dict(TABLE)))
    made.url = postgres_url
    return made


@contextmanager
def before_its_commit(act: Callable[[], object]) -> Iterator[None]:
    """What is done in here is all but committed when somebody else does this, or waits until it may."""
    begun: list[Future[object]] = []

    def committing(conn: Connection) -> None:
        if not begun:
            begun.append(pool.submit(act))
            with suppress(TimeoutError):
                begun[0].result(1)

    with ThreadPoolExecutor(1) as pool:
        event.listen(Engine, "commit", committing)
        try:
            yield
        finally:
            event.remove(Engine, "commit", committing)
        begun[0].result(FAR)


def closing_while_it_discards(house: House, number: int) -> Callable[[JobStore], JobStore]:
    """A run's store: just before the guard's refusal is committed, a worker of the list finds all of it done."""

    def close() -> None:
        with open_store(house.url) as other:
            other.worker("job", "memory", "worker", number, of_runs=True).claims.close()

    def wrapped(store: JobStore) -> JobStore:
        discard = store.discard

        def discards(stream: str) -> None:
            with before_its_commit(close):
                discard(stream)

        store.discard = discards  # type: ignore[method-assign]
        return store

    return wrapped


def a_full_load_of_which_much_leaves(house: House) -> int:
    """Workers have done all of it, and have not closed it yet; the next run's guard is to see what leaves."""
    house.run()
    house.source.table["p1"] = {"a": "A"}
    house.slow_fetches(50)
    assert house.run(full=True, slice=1, max_duration=timedelta(seconds=40), removal="delete").remainder == 2
    house.source.table.update(p2=None, p3=None)
    with open_store(house.url) as stored:
        [full] = [one for one in backfills.backfills(stored) if one.kind == "full"]
    house.work(full.id)
    open_again(house, full.id)
    return full.id


def open_again(house: House, number: int) -> None:
    """As if the worker that has done all of it had not come to its last step yet."""
    with open_store(house.url) as stored, stored.database.write() as conn:
        conn.exec_driver_sql("UPDATE lists SET state = 'open', closed = NULL WHERE id = %s", (number,))


def test_a_list_that_a_worker_closes_while_a_guard_opens_its_items_again_is_not_closed_over_them(house: House) -> None:
    """Nobody would ask for them ever again: what left the source would stay at the sink, and each night be green."""
    number = a_full_load_of_which_much_leaves(house)
    report = house.run(removal="delete", wrap_store=closing_while_it_discards(house, number))
    assert report.exit_code == 77
    house.run(removal="delete", accept_vanish=9)
    house.run(removal="delete", accept_vanish=9)
    assert house.names() == {"a": "A"}


def pruned(house: House) -> None:
    with open_store(house.url) as stored:
        Pruning(stored, datetime.now(UTC) + timedelta(days=1)).prune(
            Deed("me@here", "db prune", "old", {}), lambda: None
        )


def test_the_last_night_stays_where_a_worker_came_after_it(house: House) -> None:
    """`status` tells of the last whole run: without its line, an older and better night is the last one."""
    house.run()
    house.source.unfetched.add("p1")
    house.source.change("p1", {"a": "A"})
    assert house.run().exit_code == 65
    house.source.unfetched.clear()
    house.source.table["p1"] = {"a": "A2", "s": "shared"}
    assert house.work(house.backfill("p1")).exit_code == 0
    with open_store(house.url) as stored:
        [before] = queries.status(stored, "job")
        pruned(house)
        [after] = queries.status(stored, "job")
    assert before.last is not None
    assert after.last is not None
    assert (after.last.id, after.last.exit_code) == (before.last.id, 65)


def test_a_closed_list_that_lost_its_items_to_age_is_not_shown_as_one_of_which_nothing_was_done(house: House) -> None:
    """First loads and what is read anew are listed beside backfills; the last of them, and others, stay for long."""
    house.run()
    pruned(house)
    with open_store(house.url) as stored:
        [first] = backfills.backfills(stored)
    [line] = lines([figures(first)])
    assert (line["state"], line["done"]) == ("closed", "3 of 3")
