"""What two runners of one job must not do, from what the store recorded and the server saw.  Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sinks.fhir.options import FhirOptions
from tsi_fetch.errors import Exit

AT_ONCE: int = FhirOptions.model_fields["writers"].default
"""Bundles that a run has on their way, at most."""

TOLERANCE = timedelta(seconds=0.25)
"""Of what two processes take the store's clock for."""


@dataclass(frozen=True)
class Tenure:
    """A run that held the lease: what its record says, and how its process ended."""

    run: str
    fence: int
    began: datetime
    ended: datetime | None
    outcome: str
    code: int


@dataclass(frozen=True)
class Sent:
    """A transaction that reached the server."""

    run: str
    at: datetime


def misconduct(tenures: Sequence[Tenure], sent: Sequence[Sent]) -> Iterator[str]:
    """What two runners must not do: hold one lease, go on after a takeover or after their record is closed, or say that
    all is well after it.

    Bundles of the predecessor may come after it: those that were on their way.
    """
    known = {t.run for t in tenures}
    yield from (f"{s.run} wrote, and never held the lease" for s in sent if s.run not in known)
    for t in tenures:
        late = sum(s.run == t.run and t.ended is not None and s.at > t.ended + TOLERANCE for s in sent)
        if late:
            yield f"{t.run} sent {late} transactions after it had closed its record"
    for one, next_one in itertools.pairwise(sorted(tenures, key=lambda t: (t.fence, t.began))):
        if one.fence == next_one.fence:
            yield f"{one.run} and {next_one.run} held the lease under one number"
        yield from _overtaken(one, next_one, sent)


def _overtaken(one: Tenure, successor: Tenure, sent: Sequence[Sent]) -> Iterator[str]:
    late = sum(s.run == one.run and s.at > successor.began + TOLERANCE for s in sent)
    if late > AT_ONCE:
        yield f"{one.run} sent {late} transactions after {successor.run} had taken over"
    if one.ended is not None and one.ended > successor.began + TOLERANCE:
        yield f"{one.run} closed its record after {successor.run} had taken over"
    if one.ended is None and one.outcome != "lost":
        yield f"{one.run} never ended, and {successor.run} left it {one.outcome}"
    if one.outcome == "lost" and one.code in (Exit.DONE, Exit.QUARANTINE):
        yield f"{one.run} was overtaken by {successor.run}, and ended with {one.code}"
