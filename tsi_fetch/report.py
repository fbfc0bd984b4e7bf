"""The report: what a run did, as a value.  Whoever prints, logs or mails it gets this and never the loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tsi_fetch.errors import Exit, TsiFetchError, worst
from tsi_fetch.phases import Phases
from tsi_fetch.words import Cursor, Fault, Json, Ref

MOST_NAMED = 50
"""Quarantined rows named in a report; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One row or change that went to quarantine: its key, where and by which rule; never the value."""

    key: str
    code: str
    path: str
    rule: str


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a run did not end well, and what to do about it."""

    code: int
    what: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did.  `counts`: per resource type and action; `rows`: per fate; `phases`: seconds (`Phases`);
    `slowest`, `retried`: requests worth naming (`Notable`); `asked`: by what it differs from a nightly run, where a
    person asked for that (`--only`, `--full`, a replay of the quarantine)."""

    job: str
    run: str
    plan: bool
    outcome: str
    exit_code: int
    started: datetime
    ended: datetime
    counts: Mapping[str, Mapping[str, int]]
    rows: Mapping[str, int]
    phases: Mapping[str, float]
    watermark: tuple[str | None, str | None]
    remainder: int
    quarantined: tuple[Trouble, ...]
    troubles: int  # how many went to quarantine, named above or not
    reasons: tuple[Reason, ...]
    notes: tuple[str, ...]
    requests: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    slowest: Sequence[Mapping[str, Json]] = ()
    retried: Sequence[Mapping[str, Json]] = ()
    asked: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON types only; instants as ISO 8601 in UTC."""
        return {
            "job": self.job,
            "run": self.run,
            "plan": self.plan,
            "outcome": self.outcome,
            "exit_code": self.exit_code,
            "started": self.started.isoformat(),
            "ended": self.ended.isoformat(),
            "counts": {kind: dict(actions) for kind, actions in self.counts.items()},
            "rows": dict(self.rows),
            "phases": {k: round(v, 3) for k, v in self.phases.items()},
            "watermark": {"before": self.watermark[0], "after": self.watermark[1]},
            "remainder": self.remainder,
            "quarantined": [{"key": t.key, "code": t.code, "path": t.path, "rule": t.rule} for t in self.quarantined],
            "troubles": self.troubles,
            "reasons": [{"code": r.code, "what": r.what, "hint": r.hint} for r in self.reasons],
            "notes": list(self.notes),
            "requests": {host: dict(figures) for host, figures in self.requests.items()},
            "slowest": [dict(request) for request in self.slowest],
            "retried": [dict(request) for request in self.retried],
            "asked": dict(self.asked),
        }


Told = Callable[[Ref, str, int], None]
"""Told of each resource that is counted: its fate, and how often; a negative number takes back what was told."""


class Tally:
    """Counts while the run goes on; becomes a `Report` at its end."""

    def __init__(self, job: str, run: str, started: datetime, *, plan: bool, told: Told | None = None) -> None:
        self.job, self.run, self.started, self.plan = job, run, started, plan
        self._told = told
        self.rows: Counter[str] = Counter()
        self.remainder = 0
        self.partial = False
        self.watermark: tuple[Cursor | None, Cursor | None] = (None, None)
        self._counts: dict[str, Counter[str]] = {}
        self.phases = Phases()
        self._troubles: list[Trouble] = []
        self._troubled = 0
        self._reasons: list[Reason] = []
        self._notes: list[str] = []
        self._codes: set[Exit] = set()

    def count(self, ref: Ref, action: str, number: int = 1) -> None:
        self._counts.setdefault(ref.type, Counter())[action] += number
        if self._told:
            self._told(ref, action, number)

    def count_all(self, refs: Iterable[Ref], action: str) -> None:
        if self._told:
            for ref in refs:
                self.count(ref, action)
            return
        for kind, number in Counter(ref.type for ref in refs).items():
            self._counts.setdefault(kind, Counter())[action] += number

    def trouble(self, key: str, fault: Fault) -> None:
        """A row or change went to quarantine: the run cannot be green."""
        self._codes.add(Exit.QUARANTINE)
        self._troubled += 1
        if len(self._troubles) < MOST_NAMED:
            self._troubles.append(Trouble(key, fault.code, fault.path, fault.rule))

    def may_be_troubled(self, key: str) -> bool:
        """Whether this row is named among the troubles, or may be one of those that are only counted."""
        named = any(trouble.key == key or trouble.key.startswith(f"{key} ") for trouble in self._troubles)
        return named or self._troubled > len(self._troubles)

    def failed(self, error: TsiFetchError) -> None:
        self.reason(Exit(error.exit_code), error.message, error.hint)

    def reason(self, code: Exit, what: str, hint: str = "") -> None:
        """Said once, however many batches in the air ran into it."""
        self._codes.add(code)
        reason = Reason(int(code), what, hint)
        if reason not in self._reasons:
            self._reasons.append(reason)

    def note(self, text: str) -> None:
        """Something a reader should know that is no failure; said once."""
        if text not in self._notes:
            self._notes.append(text)

    def phase(self, name: str) -> AbstractContextManager[None]:
        return self.phases.phase(name)

    def report(self, ended: datetime) -> Report:
        code = worst(self._codes)
        before, after = self.watermark
        return Report(
            job=self.job,
            run=self.run,
            plan=self.plan,
            outcome=self._outcome(code),
            exit_code=int(code),
            started=self.started,
            ended=ended,
            counts={kind: dict(sorted((+c).items())) for kind, c in sorted(self._counts.items()) if +c},
            rows=dict(sorted(self.rows.items())),
            phases=self.phases.seconds,
            watermark=(before.value if before else None, after.value if after else None),
            remainder=self.remainder,
            quarantined=tuple(self._troubles),
            troubles=self._troubled,
            reasons=tuple(self._reasons),
            notes=tuple(self._notes),
        )

    def _outcome(self, code: Exit) -> str:
        if code in (Exit.INTERRUPTED, Exit.TERMINATED):
            return "stopped"
        if code not in (Exit.DONE, Exit.QUARANTINE):
            return "failed"
        if self.partial:
            return "partial"
        return "quarantined" if code is Exit.QUARANTINE else "done"
