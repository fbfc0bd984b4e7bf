"""Interleavings of a backfill's workers with everything else, sought by somebody who wants it to lose something."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from itertools import islice
from typing import Any

import pytest
from house import House
from table_source import TODAY

from store import backfills
from store.handle import open_store
from tsi_fetch.errors import TryAgain
from tsi_fetch.ports import NOTHING
from tsi_fetch.words import Batch, Validators

TOMORROW = TODAY + timedelta(days=1)


def meanwhile(house: House, act: Callable[[], object]) -> None:
    """Do this once, after the next batch was fetched by key and before it is written."""
    fetch = house.source.fetch

    def fetched(keys: Iterable[str], known: Mapping[str, Validators] = NOTHING) -> Iterator[Batch]:
        house.source.fetch = fetch  # type: ignore[method-assign]
        yield from list(fetch(keys, known))
        act()

    house.source.fetch = fetched  # type: ignore[method-assign]


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


@pytest.mark.xfail(strict=True, reason="claims are withdrawn from open lists alone")
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


@pytest.mark.xfail(strict=True, reason="claims are withdrawn from open lists alone")
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


@pytest.mark.xfail(strict=True, reason="working in a note withdraws no claim")
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


@pytest.mark.xfail(strict=True, reason="what is settled so far withdraws no claim")
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
