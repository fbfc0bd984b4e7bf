"""What the source says it makes is what its mapping makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sources.cima.mapping import to_changes
from sources.cima.source import Cima

PRODUCTS = ("99001", "1998001001", "99 003-95-96")


def test_the_types_of_the_source_are_those_that_its_products_become(make_row: Callable[..., Any]) -> None:
    assert {change.ref.type for number in PRODUCTS for change in to_changes(make_row(number))} == Cima.types


@pytest.mark.parametrize("number", PRODUCTS)
def test_no_product_becomes_another_type(make_row: Callable[..., Any], number: str) -> None:
    changes = to_changes(make_row(number))
    assert changes
    assert all(change.ref.type in Cima.types for change in changes)
