"""What lies in quarantine, replayed, dropped or exported."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jobs import collecting
from jobs.actor import actor
from jobs.asking import Answers, ask_each
from jobs.config.load import Configuration
from jobs.disk import written
from jobs.looking import Where, trouble_figures
from jobs.running import Ran, noted, recorded
from jobs.wiring import Asked, make_sink, make_source, new_run_id, settings_of, source_class, target, with_requests
from store import queries, troubles
from store.handle import NoStore, Stored, open_store
from store.queries import Reason
from store.troubles import Which, Whole
from tsi_fetch.clock import StopSignal
from tsi_fetch.errors import Usage
from tsi_fetch.http.meter import Meter
from tsi_fetch.ports import Progress
from tsi_fetch.replaying import Entry, replay
from tsi_fetch.report import Report
from tsi_fetch.run import Ports
from tsi_fetch.words import RunRecord

Figures = dict[str, Any]

QUARANTINE = "quarantine"
"""Member of what was asked of a run: the entries that it replays."""

_INDEX = re.compile(r"\[\d+\]")


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which entries: of these numbers, of this code, or all."""

    numbers: frozenset[int] = frozenset()
    code: str | None = None

    def to_json(self) -> Figures:
        return {"numbers": sorted(self.numbers), "code": self.code}

    def of(self, job: str, sink: str, stream: str) -> Which:
        return Which(job, sink, stream, self.numbers or None, self.code)


class Lying(NamedTuple):
    """What lies in the quarantine of one job, without bodies: `rows` perhaps only the first."""

    reasons: list[Reason]
    rows: list[Figures]


def lying(where: Where, job: str | None, *, everything: bool, most: int | None) -> Answers[Lying]:
    """What lies in quarantine, of all jobs or one, the first `most` rows of each; `everything`: the closed, too."""
    state = "all" if everything else "open"

    def of_job(stored: Stored, name: str) -> list[Lying]:
        rows = [trouble_figures(row) for row in queries.quarantine(stored, name, state=state, most=most)]
        return [Lying(queries.reasons(stored, name, state), rows)]

    return ask_each(where, where.configuration(job), job, of_job)


