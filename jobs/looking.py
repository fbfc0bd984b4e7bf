"""What a store knows, for the commands that only look: nothing is written, and no body shown but by `quarantined`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from jobs.config.duration import show_duration
from jobs.config.load import ALL, Configuration, Reach, load_configuration
from jobs.config.secret import Secrets, SecretUrl
from jobs.reporting.text import headline
from jobs.wiring import source_class
from store import queries
from store.handle import NoStore, Stored, open_store
from tsi_fetch.errors import Usage
from tsi_fetch.words import RunRecord

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Where:
    """Whose jobs are looked at, and in which store: that of each job, or the one at `store`, whatever the file says."""

    config: Path | None
    secrets: Secrets
    store: str | None = field(default=None, repr=False)  # a URL, perhaps with its password

    def configuration(self, job: str | None) -> Configuration:
        """The job file; only what is looked at must be set.  Usage where it has no such job."""
        self.secrets.add_url(self.store or "")
        reach = Reach(stores=ALL) if job is None else Reach(stores=None, jobs=frozenset({job}), sinks=())
        if self.store:
            reach = Reach(stores=())
        configuration = load_configuration(self.config, reach=reach, secrets=self.secrets)
        if job is not None:
            configuration.job(job)
        return configuration

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


@dataclass(frozen=True, slots=True)
class Standing:
    """How jobs are.  `waits`: the oldest of what waits, or all of it; `more`: how much else waits."""

    jobs: list[Figures]
    waits: list[Figures]
    more: int


def standing(where: Where, job: str | None, *, everything: bool) -> Standing:
    """One row per job and sink; a job that never ran has a row, too.  `everything`: all that waits, however much."""
    configuration = where.configuration(job)
    rows: list[Figures] = []
    waits: list[Figures] = []
    for name, settings in configuration.settings.jobs.items():
        if job in (None, name):
            with where.opened(configuration, name) as stored:
                found = queries.status(stored, name) if stored else []
                waiting = queries.waits(stored, name) if stored and everything else [w for r in found for w in r.waits]
            mapping = source_class(configuration, name).mapping
            rows += [_status(row, mapping) for row in found] or [_never(name, settings.sink)]
            waits += [_wait(name, wait) for wait in waiting]
    return Standing(rows, waits, max(0, sum(row["waiting"] for row in rows) - len(waits)))


def _wait(job: str, wait: queries.Wait) -> Figures:
    return {
        "job": job,
        "resource": str(wait.ref),
        "waits_for": [str(ref) for ref in sorted(wait.missing)],
        "since": _iso(wait.since),
        "key": wait.row,
    }


def _status(row: queries.StatusRow, mapping: int) -> Figures:
    last = row.last
    return {
        "job": row.job,
        "sink": row.sink,
        "last_success": _iso(row.last_success),
        "last_run": _iso(last.started) if last else None,
        "outcome": last.outcome if last else None,
        "watermark": dict(row.watermarks),
        "quarantined": row.quarantined,
        "oldest_quarantine": _iso(row.oldest_quarantine),
        "waiting": row.waiting,
        "pending": row.pending,
        "older_mapping": row.older(mapping),
        "left_to_do": row.work.left if row.work else 0,
    }


def _never(job: str, sink: str) -> Figures:
    nothing: Figures = dict.fromkeys(("last_success", "last_run", "outcome"))
    figures = {"watermark": {}, "quarantined": 0, "oldest_quarantine": None, "waiting": 0, "pending": 0}
    return {"job": job, "sink": sink, **nothing, **figures, "older_mapping": 0, "left_to_do": 0}


def runs_of(where: Where, job: str, limit: int) -> list[Figures]:
    """The latest runs, newest first, each with its report."""
    with where.opened(where.configuration(job), job) as stored:
        rows = queries.runs(stored, job, limit) if stored else []
    return [
        {
            "run": row.record.id,
            "sink": row.sink,
            "started": _iso(row.record.started),
            "ended": _iso(row.record.ended),
            "outcome": row.record.outcome,
            "exit_code": row.record.exit_code,
            "seconds": _seconds(row.record),
            "replay": row.replay,
            "host": row.host,
            "report": dict(row.record.report),
        }
        for row in rows
    ]


def run_lines(runs: list[Figures]) -> list[Figures]:
    """The same without the reports: one line each."""
    return [
        {
            "run": run["run"] + (" (replay)" if run["replay"] else ""),
            "started": run["started"],
            "took": None if run["seconds"] is None else show_duration(timedelta(seconds=run["seconds"])),
            "outcome": run["outcome"],
            "exit": run["exit_code"],
            "what": _what(run["report"]),
        }
        for run in runs
    ]


def _what(report: Figures) -> str | None:
    """Why it did not end well, else what it did."""
    if "counts" not in report:
        return report.get("error")
    return "; ".join(reason["what"] for reason in report["reasons"]) or headline(report)


def _seconds(run: RunRecord) -> float | None:
    return None if run.ended is None else round((run.ended - run.started).total_seconds(), 3)


def quarantine_rows(where: Where, job: str | None, *, everything: bool) -> list[Figures]:
    """What lies in quarantine, of all jobs or one, without bodies."""
    configuration = where.configuration(job)
    rows: list[Figures] = []
    for name in configuration.settings.jobs:
        if job in (None, name):
            with where.opened(configuration, name) as stored:
                found = queries.quarantine(stored, name, state="all" if everything else "open") if stored else []
            rows += [trouble_figures(row) for row in found]
    return rows


def quarantine_lines(rows: list[Figures], *, everything: bool) -> list[Figures]:
    """What a person reads first of each: what it is, why it is there, since when; `quarantine show` has the rest."""
    names = ("job", "number", "key", "resource", "trouble", "attempts", "opened", *(("closed",) if everything else ()))
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
        "opened": _iso(row.opened),
        "last": _iso(row.last),
        "run": row.run,
        "closed": _iso(row.closed),
        "why": row.why,
    }


def quarantined(where: Where, job: str, number: int) -> Figures:
    """One entry with its bodies.  Usage where there is none of that number."""
    with where.opened(where.configuration(job), job) as stored:
        found = queries.quarantined(stored, number) if stored else None
    if found is None or found[0].job != job:
        raise Usage(f"{job} has no quarantine entry {number}", f"tsi-fetch quarantine list --job {job}")
    row, whole = found
    answers = [
        {
            "part": answer.part,
            "url": answer.url,
            "status": answer.status,
            "requested_at": _iso(answer.requested_at),
            "body": answer.body.decode("utf-8", "replace"),
        }
        for answer in whole.row.answers
    ]
    body = None if whole.body is None else whole.body.decode("utf-8", "replace")
    return {**trouble_figures(row), "answers": answers, "body": body}


def _iso(instant: datetime | None) -> str | None:
    return instant.isoformat(timespec="seconds") if instant else None
