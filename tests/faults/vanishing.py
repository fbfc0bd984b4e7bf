"""A job's vanish guard in a life, and the person who is told by it: what may happen when too much is to go."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from tests.faults.bodies import is_retired, retires
from tests.sinks.fake_hapi import Version
from tsi_fetch.errors import Exit
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.report import Report
from tsi_fetch.words import Pending, Ref

ANY = 1000
"""More than any register here has: who accepts so much is not guarded."""

NONE: Mapping[str, int] = MappingProxyType({})

FEW, SHARE = 3, 0.05
"""What one run may remove: so many, or this share, and of more than a few never more than half (`max_vanish`)."""

Said = Callable[[Ref, bytes], bool]


def nothing_said(ref: Ref, body: bytes) -> bool:
    """Of a source that calls nothing over itself."""
    return False


TRIPPED = "too much would vanish"
_HINT = re.compile(r"--accept-vanish (\d+)")


@dataclass
class VanishGuard:
    """`on`: the job has the guard that it has by itself.  `asked`: what the last run said is to be accepted, so that
    the next one may go on.  `accepted`: by a person, for the next run.  `wrong`: what no run should have done."""

    on: bool
    asked: int = 0
    accepted: int = 0
    wrong: list[str] = field(default_factory=list)
    _begun: dict[str, tuple[Mapping[str, int], Mapping[str, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.accepted = 0 if self.on else ANY

    def accept(self) -> bool:
        """A person has looked, and lets so much go, once; False where nobody asked."""
        self.accepted, asked = max(self.asked, self.accepted), self.asked
        return bool(asked)

    def accept_all(self) -> None:
        """From now on."""
        self.on, self.accepted = False, ANY

    def begins(self, run: str, pending: Iterable[Pending], live: Mapping[str, int]) -> None:
        """What the store says as this run begins: runs before it may have let go of something and not removed it."""
        self._begun[run] = Counter(p.ref.type for p in pending if p.accepted), live

    def ended(
        self,
        report: Report,
        versions: Mapping[str, Sequence[Version]],
        said: Said = nothing_said,
        left: Mapping[str, int] = NONE,
    ) -> bool:
        """True where the guard held back what was to go: nothing went, and the run said how much it was.

        `said`: whether the source has a resource so itself; what it calls over is not held back.  `left`: of each type,
        how many the store says are alive now.

        One acceptance was for this run alone.
        """
        tripped = next((r for r in report.reasons if r.what.startswith(TRIPPED)), None)
        before, self.asked = self.accepted, 0
        self.accepted = 0 if self.on else ANY
        if tripped is None:
            self.wrong += self._too_much(report, before, left)
            return False
        found = _HINT.search(tripped.hint)
        self.asked = int(found[1]) if found else 0
        if self.asked <= before:
            self.wrong.append(f"{report.run} held back {self.asked}, and {before} were accepted")
        if report.exit_code != Exit.GUARDED:
            self.wrong.append(f"{report.run} held back what was to vanish, and ended with {report.exit_code}")
        self.wrong += [
            f"{report.run} held back what was to vanish, and removed {ref}"
            for ref, left in _removed(report.run, versions)
            if not (left and said(Ref.parse(ref), left))
        ]
        return True

    def _too_much(self, report: Report, accepted: int, left: Mapping[str, int]) -> Iterator[str]:
        """Types of which a run removed more than the guard lets one run remove, however many passes it read: of no
        fewer than there were, as it created some, or found some that a killed run had written."""
        let_go, live = self._begun.pop(report.run, ({}, {}))
        for kind, counts in report.counts.items():
            gone = counts.get("retired", 0) + counts.get("deleted", 0)
            new = gone - let_go.get(kind, 0)
            of = max(live.get(kind, 0) + counts.get("created", 0), left.get(kind, 0) + gone)
            if new > accepted and ((new > FEW and new > SHARE * of) or (of > FEW and new * 2 > of)):
                yield f"{report.run} removed {new} of {of} {kind}, and was not held back"


def _removed(run: str, versions: Mapping[str, Sequence[Version]]) -> Iterator[tuple[str, bytes | None]]:
    """What a run deleted or retired, by the server's own versions, and what it left of it."""
    for ref, all_of_it in versions.items():
        for before, after in itertools.pairwise(all_of_it):
            if after.run != run or before.resource is None or ref.startswith("Device/"):
                continue
            if after.resource is None or _is_retired(before.resource, after.resource):
                yield ref, dump(after.resource) if after.resource else None


def _is_retired(before: object, after: object) -> bool:
    one, two = dump(before), dump(after)
    return not is_retired(one) and retires(one, two)
