"""What two runners must not do is found in what was recorded and sent; and one short life of two."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.faults.conduct import AT_ONCE, Sent, Tenure, misconduct
from tests.faults.processes import folder_for_servers
from tests.faults.two_runners import TwoRunners, template, tried


def at(second: float) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second)


PAUSED = Tenure("one", 1, at(0), None, "lost", 75)
SUCCESSOR = Tenure("two", 2, at(5), at(9), "done", 0)
ORDERLY = [Sent("one", at(1)), Sent("two", at(6)), Sent("two", at(8))]


def test_one_who_is_overtaken_and_gives_way_has_done_nothing_wrong() -> None:
    assert list(misconduct([PAUSED, SUCCESSOR], ORDERLY)) == []


def test_those_who_follow_one_another_have_done_nothing_wrong() -> None:
    first = replace(PAUSED, ended=at(5), outcome="done", code=0)
    assert list(misconduct([SUCCESSOR, first], ORDERLY)) == []


def test_bundles_that_were_on_their_way_may_come_after_the_takeover_and_no_others() -> None:
    on_their_way = [Sent("one", at(7))] * AT_ONCE
    assert list(misconduct([PAUSED, SUCCESSOR], [*ORDERLY, *on_their_way])) == []
    wrong = misconduct([PAUSED, SUCCESSOR], [*ORDERLY, *on_their_way, Sent("one", at(20))])
    assert list(wrong) == [f"one sent {AT_ONCE + 1} transactions after two had taken over"]


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (replace(PAUSED, code=0), "one was overtaken by two, and ended with 0"),
        (replace(PAUSED, code=65), "one was overtaken by two, and ended with 65"),
        (replace(PAUSED, outcome="running"), "one never ended, and two left it running"),
        (replace(PAUSED, outcome="done", ended=at(6)), "one closed its record after two had taken over"),
        (replace(PAUSED, fence=2), "one and two held the lease under one number"),
    ],
)
def test_one_who_was_overtaken_does_not_say_that_all_is_well(first: Tenure, said: str) -> None:
    assert list(misconduct([first, SUCCESSOR], ORDERLY)) == [said]


def test_nobody_writes_who_never_held_the_lease() -> None:
    assert list(misconduct([SUCCESSOR], ORDERLY)) == ["one wrote, and never held the lease"]


def test_nobody_writes_whose_record_is_closed() -> None:
    wrong = misconduct([SUCCESSOR], [*ORDERLY[1:], Sent("two", at(20))])
    assert list(wrong) == ["two sent 1 transactions after it had closed its record"]


class OneNight(TwoRunners):
    most_nights = 1
    scenes = ("_paused",)


def test_a_short_life_of_two_runners() -> None:
    with folder_for_servers() as folder:
        life, verdict = tried(1, template(folder), OneNight)
    assert verdict.good, "\n".join([*life.told, str(verdict)])
    assert len(life.ends) > 1, life.told
