"""When a job is to run next, and whether it should have run by now.  Pure: the present instant is an argument."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median_low

from jobs.config.schedule import next_time

GRACE = timedelta(hours=1)
"""How much later than scheduled a run may begin before its job is overdue: a cluster may be short of room."""

USUAL = 10
"""The latest successful runs by which it is known how long one takes."""


@dataclass(frozen=True, slots=True)
class Due:
    """`next`: the next scheduled time.  `missed`: the first one since the last success; None where none has passed.
    `grace`: how long after `missed` the job is overdue."""

    next: datetime | None
    missed: datetime | None
    grace: timedelta
    overdue: bool


def due(schedule: str, zone: str, now: datetime, since: datetime | None, took: Sequence[timedelta]) -> Due:
    """`since`: the end of the last success, else when the store was made, else (None) nobody knows: then nothing is
    called missed.  `took`: how long the latest successful runs took."""
    grace = usual_grace(took)
    missed = next_time(schedule, zone, since) if since else None
    if missed is not None and missed > now:
        missed = None
    return Due(next_time(schedule, zone, now), missed, grace, missed is not None and missed + grace < now)


def usual_grace(took: Sequence[timedelta]) -> timedelta:
    """An hour, and the median of how long successful runs took."""
    return GRACE + (median_low(took) if took else timedelta(0))
