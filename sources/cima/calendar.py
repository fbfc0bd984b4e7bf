"""Days in Madrid of instants that are not CIMA's own: the feed is asked for, and watermarks count, in such days."""

from __future__ import annotations

from datetime import date, datetime

from sources.cima.dates import MADRID


def day_of(instant: datetime) -> date:
    """The day in Madrid of an instant."""
    return instant.astimezone(MADRID).date()
