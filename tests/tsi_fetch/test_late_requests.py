"""Requests of a runner that was paused with its batch on the way, and that arrive after its successor has looked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from house import House, org
from lost_requests import arrive, lose, planned
from referring_table import referential
from sqlalchemy import func, select
from table_source import TODAY, TableSource

import store.notes
from store.handle import open_store
from store.schema import notes
from tsi_fetch.clock import SystemClock
from tsi_fetch.fhir.tokens import parse
from tsi_fetch.report import Report
from tsi_fetch.words import Batch, State


def day(number: int) -> date:
    return TODAY + timedelta(days=number)


def active(house: House) -> set[str]:
    """What the sink holds alive and not retired."""
    return {ref.id for ref, body in house.sink.live().items() if parse(body).get("active", True) is not False}


def killed(*asked: object) -> Iterator[Batch]:
    raise KeyboardInterrupt
    yield


class Night:
    """A night in which p1's runner is paused, and the source takes its change back before anybody else looks."""

    def __init__(self, house: House, changed: dict[str, str], **settings: object) -> None:
        self.house, self.settings = house, settings
        self.before, self._days = dict(house.source.table["p1"]), 0
        assert house.run(**settings).exit_code == 0
        house.source.change("p1", changed)
        self._lost = lose(house, **settings)

    def take_back(self) -> Report:
        self._days += 1
        self.house.source.change("p1", self.before, day(self._days))
        return self.house.run(**self.settings)

    def arrive(self) -> None:
        """The lost run's request reaches the server, and fits."""
        assert set(arrive(self.house, self._lost)) <= {"created", "updated", "deleted"}


THEIRS = (
    b'{"resourceType":"Organization","id":"theirs","partOf":{"reference":"Organization/a"},"name":"somebody else\'s"}'
)
READ_AGAIN = "an overtaken run wrote after another had looked: 1 row is read again"
EVERYTHING = {"a": "A", "s": "shared", "b": "B", "c": "C"}
CHANGES = {
    "a change": ({"a": "A2", "s": "shared"}, "delete"),
    "a creation": ({"a": "A", "s": "shared", "x": "X"}, "delete"),
    "a creation, to be retired": ({"a": "A", "s": "shared", "x": "X"}, "retire"),
    "a deletion": ({"s": "shared"}, "delete"),
    "a retirement": ({"s": "shared"}, "retire"),
}
each_change = pytest.mark.parametrize(("changed", "removal"), CHANGES.values(), ids=CHANGES)


@each_change
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


@each_change
def test_a_plan_says_what_the_run_will_do_about_it(house: House, changed: dict[str, str], removal: str) -> None:
    night = Night(house, changed, removal=removal, accept_vanish=9)
    night.take_back()
    night.arrive()
    writes = house.sink.writes
    plan = planned(house, **night.settings)
    assert house.sink.writes == writes
    report = house.run(**night.settings)
    assert (plan.counts, plan.notes) == (report.counts, report.notes)
    assert report.counts


def test_a_run_killed_after_it_has_found_it_leaves_it_to_the_next(house: House) -> None:
    night = Night(house, {"s": "shared"}, removal="delete")
    night.take_back()
    night.arrive()
    lose(house, removal="delete")
    assert house.run(removal="delete").exit_code == 0
    assert house.names() == EVERYTHING


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


def test_somebody_elses_deletion_is_not_taken_for_a_retirement_that_came_late(house: House) -> None:
    Night(house, {"s": "shared"}, removal="retire").take_back()
    house.sink.edit(org("a"), None)
    report = house.run(removal="retire")
    assert (report.exit_code, report.notes, "a" in house.names()) == (0, (), False)


def test_a_late_deletion_is_found_though_a_later_run_has_noted_the_same_resource(house: House) -> None:
    house.run(removal="delete")
    house.source.change("p1", {"s": "shared"}, day(1))
    deletion = lose(house, removal="delete")
    house.source.change("p1", {"a": "A2", "s": "shared"}, day(2))
    lose(house, removal="delete")
    house.source.change("p1", {"a": "A", "s": "shared"}, day(3))
    assert house.run(removal="delete").exit_code == 0
    assert arrive(house, deletion) == ["deleted"]
    assert house.run(removal="delete").exit_code == 0
    assert house.names() == EVERYTHING


