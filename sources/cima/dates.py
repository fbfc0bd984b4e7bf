"""CIMA's dates: milliseconds since 1970, meant as days in Spain.

The AEMPS publishes epoch milliseconds at (mostly) midnight in Europe/Madrid, negative ones before 1970; read in UTC
they would be the day before.  What leaves here has no time of day: before 1901 Madrid's offset from UTC had seconds,
which FHIR cannot write.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

MADRID = ZoneInfo("Europe/Madrid")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def madrid_date(milliseconds: int) -> date:
    """The day in Spain of an instant of CIMA's; ValueError where no calendar reaches it."""
    try:
        return instant_of(milliseconds).astimezone(MADRID).date()
    except OverflowError as e:
        raise ValueError("beyond the years 1 to 9999") from e


def instant_of(milliseconds: int) -> datetime:
    """An instant of CIMA's, in UTC; ValueError where no calendar reaches it."""
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError as e:
        raise ValueError("beyond the years 1 to 9999") from e


def midnight_utc(day: date) -> str:
    """The day as a FHIR instant: its midnight in UTC."""
    return f"{day.isoformat()}T00:00:00Z"
