"""Suites of tests that belong to the promise, each as one line of the tally: hostile input, the state machine, crashes.

    python -m tests.faults.suites hostile|machine|crash [--number N] [--tally FILE]

What the tally has as good, with as many, is not tried again.  How many there were is what the tests themselves have
counted (`record_property`), not what they were asked for.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from tests.faults.checker import Verdict
from tests.faults.lines import ROOT, Tally
from tests.faults.trials import told

PASSED, FAILED = 0, 1  # pytest's exit codes; after any other one, nothing is known


@dataclass(frozen=True)
class Suite:
    """`unit`: what it tries, by the name under which its tests count them.  `variable`: how it is told how many."""

    unit: str
    variable: str
    number: int | None  # usually; None: all that there are
    arguments: tuple[str, ...]

    def asked(self, number: int | None) -> dict[str, str]:
        """The environment of its tests."""
        return {**os.environ, self.variable: "all" if number is None else str(number)}


SUITES: Mapping[str, Suite] = {
    "hostile": Suite("mutations", "TSI_MUTATIONS", 100_000, ("-n", "auto", "tests/hostile")),
    "machine": Suite("examples", "TSI_MACHINE", 100, ("tests/faults/test_machine.py",)),
    "crash": Suite("points", "TSI_CRASH", None, ("tests/crash",)),
}


class Seen(NamedTuple):
    """What came of a suite: what its tests counted, and the names of those that failed."""

    counts: Counter[str]
    failed: tuple[str, ...]


def seen(report: Path) -> Seen:
    """From pytest's report in XML, which it has just written."""
    counts, failed = Counter[str](), []
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        skipped, wrong = case.find("skipped"), next((c for c in case if c.tag in ("failure", "error")), None)
        counts["tests"] += 1
        counts["tests skipped"] += skipped is not None
        for counted in case.iter("property"):
            counts[str(counted.get("name"))] += int(str(counted.get("value")))
        if wrong is not None:
            failed.append(f"{name}: {(wrong.get('message') or wrong.tag).splitlines()[0][:200]}")
    return Seen(counts, tuple(failed))


def enough(tally: Tally, suite: Suite, number: int | None) -> bool:
    """Was it tried, with as many, and nothing found?"""
    return any(not line.wrong and line.counts.get(suite.unit, 0) >= (number or 1) for line in tally.mine)


def tried(tally: Tally, suite: Suite, number: int | None) -> int:
    """The exit code of pytest; a line where it has said what failed, or that nothing did."""
    with tempfile.TemporaryDirectory(prefix="tsi-fetch-fire-") as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", "-o", "junit_family=xunit1"]
        command += suite.arguments  # the other family of reports has no properties
        code = subprocess.run(command, cwd=ROOT, env=suite.asked(number), check=False).returncode
        if code in (PASSED, FAILED):
            counts, failed = seen(report)
            tally.add(0, counts, Verdict(untrue=failed))
    return code


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=list(SUITES))
    parser.add_argument("--number", type=int, help="how many; without it as many as usual")
    parser.add_argument("--tally", type=Path, help="a line is added to this file")
    given = parser.parse_args()
    tally, suite = Tally(given.tally, given.suite), SUITES[given.suite]
    number = suite.number if given.number is None else given.number
    code = PASSED if enough(tally, suite, number) else tried(tally, suite, number)
    return told(tally) or code


if __name__ == "__main__":
    sys.exit(main())
