"""Is everything as it must be?  Each line says what is well, or what is wrong and what to do.  Nothing is written."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import unquote, urlsplit

from jobs.checking_job import look
from jobs.config.load import Configuration
from jobs.config.secret import SecretUrl
from jobs.disk import refuse_temporary, refuse_unwritable, room
from jobs.findings import Finding, tried
from store.handle import NoStore, Stored, open_store
from store.upgrade import make_room, state
from tsi_fetch.clock import StopSignal
from tsi_fetch.counting import count
from tsi_fetch.errors import SettingError, TsiFetchError


def check(
    configuration: Configuration, stop: StopSignal, environ: Mapping[str, str] = os.environ, *, job: str | None = None
) -> Iterator[Finding]:
    """Look at the configuration, and at the store, sink and source of every job, or of one; each finding comes as it is
    known."""
    jobs = configuration.settings.jobs
    names = [name for name in jobs if job in (None, name)]
    yield Finding(f"job file {configuration.file}: {count(len(jobs), 'job')}")
    used = {jobs[name].store for name in names}
    for name, store in configuration.settings.stores.items():
        if job is None or name in used:
            yield from _store_lines(name, store.url, environ)
    for name in names:
        with ExitStack() as stack:
            yield from look(configuration, name, _opened(configuration.store_of(name).url, stack), stop)


def _opened(url: SecretUrl, stack: ExitStack) -> Stored | TsiFetchError | None:
    """The store; why it cannot be opened, which its own line has told; None where no run has made it yet."""
    try:
        return stack.enter_context(open_store(url.reveal()))
    except NoStore:
        return None
    except TsiFetchError as e:
        return e


def _store_lines(name: str, url: SecretUrl, environ: Mapping[str, str]) -> Iterator[Finding]:
    yield tried(f"store {name} ({url})", lambda: _store(url, environ))
    if url.scheme.startswith("sqlite"):
        yield tried(f"store {name}: disk", lambda: room(_file(url)))


def _file(url: SecretUrl) -> Path:
    return Path(unquote(urlsplit(url.reveal()).path)[1:]).absolute()


def _store(url: SecretUrl, environ: Mapping[str, str]) -> str:
    if url.scheme.startswith("sqlite"):
        refuse_temporary(_file(url), environ)
        refuse_unwritable(_file(url))
    found = state(url.reveal())
    if found == "absent" and url.scheme.startswith("sqlite"):
        make_room(_file(url))
        return "not there yet; the first run makes it"
    if found in ("absent", "behind"):
        rule = "has no tables yet" if found == "absent" else "has tables of an older version"
        raise SettingError(f"it {rule}", "tsi-fetch db upgrade")
    if found == "newer":
        raise SettingError("it was made by a newer tsi-fetch", "use that version, or another store")
    return "up to date"
