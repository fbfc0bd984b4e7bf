"""Work lists of a plan: new ones live in the scratch, an open one beneath is read past what the plan has done."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from store.job_store import JobBook
from tsi_fetch.words import Cursor, ListKind, Unlisted, WorkList

PAGE = 1000


class OverlaidLists:
    """Ids below zero are the scratch's."""

    def __init__(self, inner: JobBook, scratch: JobBook) -> None:
        self._inner = inner
        self._scratch = scratch
        self._done: dict[int, set[str]] = {}
        """Keys of lists beneath that the plan has done: no more than one plan can fetch."""
        self._over: set[int] = set()
        self._streams: dict[int, str] = {}
        self._seen: set[int] = set()

    def open_list(self, stream: str, after: int = 0) -> WorkList | None:
        """Those of the scratch come after all beneath."""
        for below in self._beneath(stream, after) if after >= 0 else ():
            if below.id not in self._over:
                return replace(below, left=below.left - len(self._done.get(below.id, ())))
        above = self._scratch.open_list(stream, max(-after, 0))
        return replace(above, id=-above.id) if above else None

    def _beneath(self, stream: str, after: int = 0) -> Iterator[WorkList]:
        while below := self._inner.open_list(stream, after):
            yield below
            after = below.id

    def unlisted(self, stream: str) -> Unlisted | None:
        return (self._scratch if self._streams else self._inner).unlisted(stream)

    def begin_list(self, kind: ListKind, stream: str, *, again: bool = False) -> int:
        number = -self._scratch.begin_list(kind, stream, again=again)
        self._streams[number] = stream
        return number

    def ask_again(self, list_id: int) -> None:
        """For runs to come; a plan knows what it was asked for itself."""

    def note_keys(self, list_id: int, number: int, keys: Sequence[str]) -> None:
        self._scratch.note_keys(-list_id, number, keys)
        self._seen |= {list_id} if keys else set()

    def agree(self, list_id: int, number: int) -> bool:
        return self._scratch.agree(-list_id, number)

    def start_list(self, list_id: int, *, complete: bool, cursor: Cursor | None) -> WorkList:
        """The rows of scopes beneath join a complete list that saw anything, as the keys of a pass of their own."""
        after = ""
        while complete and list_id in self._seen and (page := self._inner.scope_rows(after, PAGE)):
            self._scratch.note_keys(-list_id, 0, [row for _, row in page])
            after = page[-1][0]
        if self._inner.position(self._streams[list_id]).cursor:
            cursor = None
        started = self._scratch.start_list(-list_id, complete=complete, cursor=cursor)
        return replace(started, id=list_id)

    def take(self, list_id: int, count: int, after: int = 0) -> Sequence[tuple[int, str]]:
        if list_id < 0:
            return self._scratch.take(-list_id, count, after)
        done, read, items = self._done.setdefault(list_id, set()), after, list[tuple[int, str]]()
        while len(items) < count and (page := self._inner.undone(list_id, read, PAGE)):
            items += [item for item in page if item[1] not in done]
            read = page[-1][0]
        if not items and after == 0:
            self._over.add(list_id)
        return items[:count]

    def worked_on(self, list_id: int) -> bool:
        """A plan shows what would come of it, whoever brings it."""
        return False

    def finish(self, stream: str, keys: Collection[str]) -> None:
        """These keys are done; the scratch's own lists are its own affair."""
        for below in self._beneath(stream) if keys else ():
            self._done.setdefault(below.id, set()).update(self._inner.items(below.id, keys))

    def reopen(self, stream: str, keys: Collection[str]) -> None:
        for below in self._beneath(stream):
            self._done.get(below.id, set()).difference_update(keys)
            self._over.discard(below.id)
