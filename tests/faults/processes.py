"""Ring 2: `tsi-fetch run` as a child process, killed at any moment, between a register and a FHIR server over HTTP.

    python -m tests.faults.processes [--trials 20] [--seed 1] [--store sqlite|postgres] [--tally FILE] [--workers 2]

A trial is a register's life of a few nights; after every run, whatever its end, the checker looks at everything.  A
seed makes the same plan of acts, faults and kills; where a signal comes after some time, what it hits is the machine's.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from dev.hapi.postgres import Postgres
from store.handle import open_store
from store.queries import runs
from store.upgrade import state, upgrade
from tests.faults.checker import Ended, Verdict
from tests.faults.life import JOB, Life
from tests.faults.records import as_it_ended
from tests.faults.servers import MOMENTS, Hour, World
from tests.faults.trials import options, play
from tsi_fetch.words import Cursor

ROOT = Path(__file__).parents[2]
PATIENCE = 120  # seconds for one run
OUTPUT = 3000  # characters of what the children said last
LONG_AGO = timedelta(days=60)
"""The register's clock is behind by that at first: more than passes in a life."""
USUAL = 1.5  # seconds that a run takes, until one has

LEASE_LOST = f"the lease of {JOB} is lost".encode()
"""In what a child says that could not keep it."""

_JOBS = """\
stores: {{main: {{url: "{store}"}}}}
sinks: {{epi: {{kind: fhir, url: "{fhir}", {patience}, probe_after: 3, entries: {entries}}}}}
jobs:
  cima:
    source: {{kind: cima, base_url: "{register}", rate: 50, batch: {batch}, attempts: 2, max_wait: 2}}
    sink: epi
    store: main
    schedule: "0 1 * * *"
    lease_expiry: {expiry}s
    on_existing: {on_existing}
    removal: {removal}
"""
SHORT, CALM = 2, 30
"""Seconds of a lease's expiry, in a disturbed night and in a calm one: on a machine under load, a short one is lost by
itself."""


@dataclass
class Alarm:
    """A signal to a child at some time, wherever it is then.  `rang`: it came before the child's end."""

    after: float  # seconds
    signal: signal.Signals
    rang: bool = False

    @contextmanager
    def set_for(self, child: subprocess.Popen[bytes]) -> Iterator[None]:
        """The end of the `with` block puts it off."""
        timer = threading.Timer(self.after, self._ring, (child,))
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    def _ring(self, child: subprocess.Popen[bytes]) -> None:
        if child.poll() is None:
            self.rang = True
            child.send_signal(self.signal)

    def __str__(self) -> str:
        return f"{self.signal.name} after {self.after:.3f} s{'' if self.rang else ', too late'}"


