"""One run in progress: what it talks to, what it was asked, and what it has counted so far.

The rooms of the loop (`passes`, `judge`, `settle`, `write`, `departures`) are given it by `run`, which alone knows
their order.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from tsi_fetch.clock import Clock, StopSignal
from tsi_fetch.decide import Policy
from tsi_fetch.identity import KEEP, Identity
from tsi_fetch.marker import Marker
from tsi_fetch.ports import JobStore, Progress, Sink, Source
from tsi_fetch.report import Tally, Told
from tsi_fetch.words import Held, Ref, Row, WorkList

if TYPE_CHECKING:
    from tsi_fetch.flight import Air


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
    max_wait_age: timedelta = timedelta(days=7)
    shared: frozenset[str] = field(default_factory=frozenset)
    identity: Identity = KEEP
    slice: int = 500  # keys taken from a work list at a time
    plan: bool = False
    replays: bool = False  # stored answers of quarantined rows: older ones say nothing, and none are asked for
    worker: bool = False  # of a backfill: the marker stays, and what is to leave is left to the next run


class Replayed(NamedTuple):
    """A row that lay in quarantine, as it was received, and the numbers of its entries."""

    row: Row
    entries: tuple[int, ...]


def _silent(phase: str, done: int, total: int | None) -> None:
    """Progress for nobody."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything outside that a run talks to.  `told`: hears of each resource what is counted of it."""

    source: Source
    sink: Sink
    store: JobStore
    clock: Clock
    stop: StopSignal = field(default_factory=StopSignal)
    progress: Progress = _silent
    told: Told | None = None


class Run:
    """One run in progress.  What is settled, `tally` counts."""

    def __init__(self, ports: Ports, settings: Settings) -> None:
        self.source, self.sink, self.store, self.clock = ports.source, ports.sink, ports.store, ports.clock
        self.stop, self.progress, self.settings = ports.stop, ports.progress, settings
        self.started = ports.clock.now()
        self.unfetched_before: frozenset[str] = frozenset()  # keys in quarantine, as the run began
        self.asked_again: set[str] = set()  # keys of rows that a killed run left half written, or changed too late
        self.unfetched_again = 0  # rows of such keys that could not be fetched this time either
        self.expects_nothing = False  # the sink held nothing of what was looked up last: guards alone will do
        self.released: set[Ref] = set()  # what waited, and was written by this run before the source was asked
        self.held_back: frozenset[Ref] = frozenset()  # what waits, and may be older than what a killed run wrote
        self.replaying: dict[bytes, Replayed] = {}  # by the digest of the row
        self.said_incomplete = False  # that the listing which is worked off was not complete
        self.again = settings.again  # --again, of this run or of the list that it works off
        self.leaves: bool | None = None  # whether something may have left its scope that no guard has let go; None: ask
        self.let_go: Counter[str] = Counter()  # by type, what the vanish guard has let this run remove
        self.said_to_wait: set[Ref] = set()  # what the report counts as waiting
        self.air: Air  # set for as long as the loop turns
        self.tally = Tally(settings.job, settings.run_id, self.started, plan=settings.plan, told=ports.told)
        self.marker = Marker(ports.sink, ports.store, settings.run_id, settings.job, self.permit, still=settings.worker)
        self.policy = Policy(
            job=settings.job,
            mapping=ports.source.mapping,
            adopt=settings.on_existing == "adopt",
            again=settings.again,
            shared=settings.shared,
        )

    def works_off(self, work: WorkList | None) -> None:
        """Nothing is in the air.  A list that was asked for `--again` is so for every run that goes on with it."""
        self.again = self.settings.again or (work is not None and work.again)
        self.policy = replace(self.policy, again=self.again)

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
