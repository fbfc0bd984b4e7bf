"""One job's part of a check: its sink and what it left there, its source, the clocks of both, and who holds it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from jobs.config.duration import show_duration
from jobs.config.load import Configuration
from jobs.disk import refuse_unwritable, room
from jobs.findings import Finding, tried
from jobs.wiring import Asked, Target, hastily, identity_of, make_sink, make_source, new_run_id, source_class, target
from store import queries
from store.handle import Stored
from tsi_fetch.clock import Clock, StopSignal, SystemClock
from tsi_fetch.counting import count
from tsi_fetch.errors import Guarded, SettingError, TsiFetchError
from tsi_fetch.http.meter import Meter
from tsi_fetch.marker import Marker, marker_name

MAX_SKEW = timedelta(minutes=1)
"""By how much a server's clock may differ: what is newer is told by the time of requests, and logs are compared."""

NO_STORE = "00000000"
"""A store's id where there is none yet; opening a sink needs some id, and writes nothing with it."""


def look(
    configuration: Configuration, job: str, found: Stored | TsiFetchError | None, stop: StopSignal
) -> Iterator[Finding]:
    """Each finding as it is known.  `found`: the job's store, or why it cannot be read; None where there is none."""
    stored = None if isinstance(found, TsiFetchError) else found
    clock = _clock(stored, stop)
    to = target(configuration, Asked(job), None)
    yield from _sink_lines(configuration, to, job, found, clock)
    yield from _source_lines(configuration, job, clock)
    if beside := _jobs_beside(configuration, job):
        yield tried(f"{job}: types shared on {to.sink}", lambda: _shared(configuration, job, beside))
    if stored is not None:
        yield tried(f"{job}: lease", lambda: _lease(stored, job))


def _clock(stored: Stored | None, stop: StopSignal) -> Clock:
    """The clock that a run of the job goes by."""
    try:
        return stored.clock(stop) if stored else SystemClock(stop)
    except TsiFetchError:
        return SystemClock(stop)


def _sink_lines(
    configuration: Configuration, to: Target, job: str, found: Stored | TsiFetchError | None, clock: Clock
) -> Iterator[Finding]:
    stored = None if isinstance(found, TsiFetchError) else found
    shown = getattr(to.options, "url", None) or getattr(to.options, "path", "")
    meter, hasty = Meter(), replace(to, options=hastily(to.options))
    run_id, store_id = new_run_id(clock.now()), stored.store_id if stored else NO_STORE
    with ExitStack() as stack:
        sink: Any = make_sink(hasty, clock, run_id=run_id, job=job, store_id=store_id, meter=meter)
        stack.callback(sink.close)
        opened = tried(f"{job}: sink {to.sink} ({shown})", lambda: _open(configuration, sink, to, job))
        yield opened
        if not opened.code:
            yield tried(f"{job}: marker on {to.sink}", lambda: _marker(sink, found, to, job, run_id))
        yield from _clocks(f"{job}: sink {to.sink}", meter)
    if to.kind == "folder":
        yield tried(f"{job}: disk of sink {to.sink}", lambda: room(Path(to.options.path).absolute()))


def _open(configuration: Configuration, sink: Any, to: Target, job: str) -> str:
    deletes = configuration.job(job).removal == "delete"
    sink.open(source_class(configuration, job).types, deletes=deletes)
    if to.kind == "folder":
        refuse_unwritable(Path(to.options.path).absolute())
    return f"FHIR {sink.release}, takes what the job writes"


