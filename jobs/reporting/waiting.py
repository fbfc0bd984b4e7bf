"""What waits, for a person: what each waits for, and since when; the rest counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.reporting.table import table_text

NAMED = 5
"""Of what one resource waits for, so many are named: a List may wait for thousands."""


def waiting_text(waits: Sequence[Mapping[str, Any]], more: int) -> str:
    """A section below the table of jobs; nothing where nothing waits.  `more`: how much waits beside `waits`."""
    if not waits:
        return ""
    names = ("job", "resource", "waits_for", "since")
    rows = [{name: _named(wait[name]) for name in names} for wait in waits]
    rest = f"… and {more:,} more; --json lists them all\n" if more else ""
    return f"\nwaiting for what is not there yet\n\n{table_text(rows)}{rest}"


def _named(value: Any) -> Any:
    if not isinstance(value, list) or len(value) <= NAMED:
        return value
    return [*value[:NAMED], f"… and {len(value) - NAMED:,} more"]
