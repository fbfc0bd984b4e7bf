"""Runs for a person: a line each, or one with all that its report says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from jobs.config.duration import show_duration
from jobs.reporting.instants import second
from jobs.reporting.status import SILENT
from jobs.reporting.table import BETWEEN, room_beside, table_text, width
from jobs.reporting.text import headline, report_text

Run = Mapping[str, Any]

LEAST = 40
"""Columns that are enough for what a run did; with fewer it comes below the run's line."""

NAMED = 3
"""Of the products that a run was asked for."""

_UNTOLD = {
    SILENT: "it was killed, or is paused; the next run goes on where it was",
    "running": "it has not ended yet; its report comes with its end",
    "lost": "it never said how it ended: it was killed, or cut off from the store; the next run went on where it was",
}
"""Why a run has no report."""

_WORKERS = {
    SILENT: "it was killed, or is paused; other workers take over what it had, or: tsi-fetch backfill resume {list}",
    "lost": "it never said how it ended: it was killed, or cut off from the store; other workers take over what it had",
}
"""The same of a worker, where it is another reason."""


def runs_text(runs: Sequence[Run], job: str | None, none: str) -> str:
    """One line a run; the job's name in front where runs of all jobs are listed.  Where the screen is narrow, what a
    run did comes below its line, cut off at the edge, and what the id says as well is left out, then how long it took;
    number, outcome and exit code never are.  `none`: what is said where there is none."""
    heads = [({} if job else {"job": run["job"]}) | _line(run) for run in runs]
    whats = [_what(run) for run in runs]
    if not runs or room_beside(heads) >= min(LEAST, max(len(what or "") for what in whats)):
        return table_text([head | {"what": what} for head, what in zip(heads, whats, strict=True)], none)
    for left_out in ((), ("started",), ("started", "took")):
        short = [{name: value for name, value in head.items() if name not in left_out} for head in heads]
        if room_beside(short) >= -BETWEEN:
            return table_text(short, below=whats)
    return table_text([head | {"what": what} for head, what in zip(heads, whats, strict=True)], none)


def _line(run: Run) -> dict[str, Any]:
    return {
        "no": run["number"],
        "run": run["run"],
        "started": run["started"],
        "took": _took(run),
        "outcome": SILENT if run["silent"] else run["outcome"],
        "exit": run["exit_code"],
    }


def _what(run: Run) -> str | None:
    """How it differs from a nightly run; why it did not end well, else what it did; how much it could not use."""
    return ": ".join(part for part in (how_text(run), _did(run)) if part) or None


_KINDS = {"quarantine replay": "quarantine replay", "backfill": "backfill {list}", "part": "not whole"}
"""Kinds of runs that no option tells."""


def how_text(run: Run) -> str:
    """By what it differs from a nightly run, as it is written on a command line; nothing where it does not."""
    asked = run["asked"]
    told = ["replay"] if run["replay"] else []
    told += [_KINDS[run["kind"]].format(**run)] if run["kind"] in _KINDS else []
    if only := asked.get("only"):
        more = f" and {len(only) - NAMED:,} more" if len(only) > NAMED else ""
        told.append(f"--only {', '.join(only[:NAMED])}{more}")
    told += [f"--{name}" for name in ("full", "again") if asked.get(name)]
    accepted = [name for name in ("accept_vanish", "accept_refusals") if asked.get(name)]
    told += [f"--{name.replace('_', '-')} {asked[name]:,}" for name in accepted]
    return ", ".join(told)


def _did(run: Run) -> str | None:
    if "counts" not in run["report"]:
        error: str | None = run["report"].get("error")
        return error
    report = _report(run)
    did = "; ".join(reason["what"] for reason in report["reasons"]) or headline(report)
    return f"{did.removesuffix('.')}; {report['troubles']:,} into quarantine" if report["troubles"] else did


def _report(run: Run) -> Mapping[str, Any]:
    """The run's report with every member that a report has: one of another version may have had fewer.  A worker's
    without a watermark, which it neither reads nor moves."""
    told = {name: run[name] for name in ("job", "run", "outcome", "exit_code", "started", "ended")}
    none = {"plan": False, "remainder": 0, "troubles": 0, "watermark": {"before": None, "after": None}}
    mappings: dict[str, Any] = {name: {} for name in ("counts", "rows", "phases", "requests")}
    mappings["asked"] = run["asked"]
    lists: dict[str, Any] = {name: [] for name in ("quarantined", "reasons", "notes", "slowest", "retried")}
    worker = {} if run["list"] is None else {"watermark": None}
    return {**told, **none, **mappings, **lists, **run["report"], **_times(run), **worker}


def _times(run: Run) -> dict[str, str]:
    """The whole run's, as its line has them: its report begins later, and ends earlier."""
    if run["seconds"] is None:
        return {}
    ended = datetime.fromisoformat(run["started"]) + timedelta(seconds=run["seconds"])
    return {"started": run["started"], "ended": ended.isoformat()}


def _took(run: Run) -> str | None:
    return None if run["seconds"] is None else show_duration(timedelta(seconds=run["seconds"]))


def run_text(run: Run) -> str:
    """The run's report as it was told at its end, and where and on which machine it ran."""
    if "counts" not in run["report"]:
        return "\n".join([*_without_report(run), *_where(run)]) + "\n"
    report = _report(run)
    return report_text(report, width=width()) + "".join(_requests(report)) + "\n".join(_where(run)) + "\n"


def _requests(report: Mapping[str, Any]) -> Iterator[str]:
    if report["slowest"]:
        yield "\nthe slowest requests of each host\n"
        yield table_text([_request(line, "seconds", "ended") for line in report["slowest"]])
    if retried := report["retried"]:
        every = sum(figures.get("retries", 0) for figures in report["requests"].values())
        most = ", the most often sent first" if sum(line["times"] for line in retried) < every else ""
        yield f"\nsent again ({every:,} in all{most})\n"
        yield table_text([_request(line, "times", "why") for line in retried])


def _request(line: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The URL names the host."""
    told = {name: f"{line[name]:.3f}" if name == "seconds" else line[name] for name in names}
    return {**told, "request": f"{line['method']} {line['url']}"}


def _without_report(run: Run) -> Iterator[str]:
    outcome = SILENT if run["silent"] else run["outcome"]
    yield f"{run['job']}: {outcome}  run {run['run']}"
    if error := run["report"].get("error"):
        yield f"It broke off with {error}, a bug or a failure before it could report."
    else:
        reasons = _UNTOLD | (_WORKERS if run["list"] is not None else {})
        yield f"There is no report: {reasons.get(outcome, 'it was pruned; only this line was kept').format(**run)}."
    took = f", took {_took(run)}" if run["ended"] else ""
    code = "" if run["exit_code"] is None else f", exit code {run['exit_code']}"
    yield f"started {second(run['started'])}{took}{code}"


def _where(run: Run) -> Iterator[str]:
    store = f" of store {run['store']}" if run["store"] else ""
    yield f"run number {run['number']}{store}, to sink {run['sink']}, on {run['host'] or 'an unnamed machine'}"
    if run["replay"]:
        yield "a replay: its input, and its times, are those of a recording"
    how = how_text({**run, "replay": False})
    if not run["whole"]:
        yield f"not a whole run ({how}): the watermark stayed"
    elif how:
        yield f"asked for with {how}"
