"""Numbers of things, as a person says them."""

from __future__ import annotations


def count(number: int, thing: str, things: str | None = None) -> str:
    """`1 entry`, `1,200 entries`."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def are(number: int) -> str:
    """`1 is left`, `2 are left`."""
    return "is" if number == 1 else "are"
