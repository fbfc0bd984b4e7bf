"""The vocabulary of tsi-fetch, as frozen values: the same words in code, CLI, logs, docs and tables.

ARCHITECTURE.md has one page on them, which a test reads.  Nothing here talks to anything.  No repr shows a body.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import Enum, StrEnum
from typing import Any, Literal, NamedTuple

Order = int
"""The source's own sense of newer: a version number, or microseconds since 1970 (UTC).  Higher replaces lower."""

Json = Any
"""A parsed JSON value."""


class Ref(NamedTuple):
    """The identity that source and sink share: `Type/id`.  A tuple, as nothing else is hashed so often."""

    type: str
    id: str

    def __str__(self) -> str:
        return f"{self.type}/{self.id}"

    @classmethod
    def parse(cls, text: str) -> Ref:
        """Read `Type/id`; ValueError where there is no slash."""
        kind, slash, ident = text.partition("/")
        if not (kind and slash and ident):
            raise ValueError(f"{text!r} is not Type/id")
        return cls(kind, ident)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the source as received.  `part` says what was asked (`medicamento`, `presentacion/712729`).

    `validator`: what the source knows this very answer by (an ETag), where it gives one.
    """

    part: str
    url: str
    status: int
    body: bytes = field(repr=False)
    requested_at: datetime  # UTC, on the store's clock
    validator: str | None = None


Validators = Mapping[str, str]
"""By the part of an answer, what the source knew it by."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a row cannot be used: a stable code, where (JSON path or part) and the rule; never the value."""

    code: str
    path: str
    rule: str


OVERTAKEN = Fault("overtaken", "$", "newer answers have come since of all that it speaks for: they stay")
"""Of a row that is replayed."""


