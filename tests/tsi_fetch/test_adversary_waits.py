"""What waits, and what a killed run leaves, in the hands of an adversary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from house import House, org
from referring_table import referential
from table_source import TableSource

from store.handle import open_scratch
from store.overlay import Overlay
from tsi_fetch.differences import difference
from tsi_fetch.errors import TryAgain
from tsi_fetch.fhir.tokens import parse
from tsi_fetch.ports import JobStore, Permit, Sink
from tsi_fetch.report import Report
from tsi_fetch.words import Change, Deletion, Mark, Outcome, Ref, Row, ScopeClaim, Settlement, Upsert, Write


class Wrapped:
    """Something whose methods are its own, but for those of the subclass."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def planned(house: House) -> Report:
    with open_scratch() as scratch, scratch.lease("job", "memory", "plan", expiry=60, wait=lambda s: None) as above:
        return house.run(wrap_store=lambda s: cast(JobStore, Overlay(cast(Any, s), above)), plan=True)


def dies_after(house: House, writes: int) -> None:
    """A run that is killed after so many writes, before it remembers the last one."""

    class Dies(Wrapped):
        def write(self, some: Sequence[Write], permit: Permit) -> Iterator[Sequence[Outcome]]:
            for outcomes in self._inner.write(some, permit):
                if house.sink.writes >= enough:
                    raise KeyboardInterrupt
                yield outcomes

    enough = house.sink.writes + writes
    with suppress(KeyboardInterrupt):
        house.run(wrap_sink=lambda sink: cast(Sink, Dies(sink)))
        raise AssertionError("it was to be killed")


@pytest.mark.parametrize("again", ["named once more", "listed"])
def test_a_row_that_comes_again_as_it_was_does_not_end_the_wait_of_its_own_update(tmp_path: Path, again: str) -> None:
    house = referential(tmp_path, {"p1": {"a": "A"}})
    house.run()
    house.source.change("p1", {"a": "A2 -> late"})
    house.run()
    if again == "listed":
        house.run(full=True)
    else:
        house.source.change("p1", {"a": "A2 -> late"})
        assert house.run().exit_code == 0
    house.source.change("p2", {"late": "L"})
    house.run()
    assert house.names()["a"] == "A2"


def test_what_two_rows_name_waits_on_when_one_drops_it(tmp_path: Path) -> None:
    house = referential(tmp_path, {"p1": {"a": "A -> late", "x": "X"}, "p2": {"a": "A -> late", "b": "B"}})
    house.run()
    house.source.change("p2", {"b": "B"})
    house.run()
    house.source.change("p3", {"late": "L"})
    house.run()
    assert house.names().get("a") == "A", "p1 still names it"


def test_an_update_that_two_rows_ask_for_waits_on_when_one_drops_the_resource(tmp_path: Path) -> None:
    house = referential(tmp_path, {"p1": {"s": "S", "x": "X"}, "p2": {"s": "S", "y": "Y"}}, batch=2)
    house.run()
    house.source.change("p1", {"s": "S2 -> late", "x": "X"})
    house.source.change("p2", {"s": "S2 -> late", "y": "Y"})
    house.run()
    house.source.change("p2", {"y": "Y"})
    house.run()
    house.source.change("p3", {"late": "L"})
    house.run()
    assert house.names()["s"] == "S2"


def test_what_has_waited_is_held_by_all_that_name_it(tmp_path: Path) -> None:
    house = referential(tmp_path, {"p1": {"a": "A -> late", "x": "X"}, "p2": {"a": "A -> late", "b": "B"}})
    house.run()
    house.source.change("p3", {"late": "L"})
    house.run()
    house.source.change("p2", {"b": "B"})
    house.run(removal="delete")
    assert house.names()["a"] == "A", "p1 still names it"
    house.source.change("p1", {"x": "X"})
    house.run(removal="delete")
    assert "a" not in house.names()


def test_what_only_waits_is_withdrawn_by_a_complete_listing(tmp_path: Path) -> None:
    house = referential(tmp_path, {"p1": {"a": "A -> late"}, "p2": {"b": "B"}})
    house.run()
    house.source.table["p1"] = None
    house.run(full=True)
    house.source.change("p3", {"late": "L"})
    house.run()
    assert house.names() == {"b": "B", "late": "L"}


