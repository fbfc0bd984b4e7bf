"""What moving a watermark will cause, in words: before it is done, so that a person can say no."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from tsi_fetch.counting import are, count

WIDTH = 80

Figures = Mapping[str, Any]


def steered_text(planned: Figures) -> str:
    """From what to what, then a paragraph for each thing it causes."""
    to = planned["to"] or "none"
    head = f"{planned['job']} at {planned['sink']}, {planned['stream']}: {planned['from']} → {to} ({planned['how']})"
    paragraphs = [*_ABOUT[planned["how"]](planned), *_lists(planned), _NOTHING_GOES]
    body = [textwrap.fill(text, WIDTH, initial_indent="  ", subsequent_indent="    ") for text in paragraphs]
    return "\n".join([head, *body]) + "\n"


def done_text(planned: Figures) -> str:
    to = planned["to"] or "forgotten: the next run is a first load"
    return f"done: the watermark of {planned['stream']} is {to}; `tsi-fetch audit {planned['job']}` has it\n"


def _back(planned: Figures) -> Iterator[str]:
    yield (
        f"The next run reads again what the source says has changed since {planned['to']}, and in the overlap before."
    )
    read = planned["read_since"] or {"runs": 0, "untold": 0}
    if read["runs"]:
        told = f"{count(read['runs'], 'run')} begun since then read {count(read['rows'], 'row')}, first loads included"
        yield f"For a measure: {told}."
    if read["untold"]:
        yield f"What {count(read['untold'], 'other run')} begun since then read is not known any more."
    settled = [f"{count(planned['overlap'], 'row')} remembered as settled inside the overlap"] * bool(
        planned["overlap"]
    )
    settled += [f"{count(planned['checkpoint'], 'row')} settled by a pass that was not finished"] * bool(
        planned["checkpoint"]
    )
    if settled:
        yield f"Read again as well: {', '.join(settled)}."


def _skip(planned: Figures) -> Iterator[str]:
    yield (
        f"SKIP: what the source changed between {planned['from']} and {planned['to']}, and no run read, is left out."
        " It stays as it is at the sink until it changes again, or `run --full` reads everything."
    )


def _reset(planned: Figures) -> Iterator[str]:
    yield (
        "The next run is a first load: it lists the source anew and asks for every key, without asking by validators"
        " whether it has changed."
    )
    yield (
        f"Remembered are {count(planned['rows_remembered'], 'row')} of the source; "
        f"{count(planned['live'], 'resource')} {are(planned['live'])} alive at the sink. Both stay; what is unchanged"
        " is not written."
    )
    if planned["checkpoint"]:
        yield f"An unfinished pass settled {count(planned['checkpoint'], 'row')}, to be read again."


def _lists(planned: Figures) -> Iterator[str]:
    for work in planned["work"]:
        left = f"{work['left']:,} of {count(work['total'], 'key')} {are(work['left'])} left"
        if planned["how"] == "reset" and work["kind"] != "backfill":
            yield f"The {work['kind']} list in progress ({left}) is cancelled: the first load has a list of its own."
        else:
            yield f"The {work['kind']} list in progress goes on as it is: {left}."


_NOTHING_GOES = (
    "Nothing is deleted by it, here or at the sink; what waits and what lies in quarantine stays. What the source has"
    " taken back goes as in every run, past the vanish guard."
)

_ABOUT = {"set": _back, "rewind": _back, "skip": _skip, "reset": _reset}
