"""Ring 2: `tsi-fetch run` as a child process, killed at any moment, between a register and a FHIR server over HTTP.

    python -m tests.faults.processes [--trials 20] [--seed 1] [--store sqlite|postgres] [--tally FILE]

A trial is a register's life of a few nights; after every run, whatever its end, the checker looks at everything.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from dev.hapi.postgres import Postgres
from store.handle import open_store
from store.queries import quarantine, runs
from store.upgrade import upgrade
from tests.faults.checker import Ended, Evidence, Verdict, Version, look
from tests.faults.register_story import RegisterStory, names
from tests.faults.servers import MOMENTS, Faulty, Hour, Reaper, World
from tests.faults.tally import Tally, table
from tests.sinks.disturbed_hapi import DisturbedHapi
from tests.sinks.fake_hapi import Version as Stored
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.words import Ref

ROOT = Path(__file__).parents[2]
JOB, SINK, STREAM = "cima", "epi", "registroCambios"
PATIENCE = 120  # seconds for one run
OUTPUT = 3000  # characters of what the children said last
ENDS = {0, 65, 75, 78, 143, -signal.SIGKILL, -signal.SIGTERM}
"""How a run may end in a disturbed night; 78: for a login page, which a person must look at."""

FHIR_FAULTS = ("429 at once", "502", "race", "cut", "reset", "lost by reset", "garbled", "bad gateway", "login", "500")
"""Of those that `DisturbedHapi` knows, the ones that take no time."""

_JOBS = """\
stores: {{main: {{url: "{store}"}}}}
sinks: {{epi: {{kind: fhir, url: "{fhir}", attempts: 3, max_wait: 5, probe_after: 3, entries: {entries}}}}}
jobs:
  cima:
    source: {{kind: cima, base_url: "{register}", rate: 50, batch: {batch}, attempts: 2, max_wait: 2}}
    sink: epi
    store: main
    schedule: "0 1 * * *"
    max_vanish: 1
    lease_expiry: 2s
