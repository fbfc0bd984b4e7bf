"""When a job runs: five fields as cron and Kubernetes write them."""

from __future__ import annotations

import re

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)
_ITEM = re.compile(r"(?:\*|(?P<low>\w+)(?:-(?P<high>\w+))?)(?:/(?P<step>\d+))?")


def checked_schedule(text: str) -> str:
    """`text` with single spaces; ValueError says which of the five fields is wrong."""
    fields = text.split()
    if len(fields) != len(_FIELDS):
        raise ValueError("a schedule has five fields: minute, hour, day of the month, month, day of the week")
    for field, (name, least, most, names) in zip(fields, _FIELDS, strict=True):
        if not all(_fits(item, least, most, names) for item in field.split(",")):
            raise ValueError(f"the {name} of a schedule is *, {least} to {most}, a range (2-5), a step (*/2) or a list")
    return " ".join(fields)


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
