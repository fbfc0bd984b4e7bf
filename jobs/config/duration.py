"""Spans of time as people write them: `90s`, `2h`, `1h30m`, `7d`."""

from __future__ import annotations

import re
from datetime import timedelta

PATTERN = r"(?=.)(?:(?P<days>\d{1,5})d)?(?:(?P<hours>\d{1,6})h)?(?:(?P<minutes>\d{1,7})m)?(?:(?P<seconds>\d{1,8})s)?"
_DURATION = re.compile(PATTERN)


def parse_duration(text: str) -> timedelta:
    """Read a span of time; ValueError where it is none, or is zero."""
    match = _DURATION.fullmatch(text.strip())
    span = timedelta(**{unit: int(value) for unit, value in match.groupdict(default="0").items()}) if match else None
    if not span:
        raise ValueError("a span of time is written like 90s, 10m, 2h, 1h30m or 7d, and is not zero")
    return span


def show_duration(span: timedelta) -> str:
    """The shortest way to write it, to the second (to the tenth of a second below ten seconds): `1s`, `1.5s`."""
    seconds = span.total_seconds()
    if seconds < 10:
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    left = round(seconds)
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts)
