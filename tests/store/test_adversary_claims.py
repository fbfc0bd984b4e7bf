"""Claims of workers against runs and operators who come at the worst moment, and the pace that all of them share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import psycopg
from sqlalchemy import select, update
from still_clock import StillClock

from store import backfills
from store.handle import Stored, open_store
from store.rates import SharedPace
from store.schema import rates
from tsi_fetch.words import Settlement

FAR = 5.0
"""Seconds after which a thread that should wait for a lock has not."""


def a_list(stored: Stored, *keys: str) -> int:
    with stored.beginning("job", "memory", "maker", lambda s: None) as book:
        number = backfills.begin(book, stored, "changes", {})
        backfills.note_all(book, number, keys)
        book.start_list(number, complete=False, cursor=None)
    return number


@contextmanager
def locked(url: str, query: str, *given: object) -> Iterator[Callable[[int], None]]:
    """Rows that somebody else has locked; call it to wait until so many wait for locks."""
    with psycopg.connect(url) as holder, psycopg.connect(url, autocommit=True) as watcher:
        holder.execute(query.encode(), given)

        def waiting(count: int) -> None:
            until = time.monotonic() + FAR
            blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            while (found := watcher.execute(blocked).fetchone()) is None or found[0] < count:
                assert time.monotonic() < until, "nobody waits"

        yield waiting


def test_a_list_that_is_resumed_while_a_worker_closes_it_is_not_closed_over_open_items(postgres_url: str) -> None:
    """Nobody would ever work on them again: `resume` opens a closed list only where something is set aside."""
    with open_store(postgres_url) as stored, ThreadPoolExecutor(2) as pool:
        number = a_list(stored, "p1")
        claims = stored.worker("job", "memory", "worker", number, attempts=1).claims
        claims.failed({item.number: "answered 500" for item in claims.claim(1)})
        with locked(postgres_url, "SELECT id FROM lists WHERE id = %s FOR UPDATE", number) as waiting:
            closing = pool.submit(claims.close)
            waiting(1)
            resuming = pool.submit(backfills.resume, stored, number)
            try:
                resuming.result(1)
            except TimeoutError:
                waiting(2)  # it waits until the other has closed the list: then it opens it
        closing.result(FAR)
        resuming.result(FAR)
        found = backfills.backfill(stored, number)
        assert found is not None
        assert (found.progress.state, found.progress.left) == ("open", 1)


def test_a_worker_that_renews_its_claims_and_a_run_that_settles_parts_do_not_deadlock(postgres_url: str) -> None:
    """A run finishes the items of its whole rows before it withdraws those of which it has a part."""
    with open_store(postgres_url) as stored, ThreadPoolExecutor(2) as pool:
        number = a_list(stored, "p1", "p2")
        claims = stored.worker("job", "memory", "worker", number).claims
        first = claims.claim(2)[0].number
        with stored.lease("job", "memory", "night", expiry=60, wait=lambda s: None) as book:
            settlement = Settlement("changes", keys=("p2",), rows=("p2", "p1#notes"))
            with locked(postgres_url, "SELECT id FROM work WHERE id = %s FOR UPDATE", first) as waiting:
                renewing = pool.submit(claims.renew)
                waiting(1)
                settling: Future[None] = pool.submit(book.settle, settlement)
                waiting(2)
            renewing.result(FAR)
            settling.result(FAR)


def test_a_clock_that_was_set_back_makes_nobody_wait_for_it(url: str) -> None:
    """What was reserved before it was, is as far ahead as the clock was wrong."""
    with open_store(url) as stored:
        clock = StillClock()
        pace = SharedPace(stored.database, "https://register.invalid", 5, clock)
        pace.wait()
        an_hour_back(stored)
        pace.wait()
        assert sum(clock.waits) < 60


def an_hour_back(stored: Stored) -> None:
    """The clock is set back by an hour: what was reserved lies an hour ahead."""
    with stored.database.write() as conn:
        ahead = conn.execute(select(rates.c.next)).scalar_one() + timedelta(hours=1)
        conn.execute(update(rates).values(next=ahead))
