"""How the jobs stand, for a person: a table that fits the screen, then what is wrong and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from jobs.config.duration import show_duration
from jobs.reporting.instants import minute
from jobs.reporting.table import fits, table_text
from tsi_fetch.counting import are, count

Row = Mapping[str, Any]

SILENT = "no sign of life"
"""Instead of `running`, where nobody has heard of the runner in time: it was killed, or is paused."""

_OPEN = (
    ("quarantined", "{:,} quarantined"),
    ("waiting", "{:,} waiting"),
    ("pending", "{:,} to be removed"),
    ("older_mapping", "{:,} of an older mapping"),
    ("left_to_do", "{:,} left of a load"),
    ("left_of_backfill", "{:,} left of a backfill"),
)
"""What is not done yet, in the narrow table."""


def status_text(rows: Sequence[Row]) -> str:
    """Every figure in a column of its own where there is room for it; else what is open in one column."""
    several = len(rows) > len({row["job"] for row in rows})
    wide = [_wide(row, several=several) for row in rows]
    table = wide if fits(wide) else [_narrow(row, several=several) for row in rows]
    return table_text(table, "no jobs") + "".join(_wrong(rows))


def _wide(row: Row, *, several: bool) -> dict[str, Any]:
    figures = {name: _known(row, row[name]) for name, _ in _OPEN}
    return {
        **_named(row, several=several),
        "last_success": _ago(row),
        "last_run": _outcome(row),
        "watermark": _known(row, row["watermark"]),
        "unchanged_nights": _known(row, row["unchanged_nights"]),
        **figures,
        "next_run": _next(row),
        "overdue": {True: "OVERDUE", False: "no"}.get(row["overdue"], "?"),
    }


def _narrow(row: Row, *, several: bool) -> dict[str, Any]:
    nights = row["unchanged_nights"]
    calm = f"\nunchanged {count(nights, 'night')}" if nights else ""
    told = [form.format(row[name]) for name, form in _OPEN if row[name]]
    return {
        **_named(row, several=several),
        "last_success": _ago(row),
        "last_run": f"{_outcome(row) or ''}{calm}",
        "watermark": _known(row, row["watermark"]),
        "open": told,
        "next_run": f"{'OVERDUE ' if row['overdue'] else ''}{_next(row) or ''}",
    }


def _named(row: Row, *, several: bool) -> dict[str, Any]:
    """The sink is told where a job has had more than one."""
    return {"job": row["job"], "sink": row["sink"]} if several else {"job": row["job"]}


def _known(row: Row, value: Any) -> Any:
    return value if row["readable"] else "?"


def _outcome(row: Row) -> str | None:
    if not row["readable"]:
        return "unreadable"
    return SILENT if row["silent"] else row["outcome"]


def _ago(row: Row) -> str | None:
    seconds = row["seconds_since_success"]
    if not row["readable"]:
        return "?"
    if seconds is None:
        return "never"
    return f"{rough(seconds)} ago" if seconds >= 0 else f"{rough(-seconds)} ahead"


def _next(row: Row) -> str | None:
    if row["next_run"] is None or row["as_of"] is None:
        return None if row["readable"] else "?"
    left = datetime.fromisoformat(row["next_run"]) - datetime.fromisoformat(row["as_of"])
    return f"in {rough(left.total_seconds())}"


def rough(seconds: float) -> str:
    """A span of time in its largest unit, from two of them on: 119s, 119m, 47h, 3d."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f}{unit}"
    return f"{seconds:.0f}s"


def _wrong(rows: Sequence[Row]) -> Iterator[str]:
    several = len({row["store"] for row in rows}) > 1
    for row in rows:
        if row["silent"]:
            lost = f"{row['job']}: the run of {minute(row['last_run'])} gives no sign of life: killed, or paused"
            yield _told(lost, f"the next one goes on where it was: tsi-fetch run {row['job']}")
        if number := row["halted_backfill"]:
            left = f"{count(row['left_of_backfill'], 'item')} {are(row['left_of_backfill'])} left of it"
            it = f"--job {row['job']} {number}" if several else str(number)
            why = f"why: tsi-fetch backfill show {it}; then: tsi-fetch backfill resume {it}"
            yield _told(f"{row['job']}: a guard has halted backfill {number}, and {left}", why)
        if not row["readable"]:
            yield _told(f"{row['job']}: {row['trouble']}", row["hint"])
        elif row["overdue"]:
            grace = show_duration(timedelta(seconds=row["grace_seconds"]))
            missed = minute(row["missed_run"])
            due = f"{row['job']} is overdue: nothing has succeeded since {missed}, when a run was due"
            yield _told(f"{due}, and {grace} of grace", f"tsi-fetch runs {row['job']}")
        elif row["overdue"] is None:
            yield _told(
                f"{row['job']}: it has no store yet, so nobody knows whether it is overdue",
                f"tsi-fetch run {row['job']} makes it; if runs were made before, the store is lost: tsi-fetch check",
            )


def _told(wrong: str, fix: str) -> str:
    return f"✗ {wrong}\n" + (f"  → {fix}\n" if fix else "")