class Process(Life):
    """Each run is a child."""

    def __init__(self, dice: random.Random, store: str, folder: Path, first: int = 70_000) -> None:
        self.began = datetime.now(UTC) - LONG_AGO
        self._steps = random.Random(repr(dice.getstate()))  # nothing else in the life is another for them
        super().__init__(dice, store, folder, first)
        self._usual = self._lasted = USUAL
        self._expiry = CALM  # seconds, of the lease of the last run
        self._said_before = 0  # bytes of what its predecessors' children said
        self._alarm: Alarm | None = None

    def play(self) -> Verdict:
        with World(self.register, self.hapi, self.reaper) as self.world:
            return super().play()

    def run(self, *, calm: bool, full: bool) -> tuple[int, str]:
        hour = None if calm else self._hour()
        self._alarm = None if calm or hour or self.dice.random() < 0.3 else self._some_time()
        self.reaper.begin(hour)
        began, self._expiry = time.monotonic(), CALM if calm else SHORT
        with (self.folder / "out").open("ab") as out:
            self._said_before = out.tell()
            command = self.command("jobs.yaml", self.world, self._expiry, full=full)
            child = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, env=environment())
            self.reaper.child = child
            with self._alarm.set_for(child) if self._alarm else nullcontext():
                code = child.wait(PATIENCE)
        self._lasted = time.monotonic() - began
        if code >= 0 and not (self._alarm and self._alarm.rang):
            self._usual = time.monotonic() - began
        return self._of_python(code), str(self._alarm or hour)

    def pass_time(self) -> None:
        """The children's clocks go on; the register is behind them, and its days pass from night to night."""
        register = self.story.register
        register.date = (register.date or self.began) + timedelta(days=self._steps.choice([0, 0, 1, 1, 2, 3, 4]))

    def cursor(self) -> Cursor | None:
        return super().cursor() if state(self.store) == "current" else None

    def excuses(self, run: str) -> bool:
        """On a machine under load, a short lease is lost by itself; the run says so, and has lasted for long enough."""
        with (self.folder / "out").open("rb") as out:
            out.seek(self._said_before)
            return lost_its_lease(out.read(), self._lasted, self._expiry)

    def _of_python(self, code: int) -> int:
        """Interrupted while it starts, before any code of ours, Python itself ends with 1."""
        early = self._alarm and self._alarm.rang and self._alarm.signal is signal.SIGINT and not self.reaper.seen
        return -signal.SIGINT if early and code == 1 else code

    def command(self, name: str, world: World, expiry: int, *, full: bool) -> list[str]:
        """What runs the job, in `world`, as the file `name` says, which is written."""
        text = _JOBS.format(register=world.register_url, expiry=expiry, **self.job_settings(world))
        (self.folder / name).write_text(text)
        command = [sys.executable, "-m", "jobs", "run", JOB, "--config", str(self.folder / name), "--json"]
        command += ["--accept-vanish", "1000"]  # registers are small, and half of one goes in a night
        return [*command, "--full"] if full else command

    def job_settings(self, world: World) -> dict[str, object]:
        """What of the job file differs between lives."""
        return {
            "store": self.store,
            "fhir": world.fhir_url,
            "entries": self.entries,
            "batch": self.batch,
            "patience": "attempts: 3, max_wait: 5",
            "on_existing": self.on_existing,
            "removal": self.removal,
        }

    def _hour(self) -> Hour | None:
        """When the child dies by what it asks for; None in nearly half of the nights."""
        if self.dice.random() < 0.45:
            return None
        moment = self.dice.choice([*MOMENTS, "written", "answered"])
        most = 12 if moment == "register" else 4
        return Hour(moment, self.dice.randint(1, most), self.dice.choice([signal.SIGKILL] * 3 + [signal.SIGTERM]))

    def _some_time(self) -> Alarm:
        some = [signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
        return Alarm(self.dice.uniform(0, 1.1 * self._usual), self.dice.choice(some))

    def recorded(self, code: int) -> None:
        if self._alarm and self._alarm.rang:
            self.counts[f"{self._alarm.signal.name} at some time"] += 1
            code = self._as_recorded(code, self._alarm.signal)
        if state(self.store) == "current":
            super().recorded(code)
        else:  # it died before it could make its store
            self.ends.append(Ended("none", code, None, None))

    def _as_recorded(self, code: int, by: int) -> int:
        """Of a run that was hit between the end of its record and its own."""
        if state(self.store) != "current":
            return code
        with open_store(self.store) as stored:
            last = next(iter(runs(stored, JOB, 1)), None)
        if last is None or last.record.id in self._recorded or last.record.exit_code in (None, code):
            return code
        ended = as_it_ended(code, by, last.record.exit_code)
        self.counts["hit after its record was closed"] += code < 0 or ended != code
        return ended

    def look(self, *, calm: bool = False) -> Verdict:
        if state(self.store) != "current":
            return Verdict(
                untrue=() if not self.hapi.resources else ("something is at the sink, and there is no store",)
            )
        return super().look(calm=calm)


def lost_its_lease(said: bytes, lasted: float, expiry: float) -> bool:
    """A child says so, and it may have come about: it stops two thirds of an expiry after its last heartbeat."""
    return lasted > expiry * 2 / 3 and LEASE_LOST in said


def environment() -> dict[str, str]:
    """What a child gets of ours."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "TZ", "LANG", "TMPDIR")}
    return {**kept, "NO_PROXY": "127.0.0.1"}


@contextmanager
def places(kind: str) -> Iterator[Callable[[Path], str]]:
    """Where trials keep their stores: a new one for each."""
    if kind == "sqlite":
        yield lambda folder: f"sqlite:///{folder}/store.db"
        return
    with folder_for_servers() as folder:
        server = Postgres(folder / "data")
        server.start()
        try:
            yield lambda _: _database(server)
        finally:
            server.stop()


@contextmanager
def folder_for_servers() -> Iterator[Path]:
    """A folder that a database server can be put into: where we are root, it runs as another user."""
    with tempfile.TemporaryDirectory(prefix="tsi-fetch-fire-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def _database(server: Postgres) -> str:
    name = f"fire_{uuid.uuid4().hex[:12]}"
    at = f"postgresql://postgres@127.0.0.1:{server.port}"
    with psycopg.connect(f"{at}/postgres", autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}".encode())
    upgrade(f"{at}/{name}")
    return f"{at}/{name}"


def tried(seed: int, make: Callable[[Path], str]) -> tuple[Process, Verdict]:
    """One trial, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="tsi-fetch-fire-") as folder:
        trial = Process(random.Random(seed), make(Path(folder)), Path(folder))
        trial.removal = random.Random(f"policies {seed}").choice(["retire", "delete"])
        verdict = trial.play()
        tell(seed, trial, verdict)
    return trial, verdict


def tell(seed: int, trial: Process, verdict: Verdict) -> None:
    """The story of a trial that went wrong, and what its children said."""
    if not verdict.good:
        said = (trial.folder / "out").read_text(errors="replace")[-OUTPUT:]
        print("\n  ".join([f"seed {seed}:", *trial.told, str(verdict)]), said, sep="\n", flush=True)


def main() -> int:
    parser = options(__doc__, 20, at_once=True)
    parser.add_argument("--store", choices=["sqlite", "postgres"], default="sqlite")
    given = parser.parse_args()
    with places(given.store) as make:

        def one(seed: int) -> tuple[Counter[str], Verdict]:
            trial, verdict = tried(seed, make)
            return trial.all_counts, verdict

        return play(f"real process, {given.store}", given, one)


if __name__ == "__main__":
    sys.exit(main())
