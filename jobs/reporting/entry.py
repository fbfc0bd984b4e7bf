"""One entry of the quarantine for a person: the reason first, then the row as it was received."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from jobs.reporting.instants import minute, second
from tsi_fetch.counting import count


def entry_text(entry: Mapping[str, Any]) -> str:
    return "\n".join(_lines(entry)) + "\n"


def _lines(entry: Mapping[str, Any]) -> Iterator[str]:
    yield f"{entry['job']} {entry['number']}: {entry['key']}"
    yield f"  why       {entry['code']} at {entry['path'] or '$'}: {entry['rule']}"
    attempts = count(entry["attempts"], "attempt")
    yield f"  since     {minute(entry['opened'])}, {attempts}, last {minute(entry['last'])} (run {entry['run']})"
    if entry["closed"]:
        yield f"  closed    {minute(entry['closed'])}: {entry['why']}"
    for answer in entry["answers"]:
        yield f"\n{answer['part']}: {answer['url']} → {answer['status']}, asked {second(answer['requested_at'])}"
        yield _pretty(answer["body"])
    if entry["resource"]:
        yield f"\nrefused: {entry['resource']}"
        yield _pretty(entry["body"] or "")


def _pretty(body: str) -> str:
    """JSON on several lines where that changes no token; anything else as it is."""
    try:
        indented = json.dumps(json.loads(body, parse_float=_Token, parse_int=_Token), indent=2, ensure_ascii=False)
    except ValueError:
        return body
    return body if "\ue000" in body else indented.replace('"\ue000', "").replace('\ue000"', "")


class _Token(str):
    """A number as it was written, marked so that it can be told from text (U+E000 is private use)."""

    __slots__ = ()

    def __new__(cls, token: str) -> _Token:
        return super().__new__(cls, f"\ue000{token}\ue000")
