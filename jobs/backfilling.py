"""Backfills: their lists are made, worked on in this process, and looked at.  (Several processes: `crews`.)"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from itertools import chain, islice
from pathlib import Path
from typing import Any

from jobs import collecting
from jobs.actor import actor
from jobs.config.load import Configuration
from jobs.running import recorded
from jobs.wiring import (
    Asked,
    Target,
    make_sink,
    make_source,
    new_run_id,
    settings_of,
    shared_pace,
    target,
    with_requests,
)
from store import backfills
from store.backfills import Backfill
from store.claims import ATTEMPTS
from store.handle import Stored, open_store
from store.job_store import JobBook
from tsi_fetch.backfill import Bench, work
from tsi_fetch.clock import Clock, StopSignal
from tsi_fetch.counting import count
from tsi_fetch.errors import SettingError, TryAgain, Usage
from tsi_fetch.http.meter import Meter
from tsi_fetch.ports import Progress, Ranged, Source
from tsi_fetch.report import Report
from tsi_fetch.run import Ports
from tsi_fetch.words import Json, RunRecord

MOST_READINGS = 5
"""A listing is read again until two readings agree, at most so often."""


_COMMENT = re.compile(r"(^|\s)#.*")

LONGEST_KEY = 600
"""Characters; more may be longer than PostgreSQL's indexes take."""


STDIN = "-"


def keys_text(file: str) -> str:
    """Where keys came from."""
    return "keys of stdin" if file == STDIN else f"keys in {file}"


