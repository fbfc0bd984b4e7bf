"""A life of ring 1: each run is a call of the loop in this process, which may die at any seam."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import httpx

from sinks.fhir.options import FhirOptions
from sinks.fhir.server import FhirServer
from sources.cima.options import CimaOptions
from sources.cima.source import Cima
from store.access import Access
from store.handle import EXPIRY, Stored, open_store
from store.job_store import JobBook
from store.leases import Heart, held
from tests.faults.life import JOB, SINK, STREAM, Life
from tests.faults.meddling import TAMPERING, Meddler
from tests.faults.register_story import ACTS
from tests.faults.seams import (
    COMMIT,
    HEARTBEAT,
    OF_SINK,
    OF_SOURCE,
    WAIT,
    Beating,
    MortalWire,
    Ticking,
    Waiting,
    let_expire,
    mortal_commits,
)
from tests.faults.servers import CUT, NO_ANSWER, NO_CONNECTION, SLOW_FAULTS, TRICKS, TRICKS_OF_FEEDS, Trick
from tests.faults.vanishing import VanishGuard
from tests.sinks.disturbed_hapi import LATE, NOTHING_DONE
from tests.sinks.fake_hapi import BASE
from tests.sinks.sudden_death import Death, Doom, Killed, Mortal
from tsi_fetch.clock import StopSignal
from tsi_fetch.errors import Exit, LeaseLost
from tsi_fetch.http.limit import SteadyPace
from tsi_fetch.ports import JobStore, Sink
from tsi_fetch.reconcile import Reconciler, Subject
from tsi_fetch.report import Report
from tsi_fetch.run import Ports, Settings, run_job
from tsi_fetch.words import RunRecord

SEAMS = (
    *("position", "scopes", "known", "doubt", "settle", "advance", "take", "note_keys", "agree", "start_list"),
    *("intend", "marked", "recover", "recovered", "pending", "holders", "open_list", "unfetched", "waiting_graph"),
    *("open", "find", "write", "read_mark", "move_mark"),
)
"""Methods of store and sink: before and after each of them a run may die."""

OFTEN = (COMMIT, OF_SOURCE, OF_SINK, HEARTBEAT, WAIT)
"""Seams that a run passes many times."""

TAKEN_OVER = (OF_SOURCE, OF_SINK, HEARTBEAT, WAIT)
"""Those of them at which another runner may come, where one thread does everything."""

SHORT = tuple(timedelta(milliseconds=n) for n in (5, 30, 80, 200))
"""After which a run may be planned to stop; each look at the clock takes one millisecond."""

NOWHERE = Death("nowhere")
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class Inside(Life):
    """Each run is a call of the loop.  All is made up but the code: the same dice, the same life; only where several
    threads write (`near` is false) their order is the machine's."""

    most_nights = 6
    on_existing = "adopt"
    began = datetime(2026, 3, 2, 2, tzinfo=UTC)
    overtaken, broken = 0.15, 0.15
    """Shares: of deaths at the loop's seams, those that another runner's night comes instead of; of nights, those in
    which one product cannot be had."""
    guarded, hurried = 0.4, 0.12
    """Shares: of lives, those whose job has the usual vanish guard; of nights, those with a planned end."""
    fhir_faults = (*NOTHING_DONE, "lost", "lost by reset", "garbled", "bad gateway", LATE, "500")

    def __init__(self, dice: random.Random, store: str, folder: Path, *, near: bool | None = None) -> None:
        self.steps = random.Random(repr(dice.getstate()))  # nothing else in the life is another for them
        super().__init__(dice, store, folder)
        self.near = dice.random() < 0.7 if near is None else near
        self.register.faults |= SLOW_FAULTS
        self._stored = open_store(store)
        self._numbers = 0
        self._died_at = LONG_AGO
        self.meddler = Meddler(self.hapi, dice)
        self.vanishing = VanishGuard(dice.random() < self.guarded)
        self.also_ends = frozenset({Exit.GUARDED} if self.vanishing.on else ())
        self.hapi.refusal = dice.choice([422, 422, 500])

    def close(self) -> None:
        self._stored.close()

    @contextmanager
    def opened(self) -> Iterator[Stored]:
        """Always the same one: a run that dies gives its connection back unfinished, as the system would."""
        yield self._stored

    def run(self, *, calm: bool, full: bool) -> tuple[int, str]:
        doom = Doom(NOWHERE) if calm or self.dice.random() < 0.3 else Doom(self._death())
        return self.dared(doom, timedelta(days=0 if calm else self.dice.choice([0, 0, 0, 1, -1])), calm=calm, full=full)

    def dared(self, doom: Doom, days: timedelta, *, calm: bool, full: bool) -> tuple[int, str]:
        """A run to which this happens."""
        how = [self._disturb_register(calm=calm, lists=full or not self.ends)]
        clock = Waiting(self._not_behind(self._now + days), doom)
        self.counts["clock a day away"] += bool(days)
        limit = None if calm or self.dice.random() > self.hurried else self.dice.choice(SHORT)
        how += [f"planned to stop after {limit.microseconds // 1000} ms"] if limit else []
        where = (*SEAMS, *(TAKEN_OVER if self.near else ()))
        if doom.death.at in where and self.dice.random() < self.overtaken:
            doom.instead = lambda: self._overtaken(clock)
            how.append("overtaken")
        code = self._run(clock, doom, full=full, limit=limit)
        self.story.register.date = self._now + self._until_the_next()
        return code, f"{doom.death}, {', '.join(filter(None, how))}, clock {days.days:+d} d"

    def _until_the_next(self) -> timedelta:
        """Runs may be days apart, so that the watermark passes what was told; not while something may still arrive
        late: that is looked for during a day."""
        usual, days = self.dice.choice([timedelta(hours=1), timedelta(days=1)]), self.steps.choice([0, 0, 2, 3, 4])
        if not days or self.hapi.slow or self.hapi.late:
            return usual
        self.counts["days without a run"] += 1
        return timedelta(days=days)

    @property
    def _now(self) -> datetime:
        return self.story.register.date or self.began

    def _not_behind(self, now: datetime) -> datetime:
        """As the clock of a store; one who is killed leaves a lease, which lasts until the clock has passed it."""
        return max(now, self._died_at, self._stored.latest() or now)

    def _death(self) -> Death:
        """Where and when a run dies."""
        at = self.dice.choice([*SEAMS, *OFTEN * 3, "settle", "write", "doubt"])
        return Death(at, self.dice.randint(1, 12 if at in OFTEN else 3), self.dice.random() < 0.5)

    def _disturb_register(self, *, calm: bool, lists: bool) -> str:
        """What goes wrong at the register tonight beside single calls, in words."""
        register, dice = self.register, self.dice
        register.trick = register.broken = register.meanwhile = None
        register.concealed = False
        if calm:
            return ""
        if dice.random() < self.broken:
            register.broken = dice.choice(sorted(self.story.editions))
        if dice.random() < 0.2:
            register.meanwhile = self._meanwhile
        if dice.random() < 0.25:
            what = "medicamentos" if lists and dice.random() < 0.7 else "registroCambios"
            name = dice.choice(list(TRICKS) if what == "medicamentos" else TRICKS_OF_FEEDS)
            unseen = what == "registroCambios" and name == "shifts while it is read"  # twice: CIMA says a row twice
            register.trick = Trick(name, what, 1 if unseen else dice.choice([1, 2, 9]))
        return f"{register.trick or ''} {register.broken or ''}".strip()

    def _meanwhile(self) -> None:
        name = self.dice.choice(list(ACTS))
        self.counts["something happens while the feed is read"] += self.story.act(name)

    def _run(self, clock: Waiting, doom: Doom, *, full: bool, limit: timedelta | None = None) -> int:
        self._numbers += 1
        run_id = f"run-{self._numbers}"
        try:
            with ExitStack() as stack:
                return self._lived(stack, run_id, clock, doom, self._settings(run_id, full=full, limit=limit))
        except Killed:
            self._died_at = clock.now()
            let_expire(self._stored, LONG_AGO)
            self.counts[f"died {'after' if doom.death.after else 'before'} {doom.death.at}"] += 1
            return -signal.SIGKILL

    def _lived(self, stack: ExitStack, run_id: str, clock: Waiting, doom: Doom, settings: Settings) -> int:
        database = self._stored.database
        stack.enter_context(mortal_commits(self._stored, doom))
        fence = stack.enter_context(held(database, JOB, run_id, EXPIRY, clock.sleep, alone=False))
        self._fence = fence
        book = JobBook(Access(database, JOB, SINK, fence), self._stored.store_id)
        record = RunRecord(run_id, JOB, clock.now())
        book.begin_run(record)
        source = stack.enter_context(closing(self._source(clock, doom)))
        sink = stack.enter_context(closing(self._sink(clock, run_id, doom)))
        heart = Heart(database, fence, EXPIRY)
        clock.beat, store = heart.beat, Mortal(Beating(book, heart, doom), doom)
        ports = Ports(source, cast(Sink, Mortal(sink, doom)), cast(JobStore, store), clock)
        report = run_job(ports, settings)
        self.reasons += tuple(reason.what for reason in report.reasons)
        self._look_at(report, settings)
        ended = replace(record, ended=report.ended, outcome=report.outcome, exit_code=report.exit_code)
        try:
            book.end_run(replace(ended, report=report.to_json()))
        except LeaseLost as e:
            self.codes[run_id] = e.exit_code
            return e.exit_code
        self.codes[run_id] = report.exit_code
        return report.exit_code

    def _settings(self, run_id: str, *, full: bool, limit: timedelta | None) -> Settings:
        book = self._stored.reader(JOB, SINK)
        self.vanishing.begins(run_id, book.pending(), book.live())
        return Settings(
            JOB,
            run_id,
            full=full,
            accept_vanish=self.vanishing.accepted,
            on_existing=self.on_existing,
            removal=self.removal,
            slice=self.dice.choice([1, 3, 500]),
            max_duration=limit,
        )

    def _look_at(self, report: Report, settings: Settings) -> None:
        """Whether it ended so for a reason."""
        left = self._stored.reader(JOB, SINK).live()
        self.counts["a vanishing held back"] += self.vanishing.ended(report, self.hapi.resources, self.said, left)
        if report.outcome == "partial":
            self.counts["a planned stop"] += 1
            if settings.max_duration is None and not self.may_stop(report):
                self.vanishing.wrong.append(f"{report.run} says that it stopped as planned, and was not to")
        if report.exit_code == Exit.GUARDED and not self.tampered and not self.vanishing.asked:
            self.vanishing.wrong.append(f"{report.run} ended with 77, and nothing was to vanish")

    def may_stop(self, report: Report) -> bool:
        """Whether a run may be partial that had no planned end."""
        return False

    def flaws(self) -> list[str]:
        return [*super().flaws(), *self.vanishing.wrong]

    def _overtaken(self, clock: Ticking) -> None:
        """The run stands still until its lease has expired, and another one has done its work."""
        self.counts["overtaken"] += 1
        self.excused.add(f"run-{self._numbers}")
        self._fence.good(time.monotonic() - EXPIRY)
        let_expire(self._stored, LONG_AGO)
        doom = Doom(NOWHERE)
        self._run(Waiting(clock.now() + timedelta(seconds=EXPIRY), doom), doom, full=False)

    def _source(self, clock: Ticking, doom: Doom) -> Cima:
        options = CimaOptions(
            base_url="https://cima.invalid/cima/rest",
            batch=self.batch,
            attempts=2,
            max_wait=2,
            connections=1 if self.near else 4,
        )
        wire = MortalWire(httpx.MockTransport(self._answer), doom, OF_SOURCE)
        return Cima(options, clock, wire=wire, pace=SteadyPace(clock, 1e6), rng=random.Random(1))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        reply = self.register.answer(request.url.raw_path.decode(), "application/json")
        if reply.status < 0:
            raise NO_ANSWERS[reply.status]("nothing", request=request)
        headers = {"Date": self.story.register.now(), **reply.headers}
        return httpx.Response(reply.status, stream=httpx.ByteStream(reply.body), headers=headers)

    def _sink(self, clock: Ticking, run_id: str, doom: Doom) -> FhirServer:
        given = {"url": BASE, "attempts": 3, "max_wait": 60, "entries": self.entries, "writers": 1 if self.near else 2}
        options, wire = FhirOptions.model_validate(given), MortalWire(self.hapi.transport(), doom, OF_SINK)
        sink = FhirServer(options, clock, run_id, JOB, self._stored.store_id, transport=wire)
        sink._wire._circuit._rng.seed(run_id)  # how long it waits is of the life, too
        sink.ahead = 0 if self.near else sink.ahead
        return sink

    # others

    def between(self) -> list[str]:
        told = ["a person lets go what vanished"] if self.dice.random() < 0.6 and self.accept() else []
        if self.dice.random() > 0.15:
            if self.dice.random() < 0.3:
                self.meddler.back_up()
            return told
        what = self.dice.choice(TAMPERING)
        return [*told, what] if self.tamper(what) else told

    def accept(self) -> bool:
        """What the last run held back may go; False where there is nothing."""
        accepted = self.vanishing.accept()
        self.counts["a vanishing accepted"] += accepted
        return accepted

    def tamper(self, what: str) -> bool:
        """Somebody else does this to the server; False where there is nothing to do it to."""
        if not self.meddler.does(what):
            return False
        self.tampered = True
        self.counts[what] += 1
        self.hapi.catch_up()
        return True

    def mend(self) -> None:
        """The way out after somebody else was at the server; and what has vanished may go."""
        self.vanishing.accept_all()
        if not self.tampered:
            return
        clock = Ticking(self._not_behind(self._now))
        self.hapi.bad_day = []
        self.hapi.catch_up()
        with ExitStack() as stack:
            book = stack.enter_context(self._stored.lease(JOB, SINK, "mend", wait=clock.sleep))
            sink = stack.enter_context(closing(self._sink(clock, "mend", Doom(NOWHERE))))
            subject = Subject(JOB, STREAM, frozenset(Cima.types))
            Reconciler(subject, book, sink, StopSignal(), lambda *_: None).mend("tester@desk")
        self.counts["reconcile --fix"] += 1


NO_ANSWERS = {CUT: httpx.RemoteProtocolError, NO_ANSWER: httpx.ReadTimeout, NO_CONNECTION: httpx.ConnectTimeout}
