"""A house over three products that share an organization: empty, and loaded once."""

from __future__ import annotations

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
