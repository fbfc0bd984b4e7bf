"""The loop: one run of one job, on one screen.

The order of its steps is the promise of this project.  Per batch of the source: turn rows into changes, look up,
decide, validate what changed, doubt what is about to change, **write first, remember second** (one transaction), tell
the source; at the end of a pass, **advance last**.  Swap two of these lines, and a pod killed between them loses
records; tests go red.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from tsi_fetch import departures, passes
from tsi_fetch.clock import Clock, StopSignal
from tsi_fetch.decide import Policy
from tsi_fetch.errors import Exit, TsiFetchError
from tsi_fetch.judge import Judged, judge, refusals_guard, rows_guard, turn
from tsi_fetch.marker import Marker
from tsi_fetch.ports import JobStore, Progress, Sink, Source
from tsi_fetch.report import Report, Tally
from tsi_fetch.settle import doubted, remembered, so_far
from tsi_fetch.words import Batch, Held, Outcome
from tsi_fetch.write import write_all

COMMIT_AFTER = timedelta(seconds=10)
"""What the sink has acknowledged is remembered at least this often, also in the middle of a batch."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One run's settings: the job's policies, and what the command line asked for."""

    job: str
    run_id: str
    again: bool = False
    full: bool = False
    only: tuple[str, ...] = ()
    accept_vanish: int = 0
    accept_refusals: int = 0
    max_duration: timedelta | None = None
    most_rows: int | None = None  # a planned stop after so many rows: how a replay ends where the recorded run did
    validate: str = "refuse"
    on_existing: str = "refuse"
    removal: str = "retire"
    max_vanish: float = 0.05
    max_quarantine_age: timedelta = timedelta(days=7)
    shared: frozenset[str] = field(default_factory=frozenset)
    slice: int = 100  # keys taken from a work list at a time
    plan: bool = False


def _silent(phase: str, done: int, total: int | None) -> None:
    """Progress for nobody."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything outside that a run talks to."""

    source: Source
    sink: Sink
    store: JobStore
    clock: Clock
    stop: StopSignal = field(default_factory=StopSignal)
    progress: Progress = _silent


class Run:
    """One run in progress.  `passes` gives it batches; what it settles, `tally` counts."""

    def __init__(self, ports: Ports, settings: Settings) -> None:
        self.source, self.sink, self.store, self.clock = ports.source, ports.sink, ports.store, ports.clock
        self.stop, self.progress, self.settings = ports.stop, ports.progress, settings
        self.started = ports.clock.now()
        self.unfetched_before: frozenset[str] = frozenset()  # keys in quarantine, as the run began
        self.unfetched_again = 0  # rows of such keys that could not be fetched this time either
        self.tally = Tally(settings.job, settings.run_id, self.started, plan=settings.plan)
        self.marker = Marker(ports.sink, ports.store, settings.run_id, settings.job, self.permit)
        self.policy = Policy(
            job=settings.job,
            mapping=ports.source.mapping,
            adopt=settings.on_existing == "adopt",
            again=settings.again,
            shared=settings.shared,
        )

    def everything(self) -> None:
        """Open, read all passes, carry out what is to go, close."""
        self.sink.open()
        self.marker.check()
        passes.read_all(self)
        departures.carry_out(self)
        self.marker.close()

    def settle(self, batch: Batch, *, in_pass: bool = False) -> None:
        """Settle one batch.  The order of these lines is the contract."""
        if not batch.rows:
            return self.source.settled(batch)  # an empty feed: there is nothing to write or to remember
        judged = turn(batch, self)  # rows → changes; a row that cannot be used goes to quarantine, the run goes on
        judge(judged, self)  # look up, decide, validate what changed
        rows_guard(judged, self)  # too many lost: nothing of this batch is written or settled
        self._doubt(judged)  # 0. from here on the sink may hold something else than what is remembered
        outcomes = self._write(judged)  # 1. write first
        refusals_guard(judged, outcomes, self)  # nor where it is the sink that refuses them
        with self.tally.phase("remember"):  # 2. remember second: everything of the batch, in one transaction
            self.store.settle(remembered(batch, judged, outcomes, self, in_pass=in_pass))
        self.source.settled(batch)  # 3. tell the source, who may forget it now
        return judged.count(outcomes, self.tally)

    def _doubt(self, judged: Judged) -> None:
        if doubts := doubted(judged, self):
            with self.tally.phase("remember"):
                self.store.settle(doubts)

    def _write(self, judged: Judged) -> Sequence[Outcome]:
        """Write guarded, and remember what was acknowledged every `COMMIT_AFTER`, and when the write is cut short."""
        outcomes: list[Outcome] = []
        unremembered: list[Outcome] = []
        committed = self.clock.now()
        try:
            for some in self._outcomes(judged):
                outcomes += some
                unremembered += some
                if self.clock.now() - committed > COMMIT_AFTER:
                    self.store.settle(so_far(judged, unremembered, self))
                    unremembered, committed = [], self.clock.now()
        except TsiFetchError:
            if unremembered:
                self.store.settle(so_far(judged, unremembered, self))
            raise
        return outcomes

    def _outcomes(self, judged: Judged) -> Iterator[Sequence[Outcome]]:
        writes = judged.writes
        if writes:
            with self.tally.phase("write"):
                self.marker.move()  # once, before the run's first write
                yield from write_all(self, writes)

    def wrote(self, held: Held) -> bool:
        """Did this job write what the sink holds?  Of a shared type, another job of this store may have."""
        return held.run is not None and self.store.ran(held.run, anybody=held.ref.type in self.settings.shared)

    def permit(self) -> None:
        """Called before each send: may this run still write?"""
        self.stop.check()
        self.store.permit()

    def out_of_time(self) -> bool:
        """True once the planned duration is over: what is settled stays, the rest waits for the next run."""
        limit, most = self.settings.max_duration, self.settings.most_rows
        if most is not None and self.tally.rows["read"] >= most:
            return True
        return limit is not None and self.clock.now() - self.started >= limit


def run_job(ports: Ports, settings: Settings) -> Report:
    """Run a job and report; what ends it early (TsiFetchError) is in the report.  Anything else raised is a bug."""
    run = Run(ports, settings)
    try:
        run.everything()
    except TsiFetchError as e:
        run.tally.failed(e)
    _quarantine_age(run)
    return run.tally.report(ports.clock.now())


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
