"""Two jobs of one store and one sink that share a type."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from house import House
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
