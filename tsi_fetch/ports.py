"""The seams: what the loop asks of a source, a sink and the store.

To add a source, do these three things: write a class with the methods of `Source` (one file, or a folder, under
`sources/`) and a pydantic model of its options; name both in `jobs/catalogue.py`; list it in the contract suite
(`tests/contract/`).  To add a sink, the same with `Sink`.  What wraps (record, replay, a plan) implements the same seam
and holds another one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, tzinfo
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from tsi_fetch.words import (
    Batch,
    Change,
    Claimed,
    Cursor,
    Doubt,
    Held,
    KeyPage,
    Known,
    ListKind,
    Mark,
    Outcome,
    Pending,
    Position,
    Progressed,
    Ref,
    Row,
    RunRecord,
    ScopeState,
    Settlement,
    StampedPage,
    Unlisted,
    Validators,
    Version,
    Waiting,
    WorkList,
    Write,
)

NOTHING: Mapping[str, Validators] = MappingProxyType({})
"""No validator of any key."""

Permit = Callable[[], None]
"""Called before each send; raises `LeaseLost` or `Stopped` where nothing may be sent any more."""


class Source(Protocol):
    """An external system that we read.

    `stream` names what its watermark counts; `mapping` is raised by hand whenever `to_changes` would give another
    result for the same row.  A scope's key is its row's key, or the row's key, `#` and a part.  `types`: the resource
    types that `to_changes` gives.  A class may offer `urls(options, key)`: where a person can read a row, as far as its
    key tells.  `pull` and `fetch` may be asked for their next batch by another thread, while
    `to_changes` and `settled` are called for the batches before it.
    """

    stream: str
    mapping: int
    types: frozenset[str]

    def pull(self, position: Position, started: datetime) -> Iterator[Batch]:
        """Read what changed since `position`; rows named in it are left out.  Talks.

        The last batch carries the cursor, never later than `started`; a pass that cannot be finished raises
        (`TryAgain`, `SettingError`) and yields no cursor.  An empty feed is one batch without rows.
        """
        ...

    def keys(self) -> Iterator[KeyPage]:
        """One pass over the whole listing, page by page.  Talks."""
        ...

    def fetch(self, keys: Iterable[str], known: Mapping[str, Validators] = NOTHING) -> Iterator[Batch]:
        """Fetch these keys whole, whatever the feed says, in the order given.  Batches carry no cursor.  Talks.

        `known`: validators of some keys' answers as they were mapped last; a source that can asks by them, and gives
        rows that are `unmodified` where nothing has changed.
        """
        ...

    def to_changes(self, row: Row) -> Sequence[Change]:
        """Turn a row into changes.  Pure; raises `Unusable` where it cannot be used."""
        ...

    def settled(self, batch: Batch) -> None:
        """Everything of the batch is remembered: a queue may acknowledge it now."""
        ...


@runtime_checkable
class Ranged(Protocol):
    """A source that can be asked what changed in a span of time, as often as anybody likes.  `zone`: where its days
    begin."""

    zone: tzinfo

    def changed(self, since: datetime, until: datetime) -> Iterator[StampedPage]:
        """Keys of rows that changed in [since, until), with when; more than that may come, and is left out.  Talks."""
        ...


@runtime_checkable
class Forgetful(Protocol):
    """A source that keeps answers, so as not to ask twice."""

    def forget(self) -> None:
        """What is asked from now on is asked anew."""
        ...


class Sink(Protocol):
    """Where resources go.  Every write is guarded by the version the writer believes in.

    `ahead`: how many calls of `write` may be in progress at once, from as many threads, for disjoint refs; 0: each is
    waited for.  `referential`: it refuses references to what is not there (`Result.MISSING`).
    """

    release: str  # R5 or R4: what bodies are validated as
    ahead: int
    referential: bool

    def open(self, types: Collection[str] = (), *, deletes: bool = False) -> None:
        """Make sure that this is the sink the job means, and that it takes these types; `deletes`: also their deletion.

        SettingError where it is not, or does not; TryAgain where it is down.
        """
        ...

    def find(self, refs: Sequence[Ref], *, bodies: bool = False) -> Mapping[Ref, Held]:
        """What the sink holds of these refs, versions in bulk; refs that never were are left out."""
        ...

    def listing(self, resource_type: str) -> Iterator[Sequence[Held]]:
        """Everything alive of a type, without bodies, page by page."""
        ...

    def write(self, writes: Sequence[Write], permit: Permit) -> Iterator[Sequence[Outcome]]:
        """Write all, in whatever bundles and order the sink needs; one outcome per write, as they are acknowledged.

        Refs are unique within a call.  What refers to a resource that an earlier call is still creating waits for it.
        Raises `TryAgain` where the sink is down: what was not yielded is unknown.
        """
        ...

    def read_mark(self, name: str) -> Mark | None:
        """The job's marker, or None where there is none (never was, or deleted)."""
        ...

    def move_mark(self, name: str, mark: Mark, permit: Permit) -> Mark:
        """Write the marker, guarded by `mark.version` (None: create only); gives it back with its new version.

        Raises `Guarded` where the sink holds another one.
        """
        ...

    def close(self) -> None:
        """Let go of connections; nothing is written."""
        ...


