"""What comes from a source or a server, made fit for a terminal: it may hold characters that move its cursor, clear it
or hide a line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but for tab and line feed, those that turn the direction of a line, and halves of a pair."""


def visible(text: str) -> str:
    """Every such character by its number, as Python and JSON would write it."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def visible_all(value: Any) -> Any:
    """The same for every string inside a JSON value."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible(str(key)): visible_all(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [visible_all(inner) for inner in value]
    return value
