"""Ring 1: the loop in this process, over a store and a FHIR server that are real but for the wire; dying at any seam.

    python -m tests.faults.inside [--trials 500] [--seed 1] [--tally FILE]

Beside what happens at the register: page errors, truncated bodies, refusals, lost answers, somebody else's edits, a
server that is wiped or restored, and a clock that jumps by a day.
"""

from __future__ import annotations

import copy
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import httpx

from sinks.fhir.options import FhirOptions
from sinks.fhir.server import FhirServer
from sources.cima.options import CimaOptions
from sources.cima.source import Cima
from store.handle import open_store
from store.upgrade import upgrade
from tests.faults.checker import Verdict
from tests.faults.life import JOB, SINK, STREAM, Life
from tests.faults.tally import options, play
from tests.sinks.disturbed_hapi import LATE, NOTHING_DONE, SOMEONE
from tests.sinks.fake_hapi import BASE
from tests.sinks.sudden_death import Death, Doom, Killed, Mortal
from tsi_fetch.clock import ReplayClock, StopSignal
from tsi_fetch.http.limit import SteadyPace
from tsi_fetch.ports import JobStore, Sink
from tsi_fetch.reconcile import Reconciler, Subject
from tsi_fetch.run import Ports, Settings, run_job
from tsi_fetch.words import RunRecord

SEAMS = (
    *("position", "scopes", "known", "doubt", "settle", "advance", "take", "note_keys", "agree", "start_list"),
    *("intend", "marked", "recover", "recovered", "pending", "holders", "open_list", "unfetched", "waiting_graph"),
    *("open", "find", "write", "read_mark", "move_mark"),
)
"""Methods of store and sink: before and after each of them a run may die."""


