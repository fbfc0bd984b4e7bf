"""Ring 4: two processes on one job, on a PostgreSQL store, between a register and a FHIR server over HTTP.

    python -m tests.faults.two_runners [--trials 20] [--seed 1] [--tally FILE] [--workers 2]

Each night is one of these: both are started together; the holder of the lease is paused past its expiry, with a bundle
in flight or anywhere, and woken when the other one is at work, or is done; the store is gone for a while.  In some of
them the clock of one is a day away.  A seed makes the same plan; which of the two comes first is the machine's.
"""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import psycopg

from dev.hapi.postgres import Postgres
from store.queries import runs
from store.upgrade import upgrade
from tests.faults.checker import Verdict
from tests.faults.conduct import Sent, Tenure, misconduct
from tests.faults.life import JOB, Life
from tests.faults.processes import CALM, PATIENCE, ROOT, Process, environment, folder_for_servers, tell
from tests.faults.runner import ELSEWHEN, Door, Gate, Runner, Witness
from tests.faults.servers import Faulty, Hour, World
from tests.faults.trials import options, play
from tests.sinks.disturbed_hapi import DisturbedHapi
from tsi_fetch.errors import Exit

HELD_UP = 60  # seconds after which one who waits for another that is paused is held up by it


BESIDE = frozenset({Exit.DONE, Exit.QUARANTINE, Exit.TRY_AGAIN, Exit.SETTING})
"""How either of two may end: nobody kills them here."""


OPENINGS: Mapping[int, str] = {1: "_store_gone", 2: "_together", 3: "_paused"}
"""Of the first seeds, so that even a short trial has seen each scene."""


