"""Ring 3: `tsi-fetch run` as a child process, killed at any moment, between a register and a real HAPI on PostgreSQL.

    python -m tests.faults.real_servers [--trials 12 | --kills 25] [--seed 1] [--tally FILE]

One HAPI serves all trials; their stores are a SQLite file and a PostgreSQL database by turns.  Beside the kills: the
connection is cut in mid-transaction, HAPI or its database is restarted under a run, the database is restored to an
earlier copy between two, and somebody else edits and deletes.  A seed makes the same plan; what a restart or a signal
after some time hits is the machine's.  Needs Java and Maven.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

import psycopg

from dev.hapi.classpath import NotAvailable
from dev.hapi.server import start
from tests.faults.checker import Verdict
from tests.faults.hapi_life import OnHapi, Rare
from tests.faults.lines import Line, Tally, kills
from tests.faults.machine import Machine
from tests.faults.processes import places, tell
from tests.faults.trials import options, told

RING = "real servers"
RARE: Mapping[int, Rare] = {1: "HAPI's database restored", 2: "somebody edits and deletes", 3: "HAPI restarted"}
"""Of each sixteen seeds; some of it takes a minute.  The first have them, so that even a short trial has seen each."""
FIRST, APART = 1_000_000_000, 1000
"""The number of the first trial's first product; how far trials are apart.  All numbers have as many digits."""


class Trials:
    """One HAPI for all, from the first that is tried."""

    def __init__(self, stack: ExitStack) -> None:
        self._machine = Machine(stack.enter_context(start("R5")))
        self._stores = [stack.enter_context(places(kind)) for kind in ("sqlite", "postgres")]

    def tried(self, seed: int) -> tuple[Counter[str], Verdict]:
        """One trial, in a folder of its own."""
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="tsi-fetch-fire-") as folder:
            store = self._stores[seed % 2](Path(folder))
            first = FIRST + seed % 8_000_000 * APART
            trial = OnHapi(random.Random(seed), store, Path(folder), self._machine, first, RARE.get(seed % 16))
            verdict = trial.play()
            took, killed = time.monotonic() - begun, kills(trial.all_counts)
            print(f"seed {seed}: {took:.0f} s, {killed} kills", file=sys.stderr, flush=True)
            tell(seed, trial, verdict)
            _drop(store)
        return trial.all_counts, verdict


def _drop(store: str) -> None:
    """Databases are many and large."""
    at, _, name = store.rpartition("/")
    if at.startswith("postgresql:"):
        with psycopg.connect(f"{at}/postgres", autocommit=True) as sql:
            sql.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def enough(lines: Iterable[Line], given: argparse.Namespace) -> bool:
    """Is there nothing left to try?"""
    mine = [line for line in lines if line.ring == RING]
    if given.kills is not None:
        return bool(sum(kills(line.counts) for line in mine) >= given.kills)
    return set(range(given.seed, given.seed + given.trials)) <= {line.seed for line in mine}


def try_all(given: argparse.Namespace, tally: Tally) -> None:
    seed = given.seed
    with ExitStack() as stack:
        trials: Trials | None = None
        while not enough(tally.lines, given):
            if not tally.has(seed):
                trials = trials or Trials(stack)
                tally.add(seed, *trials.tried(seed))
            seed += 1


def main() -> int:
    parser = options(__doc__, 12)
    parser.add_argument("--kills", type=int, help="instead of trials: go on until the tally has so many")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: Java and PostgreSQL with it
    tally, skipped = Tally(given.tally, RING), os.environ.get("TSI_SKIP_SERVERS")
    if skipped:
        print(f"{RING}: skipped: {skipped}", file=sys.stderr)
        return 0
    try:
        try_all(given, tally)
    except NotAvailable as e:
        print(f"{RING}: not tried: {e}", file=sys.stderr)
        return 1
    return told(tally)


if __name__ == "__main__":
    sys.exit(main())
