"""When a job runs: five fields as cron and Kubernetes write them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)
_SHIFT = timedelta(hours=3)
"""More than any zone's clock is put forward or back at once, as they are today."""

_LEAP_YEAR = datetime(2023, 12, 31)  # noqa: DTZ001  # a wall clock's; the fifty years after it have every date there is

_ITEM = re.compile(r"(?:\*|(?P<low>\w+)(?:-(?P<high>\w+))?)(?:/(?P<step>\d+))?")


def checked_schedule(text: str) -> str:
    """`text` with single spaces; ValueError says which of the five fields is wrong."""
    fields = text.split()
    if len(fields) != len(_FIELDS):
        raise ValueError("a schedule has five fields: minute, hour, day of the month, month, day of the week")
    for field, (name, least, most, names) in zip(fields, _FIELDS, strict=True):
        if not all(_fits(item, least, most, names) for item in field.split(",")):
            raise ValueError(f"the {name} of a schedule is *, {least} to {most}, a range (2-5), a step (*/2) or a list")
    if next(_walls(" ".join(fields), _LEAP_YEAR), None) is None:
        raise ValueError("a schedule names a day that comes: no month of these has it")
    return " ".join(fields)


def next_time(schedule: str, zone: str, at: datetime) -> datetime | None:
    """The first time after `at` that is scheduled, in UTC; None where there is none.

    As Kubernetes counts: a time that the zone's clock leaps over in spring does not come that day, and one that it
    shows twice in autumn comes twice.  (Other crons run what was leapt over a little later.)
    """
    there = ZoneInfo(zone)
    found: tuple[datetime, datetime] | None = None
    for wall in _walls(schedule, at.astimezone(there).replace(tzinfo=None) - _SHIFT):
        if found and wall > found[1] + _SHIFT:
            break
        for instant in _instants(wall, there):
            if instant > at and (found is None or instant < found[0]):
                found = instant, wall
    return found[0] if found else None


def _walls(schedule: str, after: datetime) -> Iterator[datetime]:
    """What the clock on the wall shows when it is time, whatever the zone makes of it."""
    try:
        yield from CronSim(schedule, after)
    except CronSimError:  # it has read all that `checked_schedule` lets through, and knows that this day never comes
        return


def _instants(wall: datetime, zone: ZoneInfo) -> set[datetime]:
    """When the zone's clocks show this: once, twice, or never."""
    both = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return {instant for instant in both if instant.astimezone(zone).replace(tzinfo=None) == wall}


def _fits(item: str, least: int, most: int, names: tuple[str, ...]) -> bool:
    match = _ITEM.fullmatch(item)
    if match is None or match["step"] == "0":
        return False
    numbers = [_number(word, least, names) for word in (match["low"], match["high"]) if word]
    return all(number is not None and least <= number <= most for number in numbers) and (
        len(numbers) < 2 or (numbers[0] or 0) <= (numbers[1] or 0)
    )


def _number(word: str, least: int, names: tuple[str, ...]) -> int | None:
    if word.lower() in names:
        return names.index(word.lower()) + least
    return int(word) if word.isascii() and word.isdigit() else None
