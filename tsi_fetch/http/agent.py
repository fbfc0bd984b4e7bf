"""Saying honestly who asks."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as _installed

PROJECT = "https://github.com/Gravitate-Health/tsi-fetch"


def version() -> str:
    """The installed version; `0+unknown` when run from a folder that was never installed."""
    try:
        return _installed("tsi-fetch")
    except PackageNotFoundError:
        return "0+unknown"


def user_agent(contact: str = "") -> str:
    """What a source's operator reads in the log, with somebody to write to where one is configured."""
    return f"tsi-fetch/{version()} (+{PROJECT}{'; ' + contact if contact else ''})"
