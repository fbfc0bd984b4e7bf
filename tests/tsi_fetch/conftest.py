"""A house over three products that share an organization: empty, and loaded once."""

from __future__ import annotations

from pathlib import Path

import pytest
from house import House
from table_source import TableSource


@pytest.fixture
def house(tmp_path: Path) -> House:
    table = {"p1": {"a": "A", "s": "shared"}, "p2": {"b": "B", "s": "shared"}, "p3": {"c": "C"}}
    return House(tmp_path, TableSource(dict(table)))


@pytest.fixture
def loaded(house: House) -> House:
    assert house.run().exit_code == 0
    return house
