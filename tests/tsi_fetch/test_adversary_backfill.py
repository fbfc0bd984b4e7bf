"""Interleavings of a backfill's workers with everything else, sought by somebody who wants it to lose something."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from typing import Any

import pytest
from beside import meanwhile, progress
from house import House
from table_source import TODAY

from store import backfills
from store.handle import open_store
from tsi_fetch.errors import TryAgain
from tsi_fetch.ports import NOTHING
from tsi_fetch.words import Batch, Change, Row, Validators

TOMORROW = TODAY + timedelta(days=1)


def dies_after_writing(house: House, act: Callable[[], object]) -> None:
    """This ends by a kill as soon as the sink has its first bundle, before anything of it is remembered."""
    write = house.sink.write

    def dying(*given: Any) -> Any:
        for outcomes in write(*given):
            raise KeyboardInterrupt(str(outcomes))

    house.sink.write = dying  # type: ignore[method-assign]
    try:
        with pytest.raises(KeyboardInterrupt):
            act()
    finally:
        house.sink.write = write  # type: ignore[method-assign]


def halt_and_resume(house: House, number: int, between: Callable[[], object]) -> None:
    """Another worker's guard halts the list, a run comes, somebody resumes it."""
    with open_store(house.url) as stored:
        stored.worker("job", "memory", "other", number).claims.halt()
    between()
    with open_store(house.url) as stored:
        backfills.resume(stored, number)


def test_what_a_run_settles_while_the_list_is_halted_withdraws_claims_too(loaded: House) -> None:
    """Another worker's guard has halted it, and somebody resumes it, while this one waits for its turn."""
    number = loaded.backfill("p1")

    def night() -> None:
        loaded.source.change("p1", {"a": "A3", "x": "new", "s": "shared"}, TOMORROW)
        assert loaded.run().exit_code == 0

    meanwhile(loaded, lambda: halt_and_resume(loaded, number, night))
    loaded.work(number)
    assert not loaded.reader(lambda s: s.pending()), "older answers, which lack it, do not let it leave"
    assert loaded.run(removal="delete").exit_code == 0
    assert loaded.names()["x"] == "new"


def test_trouble_that_a_run_has_while_the_list_is_halted_stays_in_quarantine(loaded: House) -> None:
    number = loaded.backfill("p1")

    def night() -> None:
        loaded.source.unfetched.add("p1")
        loaded.source.change("p1", {"a": "A2"}, TOMORROW)
        assert loaded.run().exit_code == 65

    meanwhile(loaded, lambda: halt_and_resume(loaded, number, night))
    loaded.work(number)
    loaded.source.unfetched.clear()
    loaded.run()
    assert loaded.names()["a"] == "A2"


def test_what_a_killed_run_has_written_after_it_was_fetched_is_not_overwritten(loaded: House) -> None:
    """The note of the killed run names the order of what it wrote, and the row."""
    loaded.source.table["p1"] = {"a": "A2", "s": "shared"}

    def killed() -> None:
        loaded.source.table["p1"] = {"a": "A3", "s": "shared"}
        dies_after_writing(loaded, lambda: loaded.run(only=("p1",)))
        assert loaded.names()["a"] == "A3"

    meanwhile(loaded, killed)
    number = loaded.backfill("p1")
    assert loaded.work(number).exit_code == 0
    assert loaded.run().exit_code == 0
    assert loaded.names()["a"] == "A3"


def test_what_a_run_has_half_settled_when_its_sink_failed_does_not_leave(loaded: House) -> None:
    """What was acknowledged of a batch is remembered, its rows are not: older answers are old all the same."""
    loaded.sink.bundle = 1
    write = loaded.sink.write

    def failing(*given: Any) -> Any:
        yield from islice(write(*given), 2)
        raise TryAgain("the sink is down")

    def half() -> None:
        loaded.source.table["p1"] = {"w": "new", "x": "new", "y": "new", "a": "A", "s": "shared"}
        loaded.sink.write = failing  # type: ignore[method-assign]
        assert loaded.run(only=("p1",)).exit_code == 75
        loaded.sink.write = write  # type: ignore[method-assign]
        assert {"w", "x"} <= loaded.names().keys()

    meanwhile(loaded, half)
    assert loaded.work(loaded.backfill("p1")).exit_code == 0
    assert loaded.run(removal="delete").exit_code == 0
    assert {"w", "x"} <= loaded.names().keys()