def grouped(reasons: Iterable[Reason]) -> list[Figures]:
    """How often each reason: by job, code, path and rule, whichever element of a list it was; the most often first."""
    counts: Counter[tuple[str, str, str, str]] = Counter()
    oldest: dict[tuple[str, str, str, str], str] = {}
    for one in reasons:
        reason = (one.job, one.fault.code, _INDEX.sub("[*]", one.fault.path), one.fault.rule)
        counts[reason] += one.entries
        opened = one.oldest.isoformat(timespec="seconds")
        oldest[reason] = min(opened, oldest.get(reason, opened))
    return [
        {
            "entries": count,
            "job": job,
            "code": code,
            "path": path,
            "rule": rule,
            "oldest": oldest[job, code, path, rule],
        }
        for (job, code, path, rule), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def waiting_entries(configuration: Configuration, asked: Asked, chosen: Chosen) -> list[int]:
    """The numbers of the entries that a replay would send through the loop.  Usage where a number is not among them."""
    to = target(configuration, asked, None)
    stream = source_class(configuration, asked.job).stream
    try:
        opened = open_store(to.store.reveal())
    except NoStore:
        if asked.store or chosen.numbers:
            raise
        return []  # no run has made it yet
    with opened as stored:
        found = list(troubles.numbers(stored, chosen.of(asked.job, to.sink, stream)))
    if missing := sorted(chosen.numbers - set(found)):
        raise Usage(
            f"{asked.job} has no open quarantine entry {missing[0]}", f"tsi-fetch quarantine list --job {asked.job}"
        )
    return found


def replay_entries(
    configuration: Configuration, asked: Asked, chosen: Chosen, *, stop: StopSignal, progress: Progress
) -> Ran:
    """Send them through the loop, under the job's lease, as a run of single products: never a last success."""
    to, job = target(configuration, asked, None), asked.job
    expiry = configuration.job(job).lease_expiry.total_seconds()
    with open_store(to.store.reveal()) as stored:
        clock = stored.clock(stop)
        run_id = new_run_id(clock.now())
        with stored.lease(job, to.sink, run_id, expiry=expiry, wait=clock.sleep) as book:
            meter = Meter()

            def once() -> Report:
                source: Any = make_source(configuration, job, clock, meter=meter)
                sink = make_sink(to, clock, run_id=run_id, job=job, store_id=stored.store_id, meter=meter)
                closes = closing(source) if hasattr(source, "close") else nullcontext()
                numbers = troubles.numbers(stored, chosen.of(job, to.sink, source.stream))
                entries = (Entry(one.number, one.row) for one in troubles.whole(stored, numbers))
                with closes, closing(sink), collecting.seldom():
                    ports = Ports(source, sink, book, clock, stop, progress)
                    return with_requests(replay(ports, settings_of(configuration, asked, run_id), entries), meter)

            record = RunRecord(run_id, job, clock.now(), whole=False, report=noted({QUARANTINE: chosen.to_json()}))
            report = recorded(book, record, clock, once)
    return Ran(report, to if asked.sink else None)


def open_entries(where: Where, job: str | None, numbers: Sequence[int]) -> list[Figures]:
    """These entries without their bodies, in the order in which they came.  Usage where one is not open."""
    with _one_store(where, job, numbers) as stored:
        found = (queries.quarantined(stored, number) for number in sorted(set(numbers)))
        return [trouble_figures(entry[0]) for entry in found if entry]


def dropped(where: Where, job: str | None, numbers: Sequence[int], why: str) -> list[int]:
    """Close these entries for good, all at once; the numbers of those that a run has not closed meanwhile.  Usage where
    one of them was not open already: then none is closed."""
    with _one_store(where, job, numbers) as stored:
        return troubles.drop(stored, numbers, why, actor())


def exported(where: Where, job: str | None, folder: Path) -> Figures:
    """Write every open entry into `folder`, which is new or empty, readable by nobody else: the row's answers as they
    were received, byte for byte, the refused resource, and the reason.

    The folder is made once every store has answered: a wrong job, or a store that is down, leaves nothing.
    """
    lying = {name: troubles.numbers(stored, Which(name)) for name, stored in _stores(where, job)}
    _make(folder)
    count = 0
    for name, stored in _stores(where, job):
        for entry in troubles.whole(stored, lying.get(name, ())):
            with written(folder):
                _write(folder / f"{entry.job}-{entry.number}", entry)
            count += 1
    return {"folder": str(folder), "entries": count}


def _make(folder: Path) -> None:
    with written(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise Usage(f"{folder} is not empty", "name a new folder")


def _write(folder: Path, entry: Whole) -> None:
    """File names are numbers: whatever a source calls its parts, nothing leaves the folder."""
    folder.mkdir(mode=0o700)
    answers = []
    for number, answer in enumerate(entry.row.answers, 1):
        name = f"answer-{number:03}.body"
        _private(folder / name, answer.body)
        asked = answer.requested_at.isoformat()
        told = {"file": name, "part": answer.part, "url": answer.url, "status": answer.status}
        answers.append(told | {"requested_at": asked})
    if entry.body is not None:
        _private(folder / "resource.json", entry.body)
    reason = {"code": entry.fault.code, "path": entry.fault.path, "rule": entry.fault.rule}
    whole = {"number": entry.number, "job": entry.job, "key": entry.key, "resource": entry.ref, **reason}
    text = json.dumps({**whole, "answers": answers}, ensure_ascii=False, indent=2)
    _private(folder / "entry.json", text.encode("utf-8", "surrogateescape"))


def _private(file: Path, content: bytes) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(content)


@contextmanager
def _one_store(where: Where, job: str | None, numbers: Sequence[int]) -> Iterator[Stored]:
    """The store in which these entries lie open.  Usage where one is not open, or they may be, or are, those of several
    stores: a number is a store's own."""
    found: dict[int, dict[str, str]] = {number: {} for number in numbers}  # by number and store, one of its jobs
    for name, stored in _stores(where, job):
        for number in set(numbers) & set(troubles.numbers(stored, Which(name))):
            found[number][stored.store_id] = name
    for number, stores in sorted(found.items()):
        if not stores:
            raise Usage(f"there is no open quarantine entry {number}", "tsi-fetch quarantine list")
        if len(stores) > 1:
            jobs = " and ".join(sorted(stores.values()))
            raise Usage(f"{jobs} each have an open entry {number}", "name the job before the numbers, or one --store")
    if len({store for stores in found.values() for store in stores}) != 1:
        jobs = " and ".join(sorted({name for stores in found.values() for name in stores.values()}))
        raise Usage(f"these entries lie in stores of {jobs}", "one job after the other, its name before the numbers")
    ((name,), *_) = (stores.values() for stores in found.values())
    with where.opened(where.configuration(job), name) as opened:
        if opened is None:
            raise Usage("the store is gone", "tsi-fetch check")
        yield opened


def _stores(where: Where, job: str | None) -> Iterator[tuple[str, Stored]]:
    """Each job with its open store; one that no run has made yet is left out."""
    configuration = where.configuration(job)
    for name in configuration.settings.jobs:
        if job in (None, name):
            with where.opened(configuration, name) as stored:
                if stored:
                    yield name, stored
