"""The loop: one run of one job, on one screen.

The order of its steps is the promise of this project.  Per batch of the source: turn rows into changes, look up,
decide, validate what changed, note what is about to change, **write first, remember second** (one transaction), tell
the source; at the end of a pass, **advance last**.  Swap two of these lines, and a pod killed between them loses
records; tests go red.  Where the sink is far, batches that have nothing to do with each other fly at once (`flight`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from tsi_fetch import departures, late, passes, waiting
from tsi_fetch.context import Ports, Run, Settings
from tsi_fetch.errors import Exit, TsiFetchError
from tsi_fetch.flight import Air, Flight
from tsi_fetch.judge import ACKNOWLEDGED, Judged, judge, turn
from tsi_fetch.refusals import rows_guard, sink_guard
from tsi_fetch.report import Report
from tsi_fetch.settle import doubted, names, remembered, so_far, take_off
from tsi_fetch.words import Batch, Brought, Outcome, Result
from tsi_fetch.write import write_all

__all__ = ["Ports", "Settings", "air_of", "launch", "run_job"]

COMMIT_AFTER = timedelta(seconds=10)
"""What the sink has acknowledged is remembered at least this often, also in the middle of a batch."""


def run_job(ports: Ports, settings: Settings) -> Report:
    """Run a job and report; what ends it early (TsiFetchError) is in the report.  Anything else raised is a bug."""
    run = Run(ports, settings)
    try:
        with run.tally.phases.running():
            _everything(run)
    except TsiFetchError as e:
        run.tally.failed(e)
    _old_troubles(run)
    return run.tally.report(ports.clock.now())


def _everything(run: Run) -> None:
    """Open, settle batch by batch what the passes read, carry out what is to go, close."""
    run.sink.open(run.source.types, deletes=run.settings.removal == "delete")
    run.marker.check()
    run.held_back = run.store.recover()  # what a killed run had begun to write is no longer believed
    late.look_again(run)
    waiting.release(run)
    with air_of(run) as run.air, closing(passes.read_all(run)) as batches:
        for batch in batches:
            launch(run, *batch) if batch else run.air.land()
    if not run.settings.only:
        run.held_back = run.store.recovered(whole=not run.tally.partial)
    waiting.release(run)  # what this run brought may be what others wait for
    departures.carry_out(run)
    run.marker.close()


def air_of(run: Run) -> Air:
    """Where the batches of a run fly, and how they land."""
    return Air(run.sink, run.permit, partial(_land, run), run.tally.failed)


def launch(run: Run, batch: Batch, brought: Brought) -> None:
    """Judge one batch and begin to write it.  The order of these lines, and of those of `_land`, is the contract."""
    if not batch.rows:
        run.air.land()
        return run.source.settled(batch)  # an empty feed: there is nothing to write or to remember
    keys = names(batch)
    run.air.land_named(keys)
    judged = turn(batch, run)  # rows → changes; a row that cannot be used goes to quarantine, the run goes on
    run.air.land_writing(judged)
    judge(judged, run)  # look up, decide, validate what changed
    rows_guard(judged, run)  # too many lost: nothing of this batch is written or settled
    doubt = _note(run, judged, brought)  # 0. from here on the sink may hold something else than what is remembered
    return run.air.launch(take_off(run, batch, judged, names=keys, doubt=doubt, brought=brought))  # 1. write first


def _land(run: Run, flight: Flight) -> None:
    """Settle a batch that is written."""
    outcomes, flight = _written(run, flight)
    sink_guard(flight.judged, outcomes, run)  # too many refused by the sink: nothing more is settled
    with run.tally.phase("remember"):  # 2. remember second: everything of the batch, in one transaction
        run.store.settle(remembered(flight, outcomes, run))
    run.source.settled(flight.batch)  # 3. tell the source, who may forget it now
    flight.judged.count(outcomes, run.tally)
    run.said_to_wait.update(o.ref for o in outcomes if o.result is Result.MISSING)


def _note(run: Run, judged: Judged, brought: Brought) -> int | None:
    if not judged.writes:
        return None
    with run.tally.phase("remember"):
        number = run.store.doubt(doubted(judged, run, brought))
    run.marker.move()  # once, before the run's first write
    return number


def _written(run: Run, flight: Flight) -> tuple[Sequence[Outcome], Flight]:
    """Wait for what the sink says, and remember what it acknowledged every `COMMIT_AFTER`, and when it is cut short."""
    outcomes: list[Outcome] = []
    unremembered: list[Outcome] = []
    committed = flight.began
    try:
        for some in _outcomes(run, flight):
            outcomes += some
            unremembered += some
            flight.judged.count_acknowledged(some, run.tally)
            if run.clock.now() - committed > COMMIT_AFTER:
                flight = _remember_so_far(run, flight, outcomes, unremembered)
                unremembered, committed = [], run.clock.now()
    except TsiFetchError:
        if unremembered:
            _remember_so_far(run, flight, outcomes, unremembered)
        raise
    return outcomes, flight


def _remember_so_far(run: Run, flight: Flight, outcomes: Sequence[Outcome], some: Sequence[Outcome]) -> Flight:
    """What was acknowledged is not in doubt any more: the note of the batch gives way to one of the rest of it."""
    acknowledged = {o.ref for o in outcomes if o.result in ACKNOWLEDGED}
    with run.tally.phase("remember"):
        rest = run.store.doubt(doubted(flight.judged, run, flight.brought, without=acknowledged))
        run.store.settle(replace(so_far(flight.judged, some, run), doubt=flight.doubt))
    return replace(flight, doubt=rest)


def _outcomes(run: Run, flight: Flight) -> Iterator[Sequence[Outcome]]:
    if flight.writes:
        with run.tally.phase("write"):
            yield from write_all(run, flight.writes, first=flight.outcomes)


def _old_troubles(run: Run) -> None:
    """What lies in quarantine, waits or was not listed for too long makes every run red until somebody looks."""
    try:
        oldest, waiting_since = run.store.oldest_quarantine(), run.store.oldest_waiting()
        unlisted = run.store.unlisted(run.source.stream)
        departures.too_long(run)
    except TsiFetchError as e:
        run.tally.failed(e)
        return
    job = run.settings.job
    if oldest and not run.settings.plan:
        run.tally.note(f"something lies in quarantine since {oldest:%Y-%m-%d}: tsi-fetch quarantine list")
    waiting.too_long(run, waiting_since)
    if oldest and _too_old(run, oldest):
        what = f"something lies in quarantine since {oldest:%Y-%m-%d}"
        run.tally.reason(Exit.QUARANTINE, what, f"tsi-fetch quarantine list --job {job}")
    if unlisted and not run.said_incomplete:
        what = f"no listing of the source has been complete since {unlisted.since:%Y-%m-%d}, and rows may be missing"
        if _too_old(run, unlisted.since) or not unlisted.told:
            run.tally.reason(Exit.QUARANTINE, what, f"read it again: tsi-fetch run {job} --full")
        else:
            run.tally.note(f"{what}: tsi-fetch run {job} --full")


def _too_old(run: Run, since: datetime) -> bool:
    return run.clock.now() - since > run.settings.max_quarantine_age