@runtime_checkable
class Versioned(Protocol):
    """A sink that keeps what a resource was before."""

    def history(self, ref: Ref, most: int) -> Sequence[Version] | None:
        """Its last versions, the latest first; no one where it never was, None where they are not to be had."""
        ...


class Memory(Protocol):
    """What is remembered of refs, scopes and streams, of one job."""

    def position(self, stream: str) -> Position: ...

    def scopes(self, keys: Sequence[str]) -> Mapping[str, ScopeState]: ...

    def validators(self, keys: Sequence[str], mapping: int) -> Mapping[str, Validators]:
        """Of those of these rows whose answers this mapping gave all that is remembered of them."""
        ...

    def known(self, refs: Sequence[Ref]) -> Mapping[Ref, Known]:
        """What is known at this job's sink, whichever job owns it."""
        ...

    def doubt(self, doubt: Doubt) -> int:
        """Note what is about to be written, in one small transaction; the settlement that answers it names the note."""
        ...

    def recover(self) -> frozenset[Ref]:
        """Notes that a killed run left, unanswered: the digests of their refs and the answers of their scopes are
        forgotten, and refs that were to be created are held by their scopes, so that they go when they go.

        Refs of which something newer may have been written than what waits: not to be released until `recovered`.
        """
        ...

    def recovered(self, *, whole: bool) -> frozenset[Ref]:
        """The run since `recover` has read what it was to read.  `whole`: the source to its end: what a killed run was
        about to write has come again, or the source has taken it back, unless its row lies in quarantine.  The refs of
        which something newer may still have been written than what waits."""
        ...

    def half_written(self) -> Collection[str]:
        """Keys of the rows that killed workers, replays and runs of single rows were about to write, as of `recover`,
        and that no whole run has read since: no feed brings them again."""
        ...

    def late(self) -> Iterator[Doubt]:
        """Notes that an earlier run has found and worked in, not long ago, as of `recover`; each ref once.  What was on
        its way to the sink then may have arrived since that run looked."""
        ...

    def arrived(self, doubt: Doubt, gone: Collection[Ref]) -> Sequence[str]:
        """It has: the note counts again, in one transaction.  `gone`: those of its refs that it removed.  Keys of the
        rows to be fetched."""
        ...

    def settle(self, settlement: Settlement) -> None:
        """Remember, in one transaction, under the lease's fence.  `LeaseLost` where another holds the job now."""
        ...

    def advance(self, stream: str, cursor: Cursor | None, *, clear: bool, scopes: Sequence[str] | None = None) -> None:
        """End a pass, in one transaction: move the watermark (None: leave it), accept what is pending past the guard
        (holds go; refs still held elsewhere are no longer pending), and with `clear` forget the checkpoint.

        `scopes`: accept only what these scopes left (None: all).
        """
        ...


class Departures(Protocol):
    """Deletions and retirements decided and not yet carried out."""

    def pending(self, of: Sequence[Ref] | None = None) -> Sequence[Pending]:
        """All, or those of these refs."""
        ...

    def live(self) -> Mapping[str, int]:
        """How many refs of each type this job has alive at its sink."""
        ...

    def holders(self, refs: Sequence[Ref]) -> Mapping[Ref, frozenset[str]]:
        """Which scopes hold these refs, as `job/scope`."""
        ...

    def discard(self, stream: str) -> None:
        """The guard refused: forget what is pending and not accepted, in one transaction, so that the next run decides
        it anew: the pass's checkpoint goes, the scopes' raw digests go, their keys in open work lists open again."""
        ...


