"""CIMA's milliseconds are days in Spain."""

from __future__ import annotations

from datetime import date

import pytest

from sources.cima.dates import madrid_date, midnight_utc


@pytest.mark.parametrize(
    ("milliseconds", "day"),
    [
        (1_466_978_400_000, "2016-06-27"),  # midnight of Madrid's summer: the day before, in UTC
        (1_466_978_399_999, "2016-06-26"),
        (-249_786_000_000, "1962-02-01"),
        (0, "1970-01-01"),
        (1_698_534_000_000, "2023-10-29"),  # the night that has 25 hours
        (1_698_620_399_999, "2023-10-29"),
        (1_711_839_600_000, "2024-03-31"),  # the night that has 23
        (-2_300_000_000_000, "1897-02-11"),  # Madrid was 14:44 minutes behind
        (-62_135_596_800_000 + 86_400_000, "0001-01-01"),
    ],
)
def test_an_instant_is_a_day_in_spain(milliseconds: int, day: str) -> None:
    assert madrid_date(milliseconds).isoformat() == day


@pytest.mark.parametrize("milliseconds", [10**17, -(10**17), 10**30, -62_135_596_800_000])
def test_a_day_outside_the_calendar_is_refused(milliseconds: int) -> None:
    with pytest.raises(ValueError, match="years 1 to 9999"):
        madrid_date(milliseconds)


def test_a_day_becomes_an_instant_in_utc() -> None:
    assert midnight_utc(date(1897, 2, 11)) == "1897-02-11T00:00:00Z"
