"""Days in Madrid, which is what CIMA counts in.

CIMA's stamps are milliseconds since 1970 and lie, for dates, on midnight in Madrid: read in UTC they would be a day
early.  They may be negative.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

MADRID = ZoneInfo("Europe/Madrid")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def day_of(instant: datetime) -> date:
    """The day in Madrid of an instant."""
    return instant.astimezone(MADRID).date()


def day_of_stamp(milliseconds: int) -> date:
    """The day in Madrid of a stamp.  ValueError where it lies outside the calendar."""
    try:
        return day_of(_EPOCH + timedelta(milliseconds=milliseconds))
    except OverflowError as e:
        raise ValueError("a stamp outside the calendar") from e
