"""What a store knows, for the commands that only look: nothing is written, and no body shown but by `quarantined`."""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from jobs.config.load import ALL, Configuration, Reach, load_configuration
from jobs.config.secret import Secrets, SecretUrl
from store import queries
from store.handle import NoStore, Stored, open_store
from tsi_fetch.errors import Usage
from tsi_fetch.words import Quarantined

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Where:
    """Whose jobs are looked at, and in which store: that of each job, or the one at `store`, whatever the file says."""

    config: Path | None
    secrets: Secrets
    store: str | None = field(default=None, repr=False)  # a URL, perhaps with its password

    def configuration(self, job: str | None) -> Configuration:
        """The job file; only the stores that are looked at must be set, no source or sink.  Usage where it has no such
        job."""
        self.secrets.add_url(self.store or "")
        unread = load_configuration(self.config, reach=Reach(), secrets=self.secrets)
        stores: Container[object] = ALL if job is None else frozenset({unread.job(job).store})
        if self.store:
            return unread
        return load_configuration(self.config, reach=Reach(stores=stores), secrets=self.secrets)

    @contextmanager
    def opened(self, configuration: Configuration, job: str) -> Iterator[Stored | None]:
        """The store, or None where no run has made it yet.  `NoStore` where it was named and is not there."""
        url = SecretUrl(self.store) if self.store else configuration.store_of(job).url
        try:
            stored = open_store(url.reveal())
        except NoStore:
            if self.store:
                raise
            yield None
            return
        with stored:
            yield stored


def quarantine_lines(rows: list[Figures], *, everything: bool) -> list[Figures]:
    """What a person reads first of each: what it is, why it is there, since when; `quarantine show` has the rest."""
    closed = ("closed", "why") if everything else ()
    names = ("job", "number", "key", "resource", "trouble", "attempts", "opened", *closed)
    told = [{**row, "trouble": f"{row['code']} at {row['path']}: {row['rule']}"} for row in rows]
    return [{name: row[name] for name in names} for row in told]


def trouble_figures(row: queries.QuarantineRow) -> Figures:
    """An entry without its bodies, as JSON."""
    return {
        "job": row.job,
        "number": row.id,
        "key": row.key,
        "resource": str(row.ref) if row.ref else None,
        "code": row.fault.code,
        "path": row.fault.path,
        "rule": row.fault.rule,
        "attempts": row.attempts,
        "opened": iso(row.opened),
        "last": iso(row.last),
        "run": row.run,
        "closed": iso(row.closed),
        "why": row.why,
    }


def quarantined(where: Where, job: str | None, number: int) -> Figures:
    """One entry with its bodies.  Usage where there is none of that number, or one in several stores."""
    configuration = where.configuration(job)
    by_store: dict[str, tuple[queries.QuarantineRow, Quarantined]] = {}
    for name in configuration.settings.jobs:
        if job in (None, name):
            with where.opened(configuration, name) as stored:
                entry = queries.quarantined(stored, number) if stored else None
                if stored and entry and entry[0].job == name:
                    by_store[stored.store_id] = entry
    if not by_store:
        whose = f" --job {job}" if job else ""
        raise Usage(
            f"{job or 'no job'} has {'no' if job else 'a'} quarantine entry {number}",
            f"tsi-fetch quarantine list{whose}",
        )
    if len(by_store) > 1:
        raise Usage(f"several stores have a quarantine entry {number}", f"tsi-fetch quarantine show JOB {number}")
    found = next(iter(by_store.values()))
    row, whole = found
    answers = [
        {
            "part": answer.part,
            "url": answer.url,
            "status": answer.status,
            "requested_at": iso(answer.requested_at),
            "body": answer.body.decode("utf-8", "replace"),
        }
        for answer in whole.row.answers
    ]
    body = None if whole.body is None else whole.body.decode("utf-8", "replace")
    return {**trouble_figures(row), "answers": answers, "body": body}


def iso(instant: datetime | None) -> str | None:
    """To the second, in UTC."""
    return instant.isoformat(timespec="seconds") if instant else None