@pytest.mark.parametrize("down", [False, True])
def test_killed_after_the_newer_change_the_older_one_is_not_released_over_it(tmp_path: Path, down: bool) -> None:
    house = referential(tmp_path, {"p1": {"a": "old -> late"}})
    house.run()
    house.source.change("p2", {"late": "L"})
    house.source.change("p1", {"a": "new"})
    dies_after(house, 2)
    assert house.names()["a"] == "new"
    house.source.down_after = 0 if down else None
    assert house.run().exit_code == (75 if down else 0)
    assert house.names()["a"] == "new"
    assert len(house.sink.history[org("a")]) == 1


@pytest.mark.parametrize("ahead", [0, 3])
def test_a_row_that_is_as_it_was_does_not_undo_what_its_batch_remembers(tmp_path: Path, ahead: int) -> None:
    house = House(tmp_path, TableSource({"p1": {"a": "A", "s": "S"}, "p2": {"b": "B", "s": "S"}}, batch=2))
    house.sink.ahead = ahead
    house.run()
    house.source.change("p1", {"a": "A", "s": "S2"})
    house.source.change("p2", {"b": "B", "s": "S"})
    house.run()
    known = house.reader(lambda s: s.known([org("s")]))
    assert cast(Mapping[Ref, Any], known)[org("s")].version == str(len(house.sink.history[org("s")]))
    house.source.change("p1", {"a": "A", "s": "S"})
    house.run()
    assert house.names()["s"] == "S"


def test_killed_before_a_change_that_its_row_then_drops_the_other_row_s_wait_goes_on(tmp_path: Path) -> None:
    class Dies(Wrapped):
        def settle(self, settlement: Settlement) -> None:
            raise KeyboardInterrupt

    house = referential(tmp_path, {"p1": {"a": "A -> late", "x": "X"}, "p2": {"a": "A -> late"}})
    house.run()
    house.source.change("p1", {"a": "A -> late", "x": "X2"})
    with suppress(KeyboardInterrupt):
        house.run(wrap_store=lambda s: cast(JobStore, Dies(s)))
    house.source.change("p1", {"x": "X2"})
    house.run()
    house.source.change("p3", {"late": "L"})
    house.run()
    assert house.names() == {"a": "A", "x": "X2", "late": "L"}


def test_killed_between_moving_the_marker_and_remembering_it_and_down_then(tmp_path: Path) -> None:
    class Dies(Wrapped):
        def marked(self, mark: Mark) -> None:
            raise KeyboardInterrupt

    class Full(Wrapped):
        def move_mark(self, name: str, mark: Mark, permit: Permit) -> Mark:
            raise TryAgain("the server is full")

    house = House(tmp_path, TableSource({"p1": {"a": "A"}}))
    house.run()
    house.source.change("p1", {"a": "A2"})
    with suppress(KeyboardInterrupt):
        house.run(wrap_store=lambda s: cast(JobStore, Dies(s)))
    assert house.run(wrap_sink=lambda sink: cast(Sink, Full(sink))).exit_code == 75
    assert house.run().exit_code == 0
    assert house.names() == {"a": "A2"}


def test_what_was_acknowledged_before_the_sink_went_down_is_not_written_again(tmp_path: Path) -> None:
    house = House(tmp_path, TableSource({"p1": {"a": "A", "b": "B"}}))
    house.sink.bundle = 1

    class Half(Wrapped):
        def write(self, writes: Sequence[Write], permit: Permit) -> Iterator[Sequence[Outcome]]:
            yield next(iter(self._inner.write(writes, permit)))
            raise TryAgain("the server is down")

    assert house.run(wrap_sink=lambda sink: cast(Sink, Half(sink))).exit_code == 75
    before = house.sink.writes
    assert house.run().counts == {"Organization": {"created": 1, "unchanged": 1}}
    assert (before, house.sink.writes) == (1, 2)


def test_what_somebody_has_retired_already_is_as_it_should_be(tmp_path: Path) -> None:
    house = House(tmp_path, TableSource({"p1": {"a": "A", "b": "B"}}))
    house.run()
    text = '"text":{"status":"generated","div":"<div xmlns=\\"http://www.w3.org/1999/xhtml\\">A</div>"}'
    body = f'{{"resourceType":"Organization","id":"a",{text},"active":false,"name":"A"}}'
    house.sink.edit(org("a"), body.encode())
    house.source.change("p1", {"b": "B"})
    assert house.run().exit_code == 0
    assert len(house.sink.history[org("a")]) == 2