class TwoRunners(Process):
    """Each night has two children."""

    most_nights = 3
    scenes: tuple[str, ...] = ("_together", "_paused", "_paused", "_paused", "_store_gone")
    opening: str | None = None
    """The scene of the first night, where it is not left to the dice."""

    def __init__(self, dice: random.Random, store: str, folder: Path, postgres: Postgres) -> None:
        super().__init__(dice, store, folder)
        self.postgres = postgres
        self.sent: list[Sent] = []
        self._wrong: list[str] = []  # what was seen at once
        self._out = False  # the store was gone tonight: how a commit ended may be unknown
        self._before = 0  # how much was sent before tonight
        self._runners: list[Runner] = []
        self._tonight: list[Runner] = []

    def play(self) -> Verdict:
        with ExitStack() as stack:
            for name in ("first", "second"):
                gate, witness = Gate(), Witness(self.hapi, self.sent)
                door = cast(Faulty, Door(self.register, gate, name))
                world = stack.enter_context(World(door, cast(DisturbedHapi, witness), gate))
                self._runners.append(Runner(name, gate, witness, world))
                stack.callback(self._runners[-1].kill)
            return Life.play(self)

    def run(self, *, calm: bool, full: bool) -> tuple[int, str]:
        self._tonight, self._out, self._before = [], False, len(self.sent)
        for runner in self._runners:
            runner.paused.clear()
            runner.witness.runs.clear()
            runner.gate.open(None, _nothing)
        first, second = self._runners
        if calm:
            self._start(first, CALM)
            first.wait()
            return self._attribute(), "one alone"
        scene = self.dice.choice(self.scenes)
        scene, self.opening = self.opening or scene, None
        how = getattr(self, scene)(first, second, full)
        return self._attribute(), f"{how}: {', '.join(f'{r.name} {r.code}' for r in self._tonight)}"

    def _start(self, runner: Runner, expiry: int, *, full: bool = False, days: int = 0) -> None:
        command = self.command(f"{runner.name}.yaml", runner.world, expiry, full=full)
        if days:
            command[1:3] = ["-c", ELSEWHEN, str(days * 86_400)]
            self.counts[f"a clock a day {'ahead' if days > 0 else 'behind'}"] += 1
        with (self.folder / "out").open("ab") as out:
            runner.child = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, env=environment())
        runner.code = None
        self._tonight.append(runner)

    def _days(self) -> tuple[int, int]:
        """How wrong their clocks are."""
        days = [self.dice.choice([0, 0, 1, -1]), 0]
        self.dice.shuffle(days)
        return days[0], days[1]

    # the scenes

    def _together(self, first: Runner, second: Runner, full: bool) -> str:
        expiry, days = self.dice.choice([1, 2]), self._days()
        for runner, away in zip((first, second), days, strict=True):
            self._start(runner, expiry, full=full, days=away)
        first.wait()
        second.wait()
        self.counts["started together"] += 1
        return f"together, {days}"

    def _paused(self, first: Runner, second: Runner, full: bool) -> str:
        """`late`: the server keeps the request, and does it after the takeover."""
        hour = Hour(
            self.dice.choice(["written", "written", "answered", "answered", "asked", "register"]),
            self.dice.randint(1, 4),
        )
        middle = Hour(self.dice.choice(["asked", "written", "answered"]), self.dice.randint(1, 3))
        some_time, meet = self.dice.random() < 0.25, self.dice.random() < 0.6
        late = not some_time and hour.moment == "written" and self.dice.random() < 0.7
        days, expiry, go = self._days(), self.dice.choice([1, 1, 2]), threading.Event()
        pause, linger = self._pausing(first, go if late else None), self.dice.uniform(0, 0.8)
        timer = threading.Timer(self.dice.uniform(0, 1), first.pause)
        first.gate.open(Hour("register", 1) if some_time else hour, timer.start if some_time else pause)
        self._start(first, expiry, full=full, days=days[0])
        stopped = first.until_paused()
        timer.cancel()
        if stopped and meet:
            second.gate.open(middle, lambda: self._meet(first, go, linger))
        self._start(second, expiry, days=days[1])
        if stopped and not second.wait(HELD_UP):
            self._wrong.append("the second was held up by the first, which is paused")
        go.set()
        first.wake()
        first.wait()
        second.wait()
        where = "some time" if some_time else f"{hour.moment}{', written late' if late else ''}"
        self.counts[f"paused at {where}" if stopped else "not paused"] += 1
        return f"paused at {where} {hour.count}, {meet=}, {middle.moment} {middle.count}, {days}, {stopped=}"

    def _pausing(self, runner: Runner, go: threading.Event | None) -> Callable[[], None]:
        def act() -> None:
            runner.pause()
            if go:
                go.wait(PATIENCE)

        return act

    def _meet(self, first: Runner, go: threading.Event, linger: float) -> None:
        """The first is woken while the second is at work, whose request waits for that a little."""
        self.counts["woken in the middle of the other's run"] += 1
        go.set()
        first.wake()
        first.wait(linger)

    def _store_gone(self, first: Runner, second: Runner, full: bool) -> str:
        hour = Hour(self.dice.choice(["register", "asked", "written", "answered"]), self.dice.randint(1, 4))
        gone, stopped, both = threading.Event(), threading.Event(), self.dice.random() < 0.5
        seconds = self.dice.uniform(0, 2)
        first.gate.open(hour, lambda: self._stop_store(gone, stopped))
        self._start(first, 2, full=full)
        if both:
            self._start(second, 2, full=full)
        while not gone.wait(0.02) and not first.wait(0):
            pass
        first.gate.open(None, _nothing)
        if gone.is_set():
            stopped.wait(PATIENCE)
            first.wait(seconds)
            self.postgres.start()
        for runner in self._tonight:
            runner.wait()
        return f"the store gone for {seconds:.1f} s" if gone.is_set() else "the store not gone"

    def _stop_store(self, gone: threading.Event, stopped: threading.Event) -> None:
        """As in a crash; nobody is told, and a run may end before it is over."""
        gone.set()
        self._out = True
        self.counts["store gone"] += 1
        self.postgres.stop("immediate")
        stopped.set()

    # what came of it

    def _attribute(self) -> int:
        """Each record gets the code of its own process, which is known by what it asked; the code of the others."""
        for runner in self._tonight:
            if runner.code is None:
                runner.kill()
                runner.wait()
                self._wrong.append(f"the {runner.name} never ended")
            assert runner.code is not None
            self.codes.update(dict.fromkeys(runner.witness.runs, runner.code))
            if runner.code not in BESIDE:
                self._wrong.append(f"the {runner.name} ended with {runner.code}")
            if not runner.witness.runs and runner.code in (Exit.DONE, Exit.QUARANTINE):
                self._wrong.append(f"the {runner.name} ended with {runner.code}, and asked nothing of the server")
        if self._out:
            self.codes.update(self._closed_in_the_dark())
        code = next((r.code for r in self._tonight if not r.witness.runs), self._tonight[-1].code)
        assert code is not None
        return code

    def _closed_in_the_dark(self) -> dict[str, int]:
        """Where the store went away while a record was closed, the process could not know that it was: it ended with
        75.  The checker then holds the run to its record."""
        with psycopg.connect(self.store) as conn:
            closed = conn.execute("SELECT id, exit_code FROM runs WHERE exit_code IS NOT NULL").fetchall()
        told = {run: code for run, code in closed if self.codes.get(run) == Exit.TRY_AGAIN != code}
        self.counts["closed while the store went away"] += len(told)
        return told

    def excuses(self, run: str) -> bool:
        """The store was gone tonight, or there was another one to lose the lease to."""
        return self._out or len(self._tonight) > 1

    def tenures(self) -> list[Tenure]:
        """Everyone who has held the lease."""
        codes = {end.run: end.code for end in self.ends}
        with psycopg.connect(self.store) as conn:
            fences: dict[str, int] = dict(conn.execute("SELECT id, fence FROM runs").fetchall())
        with self.opened() as stored:
            records = [row.record for row in runs(stored, JOB, len(fences))]
        return [Tenure(r.id, fences[r.id], r.started, r.ended, r.outcome, codes.get(r.id, Exit.BUG)) for r in records]

    def flaws(self) -> list[str]:
        """Of one runner, no two bundles in flight may have anything to do with each other; of two, they may."""
        two = len({s.run for s in self.sent[self._before :]}) > 1
        return [flaw for flaw in super().flaws() if not (two and "in flight" in flaw)]

    def look(self, *, calm: bool = False) -> Verdict:
        verdict = super().look(calm=calm)
        seen = (*self._wrong, *misconduct(self.tenures(), self.sent))
        return replace(verdict, untrue=(*verdict.untrue, *seen))