@dataclass(frozen=True, slots=True)
class ScopeClaim:
    """A scope that a row speaks for.  A whole one lists all its refs: known ones that are missing leave the scope."""

    key: str
    whole: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One entry as the source sent it, with all answers it is mapped from.

    `settles`: keys of the feed's rows that this row settles (several feed rows may collapse into one).
    `unfetched`: why the answers are missing; such a row goes to quarantine as *unfetched* and is asked for again.
    `unmodified`: the source says that all its answers are still those that the validators stand for.
    `overtakes`: keys of rows beside its own whose answers, if they could not be used, are overtaken by this one's.
    """

    key: str
    answers: tuple[Answer, ...] = ()
    order: Order | None = None
    scopes: tuple[ScopeClaim, ...] = ()
    settles: tuple[str, ...] = ()
    unfetched: Fault | None = None
    unmodified: bool = False
    overtakes: tuple[str, ...] = ()

    @property
    def answered(self) -> bool:
        """The source has said what is true of it now."""
        return bool(self.answers) or self.unmodified

    @property
    def validators(self) -> Validators | None:
        """Those of all its answers; None where any lacks one: then nothing can be asked for by them."""
        found = {a.part: a.validator for a in self.answers if a.validator}
        return found if found and len(found) == len(self.answers) else None

    @property
    def digest(self) -> bytes:
        """16 bytes over the key and the answers, without feed stamps and times of fetching.

        Of a row that could not be fetched, over its key: however it fails each night, it is one trouble.
        """
        h = hashlib.sha256(self.key.encode())
        if self.unfetched:
            h.update(b"\0unfetched")
            return h.digest()[:16]
        for a in self.answers:
            h.update(b"\0%s\0%d\0%d\0" % (a.part.encode(), a.status, len(a.body)))
            h.update(a.body)
        return h.digest()[:16]


@dataclass(frozen=True, slots=True)
class Upsert:
    """A resource as it should be at the sink.  `body` is what is sent, byte for byte."""

    ref: Ref
    body: bytes = field(repr=False)
    scope: str
    order: Order | None


@dataclass(frozen=True, slots=True)
class Deletion:
    """The source says itself that a resource is gone (a FHIR server's history does; absence never does)."""

    ref: Ref
    scope: str
    order: Order | None


Change = Upsert | Deletion


class CursorKind(StrEnum):
    """What a watermark counts in; cursors of different kinds cannot be compared."""

    DATE = "date"  # ISO date in the source's zone, inclusive, asked again with an overlap
    INSTANT = "instant"  # ISO instant in UTC
    OPAQUE = "opaque"  # a commit, an ETag
    SNAPSHOT = "snapshot"  # a digest of everything


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a stream has been read.  `seen`: keys of the rows settled inside the overlap before `value`."""

    kind: CursorKind
    value: str
    seen: frozenset[str] = frozenset()

    def precedes(self, other: Cursor) -> bool:
        """True where this cursor is strictly earlier; opaque ones only differ.  ValueError on different kinds."""
        if self.kind is not other.kind:
            raise ValueError(f"a {self.kind} cursor cannot be compared with a {other.kind} cursor")
        if self.kind is CursorKind.DATE:
            return date.fromisoformat(self.value) < date.fromisoformat(other.value)
        if self.kind is CursorKind.INSTANT:
            return datetime.fromisoformat(self.value) < datetime.fromisoformat(other.value)
        return self.value != other.value


@dataclass(frozen=True, slots=True)
class Position:
    """Where a stream stands: its watermark (None before the first), and the row keys an unfinished pass has settled."""

    cursor: Cursor | None = None
    checkpoint: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that are settled together.  `cursor` stands on the last batch of a pass: all before it is then settled."""

    stream: str
    rows: tuple[Row, ...] = ()
    cursor: Cursor | None = None


class State(StrEnum):
    """What a known ref is at the sink."""

    LIVE = "live"
    RETIRED = "retired"
    DELETED = "deleted"  # a tombstone: its order and the deletion's version are kept


DOUBTED = bytes(16)
"""The digest of a ref that a run began to write and has not remembered since: equal to nothing, so it is written."""

FORGOTTEN = b"\xff" * 16
"""The digest of a tombstone that `reconcile` made of a ref that the sink has lost: equal to nothing, and created again
when its source gives it, whatever tombstone the sink holds."""


AWAITED = b"\xfe" * 16
"""The digest of a ref of which nothing was ever written, since its first change waits: a tombstone only in name, so
that every scope that names the ref can hold it, and let go of it."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of a ref at a sink: what we last wrote, and the version the sink gave it.

    `fresh`: it was this very run that wrote it.
    """

    ref: Ref
    job: str
    digest: bytes  # 16 bytes, canonical; of what was last written
    version: str | None  # the sink's; None where it must be learnt anew
    order: Order | None
    mapping: int
    state: State = State.LIVE
    fresh: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class ScopeState:
    """A scope as remembered: its refs, and the digest of the raw answers it was mapped from, under which mapping.

    `known`: what was known of the refs, of as many as the store had at hand, when the scope was read.  `order`: of the
    row that it was mapped from last.
    """

    key: str
    refs: frozenset[Ref] = frozenset()
    raw: bytes | None = None
    mapping: int | None = None
    known: Mapping[Ref, Known] = field(default_factory=dict, compare=False, repr=False)
    order: Order | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """What the sink holds for a ref.  `body` is None where only versions were asked for.

    `run`: the run that wrote this version, where the sink can tell (HAPI: the request id behind `meta.source`).
    """

    ref: Ref
    version: str
    body: bytes | None = field(default=None, repr=False)
    deleted: bool = False
    run: str | None = None


class Version(NamedTuple):
    """One version of a resource, as its sink tells of it.  `at`: when, in the sink's spelling; `run`: as in `Held`.
    Both are None where the sink does not say (HAPI: of a deletion)."""

    version: str
    at: str | None
    run: str | None
    deleted: bool


class Action(StrEnum):
    """What the decision says is to be done with a ref."""

    CREATE = "create"
    UPDATE = "update"
    UNCHANGED = "unchanged"
    DELETE = "delete"
    RETIRE = "retire"
    WAIT = "wait"
    REFUSE = "refuse"
    OLDER = "older"  # the known one is newer: left alone, and counted


class WriteAction(StrEnum):
    """What a sink is asked to do."""

    PUT = "put"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Write:
    """One guarded write.  `version` is what the writer believes the sink holds; None: nothing (create only).

    `revives`: that version is a deletion's.
    """

    ref: Ref
    action: WriteAction
    version: str | None
    body: bytes | None = field(default=None, repr=False)
    revives: bool = False


class Result(StrEnum):
    """How a sink answered a write."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"  # the sink says that it already held this content
    DELETED = "deleted"
    STALE = "stale"  # the sink holds another version than believed; `held` says which (None: nothing is there)
    REFUSED = "refused"  # the sink will never take it; `fault` has its words
    REFERRED = "referred"  # a deletion that others still refer to: kept
    MISSING = "missing"  # it refers to something that is not there; `missing` names it


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one write, as the sink acknowledged it."""

    ref: Ref
    result: Result
    version: str | None = None
    held: Held | None = None
    fault: Fault | None = None
    missing: tuple[Ref, ...] = ()


@dataclass(frozen=True, slots=True)
class Waiting:
    """A change that refers to something not there yet: sent once all of `missing` is there, or waits itself.

    `since`: when the ref began to wait; None for one that begins now.
    """

    ref: Ref
    body: bytes = field(repr=False)
    scope: str
    row: str
    order: Order | None
    mapping: int
    missing: frozenset[Ref]
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A row, or one refused change of a row, that could not be used; kept whole until replayed, dropped or overtaken.

    `digest` identifies it within (job, stream): the same trouble twice is one entry with two attempts.
    """

    key: str
    digest: bytes
    fault: Fault
    row: Row
    ref: Ref | None = None
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ScopeSettled:
    """What a batch says of a scope: refs it holds now; `leaving` are held no longer (pending until past the guard).

    `raw` is None where a change of the scope was not acknowledged: the answers are then mapped again next time.
    `row`: the key of the row that said so, of that `order`.  `validators`: what its answers can be asked for by, next
    time.
    """

    key: str
    refs: frozenset[Ref]
    leaving: frozenset[Ref]
    raw: bytes | None
    mapping: int | None
    row: str
    validators: Validators | None = None
    order: Order | None = None


class ScopeSeen(NamedTuple):
    """A scope of which nothing else is said; as `ScopeSettled` has it."""

    key: str
    row: str
    raw: bytes | None
    mapping: int
    order: Order


@dataclass(frozen=True, slots=True)
class Doubt:
    """What is about to be written, noted before it is: refs, and the scopes that name them.

    A run that is killed before it remembers leaves the sink ahead of the store.  The next run finds the note, and from
    then on what is known of these refs, and the answers of these scopes, count as no longer true.

    `overtakes`: refs with the order of the change that is written; an older one that waits may not be released over it
    before the source was read again.

    `removes`: the refs are deleted.

    `since`: when a later run found the note and worked it in.  It is kept for a while longer: a request that was on its
    way may still arrive.

    `asked`: the rows of its scopes were asked for by their keys, and no feed brings them again.
    """

    refs: tuple[Ref, ...]
    scopes: tuple[ScopeSettled, ...]
    mapping: int
    overtakes: tuple[tuple[Ref, Order | None], ...] = ()
    removes: bool = False
    since: datetime | None = None
    asked: bool = False

    def of(self, refs: Collection[Ref]) -> Doubt:
        """The same of these refs alone."""
        some = frozenset(refs)
        scopes = tuple(replace(s, refs=s.refs & some) for s in self.scopes if s.refs & some)
        return replace(self, refs=tuple(ref for ref in self.refs if ref in some), scopes=scopes, overtakes=())


class Brought(Enum):
    """By what the rows of a batch came, and so what brings them again where they were not settled."""

    FEED = "feed"  # it is read from the same watermark
    LIST = "list"  # their items are open
    KEY = "key"  # nothing: they were asked for


@dataclass(frozen=True, slots=True)
class Settlement:
    """Everything one batch settles, remembered in one transaction.

    `checkpoint`: row keys settled of an unfinished pass.  `keys`: the keys of rows that were fetched (work items of
    open lists with these keys are done; those of lists that were asked for `--again`, only where this is `again`).
    `closed`: row keys of which there are answers: what of them lies in quarantine closes, but for what this says again.
    `departed`: refs whose pending deletion or retirement is over (carried out, kept by policy, or quarantined).
    `waiting`: changes that begin to wait, or replace what waits for the same ref.  `arrived`: refs with the order of
    what is at the sink now, or was refused: what waits and is not newer waits no more.  `doubt`: the note that this
    answers.  `rows`: the keys of all its rows, for whoever has fetched one of them meanwhile.
    `replayed`: numbers of quarantined entries whose rows these were.  `asked`: no feed has brought its rows.  `seen`:
    scopes whose answers came again, and those beside a row's first one of which there is nothing.  `believed`: of refs
    that other jobs may settle too, what was known as they were decided (None: nothing).  `lost`: of `known`, what the
    sink had lost before anybody removed it, so that no run is told to have done so.
    """

    stream: str
    known: tuple[Known, ...] = ()
    scopes: tuple[ScopeSettled, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()
    checkpoint: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    departed: tuple[Ref, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    arrived: tuple[tuple[Ref, Order | None], ...] = ()
    doubt: int | None = None
    rows: tuple[str, ...] = ()
    replayed: tuple[int, ...] = ()
    asked: bool = False
    seen: tuple[ScopeSeen, ...] = ()
    again: bool = False
    believed: tuple[tuple[Ref, Known | None], ...] = ()
    lost: tuple[Ref, ...] = ()


@dataclass(frozen=True, slots=True)
class Pending:
    """A deletion or retirement decided by a scope that no longer holds a ref; `accepted` once past the vanish guard."""

    ref: Ref
    scope: str
    row: str
    accepted: bool = False
    decided: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Mark:
    """The content of a job's marker on the sink, and the version the sink gave it."""

    run: str
    counter: int
    version: str | None = None


@dataclass(frozen=True, slots=True)
class KeyPage:
    """One page of a source's listing.  `cursor`: the watermark a first load starts from; `unreadable`: keys lost."""

    keys: tuple[str, ...]
    cursor: Cursor | None = None
    unreadable: int = 0


@dataclass(frozen=True, slots=True)
class StampedPage:
    """Keys of rows with when they changed, in UTC (None: the source does not say).  `unreadable`: keys lost."""

    rows: tuple[tuple[str, datetime | None], ...]
    unreadable: int = 0


ListKind = Literal["first", "full", "backfill", "reconcile"]


@dataclass(frozen=True, slots=True)
class WorkList:
    """A stored list of keys that a first load, `--full` or a backfill still has to do."""

    id: int
    kind: ListKind
    stream: str
    complete: bool  # the listing behind it was complete: two passes agreed
    total: int
    left: int
    again: bool = False  # asked for `--again`: what has not changed is mapped and written anew, too


class Claimed(NamedTuple):
    """An item of a backfill's list that a worker has claimed: a row's key, or a half-open window [since, until) of
    instants, written as ISO 8601 in UTC.  `attempts`: how often it has failed."""

    number: int
    key: str
    since: str | None = None
    until: str | None = None
    attempts: int = 0


class Counted(NamedTuple):
    """Items of a list by what has become of them."""

    left: int = 0
    done: int = 0
    aside: int = 0

    @property
    def total(self) -> int:
        return sum(self)


class Progressed(NamedTuple):
    """How far a backfill is, as of `at`.  `state`: begun, open, halted (a guard refused to go on), closed, cancelled,
    gone; items left to do, done, and set aside.  `soonest`: when the first of those that failed may be tried again.
    `windows`: those of the items that are spans of days, which are no rows but what rows are found in."""

    state: str
    left: int
    done: int
    aside: int
    at: datetime
    soonest: datetime | None = None
    windows: Counted = Counted()

    @property
    def rows(self) -> Counted:
        """The items without the windows."""
        windows = self.windows
        return Counted(self.left - windows.left, self.done - windows.done, self.aside - windows.aside)


class Unlisted(NamedTuple):
    """No listing of a source has been complete `since` then; `told`: the run that began the last of them has ended, or
    one after it."""

    since: datetime
    told: bool


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One execution of one job, as the store keeps it.

    `outcome`: running, done, quarantined (done, but for rows that lie in quarantine), partial (a planned stop), failed,
    stopped (by a signal), lost (it never said how it ended).
    """

    id: str
    job: str
    started: datetime
    ended: datetime | None = None
    outcome: str = "running"
    exit_code: int | None = None
    whole: bool = True  # not asked for single products only
    report: Mapping[str, Json] = field(default_factory=dict)
