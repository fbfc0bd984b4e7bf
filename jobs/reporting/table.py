"""Lists of alike things as a table for a person."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.reporting.instants import minute

WIDTH = 140  # where no terminal says how wide it is
UNBROKEN = 24
BETWEEN = 3  # columns between two of a table

_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00")
"""UTC; a person is shown the minute."""


def table_text(
    rows: Sequence[Mapping[str, Any]], none: str = "none", *, below: Sequence[str | None] | None = None
) -> str:
    """The rows under the names of their members; `none` where there are no rows.

    Instants are shown to the minute, in UTC, and the heading says so.  `below`: a line for each row, below it and cut
    off at the edge of the screen; the rows themselves must have room (`room_beside`).
    """
    if not rows:
        return none + "\n"
    titles, cells = _titled(rows)
    stream = io.StringIO()
    console = Console(file=stream, width=width(), highlight=False, markup=False, no_color=True)
    if widths := _widths(_columns(titles, cells), width()):
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for title, fixed in zip(titles, widths, strict=True):
            table.add_column(title, overflow="fold", width=fixed)
        for line in cells:
            table.add_row(*line)
        console.print(table)
    else:
        _one_below_the_other(console, titles, cells)
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    return "\n".join(_with_lines_below(lines, below) if below else lines) + "\n"


def _with_lines_below(lines: Sequence[str], below: Sequence[str | None]) -> Iterator[str]:
    """Blank line, titles and rule come first; each row is one line."""
    head = next(number for number, line in enumerate(lines) if line.startswith(" ─")) + 1
    yield from lines[:head]
    for line, told in zip(lines[head:], below, strict=False):
        yield line
        if told:
            yield _cut(f"    {' '.join(told.split())}", width())


def _cut(line: str, columns: int) -> str:
    return line if len(line) <= columns else f"{line[: columns - 1]}…"


def fits(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a table of these rows goes on the screen, so that no word in it is broken."""
    return not rows or _widths(_columns(*_titled(rows)), width()) is not None


def room_beside(rows: Sequence[Mapping[str, Any]]) -> int:
    """Columns that another column may have beside a table of these rows, none of whose cells is folded."""
    widths = [max(map(len, column)) for column in _columns(*_titled(rows))] if rows else []
    return width() - sum(widths) - BETWEEN * (len(widths) + 1)


def _titled(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells."""
    cells = [[_cell(value) for value in row.values()] for row in rows]
    columns = zip(*(row.values() for row in rows), strict=True)
    zones = [" (UTC)" if any(map(_tells_time, column)) else "" for column in columns]
    return [f"{name.replace('_', ' ')}{zone}" for name, zone in zip(rows[0], zones, strict=True)], cells


def _tells_time(value: Any) -> bool:
    """Whether an instant stands in its cell."""
    if isinstance(value, Mapping):
        return any(map(_tells_time, value.values()))
    return isinstance(value, str) and _INSTANT.fullmatch(value) is not None


def width() -> int:
    """Columns of the terminal, or `WIDTH`."""
    return shutil.get_terminal_size((WIDTH, 24)).columns


def _columns(titles: Sequence[str], cells: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[title, *column] for title, column in zip(titles, zip(*cells, strict=True), strict=True)]


def _widths(columns: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """How wide each column is: as its cells are, the widest narrowed until all fit; None where a word would break.
    Left to decide for itself, rich drops the last columns of a table that is too wide."""
    widths = [max(len(line) for cell in column for line in cell.splitlines() or [""]) for column in columns]
    least = [_longest_word(column) for column in columns]
    while sum(widths) + BETWEEN * len(widths) > width:
        wide, widest = max((w, n) if w > least[n] else (0, n) for n, w in enumerate(widths))
        if not wide:
            return None
        widths[widest] -= 1
    return widths


def _one_below_the_other(console: Console, names: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    """Where a row does not fit on a line: a block per row, a line per member that says anything."""
    for number, line in enumerate(cells):
        if number:
            console.print()
        block = Table.grid(padding=(0, 2))
        for name, cell in zip(names, line, strict=True):
            if cell != "·":
                block.add_row(name, Text(cell, overflow="fold"))
        console.print(block)


def _longest_word(cells: Iterable[str]) -> int:
    """Codes and run ids are copied from here: they are never broken in two, but for very long ones."""
    return min(UNBROKEN, max((len(word) for cell in cells for word in cell.split()), default=1))


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "·"
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        return minute(value).removesuffix(" UTC")  # the heading has it
    if isinstance(value, Mapping) and len(value) == 1:
        return _cell(next(iter(value.values())))
    if isinstance(value, Mapping):
        return "\n".join(f"{key}: {_cell(inner)}" for key, inner in value.items()) or "·"
    if isinstance(value, list | tuple):
        return "\n".join(map(str, value)) or "·"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
