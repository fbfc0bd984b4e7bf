"""From names to objects: what the job file and the command line ask for becomes sources, sinks, stores and settings."""

from __future__ import annotations

import secrets
import string
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from jobs.catalogue import SINKS, SOURCES, load
from jobs.config.load import Configuration, Reach, load_configuration
from jobs.config.mistakes import closest
from jobs.config.secret import Secrets, SecretUrl
from store.handle import Stored
from store.rates import SharedPace
from tsi_fetch.clock import Clock
from tsi_fetch.errors import SettingError, Usage
from tsi_fetch.http.limit import Pace, PaceBeside, SteadyPace
from tsi_fetch.http.meter import Meter
from tsi_fetch.http.record import Recorder
from tsi_fetch.http.recording import Recording
from tsi_fetch.identity import KEEP, Identity, default_prefix
from tsi_fetch.ports import Sink, Source
from tsi_fetch.report import Report
from tsi_fetch.run import Settings

HASTY = {"attempts": 2, "max_wait": 10}
"""What a look may take: attempts, and seconds."""

_ALPHABET = string.ascii_lowercase + string.digits


READING = ("full", "again", "only", "accept_vanish", "accept_refusals", "most_rows")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asked of a run or a plan."""

    job: str
    config: Path | None = None
    record: Path | None = None
    replay: Path | None = None
    store: str | None = field(default=None, repr=False)  # a URL, perhaps with its password
    sink: str | None = None
    full: bool = False
    again: bool = False
    only: tuple[str, ...] = ()
    accept_vanish: int = 0
    accept_refusals: int = 0
    max_duration: timedelta | None = None
    most_rows: int | None = None  # of a recording whose run was stopped by plan

    def reading(self) -> dict[str, Any]:
        """The options that decide what a run reads and settles, as JSON; those that were not given are left out."""
        given = {name: getattr(self, name) for name in READING}
        return {name: list(value) if name == "only" else value for name, value in given.items() if value}

    @staticmethod
    def read_back(reading: Mapping[str, Any]) -> dict[str, Any]:
        """The same options from JSON, as the fields of an `Asked`."""
        fields = {name: reading[name] for name in READING if name in reading}
        return fields | ({"only": tuple(fields["only"])} if "only" in fields else {})

    def check(self) -> None:
        """Usage where the options do not go together."""
        if (self.store is None) != (self.sink is None):
            raise Usage(
                "--store and --sink belong together",
                "what one store remembers is only true of one sink: name both, or neither",
            )
        if self.record and self.replay:
            raise Usage("--record and --replay exclude each other", "a recording exists already: copy its folder")
        if self.only and self.full:
            raise Usage("--only and --full exclude each other", "--only reads its products whole anyhow")

    def configuration(self, known: Secrets) -> Configuration:
        """The job file; only what this run needs must be set."""
        self.check()
        known.add_url(self.store or "")
        elsewhere = self.sink is not None or self.replay is not None
        named = frozenset({self.sink} if self.sink else ())
        reach = Reach(frozenset({self.job}), named if elsewhere else None, frozenset() if elsewhere else None)
        configuration = load_configuration(self.config, reach=reach, secrets=known)
        configuration.job(self.job)
        return configuration


@dataclass(frozen=True, slots=True)
class Target:
    """Where a run remembers and writes.  `sink` is the name by which the store knows the sink."""

    store: SecretUrl
    sink: str
    kind: str
    options: Any


def target(configuration: Configuration, asked: Asked, scratch: Path | None) -> Target:
    """The job's own store and sink, those that were named instead, or a scratch one."""
    job = configuration.job(asked.job)
    if asked.store and asked.sink:
        return Target(SecretUrl(asked.store), *_named_sink(configuration, asked.job, asked.sink))
    if scratch is not None:
        store = SecretUrl(f"sqlite:///{scratch / 'store.db'}")
        return Target(store, *_folder(configuration, asked.job, scratch / "resources"))
    return Target(configuration.store_of(asked.job).url, job.sink, *configuration.sink(job.sink))


def _named_sink(configuration: Configuration, job: str, name: str) -> tuple[str, str, Any]:
    names = configuration.settings.sinks
    if name in names:
        return name, *configuration.sink(name)
    if "/" not in name and not Path(name).exists() and (hint := closest(name, names)):
        raise Usage(f"there is no sink {name!r} in the job file", f"{hint}  For a new folder write ./{name}")
    return _folder(configuration, job, Path(name).resolve())


def _folder(configuration: Configuration, job: str, path: Path) -> tuple[str, str, Any]:
    """A folder in the place of the job's sink; of the same release, as that decides what is valid."""
    raw = configuration.settings.sinks[configuration.job(job).sink]
    options = load(SINKS["folder"].options)(path=path, release=raw.get("release", "R5"))
    return str(path), "folder", options