def test_a_claim_is_kept_while_one_batch_takes_longer_than_it_lasts(house: House) -> None:
    """Many workers share one polite rate, or the source asks to wait: then what each has fetched is thrown away, and
    the next one fetches it again."""
    number = house.backfill("p1")
    claimed = []
    fetch = house.source.fetch

    def slowly(keys: Iterable[str], known: Mapping[str, Validators] = NOTHING) -> Iterator[Batch]:
        begin = time.monotonic()
        with open_store(house.url) as stored:
            while len(set(claimed)) < 4 and time.monotonic() < begin + 30:
                with stored.database.read() as conn:
                    claimed.append(conn.exec_driver_sql("SELECT held_until FROM work").scalar())
        house.source.fetch = fetch  # type: ignore[method-assign]
        yield from fetch(keys, known)

    house.source.fetch = slowly  # type: ignore[method-assign]
    assert house.work(number, expiry=1).exit_code == 0
    assert len(set(claimed)) == 4, "renewed three times, though no batch had come yet"


def test_a_source_without_orders_that_is_down_is_no_fault_of_the_items(loaded: House) -> None:
    made = loaded.source._row
    loaded.source._row = lambda *given: replace(made(*given), order=None)  # type: ignore[method-assign]
    many = [f"q{n}" for n in range(9)]
    number = loaded.backfill("p1", "p2", *many)

    def down() -> None:
        loaded.source.unfetched.update([*many, "p1", "p2"])
        loaded.source.keys = lambda: iter(())  # type: ignore[method-assign]

    meanwhile(loaded, down)
    assert loaded.work(number, at_once=5).exit_code == 75
    assert progress(loaded, number)[3] == 0


def test_an_item_that_kills_its_worker_each_time_is_set_aside_and_the_rest_is_done(house: House) -> None:
    """A bug, or an answer too large for the pod: whoever takes over what a dead worker had claimed dies of it, too."""
    mapped = house.source.to_changes

    def dies(row: Row) -> Sequence[Change]:
        if row.key == "p1":
            raise MemoryError(row.key)
        return mapped(row)

    house.source.to_changes = dies  # type: ignore[method-assign]
    number = house.backfill("p1", "p2", "p3")
    for _ in range(4):
        with suppress(MemoryError):
            house.work(number, at_once=1)
        with open_store(house.url) as stored, stored.database.write() as conn:
            conn.exec_driver_sql("UPDATE work SET held_until = 0 WHERE holder IS NOT NULL")
    assert progress(house, number) == ("closed", 0, 2, 1)


def test_what_left_by_a_batch_that_was_cancelled_on_its_way_is_decided_anew_after_the_guard(loaded: House) -> None:
    """It is settled when its list is not open any more: no list is remembered that would be asked again."""
    for key in ("p1", "p2"):
        loaded.source.table[key] = {"z": "Z"}
    number = loaded.backfill("p1", "p2")
    write = loaded.sink.write

    def cancelled(*given: Any) -> Any:
        with open_store(loaded.url) as stored:
            backfills.cancel(stored, number, "tester@desk")
        loaded.sink.write = write  # type: ignore[method-assign]
        return write(*given)

    loaded.sink.write = cancelled  # type: ignore[method-assign]
    assert loaded.work(number).counts == {"Organization": {"created": 1}}
    assert len(loaded.reader(lambda s: s.pending())) == 4  # type: ignore[arg-type]
    assert loaded.run(removal="delete").exit_code == 77
    assert loaded.run(removal="delete").exit_code == 77, "asked for anew, and refused anew"


def test_what_is_settled_while_the_list_is_halted_on_its_way_is_not_fetched_again_for_nothing(loaded: House) -> None:
    number = loaded.backfill("p1")
    loaded.source.table["p1"] = {"a": "A2", "s": "shared"}
    write = loaded.sink.write

    def halted(*given: Any) -> Any:
        with open_store(loaded.url) as stored:
            stored.worker("job", "memory", "other", number).claims.halt()
        loaded.sink.write = write  # type: ignore[method-assign]
        return write(*given)

    loaded.sink.write = halted  # type: ignore[method-assign]
    assert loaded.work(number).counts == {"Organization": {"unchanged": 1, "updated": 1}}
    assert progress(loaded, number) == ("halted", 0, 1, 0)
