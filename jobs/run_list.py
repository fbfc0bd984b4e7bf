"""The runs that stores remember, each with its report: the latest, or one.  Nothing is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from jobs.asking import Answers, ask_each
from jobs.looking import Figures, Where, iso
from jobs.quarantining import QUARANTINE
from jobs.running import ASKED
from store import run_history
from store.handle import Stored
from store.queries import RunRow
from tsi_fetch.errors import Usage
from tsi_fetch.words import RunRecord

NAMED = 5
"""Runs named where several begin with what was asked for."""

_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


def runs_of(where: Where, job: str | None, limit: int) -> Answers[Figures]:
    """The latest runs of all jobs, or of one, newest first, each with its report: `limit` in all."""
    asked = _ask(where, job, lambda stored: run_history.latest(stored, [job] if job else None, limit))
    latest = sorted(asked.told, key=lambda row: (row["started"], row["number"]), reverse=True)
    return Answers(latest[:limit], asked.troubles, asked.absent)


def run_of(where: Where, wanted: str) -> Figures:
    """One run: its id, its number, or as much of its id's beginning as no other run has.

    Usage where there is none, or several.  Where a store cannot be asked a whole id is found in another one; a number
    or a beginning may mean one of its runs, too, and raises what it raised.
    """
    if not _ID.fullmatch(wanted):
        raise Usage(f"{wanted!r} is no run's id or number", "tsi-fetch runs list")
    asked = _ask(where, None, lambda stored: run_history.matching(stored, wanted, NAMED + 1))
    found = {row["run"]: row for row in asked.told}
    if wanted in found:
        return found[wanted]
    if asked.troubles:
        trouble, maybe = asked.troubles[0], f"; {wanted} may be {', '.join(found)}, or a run in there" if found else ""
        hint = "write the whole id of the run, or name a --store" if found else trouble.hint
        raise type(trouble)(f"{trouble.message}{maybe}", hint)
    if len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise Usage(f"there is no run {wanted}", "tsi-fetch runs list")
    named = ", ".join(list(found)[:NAMED]) + (", …" if len(found) > NAMED else "")
    raise Usage(f"{wanted} may be any of these runs: {named}", "write more of its id")


def _ask(where: Where, job: str | None, rows: Callable[[Stored], Sequence[RunRow]]) -> Answers[Figures]:
    """Runs of each store, each once: two names may mean the same store."""
    configuration = where.configuration(job)
    seen: set[tuple[str, int]] = set()

    def of_store(stored: Stored, name: str) -> Iterator[Figures]:
        store = "" if where.store else configuration.job(name).store
        for row in rows(stored):
            if (stored.store_id, row.number) not in seen:
                seen.add((stored.store_id, row.number))
                yield _figures(store, row)

    return ask_each(where, configuration, job, of_store, once=True)


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
