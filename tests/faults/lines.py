"""What was tried of a state of the files: a line of JSON for each trial of each ring, in one file for all of them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from tests.faults.checker import Verdict

ROOT = Path(__file__).parents[2]
WRONG = ("lost", "doubled", "false_green", "untrue")
KILLS = ("SIGKILL", "SIGTERM", "died ", "a worker died ")
"""How what was counted begins, where it is a kill; an interrupt is none."""

UNDISTURBED = "undisturbed"
NO_FAULTS = frozenset(
    {
        *("runs", "workers", UNDISTURBED, "mutations", "examples", "points", "tests", "tests skipped"),
        *("reconcile --fix", "a restored server refused", "another server refused", "not paused"),
        *("a vanishing held back", "a vanishing accepted", "a planned stop", "days without a run"),
        *("hit after its record was closed", "closed while the store went away"),
    }
)
"""What is counted, and is neither a kill nor a fault."""

LIFE = ("a product ", "a row ", "the sink says: ")
"""How that begins that is of the register's life, or comes of a fault."""

PAGE = "docs/fire.md"
"""Made from the tally: it says nothing about what was tried."""


@dataclass(frozen=True)
class Line:
    """One trial.  `counts`: runs, kills and faults by name; `verdict`: what was found wrong, by kind.  `seed`: 0 where
    there is none."""

    commit: str
    ring: str
    seed: int
    counts: Mapping[str, int]
    verdict: Mapping[str, list[str]]

    @property
    def wrong(self) -> int:
        return sum(map(len, self.verdict.values()))


def kills(counts: Mapping[str, int]) -> int:
    return sum(number for name, number in counts.items() if name.startswith(KILLS))


def faults(counts: Mapping[str, int]) -> dict[str, int]:
    """Everything that was done to the runs beside killing them, by name."""
    return {name: n for name, n in counts.items() if not name.startswith(KILLS + LIFE) and name not in NO_FAULTS}


def commit() -> str:
    """The commit that is tried; with a plus and a digest of what differs, where the files are not those of any."""
    head, differs = _git("rev-parse", "--short=12", "HEAD"), _git("diff", "HEAD", "--binary", "--", ".", f":!{PAGE}")
    digest = hashlib.sha256(differs.encode())
    new = _git("ls-files", "--others", "--exclude-standard", "--", "*.py").splitlines()
    for name in new:
        digest.update(f"\0{name}\0".encode() + (ROOT / name).read_bytes())
    return f"{head}+{digest.hexdigest()[:8]}" if differs or new else head


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


class Tally:
    """The lines of one file; those of other commits are left alone.  Without a file nothing is kept."""

    def __init__(self, file: Path | None, ring: str) -> None:
        self._file, self.ring, self.commit = file, ring, commit()
        self.lines = [line for line in read(file) if line.commit == self.commit] if file else []

    @property
    def mine(self) -> list[Line]:
        return [line for line in self.lines if line.ring == self.ring]

    def has(self, seed: int) -> bool:
        return any(line.seed == seed for line in self.mine)

    def add(self, seed: int, counts: Mapping[str, int], verdict: Verdict) -> Line:
        """A trial to which nothing happened is one all the same, and says so."""
        told = {name: number for name, number in counts.items() if number}
        if seed and not kills(told) and not faults(told):
            told[UNDISTURBED] = 1
        line = Line(self.commit, self.ring, seed, told, {name: list(getattr(verdict, name)) for name in WRONG})
        self.lines.append(line)
        if self._file:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a+b") as file:
                torn = file.seek(0, os.SEEK_END) > 0 and _last_byte(file) != b"\n"  # a kill cut the last line off
                file.write(b"\n" * torn + json.dumps(asdict(line)).encode() + b"\n")
        return line


def _last_byte(file: BinaryIO) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)


def read(file: Path | None) -> list[Line]:
    """All lines; one that was cut off by a kill is left out."""
    if file is None or not file.exists():
        return []
    whole = (line for line in file.read_text().splitlines() if line.startswith("{") and line.endswith("}}"))
    return [Line(**json.loads(line)) for line in whole]
