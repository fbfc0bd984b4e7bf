"""Who works on a backfill: this process, or several of its children; and what they did, as one report."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from jobs.backfilling import Effort, Place, found_in, work_on
from jobs.wiring import new_run_id
from store import backfills
from store.backfills import Backfill
from store.handle import Stored, open_store
from tsi_fetch.clock import StopSignal
from tsi_fetch.counting import are, count
from tsi_fetch.errors import Exit, Stopped, worst
from tsi_fetch.ports import Progress
from tsi_fetch.report import MOST_NAMED
from tsi_fetch.words import Counted

LOOK = 0.5
"""Seconds between looks at the children."""

PATIENCE = 90.0
"""Seconds that a child has to end when it was asked to: what is on its way to the sink is remembered first."""

STORE = "TSI_FETCH_BACKFILL_STORE"
"""By which a child is told another store than the job file's: an argument could be read by everybody on the machine."""

Report = Mapping[str, Any]

_SIGNALS = (Exit.INTERRUPTED, Exit.TERMINATED)


@dataclass(frozen=True, slots=True)
class Worked:
    """What came of working on a backfill: how it stands, its workers' reports, and what ended them.  `unknown`: items
    that are done, since the source does not know them; `leaving`: resources that are left to the next run to remove."""

    found: Backfill
    reports: Sequence[Report]
    codes: frozenset[Exit]
    reasons: Sequence[Report] = ()
    unknown: int = 0
    leaving: int = 0

    @property
    def exit_code(self) -> int:
        return int(worst(set(self.codes)))


def work_together(
    where: Place, number: int, effort: Effort, *, stop: StopSignal, progress: Progress, log: str
) -> Worked:
    """Work on it, here or in so many processes, until nothing is left or all of them have ended."""
    if effort.workers == 1:
        report = work_on(where, number, effort, stop, progress)
        with open_store(where.to.store.reveal()) as stored:
            found, codes = found_in(stored, number), frozenset({Exit(report.exit_code)})
            unknown, leaving = _untold(stored, number)
            return Worked(found, [report.to_json()], codes, unknown=unknown, leaving=leaving)
    with open_store(where.to.store.reveal()) as stored:
        return _Crew(where, number, effort, stored, log).work(stop, progress)


class _Crew:
    """Child processes, each a worker."""

    def __init__(self, where: Place, number: int, effort: Effort, stored: Stored, log: str) -> None:
        self._where, self._number, self._effort, self._stored, self._log = where, number, effort, stored, log
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._stopped: Stopped | None = None
        self._planned = effort.max_duration is not None

    def work(self, stop: StopSignal, progress: Progress) -> Worked:
        try:
            for _ in range(self._effort.workers):
                run_id = new_run_id(self._stored.now())
                self._children[run_id] = self._spawn(run_id)
            self._wait(stop, progress)
        finally:
            self._end()
        return self._worked()

    def _spawn(self, run_id: str) -> subprocess.Popen[bytes]:
        asked, environ = self._where.asked, dict(os.environ)
        command = [
            sys.executable,
            "-m",
            "jobs",
            "backfill",
            "work",
            str(self._number),
            "--as",
            run_id,
            "--tied",
            "--job",
            asked.job,
        ]
        given = {"--config": asked.config, "--log": self._log, "--max-duration": None}
        if self._effort.max_duration is not None:
            given["--max-duration"] = f"{int(self._effort.max_duration.total_seconds())}s"
        if self._effort.accept_refusals:
            given["--accept-refusals"] = str(self._effort.accept_refusals)
        if asked.store and asked.sink:
            environ[STORE], given["--sink"] = asked.store, asked.sink
        command += [part for name, value in given.items() if value for part in (name, str(value))]
        # a session of its own: Ctrl-C reaches this process alone, which then asks each child once
        # its stdin ends with this process, whatever ends it, and the child with its stdin
        return subprocess.Popen(
            command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )

    def _wait(self, stop: StopSignal, progress: Progress) -> None:
        try:
            while any(child.poll() is None for child in self._children.values()):
                there = found_in(self._stored, self._number).progress
                progress("backfill", there.rows.done + there.rows.aside, there.rows.total)
                stop.wait(LOOK)
        except Stopped as e:
            self._stopped = e

    def _end(self) -> None:
        """Ask whoever is left to end; whoever does not is killed: the next ones complete its work."""
        for child in self._children.values():
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        for child in self._children.values():
            try:
                child.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            if child.stdin:
                child.stdin.close()

    def _worked(self) -> Worked:
        codes, reasons = set[Exit](), list[Report]()
        if stopped := self._stopped:
            codes.add(Exit(stopped.exit_code))
            reasons.append({"code": int(stopped.exit_code), "what": stopped.message, "hint": stopped.hint})
        for run_id, child in self._children.items():
            if (code := child.returncode) in Exit.__members__.values():
                codes |= {Exit(code)} if not self._stopped else set()
                continue
            backfills.lost(self._stored, run_id)
            codes.add(Exit.TRY_AGAIN)
            what = f"signal {-code}" if code < 0 else f"exit code {code}"
            hint = f"tsi-fetch backfill resume {self._number}, if anything is left"
            reasons.append({"code": int(Exit.TRY_AGAIN), "what": f"worker {run_id} died: {what}", "hint": hint})
        found = found_in(self._stored, self._number)
        if codes <= {Exit.DONE} and found.progress.left and found.progress.state == "open" and not self._planned:
            codes.add(Exit.TRY_AGAIN)
            what = f"its workers ended, and {count(found.progress.left, 'item')} {are(found.progress.left)} left"
            hint = f"tsi-fetch backfill resume {self._number}"
            reasons.append({"code": int(Exit.TRY_AGAIN), "what": what, "hint": hint})
        records = backfills.workers(self._stored, self._number)
        reports = [dict(row.record.report) for row in records if row.record.id in self._children]
        whole = [report for report in reports if "counts" in report]
        return Worked(found, whole, frozenset(codes), reasons, *_untold(self._stored, self._number))


