"""Backfills as they are looked at: listed, shown, found by their number, cancelled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from jobs.actor import actor
from jobs.asking import Answers, ask_each
from jobs.backfilling import keys_text
from jobs.config.duration import show_duration
from jobs.crews import done_text, figures, leaving_text, rows_of, unread_text
from jobs.looking import Where
from jobs.reporting.status import SILENT
from jobs.reporting.table import table_text
from store import backfills
from store.backfills import Backfill
from store.handle import Stored
from store.queries import RunRow
from tsi_fetch.counting import are
from tsi_fetch.errors import Usage

SHOWN = 20
"""Items set aside that are shown; the rest are counted."""

Figures = dict[str, Any]


def rows(where: Where, job: str | None, limit: int) -> Answers[Figures]:
    """Backfills of all jobs or one, the latest first of each store."""
    seen: set[str] = set()

    def of_store(stored: Stored, name: str) -> list[Figures]:
        if stored.store_id in seen:  # two names may mean the same store
            return []
        seen.add(stored.store_id)
        return [figures(one) for one in backfills.backfills(stored, name if job else None, limit)]

    return ask_each(where, where.configuration(job), job, of_store, once=True)


def lines(found: list[Figures]) -> list[Figures]:
    """One line each."""
    return [
        {
            "id": one["id"],
            "job": one["job"],
            "what": what_text(one),
            "state": one["state"],
            "done": _done(one),
            "aside": one["aside"],
            "begun": one["created"],
        }
        for one in found
    ]


def _done(found: Figures) -> str:
    so_far = " so far" if found["windows"]["left"] else ""
    return f"{rows_of(found).done:,} of {rows_of(found).total:,}{so_far}"


def is_over(found: Figures) -> bool:
    """Whether nothing of it is left to be done or given up."""
    return found["state"] == "cancelled" or (found["state"] == "closed" and not found["aside"])


_OF_RUNS = {"first": "first load", "full": "--full", "reconcile": "to be read anew"}
"""Lists that runs go on with, in a few words."""


def what_text(found: Figures) -> str:
    """What is to be loaded, in a few words, and whether changed or not."""
    return _keys_text(found) + (", --again" if found["asked"].get("again") else "")


def _keys_text(found: Figures) -> str:
    asked = found["asked"]
    if found["kind"] in _OF_RUNS:
        return _OF_RUNS[found["kind"]]
    if "from" in asked:
        return f"from {asked['from']}" + (f" to {asked['to']}" if "to" in asked else "")
    return keys_text(asked["keys"]) if "keys" in asked else "all"


def located(where: Where, number: int, job: str | None = None) -> Backfill:
    """The backfill of this number: of this job, or in whichever store it is.  Usage where there is none, or one in
    several stores."""
    found = dict(_everywhere(where, number, job))
    if not found:
        raise Usage(f"there is no backfill {number}{f' of {job}' if job else ''}", "tsi-fetch backfill list")
    if len(found) > 1:
        raise Usage(f"several stores have a backfill {number}", "name its --job, or its --store")
    return next(iter(found.values()))


def whole(where: Where, number: int, job: str | None = None) -> Figures:
    """One backfill with what was set aside, its workers, and about how long it still takes."""
    one = located(where, number, job)
    for stored, _ in _stores(where, one.job):
        workers = backfills.workers(stored, number)
        aside = [
            {"key": a.key, "attempts": a.attempts, "reason": a.reason} for a in backfills.asides(stored, number, SHOWN)
        ]
        shown = [_worker(row) for row in workers]
        unknown, first = backfills.unknown(stored, number, SHOWN)
        more = {"set_aside": aside, "unknown": unknown, "not_known": first}
        more |= {"to_be_removed": backfills.leaving(stored, number), "workers": shown}
        return figures(one) | {"seconds_left": _estimate(one, workers)} | more
    raise Usage(f"there is no backfill {number}", "tsi-fetch backfill list")


def cancellable(where: Where, number: int, job: str | None = None) -> Figures:
    """What is to be ended, over or not.  Usage where there is no such backfill, or it is a list that runs go on with,
    since the watermark counts on it."""
    return figures(_cancellable(where, number, job))


def _cancellable(where: Where, number: int, job: str | None) -> Backfill:
    one = located(where, number, job)
    if one.of_runs:
        what = f"list {number} is not a backfill, but what runs of {one.job} go on with"
        raise Usage(what, f"where everything is to be read anew: tsi-fetch watermark reset {one.job}")
    return one


def cancelled(where: Where, number: int, job: str | None = None) -> Figures:
    """End it for good."""
    one = _cancellable(where, number, job)
    for stored, _ in _stores(where, one.job):
        backfills.cancel(stored, number, actor())
        one = backfills.backfill(stored, number) or one
    return figures(one)


def goes_on_text(one: Backfill) -> str:
    """What `resume` is about to go on with, in a line."""
    found = figures(one)
    anew = f", {found['aside']:,} set aside, which are tried anew" if found["aside"] else ""
    past = ", past the guard that halted it" if found["state"] == "halted" else ""
    what = f"goes on with list {found['id']} of {found['job']} into {found['sink']} ({what_text(found)}){past}"
    return f"{what}: {_so_far(found)}{anew}"


def _so_far(found: Figures) -> str:
    """How far it is: rows of the source, and beside them what is still to be made rows of."""
    rows = rows_of(found)
    return f"{rows.done:,} of {rows.total:,} done, {rows.left:,} left{unread_text(found)}"


def would_end_text(found: Figures) -> str:
    """What `cancel` would end, for a person; or that it is over."""
    head = f"backfill {found['id']} of {found['job']} into {found['sink']}: {what_text(found)}"
    if is_over(found):
        return f"{head}\n  is {found['state']} already: nothing is left to cancel, and nothing was changed"
    aside = f", {found['aside']:,} set aside" if found["aside"] else ""
    done = f"{found['state']}: {_so_far(found)}{aside}"
    ends = "What was set aside would be given up" if found["state"] == "closed" else "It would end"
    return f"{head}\n  {done}\n  {ends} for good, and cannot be resumed; what it has loaded stays."


def text(found: Figures) -> str:
    """The same for a person."""
    parts = [f"backfill {found['id']} of {found['job']} into {found['sink']}: {what_text(found)}"]
    left = f", {rows_of(found).left:,} left" if rows_of(found).left else ""
    about = found["seconds_left"]
    estimate = f" (about {show_duration(timedelta(seconds=about))})" if about else ""
    parts.append(f"{found['state']}: {done_text(found)}{left}{estimate}{unread_text(found)}")
    parts += _then(found)
    if found["aside"]:
        more = f", the first {len(found['set_aside'])}" if found["aside"] > len(found["set_aside"]) else ""
        then = "" if found["kind"] == "backfill" else f"the next run of {found['job']} asks for them; "
        tells = f"{then}tsi-fetch backfill resume {found['id']} tries them anew"
        parts.append(f"\n{found['aside']:,} set aside{more}; {tells}")
        parts.append(table_text(found["set_aside"]))
    if found["unknown"]:
        parts.append(_unknown_text(found["unknown"], found["not_known"]))
    if found["to_be_removed"]:
        parts.append(leaving_text(found["job"], found["to_be_removed"]))
    if troubles := sum(worker["quarantined"] for worker in found["workers"]):
        parts.append(f"{troubles:,} into quarantine: tsi-fetch quarantine list --job {found['job']}")
    if found["workers"]:
        parts += ["\nworkers", table_text([_line(worker) for worker in found["workers"]])]
    return "\n".join(parts)


def _then(found: Figures) -> Iterator[str]:
    """How one goes on that is not over, and that no worker is at."""
    resume = f"tsi-fetch backfill resume {found['id']}"
    if found["state"] == "halted":
        yield f"a guard has halted it, and its worker says below why; then: {resume}"
    elif found["state"] == "open" and not any(_at_work(worker) for worker in found["workers"]):
        of_runs = f"runs of {found['job']} go on with it, and so would: {resume}"
        yield f"nobody works on it: {resume}" if found["kind"] == "backfill" else of_runs


def _at_work(worker: Mapping[str, Any]) -> bool:
    return worker["outcome"] == "running" and not worker["silent"]


def _unknown_text(number: int, first: Sequence[str]) -> str:
    others = f" and {number - len(first):,} more" if number > len(first) else ""
    them = "it" if number == 1 else "them"
    told = f"{number:,} {are(number)} not known to the source, and no resource belongs to {them}"
    return f"{told}: {', '.join(first)}{others}"


def _line(worker: Mapping[str, Any]) -> Figures:
    """Of a table, with what `runs` says of one that gives no sign of life."""
    outcome = SILENT if worker["silent"] else worker["outcome"]
    return {name: value for name, value in worker.items() if name != "silent"} | {"outcome": outcome}


def _worker(row: RunRow) -> Figures:
    record = row.record
    report = record.report
    reasons = "; ".join(reason["what"] for reason in report.get("reasons", ())) or report.get("error")
    return {
        "run": record.id,
        "host": row.host,
        "started": record.started.isoformat(timespec="seconds"),
        "ended": record.ended.isoformat(timespec="seconds") if record.ended else None,
        "outcome": record.outcome,
        "silent": row.silent,
        "quarantined": report.get("troubles", 0),
        "why": reasons,
    }


def _estimate(one: Backfill, workers: Sequence[RunRow]) -> int | None:
    """Seconds that it still takes, at the pace of the time in which anybody has worked on it.  None where nobody
    works on it, or nothing is done yet."""
    running = any(row.goes_on for row in workers)
    spans = [
        (row.record.started, row.record.ended or one.progress.at)
        for row in workers
        if row.record.outcome != "lost" and not row.silent
    ]
    if one.of_runs or not running or not one.progress.done:  # who did what of a run's list, nobody has counted
        return None
    return round(_covered(spans) / one.progress.done * one.progress.left)


def _covered(spans: list[tuple[datetime, datetime]]) -> float:
    """Seconds that lie in any of these spans."""
    total, until = 0.0, None
    for begin, end in sorted(spans):
        start = begin if until is None else max(begin, until)
        total += max((end - start).total_seconds(), 0.0)
        until = end if until is None else max(until, end)
    return total


def _everywhere(where: Where, number: int, job: str | None) -> Iterator[tuple[str, Backfill]]:
    for stored, _ in _stores(where, job):
        found = backfills.backfill(stored, number)
        if found and job in (None, found.job):
            yield stored.store_id, found


def _stores(where: Where, job: str | None) -> Iterator[tuple[Stored, str]]:
    """The stores of the job file, or the one that was named, each once, with a job of it."""
    configuration = where.configuration(job)
    seen: set[str] = set()
    for name in configuration.settings.jobs:
        if job in (None, name):
            with where.opened(configuration, name) as stored:
                if stored and stored.store_id not in seen:
                    seen.add(stored.store_id)
                    yield stored, name
