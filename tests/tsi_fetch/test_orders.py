"""Orders: what came again, and later, keeps older answers away; but only from what it still says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from house import House
from table_source import TODAY, TableSource

from tsi_fetch.words import Row

TOMORROW = TODAY + timedelta(days=1)


class Asked(TableSource):
    """Its answers are from when the test says: by key, one after the other."""

    times: Mapping[str, list[int]]

    def _row(self, key: str, settles: tuple[str, ...]) -> Row:
        return replace(super()._row(key, settles), order=self.times[key].pop(0))


@pytest.mark.parametrize("gone", [None, {"a": "A"}], ids=["the product", "what it named"])
def test_what_a_row_no_longer_names_has_not_come_again_with_it(tmp_path: Path, gone: dict[str, str] | None) -> None:
    """p1 lets go of what it shares with p2.  It is asked twice, by its key and as the feed names it, the second time
    after p2, whose answer is judged last (seed 2315 of the lives in process)."""
    source = Asked({"p1": {"a": "A", "s": "shared"}, "p2": {"s": "shared"}}, batch=1)
    source.times = {"p1": [1], "p2": [1]}
    house = House(tmp_path, source)
    assert house.run().exit_code == 0
    source.change("p1", gone)
    source.unfetched.add("p1")
    source.times = {"p1": [4]}
    assert house.run().exit_code == 65
    source.unfetched.clear()
    source.change("p1", gone, TOMORROW)
    source.change("p2", {"s": "another name"}, TOMORROW)
    source.times = {"p1": [5, 9], "p2": [7]}
    report = house.run()
    assert (report.exit_code, report.rows["skipped"]) == (0, 1)
    assert house.names()["s"] == "another name"
