"""Requests of a runner that was paused with its batch on the way, and that arrive after its successor has looked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, cast

import pytest
from house import House, org
from table_source import TODAY

from store.handle import open_scratch
from store.overlay import Overlay
from tsi_fetch.fhir.tokens import parse
from tsi_fetch.ports import JobStore, Permit
from tsi_fetch.report import Report
from tsi_fetch.words import Outcome, State, Write


def active(house: House) -> set[str]:
    """What the sink holds alive and not retired."""
    return {ref.id for ref, body in house.sink.live().items() if parse(body).get("active", True) is not False}


class Paused:
    """A sink whose runner is stopped between being permitted and its bundle reaching the server."""

    def __init__(self, inner: Any, under_way: list[Write]) -> None:
        self._inner, self._under_way = inner, under_way

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def write(self, writes: Sequence[Write], permit: Permit) -> Iterator[Sequence[Outcome]]:
        permit()
        self._under_way.extend(writes)
        raise KeyboardInterrupt
        yield ()


class Night:
    """A night in which p1's runner is paused, and the source takes its change back before anybody else looks."""

    def __init__(self, house: House, changed: dict[str, str], **settings: object) -> None:
        self.house, self.settings = house, settings
        self.before, self._under_way = dict(house.source.table["p1"]), list[Write]()
        self._days = 0
        assert house.run(**settings).exit_code == 0
        house.source.change("p1", changed)
        with pytest.raises(KeyboardInterrupt):
            house.run(wrap_sink=lambda sink: Paused(sink, self._under_way), **settings)
        assert self._under_way

    def take_back(self) -> Report:
        self._days += 1
        self.house.source.change("p1", self.before, TODAY + timedelta(days=self._days))
        return self.house.run(**self.settings)

    def arrive(self) -> None:
        """The lost run's request reaches the server, and fits."""
        run, self.house.sink.run = self.house.sink.run, "run-2"
        outcomes = [o for some in self.house.sink.write(self._under_way, lambda: None) for o in some]
        self.house.sink.run = run
        assert {o.result.value for o in outcomes} <= {"created", "updated", "deleted"}


READ_AGAIN = "an overtaken run wrote after another had looked: 1 rows are read again"
EVERYTHING = {"a": "A", "s": "shared", "b": "B", "c": "C"}
CHANGES = {
    "a change": ({"a": "A2", "s": "shared"}, "delete"),
    "a creation": ({"a": "A", "s": "shared", "x": "X"}, "delete"),
    "a creation, to be retired": ({"a": "A", "s": "shared", "x": "X"}, "retire"),
    "a deletion": ({"s": "shared"}, "delete"),
    "a retirement": ({"s": "shared"}, "retire"),
}


@pytest.mark.parametrize(("changed", "removal"), CHANGES.values(), ids=CHANGES)
def test_what_arrives_after_the_successor_is_found_by_the_next_run_and_mended(
    house: House, changed: dict[str, str], removal: str
) -> None:
    night = Night(house, changed, removal=removal, accept_vanish=9)
    assert night.take_back().exit_code == 0
    night.arrive()
    assert house.names() != EVERYTHING or removal == "retire"
    report = house.run(**night.settings)
    assert (report.exit_code, report.notes) == (0, (READ_AGAIN,))
    kept = {key: name for key, name in house.names().items() if key != "x" or removal == "delete"}
    assert kept == EVERYTHING
    assert active(house) == set(EVERYTHING)
    quiet = house.run(**night.settings)
    assert (quiet.exit_code, quiet.notes, quiet.counts) == (0, (), {})


def test_a_run_killed_after_it_has_found_it_leaves_it_to_the_next(house: House) -> None:
    night = Night(house, {"s": "shared"}, removal="delete")
    night.take_back()
    night.arrive()
    with pytest.raises(KeyboardInterrupt):
        house.run(wrap_sink=lambda sink: Paused(sink, []), removal="delete")
    assert house.run(removal="delete").exit_code == 0
    assert house.names() == EVERYTHING


@pytest.mark.parametrize(("changed", "removal"), CHANGES.values(), ids=CHANGES)
def test_a_plan_says_what_the_run_will_do_about_it(house: House, changed: dict[str, str], removal: str) -> None:
    night = Night(house, changed, removal=removal, accept_vanish=9)
    night.take_back()
    night.arrive()
    writes = house.sink.writes
    with open_scratch() as scratch, scratch.lease("job", "memory", "plan", expiry=60, wait=lambda s: None) as above:
        plan = house.run(wrap_store=lambda s: cast(JobStore, Overlay(cast(Any, s), above)), plan=True, **night.settings)
    assert house.sink.writes == writes
    report = house.run(**night.settings)
    assert (plan.counts, plan.notes) == (report.counts, report.notes)
    assert report.counts


def test_single_rows_asked_for_leave_it_to_the_next_whole_run(house: House) -> None:
    night = Night(house, {"a": "A2", "s": "shared"})
    night.take_back()
    night.arrive()
    assert house.run(only=("p2",)).exit_code == 0
    assert house.run().counts["Organization"]["updated"] == 1
    assert house.names() == EVERYTHING


def test_somebody_elses_edit_meanwhile_is_no_late_request(house: House) -> None:
    night = Night(house, {"a": "A2", "s": "shared"})
    night.take_back()
    house.sink.edit(org("a"), b'{"resourceType":"Organization","id":"a","name":"edited"}')
    report = house.run()
    assert (report.exit_code, report.notes, house.names()["a"]) == (0, (), "edited")
    assert house.reader(lambda book: book.known([org("a")])[org("a")].state) is State.LIVE  # type: ignore[attr-defined]