def _nothing() -> None:
    """What most gates do."""


def template(folder: Path) -> Path:
    """The folder of a server with an empty store, made once, to be copied."""
    server = Postgres(folder / "template")
    server.start()
    try:
        with psycopg.connect(_url(server, "postgres"), autocommit=True) as conn:
            conn.execute("CREATE DATABASE fire")
        upgrade(_url(server, "fire"))
    finally:
        server.stop()
    return folder / "template"


def _url(server: Postgres, database: str) -> str:
    return f"postgresql://postgres@127.0.0.1:{server.port}/{database}"


@contextmanager
def served(empty: Path, folder: Path) -> Iterator[Postgres]:
    """A server of one's own, which may be stopped and started."""
    subprocess.run(["cp", "-a", str(empty), str(folder / "data")], check=True)  # with its owner, if we are root
    server = Postgres(folder / "data")
    server.start()
    try:
        yield server
    finally:
        server.stop()


def tried(seed: int, empty: Path, kind: type[TwoRunners] = TwoRunners) -> tuple[TwoRunners, Verdict]:
    """One trial, in a folder of its own."""
    with folder_for_servers() as folder, served(empty, folder) as server:
        trial = kind(random.Random(seed), _url(server, "fire"), folder, server)
        trial.opening = OPENINGS.get(seed) if OPENINGS.get(seed) in kind.scenes else None
        verdict = trial.play()
        tell(seed, trial, verdict)
    return trial, verdict


def main() -> int:
    given = options(__doc__, 20, at_once=True).parse_args()
    with folder_for_servers() as folder:
        empty = template(folder)

        def one(seed: int) -> tuple[Counter[str], Verdict]:
            trial, verdict = tried(seed, empty)
            return trial.all_counts, verdict

        return play("two runners", given, one)


if __name__ == "__main__":
    sys.exit(main())
