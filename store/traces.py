"""What the store tells of a resource, or of a row of the source: values alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from store.queries import QuarantineRow
from store.waits import Wait
from tsi_fetch.words import Known, Ref


class Place(NamedTuple):
    """A job at a sink, as the store numbers it."""

    number: int
    job: str
    sink_number: int
    sink: str


@dataclass(frozen=True, slots=True)
class RunBrief:
    """A recorded run.  `list`: of a worker, the work list that it worked on."""

    id: str
    job: str
    started: datetime
    ended: datetime | None
    outcome: str
    replay: bool
    list: int | None = None


@dataclass(frozen=True, slots=True)
class Since:
    """The runs of a job after the one that wrote a resource last."""

    runs: int
    last: RunBrief | None


@dataclass(frozen=True, slots=True)
class ScopeRow:
    """A scope: whose it is, the key of the row that spoke for it last, and whether its answers are in doubt."""

    job: str
    key: str
    row: str
    mapping: int | None
    doubted: bool


@dataclass(frozen=True, slots=True)
class Removal:
    """A removal that was decided and not carried out; `accepted`: past the guard; `refused`: it lies in quarantine."""

    ref: Ref
    job: str
    scope: str
    row: str
    accepted: bool
    decided: datetime
    refused: bool


@dataclass(frozen=True, slots=True)
class Waiter:
    """A change that waits."""

    job: str
    wait: Wait


@dataclass(frozen=True, slots=True)
class SetAside:
    """An item that the workers of a list could not do, and gave up.  `created`: when the list was."""

    key: str
    list: int
    created: datetime
    attempts: int
    reason: str


@dataclass(frozen=True, slots=True)
class Mention:
    """A run whose report names a key among what went to quarantine: with which code."""

    run: RunBrief
    key: str
    code: str


@dataclass(frozen=True, slots=True)
class RefTrace:
    """One resource at one sink.

    `known`: None where nothing of it was ever remembered, but something waits or lies in quarantine.  `wrote`: the run
    that wrote it last, None where its record is gone.  `more_scopes`: beside those named, of which no more than
    `MOST_COUNTED` are counted.  `noted`: a run began to write it, and nobody knows how that ended.  `searched`: False
    where more lies in quarantine than is searched.
    """

    ref: Ref
    sink: str
    known: Known | None
    wrote: RunBrief | None
    since: Since | None
    scopes: tuple[ScopeRow, ...]
    more_scopes: int
    removals: tuple[Removal, ...]
    waits: tuple[Waiter, ...]
    troubles: tuple[QuarantineRow, ...]
    mentions: tuple[Mention, ...]
    aside: tuple[SetAside, ...]
    noted: bool
    searched: bool


@dataclass(frozen=True, slots=True)
class Made:
    """A resource that a row holds, and the run that wrote it last."""

    known: Known
    wrote: RunBrief | None


@dataclass(frozen=True, slots=True)
class KeyTrace:
    """A row of the source at one sink: its scopes, the resources they hold (`made`, and whether there are `more`), what
    of them is to be removed, what lies in quarantine, open work lists that it still stands in, by their kind, and lists
    whose workers gave it up."""

    key: str
    job: str
    sink: str
    scopes: tuple[ScopeRow, ...]
    made: tuple[Made, ...]
    more: bool
    removals: tuple[Removal, ...]
    waits: tuple[Waiter, ...]
    troubles: tuple[QuarantineRow, ...]
    mentions: tuple[Mention, ...]
    work: tuple[str, ...]
    aside: tuple[SetAside, ...]
