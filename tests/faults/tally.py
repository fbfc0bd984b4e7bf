"""The sum of one tally, of the files as they are now: what each ring has tried, and what was found wrong.

    python -m tests.faults.tally FILE [--need 'two runners=8' 'real servers=25 kills' ...] [--page docs/fire.md]

Exit code 1 where anything is lost, doubled, a false green or otherwise untrue, and where a ring has tried less than it
needs: as many trials, or as much of something that it counts.  The page is made of a commit alone, and of nothing less
than what is needed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.lines import UNDISTURBED, WRONG, Line, commit, faults, kills, read

SKIPPED = {"real servers": "TSI_SKIP_SERVERS"}
"""Rings that somebody may leave out: the variable that says why."""


@dataclass(frozen=True)
class Need:
    """What a ring is to have tried: so many trials, or so much of something that it counts, by how that begins."""

    ring: str
    number: int
    unit: str = "trials"

    @classmethod
    def parse(cls, text: str) -> Need:
        """`two runners=8`, `real servers=25 kills`, `two runners=1 store gone`."""
        ring, _, much = text.rpartition("=")
        number, _, unit = much.partition(" ")
        if not (ring and number.isdecimal()):
            raise argparse.ArgumentTypeError(f"{text!r} is not RING=NUMBER")
        return cls(ring, int(number), unit or "trials")

    def lacking(self, lines: Iterable[Line]) -> str | None:
        """What of it is not there, in words."""
        total = sums(lines).get(self.ring)
        if total is None:
            return f"{self.ring}: not tried"
        had = kills(total) if self.unit == "kills" else self._counted(total)
        return f"{self.ring}: too few: {had:,} of {self.number:,} {self.unit}" if had < self.number else None

    def _counted(self, total: Mapping[str, int]) -> int:
        """Of one thing, whatever else is said of it: `paused at` is also `paused at written`."""
        begins = (f"{self.unit} ", f"{self.unit},")
        return sum(n for name, n in total.items() if name == self.unit or name.startswith(begins))


def sums(lines: Iterable[Line]) -> dict[str, Counter[str]]:
    """Of each ring: trials, what was counted, and what was found wrong."""
    found: dict[str, Counter[str]] = {}
    for line in lines:
        total = found.setdefault(line.ring, Counter())
        total["trials"] += bool(line.seed)
        total.update(line.counts)
        total.update({name: len(line.verdict[name]) for name in WRONG})
    return found


def table(lines: Iterable[Line]) -> str:
    """A Markdown table of each ring: what was tried, then what went wrong."""
    parts = []
    for ring, total in sums(lines).items():
        first = {"trials": total["trials"], UNDISTURBED: total[UNDISTURBED], "runs": total["runs"]}
        first = {name: number for name, number in first.items() if total["trials"]} | {"kills": kills(total)}
        counted = {name: number for name, number in total.items() if name not in {*first, "trials", "runs", *WRONG}}
        last = {name.replace("_", " "): total[name] for name in WRONG}
        rows = "\n".join(
            f"| {name} | {number:,} |" for name, number in [*first.items(), *sorted(counted.items()), *last.items()]
        )
        parts.append(f"## {ring}\n\n| | |\n|---|---|\n{rows}\n")
    return "\n".join(parts)


def red(lines: Iterable[Line]) -> str:
    """What was found wrong, whenever it was tried: each ring, seed and finding on a line of its own."""
    return "\n".join(
        f"{line.ring}, {f'seed {line.seed}' if line.seed else 'no seed'}: {name.replace('_', ' ')}: {what}"
        for line in lines
        for name, found in line.verdict.items()
        for what in found
    )


def in_all(lines: Iterable[Line]) -> str:
    """One line over all rings."""
    total = sum(sums(lines).values(), Counter[str]())
    given = sum(number for name, number in faults(total).items() if name not in {"trials", *WRONG})
    wrong = ", ".join(f"{total[name]:,} {name.replace('_', ' ')}" for name in WRONG)
    return f"In all: {total['trials']:,} trials, {kills(total):,} kills, {given:,} faults; {wrong}."


def page(lines: Sequence[Line]) -> str:
    """docs/fire.md."""
    seeds = {ring: sorted(line.seed for line in lines if line.ring == ring and line.seed) for ring in sums(lines)}
    told = "; ".join(f"{ring}: {some[0]} to {some[-1]}" for ring, some in seeds.items() if some)
    wrong = "".join(f"- {what}\n" for what in red(lines).splitlines())
    return (
        "# Under fire\n\nMade by `make fire-long` from the tally of one commit; not by hand.\n\n"
        f"Commit `{lines[0].commit}`. Seeds: {told}. A seed makes the same plan of acts, faults and kills again:\n"
        "`--seed N --trials 1`. Rings of real processes meet it as their clocks have it: what is due after some time,\n"
        "and which of two comes first, is not the same twice.\n\n"
        f"{table(lines)}\n{wrong}\n{in_all(lines)}\n"
    )


def lacking(lines: Sequence[Line], needs: Iterable[Need]) -> tuple[list[str], list[str]]:
    """What is not there of what is needed, and what of that somebody has left out on purpose."""
    missing, left_out = list[str](), list[str]()
    for need in needs:
        if (words := need.lacking(lines)) is None:
            continue
        why = os.environ.get(SKIPPED.get(need.ring, ""))
        (left_out if why else missing).append(f"{words}{f', left out: {why}' if why else ''}")
    return missing, left_out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--need", type=Need.parse, nargs="+", default=[], help="what each ring is to have tried")
    parser.add_argument("--page", type=Path)
    given = parser.parse_args()
    current = commit()
    lines = [line for line in read(given.file) if line.commit == current]
    if not lines:
        print(f"{given.file} has no trial of {current}")
    missing, left_out = lacking(lines, given.need)
    wrong = red(lines)
    print(*filter(None, [table(lines), wrong, *missing, *left_out, in_all(lines)]), sep="\n", flush=True)
    if not lines or missing:
        return 1
    if given.page and (why := "what is tried is no commit" if "+" in current else "; ".join(left_out)):
        print(f"{given.page} is not written: {why}", file=sys.stderr)
        return 1
    if given.page:
        given.page.write_text(page(lines))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
