"""The store as one job's run sees it: the parts, put together behind the `JobStore` of `tsi_fetch.ports`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime

from store.access import Access
from store.departures import Departures
from store.ledger import Ledger, Trouble
from store.memory import Memory
from store.notes import Notes
from store.reconciling import Reconciling
from store.settling import Settling
from store.steering import Steering
from store.waits import Wait, Waits, still_wanted
from store.worklists import WorkLists
from tsi_fetch.differences import Entry, Repair
from tsi_fetch.reconcile import Audit, Mended
from tsi_fetch.words import (
    Cursor,
    Doubt,
    Known,
    ListKind,
    Mark,
    Pending,
    Position,
    Ref,
    RunRecord,
    ScopeState,
    Settlement,
    Unlisted,
    Validators,
    Waiting,
    WorkList,
)


class JobBook:
    """One job at one sink.  With a guard every method that writes is one fenced transaction; without one it raises
    RuntimeError, since a plan that writes is a bug.  Database trouble is `TryAgain`."""

    def __init__(
        self,
        access: Access,
        store_id: str,
        *,
        replay: bool = False,
        list_id: int | None = None,
        expiry: float | None = None,
    ) -> None:
        self.store_id = store_id
        self.job = access.job
        self.sink = access.sink
        self.steering = Steering(access)
        self._access = access
        self._memory = Memory(access)
        self._notes = Notes(access)
        self._settling = Settling(access)
        self._departures = Departures(access)
        self._lists = WorkLists(access)
        self._waits = Waits(access)
        self._ledger = Ledger(access, replay=replay, list_id=list_id, expiry=expiry)
        self._reconciling = Reconciling(access)

    def position(self, stream: str) -> Position:
        return self._memory.position(stream)

    def validators(self, keys: Sequence[str], mapping: int) -> Mapping[str, Validators]:
        return self._memory.validators(keys, mapping)

    def spoken_for(self, keys: Sequence[str]) -> frozenset[str]:
        return self._memory.spoken_for(keys)

    def scopes(self, keys: Sequence[str]) -> Mapping[str, ScopeState]:
        return self._memory.scopes(keys)

    def scope_rows(self, after: str, count: int) -> Sequence[tuple[str, str]]:
        return self._memory.scope_rows(after, count)

    def known(self, refs: Sequence[Ref]) -> Mapping[Ref, Known]:
        return self._memory.known(refs)

    def doubt(self, doubt: Doubt) -> int:
        return self._notes.add(doubt)

    def notes(self) -> Sequence[Doubt]:
        return [doubt for _, doubt in self._notes.unanswered()]

    def half_written(self) -> Collection[str]:
        return self._notes.half_written

    def late(self) -> Iterator[Doubt]:
        return self._notes.late()

    def rows_of(self, refs: Sequence[Ref]) -> Mapping[str, str]:
        return self._notes.rows_of(refs)

    def arrived(self, doubt: Doubt, gone: Collection[Ref]) -> Sequence[str]:
        return self._notes.arrived(doubt, gone)

    def recover(self) -> frozenset[Ref]:
        return self._notes.recover()

    def recovered(self, *, whole: bool) -> frozenset[Ref]:
        return self._notes.recovered(whole=whole)

    def settle(self, settlement: Settlement) -> None:
        self._settling.settle(settlement)

    def advance(
        self,
        stream: str,
        cursor: Cursor | None,
        *,
        clear: bool,
        scopes: Sequence[str] | None = None,
        elsewhere: Collection[Ref] = (),
    ) -> None:
        self._departures.advance(stream, cursor, clear=clear, scopes=scopes, elsewhere=elsewhere)

    def pending(self, of: Sequence[Ref] | None = None) -> Sequence[Pending]:
        return self._departures.pending(of)

    def live(self) -> Mapping[str, int]:
        return self._departures.live()

    def holders(self, refs: Sequence[Ref]) -> Mapping[Ref, frozenset[str]]:
        return self._departures.holders(refs)

    def discard(self, stream: str) -> None:
        self._departures.discard(stream)

    def open_list(self, stream: str, after: int = 0) -> WorkList | None:
        return self._lists.open_list(stream, after)

    def unlisted(self, stream: str) -> Unlisted | None:
        return self._lists.unlisted(stream)

    def begin_list(self, kind: ListKind, stream: str, *, again: bool = False) -> int:
        return self._lists.begin_list(kind, stream, again=again)

    def forget_stream(self, stream: str) -> None:
        self._lists.forget_stream(stream)

    def note_keys(self, list_id: int, number: int, keys: Sequence[str]) -> None:
        self._lists.note_keys(list_id, number, keys)

    def agree(self, list_id: int, number: int) -> bool:
        return self._lists.agree(list_id, number)

    def ask_again(self, list_id: int) -> None:
        self._lists.ask_again(list_id)

    def start_list(self, list_id: int, *, complete: bool, cursor: Cursor | None) -> WorkList:
        return self._lists.start_list(list_id, complete=complete, cursor=cursor)

    def take(self, list_id: int, count: int, after: int = 0) -> Sequence[tuple[int, str]]:
        return self._lists.take(list_id, count, after)

    def worked_on(self, list_id: int) -> bool:
        return self._lists.worked_on(list_id)

    def undone(self, list_id: int, after: int, count: int) -> Sequence[tuple[int, str]]:
        return self._lists.undone(list_id, after, count)

    def items(self, list_id: int, keys: Collection[str]) -> set[str]:
        return self._lists.items(list_id, keys)

    def waits(self) -> Sequence[Wait]:
        return self._waits.all()

    def waiting_graph(self) -> Mapping[Ref, frozenset[Ref]]:
        waits = self._waits.all()
        pending = self._departures.pending([w.ref for w in waits]) if waits else ()
        holders = self._departures.holders([p.ref for p in pending]) if pending else {}
        return still_wanted(waits, pending, holders, self.job)

    def waiting(self, refs: Sequence[Ref]) -> Sequence[Waiting]:
        return self._waits.waiting(refs)

    def oldest_waiting(self) -> datetime | None:
        return self._waits.oldest()

    def unfetched(self, stream: str) -> Sequence[str]:
        return self._ledger.unfetched(stream)

    def in_quarantine(self, stream: str, digests: Sequence[bytes]) -> frozenset[bytes]:
        return self._ledger.in_quarantine(stream, digests)

    def once_unfetched(self, stream: str, keys: Collection[str]) -> Sequence[Trouble]:
        return self._ledger.once_unfetched(stream, keys)

    def ran(self, run: str, *, anybody: bool = False) -> bool:
        return self._ledger.ran(run, anybody=anybody)

    def oldest_quarantine(self) -> datetime | None:
        return self._ledger.oldest_quarantine()

    def troubles(self) -> Sequence[Trouble]:
        return self._ledger.troubles()

    def marks(self) -> tuple[Mark | None, Mark | None]:
        return self._ledger.marks()

    def intend(self, mark: Mark) -> None:
        self._ledger.intend(mark)

    def marked(self, mark: Mark) -> None:
        self._ledger.marked(mark)

    def begin_run(self, record: RunRecord) -> None:
        self._ledger.begin_run(record)

    def end_run(self, record: RunRecord) -> None:
        self._ledger.end_run(record)

    def kinds(self) -> Mapping[str, int]:
        return self._reconciling.kinds()

    def entries(self, after: int, count: int) -> Sequence[Entry]:
        return self._reconciling.entries(after, count)

    def note_repairs(self, list_id: int, number: int, repairs: Sequence[Repair]) -> None:
        self._reconciling.note_repairs(list_id, number, repairs)

    def mend(self, list_id: int | None, stream: str, mark: Mark | None, audit: Audit) -> Mended:
        return self._reconciling.mend(list_id, stream, mark, audit)

    def permit(self) -> None:
        """LeaseLost where the last good heartbeat is too old; a view that only reads may send nothing."""
        if self._access.guard is None:
            raise RuntimeError("this view of the store only reads, and holds no lease to send under")
        self._access.guard.permit()
