"""What a plan would do to each resource, for a person: a line each, and below it what would change in it."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jobs.reporting.visible import visible
from tsi_fetch.counting import count
from tsi_fetch.fhir.tokens import dump

WIDTH = 80
"""Columns where there is no terminal to ask."""

MOST_LINES = 4
"""Lines of one value; the rest of it is cut off."""

MOST_PLACES = 8
"""Places of one narrative that are shown; the rest are counted."""

MOST_CHANGES = 40
"""Differences of one resource that are shown; the rest are counted."""

MOST_NAMED = 3
"""Of what one resource waits for."""

Entry = Mapping[str, Any]


def planned_text(entries: Iterable[Entry], more: int, *, width: int | None = None) -> Iterator[str]:
    """Line by line, without line ends; nothing where nothing is listed.  `more`: resources that are not listed."""
    columns = width or shutil.get_terminal_size((WIDTH, 24)).columns
    named = False
    for entry in entries:
        if not named:
            yield from ("", "what would become of each resource", "")
            named = True
        yield from map(visible, _entry(entry, columns))
    if more and named:
        yield f"… and {more:,} more; --limit {_round(more)} lists more of them"
    elif more:
        yield from ("", f"{count(more, 'resource')} by name: --limit {_round(more)}")


def _round(more: int) -> int:
    """A limit that is easy to type."""
    return 1000 if more > 99 else 100


def _entry(entry: Entry, columns: int) -> Iterator[str]:
    awaited = entry.get("waits_for", ())
    told = f"  for {', '.join(awaited[:MOST_NAMED])}" if awaited else ""
    told += f" and {len(awaited) - MOST_NAMED:,} more" if len(awaited) > MOST_NAMED else ""
    yield from _wrapped(f"{entry['action']:<9}  {entry['resource']}{told}", columns, "           ")
    if note := entry.get("note"):
        yield from _wrapped(f"    {note}", columns, "    ")
    changes = entry.get("changes", ())
    for change in changes[:MOST_CHANGES]:
        yield from _change(change, columns)
    if len(changes) > MOST_CHANGES:
        yield f"    … and {count(len(changes) - MOST_CHANGES, 'more difference')}; --json has them all"


def _change(change: Mapping[str, Any], columns: int) -> Iterator[str]:
    """On one line where it fits, else the old value above the new one."""
    path = change["path"] or "/"
    if "words" in change:
        yield from _wrapped(f"    {path}", columns, "      ")
        yield from _words(change["words"], columns)
        return
    old, new = (_value(change[name]) if name in change else None for name in ("old", "new"))
    line = f"    {path}  {'(nothing)' if old is None else old} → {'(nothing)' if new is None else new}"
    if len(line) <= columns:
        yield line
        return
    yield from _wrapped(f"    {path}", columns, "      ")
    if old is not None:
        yield from _cut(f"      - {old}", columns)
    if new is not None:
        yield from _cut(f"      + {new}", columns)


def _words(places: list[Mapping[str, str]], columns: int) -> Iterator[str]:
    if not places:
        yield "      the same words in other markup"
    for place in places[:MOST_PLACES]:
        before = f"… {place['before']} " if place["before"] else ""
        after = f" {place['after']} …" if place["after"] else ""
        for sign, words in (("-", place["old"]), ("+", place["new"])):
            yield from _cut(f"      {sign} {before}{_short(words, columns) or '·'}{after}", columns)
    if len(places) > MOST_PLACES:
        yield f"      … and {count(len(places) - MOST_PLACES, 'more place')}; --json has them all"


def _short(words: str, columns: int) -> str:
    """Both ends of what is long, so that what stands around it is still seen."""
    room = columns * (MOST_LINES - 2)
    return words if len(words) <= room else f"{words[: room // 2]} […] {words[-room // 3 :]}"


def _value(value: Any) -> str:
    """JSON as it is written, readable by a person."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else dump(value).decode()


def _cut(line: str, columns: int) -> Iterator[str]:
    """At most so many lines."""
    lines = list(_wrapped(line, columns, "        "))
    yield from lines[: MOST_LINES - 1] if len(lines) > MOST_LINES else lines
    if len(lines) > MOST_LINES:
        yield "        …"


def _wrapped(line: str, columns: int, indent: str) -> list[str]:
    return textwrap.wrap(
        line, columns, subsequent_indent=indent, break_on_hyphens=False, replace_whitespace=False, drop_whitespace=True
    ) or [""]
