"""Rows that were asked for by their keys, and that no feed brings again: found by an adversary, and mended since."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from house import House, org
from lost_requests import arrive, lose
from referring_table import referential
from table_source import TODAY, TableSource

from store import backfills, troubles
from store.handle import open_store
from store.trail import Deed
from tsi_fetch.errors import Stopped
from tsi_fetch.ports import Permit
from tsi_fetch.words import Cursor, CursorKind, Outcome, Write

OTHERS = [f"q{n}" for n in range(8)]


def day(number: int) -> date:
    return TODAY + timedelta(days=number)


class Wrapped:
    """A store or a sink, but for what a subclass does otherwise."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class DiesBeforeAdvance(Wrapped):
    def advance(self, *args: object, **options: object) -> None:
        raise KeyboardInterrupt


class DownAfterOne(Wrapped):
    """A sink that goes down after its first bundle."""

    def write(self, writes: Sequence[Write], permit: Permit) -> Iterator[Sequence[Outcome]]:
        for outcomes in self._inner.write(writes, permit):
            self._inner.down = True
            yield outcomes


class Slow(Wrapped):
    """A sink that takes eleven seconds for its first write, and does not live to see the second."""

    def __init__(self, inner: Any, house: House) -> None:
        super().__init__(inner)
        self._house = house

    def write(self, writes: Sequence[Write], permit: Permit) -> Iterator[Sequence[Outcome]]:
        self._house.clock.sleep(11)
        yield from self._inner.write(writes[:1], permit)
        raise KeyboardInterrupt


@pytest.fixture
def big(tmp_path: Path) -> House:
    """p1 with a and x, and eight others, loaded once."""
    house = House(tmp_path, TableSource({"p1": {"a": "A", "x": "X"}, **{q: {f"b{q}": "B"} for q in OTHERS}}))
    assert house.run().exit_code == 0
    return house


def vanish(house: House, number: int) -> None:
    """For a night, so many rows that the guard refuses; and then they are back."""
    for q in OTHERS:
        house.source.change(q, None, day(number))
    assert house.run(removal="delete").exit_code == 77
    for q in OTHERS:
        house.source.change(q, {f"b{q}": "B"}, day(number + 1))
    nights(house)


def nights(house: House) -> None:
    assert [house.run(removal="delete").exit_code for _ in range(3)] == [0, 0, 0]


def out_of_time(house: House) -> None:
    """A night that ends before the feed was read, though not before what was to be asked for was."""
    pull = house.source.pull

    def slowly(*asked: Any) -> Any:
        for batch in pull(*asked):
            house.clock.sleep(50)
            yield batch

    house.source.pull = slowly  # type: ignore[method-assign]
    assert house.run(removal="delete", max_duration=timedelta(seconds=40)).outcome == "partial"
    house.source.pull = pull  # type: ignore[method-assign]


def test_what_a_killed_run_of_single_rows_was_to_remove_goes_whatever_a_guard_refuses_meanwhile(big: House) -> None:
    big.source.table["p1"] = {"a": "A"}
    with pytest.raises(KeyboardInterrupt):
        big.run(only=("p1",), removal="delete", wrap_store=lambda s: cast(Any, DiesBeforeAdvance(s)))
    vanish(big, 1)
    assert "x" not in big.names()


