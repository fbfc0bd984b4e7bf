"""A plan after a killed run says what the next run does."""

from __future__ import annotations

from datetime import timedelta

from house import House
from lost_requests import lose, planned
from table_source import TODAY


def agree(house: House) -> None:
    plan, report = planned(house, removal="delete"), house.run(removal="delete")
    assert (plan.counts, plan.notes, plan.exit_code) == (report.counts, report.notes, report.exit_code)
    assert house.names() == {"a": "A", "s": "shared", "b": "B", "c": "C"}


def test_what_was_to_be_brought_back_is_planned_as_created(house: House) -> None:
    house.run(removal="delete")
    house.source.change("p1", {"s": "shared"}, TODAY + timedelta(days=1))
    house.run(removal="delete")
    house.source.change("p1", {"a": "A", "s": "shared"}, TODAY + timedelta(days=2))
    lose(house, removal="delete")
    agree(house)


def test_what_was_removed_unheard_and_comes_back_is_planned_as_created(house: House) -> None:
    house.run(removal="delete")
    house.source.change("p1", {"s": "shared"}, TODAY + timedelta(days=1))
    lose(house, removal="delete")
    lose(house, sent=9, removal="delete")
    house.source.change("p1", {"a": "A", "s": "shared"}, TODAY + timedelta(days=2))
    agree(house)


def test_what_was_created_unheard_and_taken_back_is_planned_as_created_when_it_comes_again(house: House) -> None:
    house.run(removal="delete")
    house.source.change("p1", {"a": "A", "s": "shared", "x": "X"}, TODAY + timedelta(days=1))
    lose(house, sent=9, removal="delete")
    house.source.change("p1", {"a": "A", "s": "shared"}, TODAY + timedelta(days=2))
    assert house.run(removal="delete").exit_code == 0
    house.source.change("p1", {"a": "A", "s": "shared", "x": "X2"}, TODAY + timedelta(days=3))
    plan, report = planned(house, removal="delete"), house.run(removal="delete")
    assert (plan.exit_code, plan.counts) == (report.exit_code, report.counts)