def _marker(sink: Any, stored: Stored | TsiFetchError | None, to: Target, job: str, run_id: str) -> str:
    """The sink's marker must be the remembered one; to read it also shows that the credential may read."""
    if isinstance(stored, TsiFetchError):
        sink.read_mark(marker_name(NO_STORE, job))
        wrong = "it can be read, and not be compared: what the store remembers of it is not known"
        raise type(stored)(wrong, "first mend the store, then check again")
    if stored is None:
        sink.read_mark(marker_name(NO_STORE, job))
        return "can be read; there is no store yet that remembers one"
    book = stored.reader(job, to.sink)
    try:
        Marker(sink, book, run_id, job, lambda: None).check()
    except Guarded:  # a run may have moved it between the two looks; it moves it twice
        Marker(sink, book, run_id, job, lambda: None).check()
    remembered, intended = book.marks()
    if intended is not None:
        return f"run {intended.run} was about to move it: it goes on, or was killed"
    if remembered is None:
        return "none yet; the first run that writes leaves one"
    return f"as run {remembered.run} left it"


def _jobs_beside(configuration: Configuration, job: str) -> list[str]:
    """Jobs that write resources of the same ids to the same sink."""
    jobs, identity = configuration.settings.jobs, identity_of(configuration, job)
    alike = [name for name in jobs if (jobs[name].sink, jobs[name].store) == (jobs[job].sink, jobs[job].store)]
    return [name for name in alike if name != job and identity_of(configuration, name) == identity]


def _shared(configuration: Configuration, job: str, beside: Sequence[str]) -> str:
    """A job that does not share a type overwrites unseen what another job that does has settled of it meanwhile."""
    jobs = configuration.settings.jobs
    for other in beside:
        written = source_class(configuration, job).types & source_class(configuration, other).types
        if differs := sorted(written & (jobs[job].shared ^ jobs[other].shared)):
            one, not_one = (job, other) if differs[0] in jobs[job].shared else (other, job)
            raise SettingError(
                f"{one} shares {differs[0]}, and {not_one}, which writes it too, does not",
                f"add {differs[0]} to `shared` of {not_one}, too, or take it out of {one}'s",
            )
    return f"as {', '.join(beside)} {'has' if len(beside) == 1 else 'have'} them"


def _source_lines(configuration: Configuration, job: str, clock: Clock) -> Iterator[Finding]:
    kind, _ = configuration.source(job)
    meter = Meter()
    yield tried(f"{job}: source {kind}", lambda: _source(configuration, job, clock, meter))
    yield from _clocks(f"{job}: source {kind}", meter)


def _source(configuration: Configuration, job: str, clock: Clock, meter: Meter) -> str:
    """Reachable and authorised means: the first page of its listing can be read."""
    with ExitStack() as stack:
        source: Any = make_source(configuration, job, clock, meter=meter, hasty=True)
        stack.callback(getattr(source, "close", lambda: None))
        for page in islice(source.keys(), 1):
            return f"{count(len(page.keys), 'key')} on the first page of its listing"
    return "its listing is empty"


def _clocks(whose: str, meter: Meter) -> Iterator[Finding]:
    """A line for each host that told its time (its Date header)."""
    for host, skew in meter.skews().items():
        yield tried(f"{whose}: clock of {host}", partial(_skew, skew))


def _skew(skew: timedelta) -> str:
    told = f"{show_duration(abs(skew))} {'ahead of' if skew > timedelta(0) else 'behind'} the clock that runs go by"
    if abs(skew) > MAX_SKEW:
        raise SettingError(
            f"it is {told}",
            "set right whichever is wrong; runs go by the store's: PostgreSQL's own, or with SQLite this machine's",
        )
    return told if abs(skew) >= timedelta(seconds=2) else "agrees with the one that runs go by"


def _lease(stored: Stored, job: str) -> str:
    lease, now = queries.lease(stored, job), stored.now()
    if lease is None or lease.holder is None or lease.expires is None:
        return "free"
    until = f"{lease.expires:%Y-%m-%d %H:%M:%S} UTC"
    where = f"run {lease.holder} on {lease.host or 'an unnamed machine'}"
    if lease.expires > now:
        return f"held by {where} until {until}, and for as long as it lives"
    return f"free: {where} has given no sign of life since, and lost it at {until}; the next run goes on where it was"