class History(TableSource):
    """Rows that say of some ids what they are now, and of others ("-") that they are deleted."""

    def _row(self, key: str, settles: tuple[str, ...]) -> Row:
        return replace(super()._row(key, settles), scopes=(ScopeClaim("all", whole=False),))

    def to_changes(self, row: Row) -> Sequence[Change]:
        return [
            Deletion(u.ref, "all", row.order) if parse(u.body)["name"] == "-" else replace(u, scope="all")
            for u in super().to_changes(row)
            if isinstance(u, Upsert)
        ]


@pytest.mark.parametrize("batch", [1, 2])
def test_the_last_word_of_a_history_holds_however_it_is_cut(tmp_path: Path, batch: int) -> None:
    house = House(tmp_path, History({"h0": {"x": "X", "y": "Y", "z": "Z"}}, batch=batch))
    house.run()
    house.source.change("h1", {"x": "-", "n": "N"})
    house.source.change("h2", {"x": "X2", "n": "-"})
    house.run(removal="delete")
    assert house.names() == {"x": "X2", "y": "Y", "z": "Z"}


@pytest.mark.parametrize(
    "before", [{"p1": {"a": "A -> b"}, "p2": {"b": "B"}}, {"p1": {"a": "A -> c"}, "p2": {"b": "B"}}]
)
def test_a_plan_releases_what_it_would_itself_bring(tmp_path: Path, before: dict[str, dict[str, str] | None]) -> None:
    house = referential(tmp_path, before)
    if "c" in str(before):
        house.run()
        house.source.change("p3", {"c": "C"})
    assert planned(house).counts == house.run().counts


def test_what_waited_is_remembered_under_the_mapping_that_made_it(tmp_path: Path) -> None:
    house = referential(tmp_path, {"p1": {"a": "A -> late"}})
    house.run()
    house.source.mapping = 2
    house.source.change("p2", {"late": "L"})
    house.run()
    known = cast(Mapping[Ref, Any], house.reader(lambda s: s.known([org("a"), org("late")])))
    assert (known[org("a")].mapping, known[org("late")].mapping) == (1, 2)


def test_what_was_noted_by_a_killed_run_and_waits_now_is_not_missed_on_the_sink(tmp_path: Path) -> None:
    class Dies(Wrapped):
        def doubt(self, doubt: object) -> None:
            self._inner.doubt(doubt)
            raise KeyboardInterrupt

    house = referential(tmp_path, {"p1": {"b": "B"}})
    house.run()
    house.source.change("p2", {"a": "A -> late"})
    with suppress(KeyboardInterrupt):
        house.run(wrap_store=lambda s: cast(JobStore, Dies(s)))
    house.run()
    entries = cast(Sequence[Any], house.reader(lambda s: cast(Any, s).entries(0, 10)))
    assert [difference(e, house.sink.find([e.known.ref]).get(e.known.ref), ours=True) for e in entries] == [None, None]


def test_a_wait_that_is_replaced_and_over_in_one_run_is_counted_once(tmp_path: Path) -> None:
    house = referential(tmp_path, {"p1": {"a": "old -> late"}})
    house.run()
    house.clock.time += timedelta(days=2)
    house.source.change("p1", {"a": "new -> late"})
    house.source.change("p2", {"late": "L"})
    assert house.run().counts == {"Organization": {"created": 2}}


def test_a_write_of_which_the_sink_says_nothing_ends_the_run(tmp_path: Path) -> None:
    class Swallows(Wrapped):
        def write(self, writes: Sequence[Write], permit: Permit) -> Iterator[Sequence[Outcome]]:
            return iter(self._inner.write([w for w in writes if w.ref.id != "a"], permit))

    house = House(tmp_path, TableSource({"p1": {"a": "A", "b": "B"}}))
    report = house.run(wrap_sink=lambda sink: cast(Sink, Swallows(sink)))
    assert (report.exit_code, "said nothing" in report.reasons[0].what) == (75, True)
    house.run()
    assert house.names() == {"a": "A", "b": "B"}