class Inside(Life):
    """Each run is a call of the loop."""

    most_nights = 6
    fhir_faults = (*NOTHING_DONE, "lost", "lost by reset", "garbled", "bad gateway", LATE, "500")

    def __init__(self, dice: random.Random, store: str, folder: Path) -> None:
        super().__init__(dice, store, folder)
        self._numbers = 0
        self._died_at = datetime.min.replace(tzinfo=UTC)
        self._kept = copy.deepcopy(self.hapi.resources)

    def run(self, *, calm: bool, full: bool) -> tuple[int, str]:
        death = None if calm or self.dice.random() < 0.3 else self._death()
        day = timedelta(days=0 if calm else self.dice.choice([0, 0, 0, 1, -1]))
        clock = ReplayClock(self._not_behind(datetime.now(UTC) + day))
        self.counts["clock a day away"] += bool(day)
        return self._run(clock, death, full=full), f"{death}, clock {day.days:+d} d"

    def _not_behind(self, now: datetime) -> datetime:
        """As the clock of a store; one who is killed leaves a lease, which lasts until the clock has passed it."""
        with open_store(self.store) as stored:
            return max(now, self._died_at, stored.latest() or now)

    def _death(self) -> Death:
        return Death(
            self.dice.choice([*SEAMS, "settle", "write", "doubt"]), self.dice.randint(1, 3), self.dice.random() < 0.5
        )

    def _run(self, clock: ReplayClock, death: Death | None, *, full: bool) -> int:
        self._numbers += 1
        run_id = f"run-{self._numbers}"
        with ExitStack() as stack:
            stored = stack.enter_context(open_store(self.store))
            book = stack.enter_context(stored.lease(JOB, SINK, run_id, wait=clock.sleep))
            record = RunRecord(run_id, JOB, clock.now())
            book.begin_run(record)
            source = stack.enter_context(closing(self._source(clock)))
            sink: Sink = stack.enter_context(closing(self._sink(clock, run_id, stored.store_id)))
            store: JobStore = book
            if death:
                doom = Doom(death)
                sink, store = cast(Sink, Mortal(sink, doom)), cast(JobStore, Mortal(book, doom))
            settings = Settings(
                JOB, run_id, full=full, accept_vanish=1000, on_existing="adopt", slice=self.dice.choice([1, 3, 500])
            )
            try:
                report = run_job(Ports(source, sink, store, clock), settings)
            except Killed:
                assert death
                self._died_at = clock.now()
                self.counts[f"died {'after' if death.after else 'before'} {death.at}"] += 1
                return -signal.SIGKILL
            ended = replace(record, ended=report.ended, outcome=report.outcome, exit_code=report.exit_code)
            book.end_run(replace(ended, report=report.to_json()))
        self.reasons = tuple(reason.what for reason in report.reasons)
        return report.exit_code

    def _source(self, clock: ReplayClock) -> Cima:
        options = CimaOptions(base_url="https://cima.invalid/cima/rest", batch=self.batch, attempts=2, max_wait=2)
        wire = httpx.MockTransport(self._answer)
        return Cima(options, clock, wire=wire, pace=SteadyPace(clock, 1e6), rng=random.Random(1))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        reply = self.register.answer(request.url.raw_path.decode(), "application/json")
        if reply.status < 0:
            raise httpx.RemoteProtocolError("cut", request=request)
        headers = {"Date": self.story.register.now(), **reply.headers}
        return httpx.Response(reply.status, content=reply.body, headers=headers)

    def _sink(self, clock: ReplayClock, run_id: str, store_id: str) -> Sink:
        options = FhirOptions.model_validate({"url": BASE, "attempts": 3, "max_wait": 60, "entries": self.entries})
        return FhirServer(options, clock, run_id, JOB, store_id, transport=self.hapi.transport())

    # others

    def between(self) -> list[str]:
        if self.dice.random() > 0.15:
            if self.dice.random() < 0.3:
                self._kept = copy.deepcopy(self.hapi.resources)
            return []
        what = self.dice.choice(["somebody edits", "somebody deletes", "the server is wiped", "the server is restored"])
        if not self._tamper(what):
            return []
        self.tampered = True
        self.counts[what] += 1
        self.hapi.catch_up()
        return [what]

    def _tamper(self, what: str) -> bool:
        ours = sorted(n for n in self.hapi.resources if "Device/" not in n and self.hapi.live(n) is not None)
        if what == "the server is wiped":
            self.hapi.resources.clear()
        elif what == "the server is restored":
            self.hapi.resources.clear()
            self.hapi.resources.update(copy.deepcopy(self._kept))
        elif not ours:
            return False
        elif what == "somebody edits":
            name = self.dice.choice(ours)
            self.hapi.put(name, run=SOMEONE, status={"text": "edited"})
        else:
            name = self.dice.choice([n for n in ours if n.startswith("Bundle/")] or ours)
            if self._referred(name):
                return False
            self.hapi.delete(name)
        return True

    def _referred(self, name: str) -> bool:
        return any(f'"{name}"' in str(v[-1].resource).replace("'", '"') for v in self.hapi.resources.values())

    def mend(self) -> None:
        """The way out after somebody else was at the server."""
        if not self.tampered:
            return
        clock = ReplayClock(self._not_behind(datetime.now(UTC)))
        self.hapi.bad_day = []
        self.hapi.catch_up()
        with ExitStack() as stack:
            stored = stack.enter_context(open_store(self.store))
            book = stack.enter_context(stored.lease(JOB, SINK, "mend", wait=clock.sleep))
            sink = stack.enter_context(closing(self._sink(clock, "mend", stored.store_id)))
            subject = Subject(JOB, STREAM, frozenset(Cima.types))
            Reconciler(subject, book, sink, StopSignal(), lambda *_: None).mend("tester@desk")
        self.counts["reconcile --fix"] += 1


def template(folder: Path) -> Path:
    """An empty store, made once, to be copied."""
    upgrade(f"sqlite:///{folder / 'template.db'}")
    return folder / "template.db"


def tried(seed: int, empty: Path) -> tuple[Inside, Verdict]:
    """One life, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="tsi-fetch-fire-") as folder:
        shutil.copy(empty, Path(folder) / "store.db")
        life = Inside(random.Random(seed), f"sqlite:///{folder}/store.db", Path(folder))
        return life, life.play()


def main() -> int:
    given = options(__doc__, 500, at_once=True).parse_args()
    with tempfile.TemporaryDirectory(prefix="tsi-fetch-fire-") as folder:
        empty = template(Path(folder))

        def one(seed: int) -> tuple[Counter[str], Verdict]:
            life, verdict = tried(seed, empty)
            if not verdict.good:
                print(f"seed {seed}:", *life.told, str(verdict), sep="\n  ", flush=True)
            return life.all_counts, verdict

        return play("in process", given, one)


if __name__ == "__main__":
    sys.exit(main())