def _untold(stored: Stored, number: int) -> tuple[int, int]:
    """What no report says: how many items the source does not know, and how many resources are left to be removed."""
    return backfills.unknown(stored, number)[0], backfills.leaving(stored, number)


def merged(worked: Worked, listing: Mapping[str, Mapping[str, float]] = MappingProxyType({})) -> dict[str, Any]:
    """All workers' reports as one, of the shape of a run's, with what is particular to a backfill under `backfill`.
    `listing`: the requests that made its list, by host."""
    found, reports = worked.found, worked.reports
    there, code = found.progress, worked.exit_code
    started = min((report["started"] for report in reports), default=found.created.isoformat())
    quarantined = [trouble for report in reports for trouble in report["quarantined"]]
    return {
        "job": found.job,
        "run": f"backfill {found.id}",
        "plan": False,
        "outcome": _outcome(code, there.left),
        "exit_code": code,
        "started": started,
        "ended": max((report["ended"] for report in reports), default=there.at.isoformat()),
        "counts": _summed_each(report["counts"] for report in reports),
        "rows": _summed(report["rows"] for report in reports),
        "phases": _summed(report["phases"] for report in reports),
        "watermark": None,  # it is neither read nor moved
        "remainder": 0,
        "quarantined": quarantined[:MOST_NAMED],
        "troubles": sum(report["troubles"] for report in reports),
        "reasons": _each_once([*worked.reasons, *(reason for report in reports for reason in _reasons(report, code))]),
        "notes": [*_standing(worked), *_each_once(note for report in reports for note in report["notes"])],
        "requests": _summed_each([listing, *(report["requests"] for report in reports)]),
        "backfill": figures(found) | {"workers": [report["run"] for report in reports]},
    }


def _reasons(report: Report, code: int) -> list[Report]:
    """Why a worker did not end well, without the signals that it got because this process got one (`code`)."""
    stopped = code in _SIGNALS
    return [r for r in report["reasons"] if r["code"] == code or not (stopped and r["code"] in _SIGNALS)]


def figures(found: Backfill) -> dict[str, Any]:
    """A backfill as JSON."""
    there = found.progress
    return {
        "id": found.id,
        "kind": found.kind,
        "job": found.job,
        "sink": found.sink,
        "state": there.state,
        "asked": found.asked,
        "created": _iso(found.created),
        "closed": _iso(found.closed),
        "items": there.left + there.done + there.aside,
        "done": there.done,
        "left": there.left,
        "aside": there.aside,
        "windows": there.windows._asdict(),
    }


def rows_of(found: Mapping[str, Any]) -> Counted:
    """The items of a backfill (as `figures` has it) without its windows."""
    return Counted(*(found[name] - found["windows"][name] for name in Counted._fields))


def done_text(found: Mapping[str, Any]) -> str:
    """`3 of 5 items are done`, and where those were found: a window is no item to whoever reads this."""
    rows, windows = rows_of(found), Counted(**found["windows"])
    where = f" found in {count(windows.total, 'span')} of days" if windows.total and not windows.left else ""
    so_far = " found so far" if windows.left else ""
    return (
        f"{rows.done:,} of {count(rows.total, 'item')}{where}{so_far} {are(1 if rows.total == 1 else rows.done)} done"
    )


def unread_text(found: Mapping[str, Any]) -> str:
    """Windows that are still to be made rows of; nothing where there are none."""
    left = found["windows"]["left"]
    return f"; {count(left, 'span')} of days {are(left)} still to be looked through" if left else ""


def leaving_text(job: str, number: int) -> str:
    """What a backfill found to be gone, and does not remove."""
    gone = f"{count(number, 'resource')} that the source no longer gives"
    return f"{gone} {are(number)} left to the next run: tsi-fetch plan {job}"


def _iso(instant: datetime | None) -> str | None:
    return instant.isoformat(timespec="seconds") if instant else None


def _standing(worked: Worked) -> list[str]:
    found, there = worked.found, worked.found.progress
    told = [f"backfill {found.id}: {done_text(figures(found))}{unread_text(figures(found))}"]
    if there.aside:
        told.append(f"{there.aside:,} {are(there.aside)} set aside: tsi-fetch backfill show {found.id}")
    if worked.unknown:
        told.append(f"the source does not know {worked.unknown:,} of them: tsi-fetch backfill show {found.id}")
    if worked.leaving:
        told.append(leaving_text(found.job, worked.leaving))
    if there.left and there.state == "cancelled":
        were, stay = ("was", "stays") if there.left == 1 else ("were", "stay")
        told.append(f"backfill {found.id} was cancelled: {count(there.left, 'item')} {were} left, and {stay} undone")
    elif there.left:
        told.append(f"{there.left:,} {are(there.left)} left: tsi-fetch backfill resume {found.id}")
    return told


def _outcome(code: int, left: int) -> str:
    if code in _SIGNALS:
        return "stopped"
    if code not in (Exit.DONE, Exit.QUARANTINE):
        return "failed"
    return "partial" if left else "quarantined" if code else "done"


def _summed(figures: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for some in figures:
        for name, number in some.items():
            total[name] = total.get(name, 0) + number
    return total


def _summed_each(figures: Iterable[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    by_name: dict[str, list[Mapping[str, float]]] = {}
    for some in figures:
        for name, counts in some.items():
            by_name.setdefault(name, []).append(counts)
    return {name: _summed(some) for name, some in sorted(by_name.items())}


def _each_once(things: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for thing in things:
        if thing not in found:
            found.append(thing)
    return found
