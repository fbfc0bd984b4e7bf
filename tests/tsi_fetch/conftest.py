"""A house over three products that share an organization: empty, and loaded once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from house import House
from table_source import TableSource


@pytest.fixture(params=[0, 3], ids=["near", "far"])
def house(tmp_path: Path, request: pytest.FixtureRequest) -> House:
    """With a sink that is waited for, and with one that several batches are written to at once."""
    table = {"p1": {"a": "A", "s": "shared"}, "p2": {"b": "B", "s": "shared"}, "p3": {"c": "C"}}
    made = House(tmp_path, TableSource(dict(table)))
    made.sink.ahead = request.param
    return made


@pytest.fixture
def loaded(house: House) -> House:
    assert house.run().exit_code == 0
    return house


@pytest.fixture
def begun(house: House) -> House:
    """A first load of p1, p2 and p3 that ended by plan after its first item."""
    house.slow_fetches(50)
    report = house.run(slice=1, max_duration=timedelta(seconds=40))
    assert (report.outcome, report.remainder) == ("partial", 2)
    return house