@pytest.mark.parametrize("ahead", [0, 3])
def test_so_does_what_one_that_was_stopped_was_to_remove(
    big: House, ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    big.sink.ahead = ahead
    big.source.table["p1"] = {"a": "A"}

    def stopped(batch: object) -> None:
        raise Stopped(15)

    with monkeypatch.context() as patched:
        patched.setattr(big.source, "settled", stopped)
        assert big.run(only=("p1",), removal="delete").exit_code == 143
    vanish(big, 1)
    assert "x" not in big.names()


def test_so_does_what_a_run_found_that_asked_for_what_was_half_written(big: House) -> None:
    big.source.table["p1"] = {"a": "A2"}
    lose(big, sent=1, only=("p1",), removal="delete")
    for q in OTHERS:
        big.source.change(q, None, day(1))
    out_of_time(big)
    vanish(big, 1)
    assert (big.names()["a"], "x" in big.names()) == ("A2", False)


def test_so_does_what_a_run_found_that_asked_for_what_arrived_late(big: House) -> None:
    big.source.change("p1", {"a": "A2", "x": "X"}, day(1))
    lost = lose(big, removal="delete")
    big.source.change("p1", {"a": "A", "x": "X"}, day(2))
    assert big.run(removal="delete").exit_code == 0
    arrive(big, lost)
    big.source.table["p1"] = {"a": "A"}
    for q in OTHERS:
        big.source.change(q, None, day(3))
    out_of_time(big)
    vanish(big, 3)
    assert (big.names()["a"], "x" in big.names()) == ("A", False)


def test_a_row_of_which_everything_is_written_is_asked_for_again_as_it_is_not_settled(big: House) -> None:
    big.sink.bundle = 1
    big.source.table.update(p1={"a": "A2"}, q1={"bq1": "B2"})
    asked = {"only": ("p1", "q1"), "removal": "delete"}
    assert big.run(wrap_sink=lambda sink: cast(Any, DownAfterOne(sink)), **asked).exit_code == 75
    big.sink.down = False
    nights(big)
    assert (big.names()["bq1"], "x" in big.names()) == ("B2", False)


def test_also_where_a_worker_was_killed_and_its_backfill_cancelled(big: House, monkeypatch: pytest.MonkeyPatch) -> None:
    big.source.table.update(p1={"a": "A2"}, q1={"bq1": "B2"})
    number = big.backfill("p1", "q1")
    with monkeypatch.context() as patched:
        patched.setattr(big.sink, "write", Slow(_Writes(big.sink.write), big).write)
        with pytest.raises(KeyboardInterrupt):
            big.work(number, removal="delete")
    with open_store(big.url) as stored:
        backfills.cancel(stored, number, "me")
    nights(big)
    assert (big.names()["a"], big.names()["bq1"], "x" in big.names()) == ("A2", "B2", False)


class _Writes:
    def __init__(self, write: Any) -> None:
        self.write = write


@pytest.fixture
def awaiting(tmp_path: Path) -> House:
    """x waits for t, which is not there."""
    house = referential(tmp_path, {"p1": {"a": "A", "x": "X -> t"}, "p2": {"b": "B"}})
    assert house.run().exit_code == 0
    assert "x" not in house.names()
    return house


def bring_what_is_awaited(house: House) -> None:
    house.sink.edit(org("t"), b'{"resourceType":"Organization","id":"t","name":"T"}')


@pytest.mark.parametrize("how", ["unfetched", "broken"])
def test_what_waits_is_not_sent_over_what_a_killed_run_wrote_while_nobody_can_read_its_row(
    awaiting: House, how: str
) -> None:
    awaiting.source.change("p1", {"a": "A", "x": "X2"}, day(1))
    lose(awaiting, sent=1)
    assert awaiting.names()["x"] == "X2"
    bring_what_is_awaited(awaiting)
    getattr(awaiting.source, how).add("p1")
    assert [awaiting.run().exit_code for _ in range(2)] == [65, 65]
    assert awaiting.names()["x"] == "X2"
    getattr(awaiting.source, how).clear()
    awaiting.source.change("p1", {"a": "A", "x": "X2"}, day(2))
    assert [awaiting.run().exit_code for _ in range(2)] == [0, 0]
    assert awaiting.names()["x"] == "X2"


def test_nor_where_its_entry_was_dropped_meanwhile(awaiting: House) -> None:
    awaiting.source.unfetched.add("p1")
    awaiting.source.change("p1", {"a": "A", "x": "X2"}, day(1))
    assert awaiting.run().exit_code == 65
    awaiting.source.unfetched.clear()
    lose(awaiting, sent=1)
    with open_store(awaiting.url) as stored:
        troubles.drop(stored, troubles.numbers(stored, troubles.Which("job")), "known", "me")
    bring_what_is_awaited(awaiting)
    assert [awaiting.run().exit_code for _ in range(3)] == [0, 0, 0]
    assert awaiting.names()["x"] == "X2"


def test_what_a_killed_run_had_begun_is_asked_for_where_the_watermark_is_put_past_it(big: House) -> None:
    big.source.change("p1", {"a": "A2", "x": "X2"}, day(1))
    lose(big, sent=1)
    past = Cursor(
        CursorKind.DATE, day(2).isoformat(), frozenset(f"{d}|{k}|{n}" for n, (d, k) in enumerate(big.source.feed))
    )
    with open_store(big.url) as stored, stored.lease("job", "memory", "me", wait=lambda s: None) as book:
        before = book.position(big.source.stream).cursor
        assert before is not None
        book.steering.skip(big.source.stream, before, past, Deed("me", "watermark set", "a bad night", {}))
    assert big.run(removal="delete").exit_code == 0
    assert (big.names()["a"], big.names()["x"]) == ("A2", "X2")