@dataclass(frozen=True, slots=True)
class Which:
    """What a backfill is to load: everything listed, a half-open span of days, or the keys of a file."""

    everything: bool = False
    since: str | None = None
    until: str | None = None
    keys: Path | None = None

    def check(self) -> None:
        """Usage where it is not one of the three."""
        if sum([self.everything, self.since is not None, self.keys is not None]) != 1:
            raise Usage(
                "a backfill loads --all, a span --from D [--to D], or --keys FILE: one of them",
                "tsi-fetch backfill start --help",
            )
        if self.until is not None and self.since is None:
            raise Usage("--to is the end of a span, and needs --from", "tsi-fetch backfill start --help")

    def words(self) -> str:
        """As a person says it."""
        if self.since:
            return f"what changed from {self.since} to {self.until or 'now'}"
        return "everything that is listed" if self.everything else f"the {keys_text(str(self.keys))}"

    def to_json(self) -> dict[str, Any]:
        given = {"all": self.everything, "from": self.since, "to": self.until, "keys": self.keys and str(self.keys)}
        return {name: value for name, value in given.items() if value}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a backfill lives: its store, and what its workers write to."""

    configuration: Configuration
    asked: Asked
    to: Target


@dataclass(frozen=True, slots=True)
class Effort:
    """What is asked of so many workers, each.  `run_id`: where another process has chosen that of the only one."""

    max_duration: timedelta | None = None
    accept_refusals: int = 0
    workers: int = 1
    run_id: str | None = None


def place(asked: Asked, configuration: Configuration) -> Place:
    return Place(configuration, asked, target(configuration, asked, None))


@dataclass(frozen=True, slots=True)
class Ears:
    """Who is told what is about to be done, and how far it is; who may stop it."""

    about_to: Callable[[], None]
    stop: StopSignal
    progress: Progress


def start(where: Place, which: Which, *, again: bool, attempts: int, ears: Ears, meter: Meter) -> Backfill:
    """Make the list.  Nothing is fetched but the listing, which `meter` counts, nothing written but the list."""
    which.check()
    job = where.asked.job
    with open_store(where.to.store.reveal(), create=True) as stored:
        clock = stored.clock(ears.stop)
        beginning = stored.beginning(job, where.to.sink, new_run_id(clock.now()), clock.sleep)
        with beginning as book, _source(where, stored, clock, meter) as source:
            maker = _Maker(where, stored, book, source, clock, ears)
            number = maker.make(which, {**which.to_json(), "again": again, "attempts": attempts})
        return found_in(stored, number)


@dataclass(frozen=True, slots=True)
class _Maker:
    """What a list is made with."""

    where: Place
    stored: Stored
    book: JobBook
    source: Source
    clock: Clock
    ears: Ears

    def make(self, which: Which, asked: Json) -> int:
        """A list, opened.  TryAgain, with the list made, where a listing was not complete."""
        span = None if which.since is None else self._span(which)
        keys = _keys_of(which.keys) if which.keys is not None else iter(())
        first = list(islice(keys, 1))
        if which.keys is not None and not first:
            raise Usage(f"there is no key in {which.keys}", "one key a line")
        backfills.check_none_under_way(self.book, self.stored)
        self.ears.about_to()
        number = backfills.begin(self.book, self.stored, self.source.stream, asked)
        complete = True
        if span:
            backfills.add_window(self.stored, number, *span)
        elif which.keys is not None:
            backfills.note_all(self.book, number, chain(first, keys))
        else:
            complete = self._read_listing(number)
        made = self.book.start_list(number, complete=False, cursor=None)
        if not made.total:
            backfills.cancel(self.stored, number, actor())
            raise TryAgain(f"there is nothing in {which.words()}", "a register is never empty: ask again later")
        if not complete:
            raise TryAgain(
                f"the listing was incomplete: backfill {number} has the {count(made.total, 'key')} that it gave",
                f"load those: tsi-fetch backfill resume {number}; or cancel it, and begin again later",
            )
        return number

    def _read_listing(self, number: int) -> bool:
        """Until two readings agree; False where they never did, or rows could not be read."""
        for reading in range(1, MOST_READINGS + 1):
            unreadable = seen = 0
            pages = self.source.keys()
            for page in pages:
                unreadable += page.unreadable
                seen += len(page.keys)
                self.book.note_keys(number, reading, page.keys)
                self.ears.progress("listing", seen, None)
            if not seen:
                raise TryAgain("the source's listing is empty", "a register is never empty: ask again later")
            if reading > 1 and self.book.agree(number, reading) and not unreadable:
                return True
        return False

    def _span(self, which: Which) -> tuple[datetime, datetime]:
        settings = self.where.configuration.job(self.where.asked.job)
        if not isinstance(self.source, Ranged):
            raise Usage(
                f"a {settings.source['kind']} source cannot be asked for a range", "load --all, or name the --keys"
            )
        zone, now = self.source.zone, self.clock.now()
        since = _instant("--from", which.since or "", zone)
        until = now if which.until is None else _instant("--to", which.until, zone)
        if since >= now:
            raise Usage(
                f"--from {which.since} is in the future: nothing has changed since then",
                f"name a day that has begun, like --from {now.astimezone(zone):%Y-%m-%d}",
            )
        if since >= until:
            how = "is before" if since > until else "is the same as"
            example = f"--from {since:%Y-%m-%d} --to {since + timedelta(days=1):%Y-%m-%d} is one day"
            raise Usage(
                f"the span is empty: --to {which.until} {how} --from {which.since}",
                f"it is half-open, --to is the first day that is not in it any more: {example}",
            )
        return since, until


def _keys_of(file: Path) -> Iterator[str]:
    """The lines of a file (`-`: of stdin), without empty ones and comments: from a `#` on that begins the line, or
    comes after a blank.  Keys may have blanks inside.  Usage where it cannot be read, or a line is no key."""
    try:
        with nullcontext(sys.stdin) if str(file) == STDIN else file.open(encoding="utf-8-sig") as lines:
            for key in filter(None, (_COMMENT.sub("", line).strip() for line in lines)):
                if len(key) > LONGEST_KEY:
                    raise Usage(f"a key in {file} is longer than {LONGEST_KEY} characters", "one key a line")
                yield key
    except (OSError, UnicodeDecodeError) as e:
        why = getattr(e, "strerror", None) or "it is not UTF-8"
        raise Usage(f"the keys in {file} cannot be read: {why}", "one key a line, in UTF-8") from e


def _instant(option: str, text: str, zone: tzinfo) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        what = f"{option} {text!r} is neither a day nor an instant"
        raise Usage(what, f"write it like {option} 2026-03-01, or {option} 2026-03-01T08:30:00+01:00") from None
    return found if found.tzinfo else found.replace(tzinfo=zone)


def check_sink(where: Place, found: Backfill) -> None:
    """SettingError where the job writes to another sink now than the backfill's list was made for."""
    if where.to.sink != found.sink:
        raise SettingError(
            f"backfill {found.id} was begun for the sink {found.sink}, and {found.job} now writes to {where.to.sink}",
            "name --store and --sink, or begin another one",
        )


