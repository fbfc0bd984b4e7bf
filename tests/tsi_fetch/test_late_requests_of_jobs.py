"""Two jobs of one store and sink that share resources: what a lost run of one does to what the other holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from lost_requests import arrive, lose
from two_jobs import DELETE, SHARED, Two, day


@pytest.fixture
def two(tmp_path: Path) -> Two:
    return Two(tmp_path)


def test_a_deletion_that_comes_after_another_job_took_hold_is_mended_by_that_job(two: Two) -> None:
    two.other()
    two.house.source.change("p1", {"a": "A"}, day(1))
    lost = lose(two.house, **DELETE)
    assert [w.ref.id for w in lost.writes] == ["s"]
    two.theirs.change("q1", {"q": "Q", "s": "S"}, day(1))
    assert [two.other().exit_code, two.house.run(**DELETE).exit_code, two.other().exit_code] == [0, 0, 0]
    assert two.house.names()["s"] == "S"
    assert arrive(two.house, lost) == ["deleted"]
    assert [two.house.run(**DELETE).exit_code, two.other().exit_code] == [0, 0]
    assert two.house.names()["s"] == "S"


def test_what_a_killed_run_deleted_is_brought_back_by_the_job_that_took_hold_of_it(two: Two) -> None:
    two.other()
    two.house.source.change("p1", {"a": "A"}, day(1))
    lose(two.house, sent=1, **DELETE)
    two.theirs.change("q1", {"q": "Q", "s": "S"}, day(1))
    assert two.other().exit_code == 0
    assert [two.house.run(**DELETE).exit_code, two.other().exit_code] == [0, 0]
    assert two.house.names()["s"] == "S"


def test_a_change_that_comes_after_its_job_let_go_is_mended_by_the_one_that_holds_on(two: Two) -> None:
    two.theirs.table["q1"] = {"q": "Q", "s": "S"}
    assert two.other().exit_code == 0
    two.house.source.change("p1", {"a": "A", "s": "S2"}, day(1))
    lost = lose(two.house, shared=SHARED)
    two.house.source.change("p1", {"a": "A"}, day(2))
    assert [two.house.run(shared=SHARED).exit_code, two.other().exit_code] == [0, 0]
    assert arrive(two.house, lost) == ["updated"]
    assert [two.house.run(shared=SHARED).exit_code, two.other().exit_code] == [0, 0]
    assert two.house.names()["s"] == "S"
