"""Is everything as it must be?  Each line says what is well, or what is wrong and what to do.  Nothing is written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from jobs.config.load import Configuration
from jobs.config.secret import SecretUrl
from jobs.wiring import Asked, Target, hastily, make_sink, make_source, new_run_id, source_class, target
from store.handle import open_store
from store.upgrade import state
from tsi_fetch.clock import Clock, StopSignal, SystemClock
from tsi_fetch.errors import Exit, SettingError, TsiFetchError, worst

TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm", "/run")
"""Where a pod's files are gone with the pod."""

_MEMORY = frozenset({"tmpfs", "ramfs", "overlay"})
"""File systems that a pod loses: memory, and the image's own top layer."""

_EMPTY_DIR = "kubernetes.io~empty-dir"
"""In the host's path of a volume that lives and dies with its pod."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a check.  `code` is 0 where all is well."""

    what: str
    code: int = 0
    wrong: str = ""
    fix: str = ""

    def __str__(self) -> str:
        if not self.code:
            return f"ok     {self.what}"
        return f"WRONG  {self.what}: {self.wrong}" + (f"\n       → {self.fix}" if self.fix else "")


def check(configuration: Configuration, stop: StopSignal, environ: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Look at the configuration, and at every job's store, sink and source; each finding comes as it is known."""
    count = len(configuration.settings.jobs)
    yield Finding(f"job file {configuration.file}: {count} job{'s' if count > 1 else ''}")
    for name, store in configuration.settings.stores.items():
        yield _checked_store(name, store.url, environ)
    for name in configuration.settings.jobs:
        yield from _job(configuration, name, SystemClock(stop))


def exit_code(findings: list[Finding]) -> int:
    """78 where a person must mend something, 75 where something is down, 0 where all is well."""
    return int(worst({Exit(finding.code) for finding in findings}))


def _tried(what: str, look: Callable[[], str]) -> Finding:
    try:
        note = look()
    except TsiFetchError as e:
        return Finding(what, int(e.exit_code), e.message, e.hint)
    return Finding(f"{what}: {note}" if note else what)


def _checked_store(name: str, url: SecretUrl, environ: Mapping[str, str]) -> Finding:
    return _tried(f"store {name} ({url})", lambda: _store(url, environ))


def _store(url: SecretUrl, environ: Mapping[str, str]) -> str:
    if url.scheme.startswith("sqlite"):
        file = Path(unquote(urlsplit(url.reveal()).path)[1:]).absolute()
        _refuse_temporary(file, environ)
        _refuse_unwritable(file)
    found = state(url.reveal())
    if found == "absent" and url.scheme.startswith("sqlite"):
        return "not there yet; the first run makes it"
    if found in ("absent", "behind"):
        rule = "has no tables yet" if found == "absent" else "has tables of an older version"
        raise SettingError(f"it {rule}", "tsi-fetch db upgrade")
    if found == "newer":
        raise SettingError("it was made by a newer tsi-fetch", "use that version, or another store")
    return "up to date"


def _refuse_temporary(file: Path, environ: Mapping[str, str]) -> None:
    """In a pod, what a run remembers must outlive it; elsewhere a person may know what they do."""
    if "KUBERNETES_SERVICE_HOST" not in environ:
        return
    places = (*TEMPORARY, tempfile.gettempdir())
    real = file.resolve()
    kind, root = mounted(real)
    if any(real.is_relative_to(place) for place in places) or kind in _MEMORY or _EMPTY_DIR in root:
        raise SettingError(
            f"{file} is gone when the pod ends, and with it all that runs remember",
            "use PostgreSQL, or put the file on a persistent volume",
        )


def mounted(file: Path, mounts: Path = Path("/proc/self/mountinfo")) -> tuple[str, str]:
    """The kind of file system that holds `file`, and what of it is mounted there; empty where nothing says.

    proc(5): the fourth field is the mounted root, the fifth the mount point, the kind follows a lone hyphen.
    """
    try:
        lines = [line.split() for line in mounts.read_text(errors="replace").splitlines()]
    except OSError:
        return "", ""
    holders = [
        (len(line[4]), line[line.index("-") + 1], line[3])
        for line in lines
        if "-" in line and file.is_relative_to(line[4].replace("\\040", " "))
    ]
    _, kind, root = max(holders, default=(0, "", ""))
    return kind, root


def _refuse_unwritable(file: Path) -> None:
    there = next(path for path in (file, *file.parents) if path.exists())
    if not os.access(there, os.W_OK):
        raise SettingError(f"{there} cannot be written by this user", "mend its rights, or choose another place")


def _job(configuration: Configuration, job: str, clock: Clock) -> Iterator[Finding]:
    kind, _ = configuration.source(job)
    to = target(configuration, Asked(job), None)
    shown = getattr(to.options, "url", None) or getattr(to.options, "path", "")
    yield _tried(f"{job}: sink {to.sink} ({shown})", lambda: _sink(configuration, to, job, clock))
    yield _tried(f"{job}: source {kind}", lambda: _source(configuration, job, clock))


def _sink(configuration: Configuration, to: Target, job: str, clock: Clock) -> str:
    hasty = replace(to, options=hastily(to.options))
    with ExitStack() as stack:
        sink: Any = make_sink(hasty, clock, run_id=new_run_id(clock.now()), job=job, store_id=_store_id(to.store))
        stack.callback(getattr(sink, "close", lambda: None))
        deletes = configuration.job(job).removal == "delete"
        sink.open(source_class(configuration, job).types, deletes=deletes)
        return f"FHIR {sink.release}"


def _store_id(url: SecretUrl) -> str:
    """The store's id where there is one; opening a sink needs some id, and writes nothing with it."""
    try:
        with open_store(url.reveal()) as stored:
            return stored.store_id
    except TsiFetchError:
        return "00000000"


def _source(configuration: Configuration, job: str, clock: Clock) -> str:
    """Reachable means: the first page of its listing can be read."""
    with ExitStack() as stack:
        source: Any = make_source(configuration, job, clock, hasty=True)
        stack.callback(getattr(source, "close", lambda: None))
        for page in islice(source.keys(), 1):
            return f"{len(page.keys)} keys on the first page of its listing"
    return "its listing is empty"


def as_figures(finding: Finding) -> dict[str, Any]:
    return {
        "what": finding.what,
        "ok": not finding.code,
        "wrong": finding.wrong,
        "fix": finding.fix,
        "code": finding.code,
    }
