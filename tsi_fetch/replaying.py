"""Quarantined rows once more: their stored answers through today's code, and the source is not asked.

They go through the very loop of a run.  Answers that are older than what their scopes were mapped from last say
nothing, and what still fails stays in quarantine, with one more attempt.  What no longer belongs to a scope is left to
the next run, whose guard stands before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from tsi_fetch import departures, waiting
from tsi_fetch.context import Ports, Replayed, Run, Settings
from tsi_fetch.errors import Exit, TsiFetchError
from tsi_fetch.report import Report
from tsi_fetch.run import air_of, launch
from tsi_fetch.settle import removed
from tsi_fetch.words import Batch, Brought, Ref, Row

AT_ONCE = 5
"""Rows that are written and remembered together: what bounds the memory."""


class Entry(NamedTuple):
    """An entry of the quarantine: its number, and the row as it was received."""

    number: int
    row: Row


def replay(ports: Ports, settings: Settings, entries: Iterable[Entry]) -> Report:
    """Send these entries, of one stream, through the loop, under the job's lease, and report; what ends it early
    (TsiFetchError) is in the report.

    A removal that was refused is tried again.  An entry of which no answers are stored (it could not be fetched) is
    told, and stays.
    """
    run = Run(ports, replace(settings, replays=True))
    try:
        with run.tally.phases.running():
            _everything(run, iter(entries))
    except TsiFetchError as e:
        run.tally.failed(e)
    return run.tally.report(ports.clock.now())


def _everything(run: Run, entries: Iterator[Entry]) -> None:
    run.sink.open(run.source.types, deletes=run.settings.removal == "delete")
    stays = run.store.position(run.source.stream).cursor
    run.tally.watermark = (stays, stays)
    run.marker.check()
    run.held_back = run.store.recover()
    with air_of(run) as run.air:
        while some := list(islice(entries, AT_ONCE)):
            run.stop.check()
            for row in _rows(run, some):  # each by itself: the next may speak for the same parts
                launch(run, Batch(run.source.stream, (row,)), Brought.KEY)
            run.air.land()
            run.replaying.clear()  # their bodies
            _removals(run, some)
            run.progress("replayed", run.tally.rows["read"], None)
    waiting.release(run)
    run.marker.close()


def _rows(run: Run, entries: Sequence[Entry]) -> tuple[Row, ...]:
    """The rows, each once, however many of its changes were refused."""
    rows: dict[bytes, Row] = {}
    for number, row in entries:
        if _removal(row):
            continue
        if not row.answers:
            hint = f"tsi-fetch run {run.settings.job} --only '{row.key}'"
            run.tally.reason(Exit.QUARANTINE, f"entry {number} ({row.key}) has no stored answers to replay", hint)
            continue
        digest = row.digest
        before = run.replaying.get(digest)
        run.replaying[digest] = Replayed(row, (*(before.entries if before else ()), number))
        rows[digest] = row
    return tuple(rows.values())


def _removal(row: Row) -> Ref | None:
    """What was to be removed; None of a row of the source, whatever it is called."""
    return None if row.answers else removed(row.key)


def _removals(run: Run, entries: Sequence[Entry]) -> None:
    """What was to be removed and was refused, once more; what is no longer to go is told."""
    numbers = {ref: number for number, row in entries if (ref := _removal(row))}
    tried = departures.again(run, sorted(numbers))
    for ref in sorted(numbers.keys() - tried):
        what = f"entry {numbers[ref]}: {ref} is no longer to be removed"
        run.tally.reason(Exit.QUARANTINE, what, f"tsi-fetch quarantine drop {numbers[ref]} --why …")
