"""What arrived too late: requests of a run that was overtaken, or that lost its sink, after the next run had looked.

A guarded write still fits where that run had nothing to change: the source says A, then B, which the lost run sends,
then A again, which is still there when its successor looks.  What is remembered is true until the request arrives.
So whatever a lost run had noted is compared with the sink by each run of the following day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsi_fetch.counting import are, count
from tsi_fetch.words import FORGOTTEN, Doubt, Held, Known, State

if TYPE_CHECKING:
    from tsi_fetch.context import Run


def look_again(run: Run) -> None:
    """Doubt anew what lost runs have changed since; its rows are fetched by this run, whatever the feed says, and so
    are those that killed workers, replays and runs of single rows have left half written."""
    if run.settings.only:
        return  # which reads no row but those
    run.asked_again.update(run.store.half_written())
    rows: set[str] = set()
    for doubt in run.store.late():
        held, known = run.sink.find(doubt.refs), run.store.known(doubt.refs)
        refs = [ref for ref in doubt.refs if _arrived(run, doubt, held.get(ref), known.get(ref))]
        if refs:
            gone = [ref for ref in refs if _is_gone(held.get(ref))]
            rows.update(run.store.arrived(doubt.of(refs), gone))
    if rows:
        run.asked_again |= rows
        read = f"{count(len(rows), 'row')} {are(len(rows))} read again"
        run.tally.note(f"an overtaken run wrote after another had looked: {read}")


def _arrived(run: Run, doubt: Doubt, held: Held | None, known: Known | None) -> bool:
    """Is the sink's version one of ours that nobody remembers?  Who has removed a resource, a sink does not say."""
    if known is not None and _is_gone(held):
        return doubt.removes and (known.state is State.LIVE or known.digest == FORGOTTEN)
    remembered = known.version if known and known.state is not State.DELETED else None
    return held is not None and held.version != remembered and run.wrote(held)


def _is_gone(held: Held | None) -> bool:
    return held is None or held.deleted