def resume(where: Place, number: int, about_to: Callable[[Backfill], None], stop: StopSignal) -> None:
    """Open it again, and what was set aside with it; `about_to` hears what, before that.  Usage where it was
    cancelled, or where it is closed, and another backfill of the job is not over."""
    with open_store(where.to.store.reveal()) as stored, ExitStack() as stack:
        found = found_in(stored, number)
        if found.progress.state == "cancelled":
            what, then = ("backfill", "begin another one: tsi-fetch backfill --help")
            if found.of_runs:
                what, then = ("list", "the next run begins another one")
            raise Usage(f"{what} {number} was cancelled", then)
        if found.progress.state == "closed" and found.progress.aside and not found.of_runs:
            clock = stored.clock(stop)
            maker = stored.beginning(found.job, found.sink, new_run_id(clock.now()), clock.sleep)
            backfills.check_none_under_way(stack.enter_context(maker), stored)
        about_to(found)
        backfills.resume(stored, number)


def found_in(stored: Stored, number: int) -> Backfill:
    if (found := backfills.backfill(stored, number)) is None:
        raise Usage(f"the store {stored.url} has no backfill {number}", "tsi-fetch backfill list")
    return found


def work_on(where: Place, number: int, effort: Effort, stop: StopSignal, progress: Progress) -> Report:
    """Work on a backfill in this process until nothing of it is left, or something ends it."""
    job = where.asked.job
    with open_store(where.to.store.reveal()) as stored:
        found = found_in(stored, number)
        clock = stored.clock(stop)
        run_id = effort.run_id or new_run_id(clock.now())
        expiry = where.configuration.job(job).lease_expiry.total_seconds()
        attempts = found.asked.get("attempts", ATTEMPTS)
        worker = stored.worker(
            job, where.to.sink, run_id, number, expiry=expiry, attempts=attempts, of_runs=found.of_runs
        )
        record = RunRecord(run_id, job, clock.now(), whole=False)
        asked = Asked(
            job=job,
            again=bool(found.asked.get("again")),
            accept_refusals=effort.accept_refusals,
            max_duration=effort.max_duration,
        )
        settings = replace(settings_of(where.configuration, asked, run_id), max_duration=effort.max_duration)
        meter = Meter()

        def once() -> Report:
            sink = make_sink(where.to, clock, run_id=run_id, job=job, store_id=stored.store_id, meter=meter)
            with _source(where, stored, clock, meter) as source, closing(sink), collecting.seldom():
                ports = Ports(source, sink, worker.book, clock, stop, _of_list(worker.claims, progress))
                return with_requests(work(Bench(ports, worker.claims, worker), settings), meter)

        return recorded(worker, record, clock, once)


def _of_list(claims: Any, progress: Progress) -> Progress:
    """Whatever a worker tells of itself becomes what is done of the whole list."""

    def told(phase: str, done: int, total: int | None) -> None:
        there = claims.progress()
        progress("backfill", there.rows.done + there.rows.aside, there.rows.total)

    return told


@contextmanager
def _source(where: Place, stored: Stored, clock: Clock, meter: Meter) -> Iterator[Source]:
    """The job's source, at a pace that all workers of this store share."""
    job = where.asked.job
    source: Any = make_source(
        where.configuration, job, clock, meter=meter, pace=shared_pace(where.configuration, job, stored, clock)
    )
    with closing(source) if hasattr(source, "close") else nullcontext():
        yield source


def check_workers(where: Place, workers: int) -> None:
    """SettingError where several would work on an embedded store."""
    if workers > 1 and where.to.store.reveal().startswith("sqlite"):
        raise SettingError(
            f"{workers} workers need PostgreSQL as their store, and this one is embedded",
            "use --workers 1, or a store on PostgreSQL",
        )
