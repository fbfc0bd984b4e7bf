"""One run or plan, from what was asked to its report: open, hold the lease, call the loop, close the record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Protocol

import structlog

from jobs import collecting
from jobs.config.load import Configuration
from jobs.reporting.place import Place
from jobs.wiring import (
    Asked,
    Target,
    make_sink,
    make_source,
    new_run_id,
    nowhere,
    pace_beside,
    scratch_folder,
    settings_of,
    source_class,
    target,
    with_requests,
)
from store import queries
from store.handle import NoStore, Stored, open_scratch, open_store
from store.job_store import JobBook
from store.overlay import Overlay
from store.recorded_state import export_state, seed_state
from tsi_fetch.clock import Clock, StopSignal
from tsi_fetch.errors import Exit, TsiFetchError, Usage, worst
from tsi_fetch.http.limit import Pace
from tsi_fetch.http.meter import Meter
from tsi_fetch.http.record import Recorder
from tsi_fetch.http.recording import Recording
from tsi_fetch.plan import PlannedSink, Witness
from tsi_fetch.ports import JobStore, Progress
from tsi_fetch.report import Reason, Report
from tsi_fetch.run import Ports, run_job
from tsi_fetch.words import RunRecord

ASKED = "asked"
"""Member of a recording's state, and of a run's report: the options that decide what it reads and settles."""


class RunRecords(Protocol):
    """Where a run's record is kept."""

    def begin_run(self, record: RunRecord) -> None: ...

    def end_run(self, record: RunRecord) -> None: ...


@dataclass(frozen=True, slots=True)
class Ran:
    """A report, and where the results are, where that is not what the job file says."""

    report: Report
    elsewhere: Target | None = None

    @property
    def places(self) -> tuple[str, ...]:
        if self.elsewhere is None:
            return ()
        kind = "folder" if self.elsewhere.kind == "folder" else "sink"
        return (f"{kind} {self.elsewhere.sink}", f"store {self.elsewhere.store}")

    def place(self, asked: Place) -> Place:
        """Where to look from now on: a replay may have made a store and a sink of its own."""
        if self.elsewhere is None:
            return asked
        return replace(asked, store=str(self.elsewhere.store), sink=self.elsewhere.sink)


def run(configuration: Configuration, asked: Asked, stop: StopSignal, progress: Progress) -> Ran:
    """Run a job.  Expected failures are in the report; what cannot even begin raises TsiFetchError."""
    recording = open_recording(asked)
    asked = as_recorded(asked, recording)
    scratch = scratch_folder("replay") if recording and not asked.store else None
    to = target(configuration, asked, scratch)
    return run_into(configuration, asked, to, recording, stop=stop, progress=progress)


def run_into(
    configuration: Configuration,
    asked: Asked,
    to: Target,
    recording: Recording | None,
    *,
    stop: StopSignal,
    progress: Progress,
) -> Ran:
    """The same, with its input and its target decided."""
    expiry = configuration.job(asked.job).lease_expiry.total_seconds()
    with open_store(to.store.reveal(), create=True) as stored:
        everybodys = stored.clock(stop)  # the lease is never on a recording's clock
        clock = recording.clock() if recording else everybodys
        run_id = new_run_id(everybodys.now())
        lease = stored.lease(
            asked.job, to.sink, run_id, expiry=expiry, wait=everybodys.sleep, replay=recording is not None
        )
        with lease as store:
            if recording:
                _seed(stored, store, asked, to, recording)
            record = RunRecord(run_id, asked.job, clock.now(), whole=not asked.only, report=noted(asked.reading()))
            pace = None if recording else pace_beside(configuration, asked.job, stored, clock)
            loop = _Loop(
                configuration, asked, to, recording, stored.store_id, clock, everybodys, stop, progress, pace=pace
            )
            report = recorded(store, record, clock, lambda: loop.once(store, run_id))
    if recording:
        report = replace(report, notes=("a replay: nothing was asked of the source itself", *report.notes))
    return Ran(report, to if asked.replay or asked.sink else None)


def plan(
    configuration: Configuration, asked: Asked, stop: StopSignal, progress: Progress, witness: Witness | None = None
) -> Ran:
    """What a run would do: the same loop, over a sink that only reads and a store whose changes vanish.

    `witness`: told what would become of each resource.
    """
    recording = open_recording(asked)
    asked = as_recorded(asked, recording)
    with ExitStack() as stack:
        scratch = stack.enter_context(open_scratch())
        stored = None
        if asked.store or not recording:
            to = target(configuration, asked, None)
            stored = _existing(to.store.reveal(), stack)
        else:
            to = target(configuration, asked, nowhere())
        everybodys = (stored or scratch).clock(stop)
        clock = recording.clock() if recording else everybodys
        run_id = new_run_id(clock.now())
        written = stack.enter_context(scratch.lease(asked.job, to.sink, run_id, wait=clock.sleep))
        if recording:
            seed_state(written, recording.state)
        store = Overlay(stored.reader(asked.job, to.sink), written) if stored else written
        identity = (stored or scratch).store_id
        loop = _Loop(
            configuration, asked, to, recording, identity, clock, everybodys, stop, progress, plan=True, witness=witness
        )
        return Ran(replace(loop.once(store, run_id), asked=asked.reading()))


def open_recording(asked: Asked) -> Recording | None:
    """The recording to replay.  Usage where it is one of another job."""
    if asked.replay is None:
        return None
    recording = Recording.open(asked.replay)
    if recording.job != asked.job:
        raise Usage(f"{asked.replay} is a recording of {recording.job}", f"tsi-fetch run {recording.job} --replay …")
    return recording


