"""One tally of one commit: a line of JSON for each trial of each ring; what was tried already is not tried again.

    python -m tests.faults.tally FILE [--page docs/fire.md]

prints the sums, and writes the page.  Exit code 1 where anything is lost, doubled, a false green or otherwise untrue.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from tests.faults.checker import Verdict

ROOT = Path(__file__).parents[2]
Outcome = tuple[Mapping[str, int], Verdict]
"""What a trial counted, and what the checker says."""

KILLS = ("SIGKILL", "SIGTERM", "died ")
"""How what was counted begins, where it is a kill; an interrupt is none."""
WRONG = ("lost", "doubled", "false_green", "untrue")


@dataclass(frozen=True)
class Line:
    """One trial.  `counts`: runs, kills and faults by name; `verdict`: what was found wrong, by kind."""

    commit: str
    ring: str
    seed: int
    counts: Mapping[str, int]
    verdict: Mapping[str, list[str]]

    @property
    def wrong(self) -> int:
        return sum(map(len, self.verdict.values()))


def commit() -> str:
    """The commit that is tried; with a plus where the files are not those of any commit."""
    head = _git("rev-parse", "--short=12", "HEAD")
    return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


class Tally:
    """The lines of one file; those of other commits are left alone.  Without a file nothing is kept."""

    def __init__(self, file: Path | None, ring: str) -> None:
        self._file, self.ring, self.commit = file, ring, commit()
        self.lines = [line for line in read(file) if line.commit == self.commit] if file else []

    def has(self, seed: int) -> bool:
        return any(line.ring == self.ring and line.seed == seed for line in self.lines)

    def add(self, seed: int, counts: Mapping[str, int], verdict: Verdict) -> Line:
        line = Line(self.commit, self.ring, seed, dict(counts), {name: list(getattr(verdict, name)) for name in WRONG})
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


def options(about: str | None, trials: int, *, at_once: bool = False) -> argparse.ArgumentParser:
    """What every ring can be asked for.  `at_once`: its trials share nothing, so that several may run side by side."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=trials)
    parser.add_argument("--seed", type=int, default=1, help="the first; each trial has the next one")
    parser.add_argument(
        "--tally", type=Path, help="each trial adds a line to this file; what it has is not tried again"
    )
    if at_once:
        parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="trials at once, each a process")
    else:
        parser.set_defaults(workers=1)
    return parser


def play(ring: str, given: argparse.Namespace, life: Callable[[int], Outcome]) -> int:
    """Try what the tally has not, and show all that it has of this ring; 1 where anything in it is wrong, also of what
    was tried before.  `life`: the trial of a seed."""
    tally = Tally(given.tally, ring)
    seeds = [seed for seed in range(given.seed, given.seed + given.trials) if not tally.has(seed)]
    workers = min(given.workers, len(seeds))
    for seed, outcome in _at_once(seeds, life, workers) if workers > 1 else ((seed, life(seed)) for seed in seeds):
        tally.add(seed, *outcome)
    mine = [line for line in tally.lines if line.ring == ring]
    print(table(mine))
    return 1 if any(line.wrong for line in mine) else 0


def _at_once(seeds: Iterable[int], life: Callable[[int], Outcome], workers: int) -> Iterator[tuple[int, Outcome]]:
    """Each seed's outcome as it comes.  Workers are forked, so that `life` may hold what cannot be pickled; no trial
    waits in their queue, so that an interrupt (Ctrl-C, SIGTERM) ends it at once: trials tidy up, and are not told."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(life,)) as pool:
        try:
            yield from _outcomes(pool, iter(seeds), workers)
        except BaseException:
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise
        finally:
            signal.signal(signal.SIGTERM, before)


def _outcomes(pool: ProcessPoolExecutor, seeds: Iterator[int], workers: int) -> Iterator[tuple[int, Outcome]]:
    running: dict[Future[Outcome], int] = {}
    while True:
        while len(running) < workers and (seed := next(seeds, None)) is not None:
            running[pool.submit(_try, seed)] = seed
        if not running:
            return
        for ended in wait(running, return_when=FIRST_COMPLETED).done:
            yield running.pop(ended), ended.result()


_lives: list[Callable[[int], Outcome]] = []  # of this worker: one


def _begin(life: Callable[[int], Outcome]) -> None:
    """In a worker: a terminal's Ctrl-C reaches it too, and is left to the parent, which terminates it."""
    _lives.append(life)
    signal.signal(signal.SIGINT, lambda *_: None)  # a function, so that what the trial starts does not inherit it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def _try(seed: int) -> Outcome:
    try:
        return _lives[-1](seed)
    except Exception as e:
        e.add_note(f"in the trial of seed {seed}")
        raise


def read(file: Path | None) -> list[Line]:
    """All lines; one that was cut off by a kill is left out."""
    if file is None or not file.exists():
        return []
    whole = (line for line in file.read_text().splitlines() if line.startswith("{") and line.endswith("}}"))
    return [Line(**json.loads(line)) for line in whole]


def sums(lines: Iterable[Line]) -> dict[str, Counter[str]]:
    """Of each ring: trials, what was counted, and what was found wrong."""
    found: dict[str, Counter[str]] = {}
    for line in lines:
        total = found.setdefault(line.ring, Counter())
        total["trials"] += 1
        total.update(line.counts)
        total.update({name: len(line.verdict[name]) for name in WRONG})
    return found


def kills(counts: Mapping[str, int]) -> int:
    return sum(number for name, number in counts.items() if name.startswith(KILLS))


def table(lines: Iterable[Line]) -> str:
    """A Markdown table of each ring: what was tried, then what went wrong."""
    parts = []
    for ring, total in sums(lines).items():
        first = [("trials", total["trials"]), ("runs", total["runs"]), ("kills", kills(total))]
        faults = sorted((name, number) for name, number in total.items() if name not in {"trials", "runs", *WRONG})
        last = [(name.replace("_", " "), total[name]) for name in WRONG]
        rows = "\n".join(f"| {name} | {number:,} |" for name, number in [*first, *faults, *last])
        parts.append(f"## {ring}\n\n| | |\n|---|---|\n{rows}\n")
    return "\n".join(parts)


def page(lines: list[Line]) -> str:
    """docs/fire.md."""
    seeds = {ring: sorted(line.seed for line in lines if line.ring == ring) for ring in sums(lines)}
    told = "; ".join(f"{ring}: {some[0]} to {some[-1]}" for ring, some in seeds.items())
    return (
        "# Under fire\n\nMade by `make fire-long` from the tally of one commit; not by hand.\n\n"
        f"Commit `{lines[0].commit}`. Seeds: {told}. A seed makes its trial happen again: `--seed N --trials 1`.\n\n"
        f"{table(lines)}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--page", type=Path)
    given = parser.parse_args()
    current = commit()
    lines = [line for line in read(given.file) if line.commit == current]
    if not lines:
        print(f"{given.file} has no trial of {current}", file=sys.stderr)
        return 1
    print(table(lines))
    if given.page:
        given.page.write_text(page(lines))
    return 1 if any(line.wrong for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
