"""The report as a person likes to read it: what happened first, then the figures, every failure in words, what to do.

It takes the report's JSON form, so that a run of last week is shown by `runs show` just as it was when it ended.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table

from jobs.config.duration import show_duration
from jobs.reporting.instants import second
from tsi_fetch.counting import count

WIDTH = 100
"""Columns where there is no terminal to ask."""

_WRITTEN = ("created", "updated", "deleted", "retired")
_FIRST = (*_WRITTEN, "unchanged", "waiting")
"""Fates in the order they are told; any other follows under its own name, so that none is ever left out."""

_COLOURS = {"done": "green", "quarantined": "yellow", "partial": "yellow"}

Report = Mapping[str, Any]


def report_text(report: Report, *, colour: bool = False, width: int | None = None) -> str:
    """The whole report, ready to print."""
    stream = io.StringIO()
    console = Console(
        file=stream,
        force_terminal=colour,
        no_color=not colour,
        width=width or (None if colour else WIDTH),
        highlight=False,
    )
    console.print(Group(*_parts(report)))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def _parts(report: Report) -> Iterator[RenderableType]:
    colour = _COLOURS.get(report["outcome"], "red")
    what = "plan" if report["plan"] else "run"
    yield f"[bold {colour}]{report['job']}: {report['outcome']}[/]  [dim]{what} {report['run']}[/]"
    yield escape(headline(report))
    for reason in report["reasons"]:
        yield f"[bold red]✗[/] {escape(reason['what'])} [dim](exit code {reason['code']})[/]"
        if reason["hint"]:
            yield f"  → {escape(reason['hint'])}"
    if report["counts"]:
        yield _counts(report["counts"])
    yield from _quarantined(report)
    yield from (f"[yellow]![/] {escape(note)}" for note in report["notes"])
    yield _figures(report)
    if report["requests"]:
        yield _requests(report["requests"])


def headline(report: Report) -> str:
    """What happened, in one sentence that leaves nothing out."""
    totals = _totals(report["counts"])
    told = ", ".join(f"{totals[fate]:,} {fate}" for fate in _fates(totals) if totals[fate])
    if report["plan"] and report["outcome"] in ("failed", "stopped"):
        return f"The plan is not whole{': ' + told if told else ''}.  Nothing was written."
    if report["plan"]:
        return f"A run would end with {told or 'nothing to do'}.  Nothing was written."
    if set(totals) & set(_WRITTEN):
        return f"{told}."
    if told:
        return f"Nothing was written: {told}."
    return "Nothing was written: there was nothing new." if report["outcome"] == "done" else "Nothing was written."


def wrote(counts: Mapping[str, Mapping[str, int]]) -> bool:
    """Whether anything changed at the sink."""
    return any(_totals(counts).get(fate) for fate in _WRITTEN)


def _fates(totals: Mapping[str, int]) -> list[str]:
    return [fate for fate in _FIRST if fate in totals] + sorted(fate for fate in totals if fate not in _FIRST)


def _totals(counts: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for actions in counts.values():
        for action, number in actions.items():
            totals[action] = totals.get(action, 0) + number
    return totals


def _counts(counts: Mapping[str, Mapping[str, int]]) -> Table:
    totals = _totals(counts)
    columns = _fates(totals)
    table = Table(box=SIMPLE_HEAD, show_footer=len(counts) > 1, pad_edge=False)
    table.add_column("type", footer="all", overflow="fold")
    for action in columns:
        table.add_column(action, justify="right", footer=f"{totals[action]:,}")
    for kind, actions in counts.items():
        table.add_row(kind, *(f"{actions[a]:,}" if actions.get(a) else "·" for a in columns))
    return table


def _quarantined(report: Report) -> Iterator[RenderableType]:
    troubles = report["quarantined"]
    if not troubles:
        return
    more = ", the first of them" if report["troubles"] > len(troubles) else ""
    would = "Would go into" if report["plan"] else "Into"
    yield f"[bold yellow]{would} quarantine: {report['troubles']}{more}[/]"
    for trouble in troubles:
        place = f" at {trouble['path']}" if trouble["path"] else ""
        yield f"  {escape(trouble['key'])}: {escape(trouble['code'])}{escape(place)}: {escape(trouble['rule'])}"
    if not report["plan"]:
        yield f"  → tsi-fetch quarantine list --job {report['job']}"


def _figures(report: Report) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in _named_figures(report):
        table.add_row(f"[dim]{name}[/]", escape(value))
    return table


def _named_figures(report: Report) -> Iterator[tuple[str, str]]:
    rows = ", ".join(f"{number:,} {fate}" for fate, number in report["rows"].items() if number)
    yield "rows", rows or "none"
    if moved := report["watermark"]:
        before, after = moved["before"] or "none", moved["after"] or "none"
        yield "watermark", f"{before} → {after}" if before != after else f"{after} (not moved)"
    if report["remainder"]:
        yield "left to do", f"{count(report['remainder'], 'key')}; the next run goes on"
    if report.get("asked", {}).get("full") and _totals(report["counts"]).get("unchanged"):
        yield "unchanged", f"as remembered; whether the sink still holds it: tsi-fetch reconcile {report['job']}"
    took = datetime.fromisoformat(report["ended"]) - datetime.fromisoformat(report["started"])
    yield "took", f"{show_duration(took)}, from {second(report['started'])}"
    if report["phases"]:
        spans = {name: show_duration(timedelta(seconds=seconds)) for name, seconds in report["phases"].items()}
        yield "of which", ", ".join(f"{name} {span}" for name, span in spans.items())
    yield from (("result", place) for place in report.get("places", ()))


def _requests(requests: Mapping[str, Mapping[str, float]]) -> Table:
    names = list(dict.fromkeys(name for figures in requests.values() for name in figures))
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("host", overflow="fold")
    for name in names:
        table.add_column(name, justify="right")
    for host, figures in requests.items():
        table.add_row(host, *(_figure(figures.get(name, 0)) for name in names))
    return table


def _figure(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"
