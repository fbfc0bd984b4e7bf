"""The runs that stores remember, each with its report: the latest, or one.  Nothing is written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from jobs.config.load import Configuration
from jobs.looking import Figures, Where, iso
from jobs.quarantining import QUARANTINE
from jobs.running import ASKED
from store import run_history
from store.handle import NoStore
from store.queries import RunRow
from tsi_fetch.errors import Exit, TsiFetchError, Usage, worst
from tsi_fetch.words import RunRecord

MOST = 10_000
"""Runs listed at once: each comes with its report."""

NAMED = 5
"""Runs named where several begin with what was asked for."""

_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True)
class Runs:
    """The latest runs, and the stores that could not be asked."""

    rows: list[Figures]
    troubles: list[TsiFetchError] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        return int(worst({Exit(trouble.exit_code) for trouble in self.troubles}))


def runs_of(where: Where, job: str | None, limit: int) -> Runs:
    """The latest runs of all jobs, or of one, newest first, each with its report: `limit` in all."""
    configuration = where.configuration(job)
    found: dict[tuple[str, int], Figures] = {}
    troubles: list[TsiFetchError] = []
    for store, of_store in _stores(where, configuration, job):
        try:
            with where.opened(configuration, of_store) as stored:
                rows = run_history.latest(stored, [job] if job else None, limit) if stored else []
                # by the store's own id: two names may mean the same store
                found |= {(stored.store_id, row.number): _figures(store, row) for row in rows if stored}
        except TsiFetchError as e:
            if job is not None or (where.store and isinstance(e, NoStore)):
                raise
            troubles.append(e)
    latest = sorted(found.values(), key=lambda row: (row["started"], row["number"]), reverse=True)
    return Runs(latest[:limit], troubles)


def run_of(where: Where, wanted: str) -> Figures:
    """One run: its id, its number, or as much of its id's beginning as no other run has.

    Usage where there is none, or several; what a store that cannot be read raises, where no other has it.
    """
    if not _ID.fullmatch(wanted):
        raise Usage(f"{wanted!r} is no run's id or number", "tsi-fetch runs list")
    configuration = where.configuration(None)
    found: dict[str, Figures] = {}
    trouble: TsiFetchError | None = None
    for store, job in _stores(where, configuration, None):
        try:
            with where.opened(configuration, job) as stored:
                rows = run_history.matching(stored, wanted, NAMED + 1) if stored else []
                found |= {row.record.id: _figures(store, row) for row in rows}
        except TsiFetchError as e:
            trouble = trouble or e
    if wanted in found:
        return found[wanted]
    if len(found) == 1:
        return next(iter(found.values()))
    if not found and trouble:
        raise trouble
    if not found:
        raise Usage(f"there is no run {wanted}", "tsi-fetch runs list")
    named = ", ".join(list(found)[:NAMED]) + (", …" if len(found) > NAMED else "")
    raise Usage(f"{wanted} may be any of these runs: {named}", "write more of its id")


def _stores(where: Where, configuration: Configuration, job: str | None) -> Iterator[tuple[str, str]]:
    """The name of each store, and of a job whose store it is."""
    jobs = configuration.settings.jobs
    if where.store:
        yield "", job or next(iter(jobs))
        return
    seen = set()
    for name, settings in jobs.items():
        if job in (None, name) and settings.store not in seen:
            seen.add(settings.store)
            yield settings.store, name


def _figures(store: str, row: RunRow) -> Figures:
    """The members keep their names: dashboards read them."""
    report = dict(row.record.report)
    asked = report.get(ASKED) or {}
    return {
        "run": row.record.id,
        "number": row.number,
        "job": row.record.job,
        "sink": row.sink,
        "store": store or None,
        "started": iso(row.record.started),
        "ended": iso(row.record.ended),
        "outcome": row.record.outcome,
        "silent": row.silent,
        "exit_code": row.record.exit_code,
        "seconds": _seconds(row.record),
        "replay": row.replay,
        "whole": row.record.whole,
        "kind": _kind(row, asked),
        "asked": asked,
        "list": row.list,
        "host": row.host,
        "report": report if report.keys() - {ASKED} else {},
    }


def _kind(row: RunRow, asked: Figures) -> str:
    """What a run was: `run` (a whole one), `only` (single products), `quarantine replay`, `backfill` (a worker of a
    list), or `part`: not whole, and begun by a version that did not note why."""
    if row.list is not None:
        return "backfill"
    if QUARANTINE in asked:
        return "quarantine replay"
    return "run" if row.record.whole else "only" if "only" in asked else "part"


def _seconds(run: RunRecord) -> float | None:
    return None if run.ended is None else round((run.ended - run.started).total_seconds(), 3)
