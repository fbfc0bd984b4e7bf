"""The loop: one run of one job, on one screen.

The order of its steps is the promise of this project.  Per batch of the source: turn rows into changes, look up,
decide, validate what changed, doubt what is about to change, **write first, remember second** (one transaction), tell
the source; at the end of a pass, **advance last**.  Swap two of these lines, and a pod killed between them loses
records; tests go red.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import timedelta

from tsi_fetch import departures, passes
from tsi_fetch.context import Ports, Run, Settings
from tsi_fetch.errors import Exit, TsiFetchError
from tsi_fetch.judge import Judged, judge, refusals_guard, rows_guard, turn
from tsi_fetch.report import Report
from tsi_fetch.settle import doubted, remembered, so_far
from tsi_fetch.words import Batch, Outcome
from tsi_fetch.write import write_all

__all__ = ["Ports", "Settings", "run_job"]

COMMIT_AFTER = timedelta(seconds=10)
"""What the sink has acknowledged is remembered at least this often, also in the middle of a batch."""


def run_job(ports: Ports, settings: Settings) -> Report:
    """Run a job and report; what ends it early (TsiFetchError) is in the report.  Anything else raised is a bug."""
    run = Run(ports, settings)
    try:
        _everything(run)
    except TsiFetchError as e:
        run.tally.failed(e)
    _quarantine_age(run)
    return run.tally.report(ports.clock.now())


def _everything(run: Run) -> None:
    """Open, settle batch by batch what the passes read, carry out what is to go, close."""
    run.sink.open()
    run.marker.check()
    with closing(passes.read_all(run)) as batches:
        for batch, in_pass in batches:
            _settle(run, batch, in_pass=in_pass)
    departures.carry_out(run)
    run.marker.close()


def _settle(run: Run, batch: Batch, *, in_pass: bool) -> None:
    """Settle one batch.  The order of these lines is the contract."""
    if not batch.rows:
        return run.source.settled(batch)  # an empty feed: there is nothing to write or to remember
    judged = turn(batch, run)  # rows → changes; a row that cannot be used goes to quarantine, the run goes on
    judge(judged, run)  # look up, decide, validate what changed
    rows_guard(judged, run)  # too many lost: nothing of this batch is written or settled
    _doubt(run, judged)  # 0. from here on the sink may hold something else than what is remembered
    outcomes = _write(run, judged)  # 1. write first
    refusals_guard(judged, outcomes, run)  # nor where it is the sink that refuses them
    with run.tally.phase("remember"):  # 2. remember second: everything of the batch, in one transaction
        run.store.settle(remembered(batch, judged, outcomes, run, in_pass=in_pass))
    run.source.settled(batch)  # 3. tell the source, who may forget it now
    return judged.count(outcomes, run.tally)


def _doubt(run: Run, judged: Judged) -> None:
    if doubts := doubted(judged, run):
        with run.tally.phase("remember"):
            run.store.settle(doubts)


def _write(run: Run, judged: Judged) -> Sequence[Outcome]:
    """Write guarded, and remember what was acknowledged every `COMMIT_AFTER`, and when the write is cut short."""
    outcomes: list[Outcome] = []
    unremembered: list[Outcome] = []
    committed = run.clock.now()
    try:
        for some in _outcomes(run, judged):
            outcomes += some
            unremembered += some
            if run.clock.now() - committed > COMMIT_AFTER:
                run.store.settle(so_far(judged, unremembered, run))
                unremembered, committed = [], run.clock.now()
    except TsiFetchError:
        if unremembered:
            run.store.settle(so_far(judged, unremembered, run))
        raise
    return outcomes


def _outcomes(run: Run, judged: Judged) -> Iterator[Sequence[Outcome]]:
    writes = judged.writes
    if writes:
        with run.tally.phase("write"):
            run.marker.move()  # once, before the run's first write
            yield from write_all(run, writes)


def _quarantine_age(run: Run) -> None:
    """What lies in quarantine too long makes every run red until somebody looks."""
    try:
        oldest = run.store.oldest_quarantine()
    except TsiFetchError as e:
        run.tally.failed(e)
        return
    if oldest and not run.settings.plan:
        run.tally.note(f"something lies in quarantine since {oldest:%Y-%m-%d}: tsi-fetch quarantine list")
    if oldest and run.clock.now() - oldest > run.settings.max_quarantine_age:
        run.tally.reason(
            Exit.QUARANTINE,
            f"something lies in quarantine since {oldest:%Y-%m-%d}",
            f"tsi-fetch quarantine list --job {run.settings.job}",
        )