"""


@dataclass
class Trial:
    """One life: `seed` makes all of it happen again, but for the moment at which a signal by time arrives."""

    seed: int
    store: str
    folder: Path
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.story = RegisterStory(self.seed, self.dice.randint(2, 6))
        self.hapi = DisturbedHapi(notices=self.dice.random() < 0.5, linger=False)
        self.hapi.offers = {}
        self.reaper = Reaper()
        self.register = Faulty(self.story.register, self.reaper, self.dice)
        self.ends: list[Ended] = []
        self.told: list[str] = []
        self._known_runs: set[str] = set()

    def play(self) -> Verdict:
        """All nights, and a calm one at the end; the first verdict that is not good, or the last."""
        with World(self.register, self.hapi, self.reaper) as world:
            self._write_jobs(world)
            for number in range(self.dice.randint(1, 4)):
                happened = self.story.night() if number else []
                self._night(f"night {number + 1}: {names(happened)}", self._hour(), calm=False)
                if not (verdict := self.look()).good:
                    return verdict
            self._night("the last night", None, calm=True)
            verdict = self.look(calm=True)
        last = self.ends[-1]
        expected = 65 if self.story.spoilt else 0
        if verdict.good and last.code != expected:
            return Verdict(untrue=(f"the last run, which nothing disturbed, ended with {last.code}",))
        return verdict

    def _write_jobs(self, world: World) -> None:
        entries, batch = self.dice.choice([2, 5, 100]), self.dice.choice([1, 2, 8])
        text = _JOBS.format(
            store=self.store, fhir=world.fhir_url, register=world.register_url, entries=entries, batch=batch
        )
        (self.folder / "jobs.yaml").write_text(text)

    def _hour(self) -> Hour | None:
        if self.dice.random() < 0.2:
            return None
        moment = self.dice.choice([*MOMENTS, "written", "answered"])
        most = 12 if moment == "register" else 4
        return Hour(moment, self.dice.randint(1, most), self.dice.choice([signal.SIGKILL] * 3 + [signal.SIGTERM]))

    def _night(self, what: str, hour: Hour | None, *, calm: bool) -> None:
        self.register.share = 0.0 if calm else self.dice.choice([0, 0, 0.1])
        self.hapi.bad_day = [] if calm else self._bad_day()
        if calm:
            self.hapi.catch_up()
        full = not calm and self.dice.random() < 0.2
        self.reaper.begin(hour)
        code = self._run(full=full)
        self.told.append(f"{what}; {'--full, ' if full else ''}{hour}: ended with {code}")
        self._ended(code)

    def _bad_day(self) -> list[str | None]:
        if self.dice.random() < 0.5:
            return []
        day: list[str | None] = [self.dice.choice(FHIR_FAULTS) if self.dice.random() < 0.2 else None for _ in range(8)]
        self.counts.update(f"sink {fault}" for fault in day if fault)
        return day

    def _run(self, *, full: bool) -> int:
        command = [sys.executable, "-m", "jobs", "run", JOB, "--config", str(self.folder / "jobs.yaml"), "--json"]
        with (self.folder / "out").open("ab") as out:
            child = subprocess.Popen(
                [*command, *(["--full"] if full else [])], cwd=ROOT, stdout=out, stderr=out, env=_environment()
            )
            self.reaper.child = child
            return child.wait(PATIENCE)

    def _ended(self, code: int) -> None:
        with open_store(self.store) as stored:
            found = [row.record for row in runs(stored, JOB, 50) if row.record.id not in self._known_runs]
        for record in found:
            self._known_runs.add(record.id)
            outcome = "killed" if code < 0 and record.outcome == "running" else record.outcome
            self.ends.append(Ended(record.id, code, outcome, record.exit_code))
        if not found:  # it died before it could begin
            self.ends.append(Ended("none", code, None, None))

    def look(self, *, calm: bool = False) -> Verdict:
        """At everything, as it is now."""
        verdict = look(self.evidence(calm=calm))
        last = self.ends[-1]
        wrong = [] if last.code in ENDS else [f"{last.run} ended with {last.code}"]
        return Verdict(verdict.lost, verdict.doubled, verdict.false_green, (*verdict.untrue, *wrong, *self.hapi.flaws))

    def evidence(self, *, calm: bool) -> Evidence:
        held = {Ref.parse(name): versions for name, versions in self.hapi.resources.items() if "Device/" not in name}
        with open_store(self.store) as stored:
            book = stored.reader(JOB, SINK)
            position, work = book.position(STREAM), book.open_list(STREAM)
            seen = position.cursor.seen if position.cursor else frozenset()
            troubles = [row.key for row in quarantine(stored, JOB)]
            return Evidence(
                editions=self.story.editions,
                unusable=self.story.spoilt,
                held={ref: [_version(v) for v in versions] for ref, versions in held.items()},
                feed=self.story.feed,
                settled=seen | position.checkpoint if not work else frozenset(),
                known=book.known(list(held)),
                versions={ref: str(versions[-1].number) for ref, versions in held.items()},
                waiting=book.waiting_graph(),
                pending=[p.ref for p in book.pending()],
                troubles=troubles,
                left=work.left if work else 0,
                runs=self.ends,
                calm=calm,
            )


def _version(stored: Stored) -> Version:
    return Version(None if stored.resource is None else dump(stored.resource), stored.run)


def _environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "TZ", "LANG", "TMPDIR")}
    return {**kept, "NO_PROXY": "127.0.0.1"}


@contextmanager
def places(kind: str) -> Iterator[Callable[[Path], str]]:
    """Where trials keep their stores: a new one for each."""
    if kind == "sqlite":
        yield lambda folder: f"sqlite:///{folder}/store.db"
        return
    with tempfile.TemporaryDirectory(prefix="tsi-fetch-fire-") as folder:
        Path(folder).chmod(0o755)  # the server runs as another user where we are root
        server = Postgres(Path(folder) / "data")
        server.start()
        try:
            yield lambda _: _database(server)
        finally:
            server.stop()


def _database(server: Postgres) -> str:
    name = f"fire_{uuid.uuid4().hex[:12]}"
    at = f"postgresql://postgres@127.0.0.1:{server.port}"
    with psycopg.connect(f"{at}/postgres", autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}".encode())
    upgrade(f"{at}/{name}")
    return f"{at}/{name}"


def tried(seed: int, make: Callable[[Path], str]) -> tuple[Trial, Verdict]:
    """One trial, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="tsi-fetch-fire-") as folder:
        trial = Trial(seed, make(Path(folder)), Path(folder))
        verdict = trial.play()
        if not verdict.good:
            print(f"seed {seed}:", *trial.told, str(verdict), sep="\n  ", flush=True)
            print((trial.folder / "out").read_text(errors="replace")[-OUTPUT:], flush=True)
    return trial, verdict


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument(
        "--tally", type=Path, help="a file to which each trial adds a line; what it has is not tried again"
    )
    given = parser.parse_args()
    tally = Tally(given.tally, f"real process, {given.store}")
    wrong = 0
    with places(given.store) as make:
        for seed in range(given.seed, given.seed + given.trials):
            if not tally.has(seed):
                trial, verdict = tried(seed, make)
                counts = trial.counts + trial.register.injected + trial.reaper.done + Counter(runs=len(trial.ends))
                wrong += tally.add(seed, counts, verdict).wrong
    print(table(line for line in tally.lines if line.ring == tally.ring))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