def test_a_release_that_comes_late_is_held_by_the_scope_that_let_go_of_it(tmp_path: Path) -> None:
    """Its target was away when the row let go of it, and is there again."""
    house = referential(tmp_path, {"p1": {"a": "A", "x": "X -> t"}, "p2": {"b": "B"}})
    assert house.run(removal="delete").exit_code == 0
    target = b'{"resourceType":"Organization","id":"t","name":"T"}'
    house.sink.edit(org("t"), target)
    release = lose(house, removal="delete")
    house.source.change("p1", {"a": "A"}, day(1))
    house.sink.edit(org("t"), None)
    house.run(removal="delete")
    house.sink.edit(org("t"), target)
    assert arrive(house, release) == ["created"]
    assert house.run(removal="delete").exit_code == 0
    assert "x" not in house.names()


def test_what_is_still_referred_to_is_remembered_in_the_version_that_was_found(tmp_path: Path) -> None:
    """A killed run's write of it is in doubt, and its row no longer speaks of it: nothing else would learn its version
    for as long as somebody refers to it."""
    house = referential(tmp_path, {"p1": {"a": "A", "x": "X"}})
    house.run()
    house.sink.edit(org("theirs"), THEIRS)
    house.source.change("p1", {"a": "A2", "x": "X"}, day(1))
    lose(house, 9)
    house.source.change("p1", {"x": "X"}, day(2))
    assert house.run(removal="delete").counts["Organization"]["kept"] == 1
    known = house.reader(lambda book: book.known([org("a")])[org("a")])
    assert (known.state, known.version, house.names()["a"]) == (State.LIVE, "2", "A2")


@pytest.mark.parametrize(("changed", "then"), [({"a": "A", "x": "X"}, {"a": "A"}), ({"a": "A2"}, {"y": "Y"})])
def test_what_is_kept_is_looked_at_once(tmp_path: Path, changed: dict[str, str], then: dict[str, str]) -> None:
    """Under `removal: keep` what came late stays at the sink; no night after the next reads its row again."""
    house = House(tmp_path, TableSource({"p1": {"a": "A"}, "p2": {"b": "B"}}))
    house.run(removal="keep", accept_vanish=9)
    house.source.change("p1", changed, day(1))
    lost = lose(house, removal="keep", accept_vanish=9)
    house.source.change("p1", then, day(2))
    house.run(removal="keep", accept_vanish=9)
    arrive(house, lost)
    assert house.run(removal="keep", accept_vanish=9).notes == (READ_AGAIN,)
    quiet = house.run(removal="keep", accept_vanish=9)
    assert (quiet.notes, quiet.rows.get("read", 0), quiet.counts) == ((), 0, {})


def test_notes_are_forgotten_in_nights_that_end_before_their_time_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = [timedelta()]
    monkeypatch.setattr(store.notes, "now", lambda conn: SystemClock().now() + passed[0])
    house = House(tmp_path, TableSource({f"p{n}": {f"a{n}": "A"} for n in range(20)}, batch=1))
    lose(house)
    house.slow_fetches(60)
    kept: list[int] = []
    for _ in range(3):
        passed[0] += timedelta(days=1)
        assert house.run(max_duration=timedelta(seconds=120), slice=1).outcome == "partial"
        with open_store(house.url) as stored, stored.database.read() as conn:
            kept.append(conn.scalar(select(func.count()).select_from(notes)) or 0)
    assert (kept[0], kept[-1]) == (1, 0)


def test_what_a_killed_run_left_half_written_is_read_again_though_no_feed_brings_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert house.run().exit_code == 0
    house.source.table["p1"] = {"a": "A2", "s": "shared", "x": "X"}
    lose(house, sent=1, only=("p1",))
    with monkeypatch.context() as patched:
        patched.setattr(house.source, "fetch", killed)
        with pytest.raises(KeyboardInterrupt):
            house.run()
    assert house.names() == {**EVERYTHING, "a": "A2"}
    plan, report = planned(house), house.run()
    assert (report.exit_code, house.names()) == (0, {**EVERYTHING, "a": "A2", "x": "X"})
    assert plan.counts == report.counts
    quiet = house.run()
    assert (quiet.rows, quiet.counts) == ({}, {})


def test_a_run_of_single_rows_leaves_what_is_half_written_to_the_next_whole_run(house: House) -> None:
    assert house.run().exit_code == 0
    house.source.table["p1"] = {"a": "A2", "s": "shared", "x": "X"}
    lose(house, sent=1, only=("p1",))
    assert house.run(only=("p2",)).exit_code == 0
    assert house.names() == {**EVERYTHING, "a": "A2"}
    assert house.run().exit_code == 0
    assert house.names() == {**EVERYTHING, "a": "A2", "x": "X"}
