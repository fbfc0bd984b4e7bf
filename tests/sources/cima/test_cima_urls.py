"""Where a person reads at the register what a row was made from."""

from __future__ import annotations

import pytest

from sources.cima.options import CimaOptions
from sources.cima.source import Cima

BASE = "https://cima.invalid/rest"
PRODUCT = f"{BASE}/medicamento?nregistro=99%20003-95-96"


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (
            "99 003-95-96",
            (
                PRODUCT,
                f"{BASE}/docSegmentado/contenido/1?nregistro=99%20003-95-96",
                f"{BASE}/docSegmentado/contenido/2?nregistro=99%20003-95-96",
            ),
        ),
        ("99 003-95-96#notasSeguridad", (f"{BASE}/notas?nregistro=99%20003-95-96",)),
        ("99 003-95-96#matinf+psum", (PRODUCT, f"{BASE}/materiales?nregistro=99%20003-95-96")),
        ("a/b?c#d", (f"{BASE}/medicamento?nregistro=a%2Fb%3Fc%23d",)),
    ],
)
def test_the_urls_of_a_row_are_those_that_it_is_fetched_from(key: str, expected: tuple[str, ...]) -> None:
    assert Cima.urls(CimaOptions(base_url=BASE), key)[: len(expected)] == expected