class WorkLists(Protocol):
    """First loads and `--full`: keys that are still to be done."""

    def open_list(self, stream: str, after: int = 0) -> WorkList | None:
        """The oldest open one that runs work off; of those that come after this one, if it is given."""
        ...

    def unlisted(self, stream: str) -> Unlisted | None:
        """Since when no listing has been complete, where the last one was not; None where it was, or none was read."""
        ...

    def begin_list(self, kind: ListKind, stream: str, *, again: bool = False) -> int:
        """A new list, not yet open; one that was begun and never opened is forgotten."""
        ...

    def ask_again(self, list_id: int) -> None:
        """What is left of it is to be mapped and written anew (`--again`) by whoever goes on with it."""
        ...

    def note_keys(self, list_id: int, number: int, keys: Sequence[str]) -> None:
        """Keys seen in pass `number` (1, 2, …) of the listing."""
        ...

    def agree(self, list_id: int, number: int) -> bool:
        """True where pass `number` and the one before it saw the same keys."""
        ...

    def start_list(self, list_id: int, *, complete: bool, cursor: Cursor | None) -> WorkList:
        """Open the list, in one transaction with the watermark where the stream has none.  A complete list also gets
        the keys of all whole scopes that it lacks: the source is asked what became of them."""
        ...

    def take(self, list_id: int, count: int, after: int = 0) -> Sequence[tuple[int, str]]:
        """The next items that are not done, with numbers above `after`: number and key.  The list closes when it is
        asked from the start and none is left."""
        ...

    def worked_on(self, list_id: int) -> bool:
        """Whether workers of it are alive."""
        ...


class Waits(Protocol):
    """Changes that refer to something not there yet."""

    def waiting_graph(self) -> Mapping[Ref, frozenset[Ref]]:
        """Every ref that waits and is still wanted by its scope, with what it waits for."""
        ...

    def waiting(self, refs: Sequence[Ref]) -> Sequence[Waiting]: ...

    def oldest_waiting(self) -> datetime | None: ...


class Ledger(Protocol):
    """Runs, the marker, and what lies in quarantine."""

    def unfetched(self, stream: str) -> Sequence[str]:
        """Row keys in quarantine because they could not be fetched."""
        ...

    def in_quarantine(self, stream: str, digests: Sequence[bytes]) -> frozenset[bytes]:
        """Which of these lie open in quarantine already."""
        ...

    def ran(self, run: str, *, anybody: bool = False) -> bool:
        """True where this id is a run of this job (`anybody`: of any job) of this store: what it wrote is ours."""
        ...

    def oldest_quarantine(self) -> datetime | None: ...

    def marks(self) -> tuple[Mark | None, Mark | None]:
        """The remembered marker and the intended one."""
        ...

    def intend(self, mark: Mark) -> None: ...

    def marked(self, mark: Mark) -> None:
        """The move was acknowledged: remember it, forget the intent."""
        ...


class JobStore(Memory, Departures, WorkLists, Waits, Ledger, Protocol):
    """The store as one job's run sees it; opened with the lease already held, or read-only for a plan."""

    store_id: str

    def begin_run(self, record: RunRecord) -> None: ...

    def end_run(self, record: RunRecord) -> None: ...

    def permit(self) -> None:
        """LeaseLost where the last good heartbeat is older than 2/3 of the expiry."""
        ...


class Claims(Protocol):
    """Items of a work list that one worker has claimed (`store.claims`)."""

    @property
    def list_id(self) -> int: ...

    def claim(self, count: int, *, untried: bool = False) -> Sequence[Claimed]: ...

    def mine(self) -> frozenset[int]: ...

    def kept(self) -> AbstractContextManager[None]: ...

    def release(self) -> None: ...

    def failed(self, reasons: Mapping[int, str]) -> int: ...

    def unknown(self, numbers: Collection[int]) -> None: ...

    def expand(self, window: Claimed, keys: Sequence[str], *, last: bool) -> None: ...

    def progress(self) -> Progressed: ...

    def close(self) -> bool: ...

    def halt(self) -> None: ...


class Turns(Protocol):
    """The right to write, of one worker among several and beside nightly runs."""

    def turn(self, run_id: str, wait: Callable[[float], None]) -> AbstractContextManager[JobStore]: ...

    def wanted(self) -> bool: ...


class Progress(Protocol):
    """Told how far the run is; draws or logs it."""

    def __call__(self, phase: str, done: int, total: int | None) -> None: ...