def scratch_folder(purpose: str) -> Path:
    """A new temporary folder.  SettingError where there is no room for one."""
    try:
        return Path(tempfile.mkdtemp(prefix=f"tsi-fetch-{purpose}-"))
    except OSError as e:
        raise SettingError("no temporary folder can be made", "mount a writable /tmp, or set TMPDIR") from e


def nowhere() -> Path:
    """A folder that is not there and is never made: the empty sink of a plan."""
    return Path(tempfile.gettempdir()) / f"tsi-fetch-plan-{secrets.token_hex(8)}"


def new_run_id(now: datetime) -> str:
    """16 characters: the minute it began, and four random ones (HAPI keeps no more of an X-Request-Id)."""
    return f"{now:%y%m%d-%H%M}-" + "".join(secrets.choice(_ALPHABET) for _ in range(4))


def make_source(
    configuration: Configuration,
    job: str,
    clock: Clock,
    *,
    recorder: Recorder | None = None,
    recording: Recording | None = None,
    meter: Meter | None = None,
    pace: Pace | None = None,
    hasty: bool = False,
) -> Source:
    """The job's source.  `hasty`: for somebody who waits for the answer.  `pace`: that of others, too."""
    kind, options = configuration.source(job)
    options = hastily(options) if hasty else options
    given = {"recorder": recorder, "recording": recording, "meter": meter, "pace": pace}
    made: Source = load(SOURCES[kind].factory)(options, clock, **given)
    return made


def shared_pace(configuration: Configuration, job: str, stored: Stored, clock: Clock) -> SharedPace | None:
    """The pace of everybody who asks this source by way of this store; None where it has none."""
    _, options = configuration.source(job)
    chain = options.chain() if hasattr(options, "chain") else None
    if chain is None:
        return None
    return SharedPace(stored.database, chain.origins[0], chain.rate, clock)


def pace_beside(configuration: Configuration, job: str, stored: Stored, clock: Clock) -> Pace | None:
    """A run's own pace, and everybody's from when workers ask this source too; None where it has none."""
    shared = shared_pace(configuration, job, stored, clock)
    if shared is None:
        return None
    alone = SteadyPace(clock, shared.rate)
    return PaceBeside(clock, alone, shared, shared.in_use)


def hastily(options: Any) -> Any:
    """Options of a source or sink with less patience: who looks whether it is there does not wait until it is."""
    return options.model_copy(update={name: most for name, most in HASTY.items() if name in type(options).model_fields})


def source_class(configuration: Configuration, job: str) -> Any:
    """The class of a job's source: its stream's name, its mapping version, what it asks of whoever keeps its data."""
    return load(SOURCES[configuration.job(job).source["kind"]].factory)


def make_sink(to: Target, clock: Clock, *, run_id: str, job: str, store_id: str, meter: Meter | None = None) -> Sink:
    entry = SINKS[to.kind]
    offered = {"run_id": run_id, "job": job, "store_id": store_id, "meter": meter}
    made: Sink = load(entry.factory)(to.options, clock, **{name: offered[name] for name in entry.needs})
    return made


def identity_of(configuration: Configuration, job: str) -> Identity:
    """The ids that the job's resources have at its sink."""
    settings = configuration.job(job)
    return KEEP if settings.identity == "keep" else Identity(settings.prefix or default_prefix(job))


def settings_of(configuration: Configuration, asked: Asked, run_id: str, *, plan: bool = False) -> Settings:
    """The job's policies and what the command line asked for, as the loop wants them."""
    job = configuration.job(asked.job)
    return Settings(
        job=asked.job,
        run_id=run_id,
        again=asked.again,
        full=asked.full,
        only=asked.only,
        accept_vanish=asked.accept_vanish,
        accept_refusals=asked.accept_refusals,
        max_duration=asked.max_duration or job.max_duration,
        most_rows=asked.most_rows,
        validate=job.validation,
        on_existing=job.on_existing,
        removal=job.removal,
        max_vanish=job.max_vanish,
        max_quarantine_age=job.max_quarantine_age,
        max_wait_age=job.max_wait_age,
        identity=identity_of(configuration, asked.job),
        shared=job.shared,
        plan=plan,
    )


def with_requests(report: Report, meter: Meter) -> Report:
    """The report, with what was asked of each host, what took longest, and what was asked again."""
    return replace(report, requests=requests_of(meter), slowest=meter.slowest(), retried=meter.resent())


def requests_of(meter: Meter) -> dict[str, Mapping[str, float]]:
    """What was asked of each host, as JSON."""
    return {host: _figures(tally) for host, tally in meter.by_host().items()}


def _figures(tally: Any) -> Mapping[str, float]:
    return {
        "requests": tally.requests,
        "bytes": tally.bytes,
        "retries": tally.retries,
        "failed": tally.failed,
        "seconds": round(tally.took / 1e6, 3),
    }