def as_recorded(asked: Asked, recording: Recording | None) -> Asked:
    """A replay reads what the recorded run was asked to read, unless it is asked for something else itself.

    Without that the replay of one product, or of a full reading, would ask for the feed: for what is not recorded, or
    for nothing at all, which looks like success.
    """
    if recording is None or asked.reading():
        return asked
    return replace(asked, **Asked.read_back(recording.state.get(ASKED) or {}))


def noted(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the record of a run begins with."""
    return {ASKED: dict(asked)} if asked else {}


def recorded(store: RunRecords, record: RunRecord, clock: Clock, work: Callable[[], Report]) -> Report:
    """Do the work between the two ends of its run's record, which is closed whatever happens.  What was asked for is in
    the record from its beginning on: a run that is killed leaves no report."""
    store.begin_run(record)
    try:
        report = replace(work(), asked=record.report.get(ASKED, {}))
    except BaseException as e:
        interrupted = isinstance(e, KeyboardInterrupt)
        code = e.exit_code if isinstance(e, TsiFetchError) else Exit.INTERRUPTED if interrupted else Exit.BUG
        outcome = "stopped" if interrupted else "failed"
        broken = replace(record, ended=clock.now(), outcome=outcome, exit_code=int(code))
        _end(store, replace(broken, report={**record.report, "error": f"{type(e).__module__}.{type(e).__qualname__}"}))
        raise
    ended = replace(record, ended=report.ended, outcome=report.outcome, exit_code=report.exit_code)
    trouble = _end(store, replace(ended, report=report.to_json()))
    return _worse(report, trouble) if trouble else report


def _end(store: RunRecords, record: RunRecord) -> TsiFetchError | None:
    """Close the record; what hinders it is given back, as the report must be shown all the same."""
    try:
        store.end_run(record)
    except TsiFetchError as e:
        structlog.get_logger().error("the run's record could not be closed", run=record.id, error=e.message)
        return e
    return None


def _worse(report: Report, trouble: TsiFetchError) -> Report:
    code = worst({Exit(report.exit_code), Exit(trouble.exit_code)})
    outcome = report.outcome if code == report.exit_code else "failed"
    reason = Reason(int(trouble.exit_code), f"the run's record could not be closed: {trouble.message}", trouble.hint)
    return replace(report, outcome=outcome, exit_code=int(code), reasons=(*report.reasons, reason))


@dataclass(frozen=True, slots=True)
class _Loop:
    """Everything the loop needs, until it has a store to write to."""

    configuration: Configuration
    asked: Asked
    to: Target
    recording: Recording | None
    store_id: str
    clock: Clock
    sinks: Clock  # also in a replay, the sink is waited for in earnest
    stop: StopSignal
    progress: Progress
    plan: bool = False
    pace: Pace | None = None
    witness: Witness | None = None

    def once(self, store: JobStore, run_id: str) -> Report:
        """Build source and sink, run the job, count its requests."""
        job, meter = self.asked.job, Meter()
        recorder = self._recorder(store) if isinstance(store, JobBook) else None
        source = make_source(
            self.configuration,
            job,
            self.clock,
            recorder=recorder,
            recording=self.recording,
            meter=meter,
            pace=self.pace,
        )
        sink = make_sink(self.to, self.sinks, run_id=run_id, job=job, store_id=self.store_id, meter=meter)
        with _closing(source), closing(sink):
            ports = Ports(
                source,
                PlannedSink(sink, store.known, self.witness) if self.plan else sink,
                store,
                self.clock,
                self.stop,
                self.progress,
                self.witness.counted if self.witness else None,
            )
            with collecting.seldom():
                report = run_job(ports, settings_of(self.configuration, self.asked, run_id, plan=self.plan))
        if recorder:
            recorder.close(self._state_of(recorder, report))
        return with_requests(report, meter)

    def _state_of(self, recorder: Recorder, report: Report) -> dict[str, Any]:
        """Where the recording began; after a planned stop also where it ended, as a replay's clock stands still."""
        if report.outcome != "partial":
            return recorder.state
        return {**recorder.state, ASKED: {**recorder.state[ASKED], "most_rows": report.rows.get("read", 0)}}

    def _recorder(self, store: JobBook) -> Recorder | None:
        """A recording begins with where the streams stand now, and with what of them was asked for."""
        if self.asked.record is None:
            return None
        job = self.asked.job
        facts = source_class(self.configuration, job)
        state = {**export_state(store, facts.stream), ASKED: self.asked.reading()}
        thanks = str(getattr(facts, "attribution", ""))
        return Recorder(self.asked.record, job, self.clock, state=state, attribution=thanks)


def _closing(thing: Any) -> Any:
    return closing(thing) if hasattr(thing, "close") else nullcontext(thing)


def _existing(url: str, stack: ExitStack) -> Stored | None:
    """A store to read from; None where there has been no run yet, which is no reason to make one."""
    try:
        return stack.enter_context(open_store(url))
    except NoStore:
        return None


def _seed(stored: Stored, store: JobBook, asked: Asked, to: Target, recording: Recording) -> None:
    """Set the store to where the recorded streams stood; Usage where that would set back a store that is in use."""
    if queries.live_runs(stored, asked.job):
        raise Usage(
            f"the store {to.store} has runs of {asked.job} that were no replays: a replay would set its watermark back",
            "name another --store and --sink, or neither",
        )
    seed_state(store, recording.state)
