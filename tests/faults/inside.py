"""Ring 1: the loop in this process, over a store and a FHIR server that are real but for the wire; dying at any seam.

    python -m tests.faults.inside [--trials 500] [--seed 1] [--tally FILE]

Beside what happens at the register: page errors, truncated bodies, refusals, lost answers, somebody else's edits, a
server that is wiped or restored, clocks that jump by a day, a vanish guard that trips, runs that are to stop early, and
workers that go on with a run's list or a backfill.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path

from store.upgrade import upgrade
from tests.faults.checker import Verdict
from tests.faults.loop_life import NOWHERE, OFTEN, SEAMS, Inside
from tests.faults.meddling import TAMPERING
from tests.faults.trials import options, play
from tests.faults.working import Working

__all__ = ["NOWHERE", "OFTEN", "SEAMS", "TAMPERING", "Inside", "room", "template", "tried"]

MEMORY = Path("/dev/shm")


def room() -> tempfile.TemporaryDirectory[str]:
    """A temporary folder, in memory where there is some."""
    return tempfile.TemporaryDirectory(prefix="tsi-fetch-fire-", dir=MEMORY if MEMORY.is_dir() else None)


def template(folder: Path) -> Path:
    """An empty store, made once, to be copied."""
    upgrade(f"sqlite:///{folder / 'template.db'}")
    return folder / "template.db"


def tried(seed: int, empty: Path, kind: type[Inside] | None = None) -> tuple[Inside, Verdict]:
    """One life, in a folder of its own."""
    with room() as folder:
        shutil.copy(empty, Path(folder) / "store.db")
        with closing((kind or Working)(random.Random(seed), f"sqlite:///{folder}/store.db", Path(folder))) as life:
            policies = random.Random(f"policies {seed}")
            life.removal = policies.choice(["retire", "delete"])
            life.on_existing = policies.choice(["adopt", "refuse"])
            return life, life.play()


def main() -> int:
    given = options(__doc__, 500, at_once=True).parse_args()
    with room() as folder:
        empty = template(Path(folder))

        def one(seed: int) -> tuple[Counter[str], Verdict]:
            life, verdict = tried(seed, empty)
            if not verdict.good:
                print(f"seed {seed}:", *life.told, str(verdict), sep="\n  ", flush=True)
            return life.all_counts, verdict

        return play("in process", given, one)


if __name__ == "__main__":
    sys.exit(main())
