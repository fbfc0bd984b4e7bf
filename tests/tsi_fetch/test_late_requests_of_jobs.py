"""Two jobs of one store and sink that share resources: what a lost run of one does to what the other holds."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from house import House
from lost_requests import arrive, lose
from table_source import TODAY, TableSource

from store.handle import open_store
from tsi_fetch.report import Report
from tsi_fetch.run import Ports, Settings, run_job
from tsi_fetch.words import RunRecord

SHARED = frozenset({"Organization"})
DELETE: dict[str, Any] = {"shared": SHARED, "removal": "delete"}


def day(number: int) -> date:
    return TODAY + timedelta(days=number)


class Two:
    """`house` runs one job, `other` the other one; both may hold `s`."""

    def __init__(self, folder: Path) -> None:
        self.house = House(folder, TableSource({"p1": {"a": "A", "s": "S"}, "p2": {"b": "B"}}))
        assert self.house.run(shared=SHARED).exit_code == 0
        self.theirs = TableSource({"q1": {"q": "Q"}})
        self._numbers = 0

    def other(self) -> Report:
        self._numbers += 1
        house, run_id = self.house, f"other-{self._numbers}"
        house.sink.run = run_id
        with ExitStack() as stack:
            stored = stack.enter_context(open_store(house.url))
            book = stack.enter_context(stored.lease("other", "memory", run_id, expiry=60, wait=lambda s: None))
            record = RunRecord(run_id, "other", house.clock.now())
            book.begin_run(record)
            ports = Ports(self.theirs, house.sink, book, house.clock, house.stop)
            report = run_job(ports, Settings("other", run_id, shared=SHARED))
            book.end_run(replace(record, ended=report.ended, outcome=report.outcome, exit_code=report.exit_code))
            return report


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
