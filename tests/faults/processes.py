"""Ring 2: `tsi-fetch run` as a child process, killed at any moment, between a register and a FHIR server over HTTP.

    python -m tests.faults.processes [--trials 20] [--seed 1] [--store sqlite|postgres] [--tally FILE]

A trial is a register's life of a few nights; after every run, whatever its end, the checker looks at everything.
"""

from __future__ import annotations

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
from pathlib import Path

import psycopg

from dev.hapi.postgres import Postgres
from store.upgrade import upgrade
from tests.faults.checker import Verdict
from tests.faults.life import JOB, Life
from tests.faults.servers import MOMENTS, Hour, World
from tests.faults.tally import options, play

ROOT = Path(__file__).parents[2]
PATIENCE = 120  # seconds for one run
OUTPUT = 3000  # characters of what the children said last

_JOBS = """\
stores: {{main: {{url: "{store}"}}}}
sinks: {{epi: {{kind: fhir, url: "{fhir}", attempts: 3, max_wait: 5, probe_after: 3, entries: {entries}}}}}
jobs:
  cima:
    source: {{kind: cima, base_url: "{register}", rate: 50, batch: {batch}, attempts: 2, max_wait: 2}}
    sink: epi
    store: main
    schedule: "0 1 * * *"
    lease_expiry: 2s
"""


class Process(Life):
    """Each run is a child."""

    def play(self) -> Verdict:
        with World(self.register, self.hapi, self.reaper) as world:
            text = _JOBS.format(
                store=self.store,
                fhir=world.fhir_url,
                register=world.register_url,
                entries=self.entries,
                batch=self.batch,
            )
            (self.folder / "jobs.yaml").write_text(text)
            return super().play()

    def run(self, *, calm: bool, full: bool) -> tuple[int, str]:
        hour = None if calm else self._hour()
        self.reaper.begin(hour)
        command = [sys.executable, "-m", "jobs", "run", JOB, "--config", str(self.folder / "jobs.yaml"), "--json"]
        command += ["--accept-vanish", "1000"]  # registers are small, and half of one goes in a night
        with (self.folder / "out").open("ab") as out:
            child = subprocess.Popen(
                [*command, *(["--full"] if full else [])], cwd=ROOT, stdout=out, stderr=out, env=_environment()
            )
            self.reaper.child = child
            return child.wait(PATIENCE), str(hour)

    def _hour(self) -> Hour | None:
        if self.dice.random() < 0.2:
            return None
        moment = self.dice.choice([*MOMENTS, "written", "answered"])
        most = 12 if moment == "register" else 4
        return Hour(moment, self.dice.randint(1, most), self.dice.choice([signal.SIGKILL] * 3 + [signal.SIGTERM]))


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


def tried(seed: int, make: Callable[[Path], str]) -> tuple[Process, Verdict]:
    """One trial, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="tsi-fetch-fire-") as folder:
        trial = Process(random.Random(seed), make(Path(folder)), Path(folder))
        verdict = trial.play()
        if not verdict.good:
            print(f"seed {seed}:", *trial.told, str(verdict), sep="\n  ", flush=True)
            print((trial.folder / "out").read_text(errors="replace")[-OUTPUT:], flush=True)
    return trial, verdict


def main() -> int:
    parser = options(__doc__, 20)
    parser.add_argument("--store", choices=["sqlite", "postgres"], default="sqlite")
    given = parser.parse_args()
    with places(given.store) as make:

        def one(seed: int) -> tuple[Counter[str], Verdict]:
            trial, verdict = tried(seed, make)
            return trial.all_counts, verdict

        return play(f"real process, {given.store}", given, one)


if __name__ == "__main__":
    sys.exit(main())
