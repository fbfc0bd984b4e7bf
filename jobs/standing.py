"""How the jobs stand: what their stores remember, when they run next, and whether they are overdue.  Nothing is
written.  A store that cannot be read is told, and hides no other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from jobs.config.load import Configuration
from jobs.config.models import JobSettings
from jobs.due import USUAL, due
from jobs.looking import Figures, Where, iso
from jobs.reporting.text import wrote
from jobs.wiring import source_class
from store import queries, run_history
from store.handle import NoStore, Stored
from tsi_fetch.errors import Exit, TsiFetchError, worst

OVERDUE = Exit.QUARANTINE
"""What `--fail-if-overdue` ends with where a job is overdue."""

_UNKNOWN: Figures = dict.fromkeys(
    "last_success seconds_since_success last_run outcome silent watermark unchanged_nights quarantined"
    " oldest_quarantine waiting pending older_mapping left_to_do left_of_backfill halted_backfill".split()
)


@dataclass(frozen=True, slots=True)
class Standing:
    """How jobs are.  `waits`: the oldest of what waits, or all of it; `more`: how much else waits."""

    jobs: list[Figures]
    waits: list[Figures]
    more: int
    troubles: list[TsiFetchError] = field(default_factory=list)

    def exit_code(self, *, fail_if_overdue: bool) -> int:
        """That of the stores which could not be read; `fail_if_overdue`: also where one is overdue, or nobody knows."""
        codes = {Exit(trouble.exit_code) for trouble in self.troubles}
        if fail_if_overdue and any(row["overdue"] is not False for row in self.jobs):
            codes.add(OVERDUE)
        return int(worst(codes))


def standing(where: Where, job: str | None, *, everything: bool) -> Standing:
    """One row per job and sink; a job that never ran has a row, too.  `everything`: all that waits, however much."""
    configuration = where.configuration(job)
    found = Standing([], [], 0)
    with ExitStack() as stack:
        stores = _Stores(where, configuration, stack)
        for name in configuration.settings.jobs:
            if job in (None, name):
                try:
                    _add(found, configuration, name, stores.of(name), where, everything=everything)
                except TsiFetchError as e:
                    if where.store and isinstance(e, NoStore):
                        raise
                    found.jobs.append(_unreadable(configuration, name, e))
                    found.troubles.append(e)
    waiting = sum(row["waiting"] or 0 for row in found.jobs)
    return Standing(found.jobs, found.waits, max(0, waiting - len(found.waits)), found.troubles)


class _Stores:
    """Each store is opened once, and one that does not answer is asked once, however many jobs it has."""

    def __init__(self, where: Where, configuration: Configuration, stack: ExitStack) -> None:
        self._where, self._configuration, self._stack = where, configuration, stack
        self._opened: dict[str, Stored | TsiFetchError | None] = {}

    def of(self, job: str) -> Stored | None:
        """The job's store; None where no run has made it yet.  Raises what opening it raised."""
        name = self._configuration.job(job).store
        if name not in self._opened:
            try:
                self._opened[name] = self._stack.enter_context(self._where.opened(self._configuration, job))
            except TsiFetchError as e:
                self._opened[name] = e
        found = self._opened[name]
        if isinstance(found, TsiFetchError):
            raise found
        return found


def _add(
    found: Standing, configuration: Configuration, job: str, stored: Stored | None, where: Where, *, everything: bool
) -> None:
    """The rows of one job, and what waits of it."""
    settings, mapping = configuration.job(job), source_class(configuration, job).mapping
    if stored is None:
        found.jobs.append(_never(job, settings))
        return
    rows = queries.status(stored, job)
    waits = queries.waits(stored, job) if everything else [wait for row in rows for wait in row.waits]
    figures = [_status(stored, row, settings, mapping) for row in rows]
    if not rows or (where.store is None and all(row.sink != settings.sink for row in rows)):
        figures.append(_never(job, settings, stored))
    found.jobs.extend(figures)
    found.waits.extend(_wait(job, wait) for wait in waits)


