"""Numbers of things, as a person says them."""

from __future__ import annotations


def count(number: int, thing: str, things: str | None = None) -> str:
    """`1 entry`, `1,200 entries`."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"
