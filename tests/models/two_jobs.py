"""Two jobs of one store and one sink that share a type."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

from house import House
from table_source import TODAY, TableSource

from tsi_fetch.report import Report

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

    def other(self) -> Report:
        return self.house.run(job="other", source=self.theirs, shared=SHARED)