def _wait(job: str, wait: queries.Wait) -> Figures:
    return {
        "job": job,
        "resource": str(wait.ref),
        "waits_for": [str(ref) for ref in sorted(wait.missing)],
        "since": iso(wait.since),
        "key": wait.row,
    }


def _status(stored: Stored, row: queries.StatusRow, settings: JobSettings, mapping: int) -> Figures:
    last, now = row.last, stored.now()
    return {
        **_named(row.job, row.sink, settings),
        "last_success": iso(row.last_success),
        "seconds_since_success": _seconds(now, row.last_success),
        "last_run": iso(last.started) if last else None,
        "outcome": last.outcome if last else None,
        "silent": row.silent,
        "watermark": dict(row.watermarks),
        "unchanged_nights": _unchanged(run_history.backwards(stored, row.job, row.sink)),
        "quarantined": row.quarantined,
        "oldest_quarantine": iso(row.oldest_quarantine),
        "waiting": row.waiting,
        "pending": row.pending,
        "older_mapping": row.older(mapping),
        "left_to_do": row.work.left if row.work else 0,
        "left_of_backfill": row.backfill,
        "halted_backfill": row.halted,
        **_due(stored, row.job, settings, row.last_success, now, scheduled=row.sink == settings.sink),
    }


def _unchanged(runs: Iterator[queries.RunRow]) -> int:
    """How many successful runs lie after the last one that wrote anything, or of which nobody knows whether it did.
    A run that goes on is left out until it has ended."""
    count = 0
    for row in runs:
        run = row.record
        if row.goes_on:
            continue
        if "counts" not in run.report or wrote(run.report["counts"]):
            break
        count += run.outcome == queries.SUCCESS and run.whole
    return count


def _due(
    stored: Stored, job: str, settings: JobSettings, success: datetime | None, now: datetime, *, scheduled: bool
) -> Figures:
    """`scheduled`: it is the sink that the job writes to.  Of another one nothing is due any more."""
    if not scheduled:
        return {"next_run": None, "missed_run": None, "grace_seconds": None, "overdue": False, "as_of": iso(now)}
    took: Sequence[timedelta] = run_history.usual(stored, job, settings.sink, USUAL)
    since = success or run_history.made(stored)
    told = due(settings.schedule, settings.timezone, now, since, took)
    return {
        "next_run": iso(told.next),
        "missed_run": iso(told.missed),
        "grace_seconds": round(told.grace.total_seconds()),
        "overdue": told.overdue,
        "as_of": iso(now),
    }


def _named(job: str, sink: str, settings: JobSettings, *, trouble: TsiFetchError | None = None) -> Figures:
    return {
        "job": job,
        "sink": sink,
        "store": settings.store,
        "schedule": settings.schedule,
        "timezone": settings.timezone,
        "readable": trouble is None,
        "trouble": trouble.message if trouble else None,
        "hint": trouble.hint if trouble else None,
    }


def _never(job: str, settings: JobSettings, stored: Stored | None = None) -> Figures:
    """A job that has not run at its sink yet.  Where there is no store either, nobody knows since when it is due."""
    nothing = dict.fromkeys(
        "unchanged_nights quarantined waiting pending older_mapping left_to_do left_of_backfill".split(), 0
    )
    if stored is None:
        unknown = dict.fromkeys(("next_run", "missed_run", "grace_seconds", "overdue", "as_of"))
        return {**_named(job, settings.sink, settings), **_UNKNOWN, "watermark": {}, **nothing, **unknown}
    when = _due(stored, job, settings, None, stored.now(), scheduled=True)
    return {**_named(job, settings.sink, settings), **_UNKNOWN, "watermark": {}, **nothing, **when}


def _unreadable(configuration: Configuration, job: str, trouble: TsiFetchError) -> Figures:
    settings = configuration.job(job)
    unknown: dict[str, Any] = dict.fromkeys(("next_run", "missed_run", "grace_seconds", "overdue", "as_of"))
    return {**_named(job, settings.sink, settings, trouble=trouble), **_UNKNOWN, **unknown}


def _seconds(now: datetime, then: datetime | None) -> int | None:
    return None if then is None else round((now - then).total_seconds())
