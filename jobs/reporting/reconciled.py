"""What `reconcile` found, as JSON and for a person: what differs first, then names, then what to do."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table

from tsi_fetch.counting import are, count
from tsi_fetch.differences import IN_STEP, UNKNOWN, Kind
from tsi_fetch.reconcile import Comparison

WIDTH = 100
"""Columns where there is no terminal to ask."""

MEANING = {
    Kind.MISSING: "remembered, and not on the sink",
    Kind.CHANGED: "somebody else wrote what is there",
    Kind.OURS: "a run of this job wrote what is there, and it is not what is remembered",
    Kind.BACK: "removed by a run, and there again",
    Kind.TOUCHED: "the content is ours; only its version is another",
    UNKNOWN: "on the sink, and not remembered; no difference, as others may own it",
}
"""Also the order of the columns."""

MENDING = {
    Kind.MISSING: "created again when its product is read again",
    Kind.CHANGED: "adopted if equal when its product is read again, else as on_existing says",
    Kind.OURS: "written over when its product is read again, unless equal",
    Kind.BACK: "removed again if it is ours, else let go",
    Kind.TOUCHED: "only the version is taken over",
}
"""What becomes of each kind once memory is mended."""

Figures = Mapping[str, Any]


def figures(found: Comparison) -> Figures:
    """JSON types only; every count, the first names."""
    marking, work, mended = found.marking, found.under_way, found.mended
    return {
        "job": found.job,
        "result": _result(found),
        "exit_code": found.exit_code,
        "differences": found.differences,
        "fixed": found.fixed,
        "remembered": found.differences + found.total(IN_STEP),
        "counts": {kind: dict(counts) for kind, counts in found.counts.items()},
        "named": {kind: list(names) for kind, names in found.named.items()},
        "marker": {
            "name": marking.name,
            "trouble": marking.trouble or None,
            "there": asdict(marking.there) if marking.there else None,
            "remembered": asdict(marking.remembered) if marking.remembered else None,
        },
        "work": asdict(work) if work else None,
        "mended": None
        if mended is None
        else {"work": asdict(mended.work) if mended.work else None, "elsewhere": list(mended.elsewhere)},
    }


def _result(found: Comparison) -> str:
    if found.mended is not None:
        return "mended"
    return "different" if found.exit_code else "in step"


def reconciled_text(found: Figures, *, fix: bool = False, width: int | None = None) -> str:
    """What differs, and what to do; with `fix`, what that would do about it, for whoever is asked."""
    return _text(_parts(found, fix=fix), width)


def mended_text(found: Figures, *, width: int | None = None) -> str:
    """What was done, for whoever was shown what differs."""
    done = (
        _mended(escape(found["job"]), found) if found["mended"] else ["nothing differs any more; nothing was changed"]
    )
    return _text([f"{escape(found['job'])}: {found['result']}", *done], width)


def about_text(found: Figures) -> str:
    """What --fix is about to do, in a line."""
    return f"{found['job']}: {_FORGETS} ({_kinds(found) or 'nothing'}), {_TAKES_OVER}; the sink is only read"


_FORGETS = "forgets what it remembers of what differs"
_TAKES_OVER = "and takes the sink's marker over"


def _text(parts: Iterable[RenderableType], width: int | None) -> str:
    stream = io.StringIO()
    columns = width or shutil.get_terminal_size((WIDTH, 24)).columns
    console = Console(file=stream, width=columns, highlight=False, no_color=True)
    console.print(Group(*parts))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def _parts(found: Figures, *, fix: bool) -> Iterator[RenderableType]:
    yield f"{escape(found['job'])}: {found['result']}"
    yield _headline(found)
    if found["marker"]["trouble"]:
        yield from _marker(found["marker"])
    if found["counts"]:
        yield _counts(found["counts"])
    yield from _named(found)
    yield from _would_mend(found) if fix and found["exit_code"] else _what_to_do(found)


def _headline(found: Figures) -> str:
    told = _kinds(found)
    remembered, unknown = found["remembered"], _total(found, UNKNOWN)
    if not remembered:
        return f"Nothing is remembered{f'; {unknown:,} unknown on the sink' if unknown else ''}."
    return f"{remembered:,} remembered{f': {told}' if told else ', all in step'}."


def _kinds(found: Figures) -> str:
    return ", ".join(f"{n:,} {kind}" for kind in Kind if (n := _total(found, kind)))


def _marker(marker: Figures) -> Iterator[str]:
    yield f"✗ {escape(marker['trouble'])}"
    for whose in ("there", "remembered"):
        mark = marker[whose]
        said = f"run {mark['run']}, count {mark['counter']}, version {mark['version']}" if mark else "none"
        yield f"  {whose}: {escape(said)}"


def _counts(counts: Mapping[str, Mapping[str, int]]) -> Table:
    columns = [kind for kind in (IN_STEP, *MEANING) if any(of_type.get(kind) for of_type in counts.values())]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("type", overflow="fold")
    for name in columns:
        table.add_column(name, justify="right")
    for kind, of_type in counts.items():
        table.add_row(kind, *(f"{of_type[c]:,}" if of_type.get(c) else "·" for c in columns))
    return table


def _named(found: Figures) -> Iterator[str]:
    for kind, meaning in MEANING.items():
        names: Sequence[str] = found["named"].get(kind, ())
        if not names:
            continue
        yield f"{kind}: {meaning}"
        yield from (f"  {escape(name)}" for name in names)
        if more := _total(found, kind) - len(names):
            yield f"  and {more:,} more"


def _would_mend(found: Figures) -> Iterator[str]:
    job = escape(found["job"])
    if work := found["work"]:
        yield f"{_to_be_read(work)} still to be read: tsi-fetch run {job}"
    yield f"--fix {_FORGETS}, {_TAKES_OVER}.  The sink is only read; the next runs write:"
    for kind, then in MENDING.items():
        if number := _total(found, kind):
            yield f"  {number:,} {kind}: {then}"


def _what_to_do(found: Figures) -> Iterator[str]:
    job = escape(found["job"])
    mended, work = found["mended"], found["work"]
    if mended is not None:
        yield from _mended(job, found)
    elif found["exit_code"]:
        yield f"✗ memory and sink differ (exit code {found['exit_code']})"
        if work and not found["marker"]["trouble"]:
            yield f"  {_to_be_read(work)} still to be read:"
            yield f"  → tsi-fetch run {job}"
        if not _is_fixed(found):
            yield f"  → tsi-fetch reconcile {job} --fix"
        elif not work:
            yield "  Memory was mended before, and a run left what somebody else wrote, as foreign. To have it"
            yield "  written over, let the job file say on_existing: adopt, and run the products with --only:"
            yield f"  → tsi-fetch quarantine list --job {job}"


def _to_be_read(work: Figures) -> str:
    return f"{work['left']:,} of {count(work['total'], 'key')} of a work list {are(work['left'])}"


def _is_fixed(found: Figures) -> bool:
    """Whether `--fix` would change nothing: it was done, and the rest is for a run, or for whoever decides whose words
    stay."""
    if found["marker"]["trouble"] or found["fixed"] < found["differences"]:
        return False
    return bool(found["work"]) or _total(found, Kind.CHANGED) == found["differences"]


def _mended(job: str, found: Figures) -> Iterator[str]:
    mended = found["mended"]
    yield "Memory is mended, and the sink's marker is the remembered one."
    if work := mended["work"]:
        left = f"{work['left']:,} of {count(work['total'], 'key')} {are(work['left'])}"
        yield f"{left} to be read again; until then runs are partial."
    for other in mended["elsewhere"]:
        yield f"! {escape(other)} holds some of it, too: tsi-fetch run {escape(other)} --full writes it again"
    if _total(found, Kind.CHANGED):
        yield "What somebody else wrote stays, and the next run calls it foreign (65), unless the job file says"
        yield "  on_existing: adopt"
    yield f"  → tsi-fetch run {job}"


def _total(found: Figures, kind: str) -> int:
    return sum(of_type.get(kind, 0) for of_type in found["counts"].values())
