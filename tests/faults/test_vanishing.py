"""The vanish guard in a life: what it holds back stays until a person lets it go; and what is wrong is seen."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.faults.inside import Inside, template
from tests.faults.vanishing import TRIPPED, VanishGuard
from tests.sinks.fake_hapi import Version
from tsi_fetch.errors import Exit
from tsi_fetch.report import Reason, Report
from tsi_fetch.words import Pending, Ref

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HELD_BACK = Report(
    *("cima", "run-2", False, "failed", Exit.GUARDED, NOON, NOON, {}, {}, {}, (None, None), 0, (), 0),
    reasons=(Reason(Exit.GUARDED, f"{TRIPPED}: 3 of 5 List", "if they are really gone: --accept-vanish 3"),),
    notes=(),
)


class Quiet(Inside):
    """Nothing is disturbed by itself; the job has the usual vanish guard."""

    guarded, on_existing = 1.0, "adopt"


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Quiet]:
    """With five products, all of them at the server."""
    shutil.copy(template(tmp_path), tmp_path / "store.db")
    with closing(Quiet(random.Random(1), f"sqlite:///{tmp_path}/store.db", tmp_path, near=True)) as life:
        while len(life.story.register.products) < 5:
            life.story.act("appears")
        assert life.night("a first load", full=False, calm=True).good
        assert life.ends[-1].code == Exit.DONE
        yield life


def test_what_mostly_vanishes_is_held_back_until_a_person_lets_it_go(life: Quiet) -> None:
    assert life.story.act("is mostly gone")
    for _ in range(2):
        assert life.night("most is gone", full=False, calm=True).good
        assert life.ends[-1].code == Exit.GUARDED
    assert life.accept()
    assert life.night("accepted", full=False, calm=True).good
    assert life.ends[-1].code == Exit.DONE
    assert (life.counts["a vanishing held back"], life.counts["a vanishing accepted"]) == (2, 1)
    assert life.vanishing.accepted == 0, "for one run alone"


def test_a_run_that_removes_what_it_holds_back_is_wrong() -> None:
    there = Version(1, {"resourceType": "List", "id": "a", "status": "current"}, "run-1")
    retired = Version(2, {"resourceType": "List", "id": "a", "status": "retired"}, "run-2")
    for after in (retired, Version(2, None, "run-2")):
        guard = VanishGuard(on=True)
        assert guard.ended(HELD_BACK, {"List/a": [there, after]})
        assert guard.wrong == ["run-2 held back what was to vanish, and removed List/a"]
        assert guard.asked == 3
    guard = VanishGuard(on=True)
    assert guard.ended(HELD_BACK, {"List/a": [there, replace(retired, run="run-1")]})
    assert guard.ended(HELD_BACK, {"List/a": [there, retired]}, lambda ref, body: b'"retired"' in body)
    assert guard.wrong == []


def test_a_run_that_holds_back_what_was_accepted_or_ends_otherwise_is_wrong() -> None:
    guard = VanishGuard(on=True)
    guard.ended(HELD_BACK, {})
    assert guard.accept()
    guard.ended(HELD_BACK, {})
    guard.ended(replace(HELD_BACK, exit_code=Exit.DONE), {})
    assert guard.wrong == [
        "run-2 held back 3, and 3 were accepted",
        "run-2 held back what was to vanish, and ended with 0",
    ]


@pytest.mark.parametrize(
    ("removed", "live", "carried", "accepted", "wrong"),
    [
        (3, 5, 0, 0, True),
        (2, 5, 0, 0, False),
        (3, 5, 1, 0, False),
        (3, 5, 0, 3, False),
        (5, 90, 0, 0, True),
        (4, 90, 0, 0, False),
    ],
)
def test_a_run_that_removes_more_than_one_run_may_is_wrong(
    removed: int, live: int, carried: int, accepted: int, *, wrong: bool
) -> None:
    guard = VanishGuard(on=True)
    guard.accepted = accepted
    guard.begins(
        "run-2", [Pending(Ref("List", f"{n}"), "s", "r", accepted=True) for n in range(carried)], {"List": live}
    )
    counts = {"List": {"retired": removed - 1, "deleted": 1}}
    guard.ended(replace(HELD_BACK, reasons=(), exit_code=Exit.DONE, counts=counts), {})
    assert guard.wrong == ([f"run-2 removed {removed} of {live} List, and was not held back"] if wrong else [])


def test_what_a_run_found_that_a_killed_one_had_written_was_there_to_be_guarded() -> None:
    guard = VanishGuard(on=True)
    guard.begins("run-2", [], {"List": 4})
    done = replace(HELD_BACK, reasons=(), exit_code=Exit.DONE, counts={"List": {"deleted": 3, "unchanged": 4}})
    guard.ended(done, {}, left={"List": 4})
    assert guard.wrong == []
    guard.ended(done, {}, left={"List": 1})
    assert guard.wrong == ["run-2 removed 3 of 4 List, and was not held back"]


def test_a_run_that_holds_nothing_back_uses_up_what_was_accepted() -> None:
    guard = VanishGuard(on=True)
    guard.ended(HELD_BACK, {})
    guard.accept()
    assert not guard.ended(replace(HELD_BACK, reasons=()), {})
    assert (guard.asked, guard.accepted, guard.accept()) == (0, 0, False)
