"""Instants as a person reads them: in UTC, and saying so."""

from __future__ import annotations

from datetime import UTC, datetime


def minute(instant: str | None) -> str:
    """`2026-03-02 09:30 UTC` of an ISO 8601 instant of any zone; `?` where there is none."""
    return _told(instant, "minutes")


def second(instant: str | None) -> str:
    """`2026-03-02 09:30:05 UTC`."""
    return _told(instant, "seconds")


def _told(instant: str | None, to: str) -> str:
    """What is no instant with a zone is shown as it is: a server may say anything."""
    if not instant:
        return "?"
    try:
        at = datetime.fromisoformat(instant)
    except ValueError:
        return instant
    return f"{at.astimezone(UTC).replace(tzinfo=None).isoformat(' ', to)} UTC" if at.tzinfo else instant
