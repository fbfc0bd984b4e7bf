"""Where a stream stands, as a recording keeps it, and a scratch store that starts from there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from store.job_store import JobBook
from tsi_fetch.words import Cursor, CursorKind, Fault, Json, Quarantined, Row, Settlement

PAGE = 1000

_AGAIN = Fault("unfetched", "", "could not be fetched when the recording was made")


def export_state(book: JobBook, stream: str) -> dict[str, Json]:
    """Watermark, checkpoint, what open work lists still have to do, and the keys to be fetched again, as JSON."""
    position = book.position(stream)
    cursor = position.cursor
    moved = {"kind": cursor.kind.value, "value": cursor.value, "seen": sorted(cursor.seen)} if cursor else None
    return {
        "stream": stream,
        "watermark": moved,
        "checkpoint": sorted(position.checkpoint),
        "work": list(_open_lists(book, stream)),
        "unfetched": list(book.unfetched(stream)),
    }


def _open_lists(book: JobBook, stream: str) -> Iterator[dict[str, Json]]:
    """Oldest first, as they are worked off."""
    after = 0
    while work := book.open_list(stream, after):
        keys = _left(book, work.id)
        yield {"kind": work.kind, "complete": work.complete, "again": work.again, "keys": keys}
        after = work.id


def _left(book: JobBook, list_id: int) -> list[str]:
    keys: list[str] = []
    after = 0
    while page := book.undone(list_id, after, PAGE):
        keys += [key for _, key in page]
        after = page[-1][0]
    return keys


def seed_state(book: JobBook, state: Mapping[str, Any]) -> None:
    """Set the stream to where the recording began; a store that replayed it before is set back to it.  Older recordings
    have one work list, or none."""
    stream: str = state["stream"]
    book.forget_stream(stream)
    if moved := state.get("watermark"):
        cursor = Cursor(CursorKind(moved["kind"]), moved["value"], frozenset(moved["seen"]))
        book.advance(stream, cursor, clear=False)
    works = state.get("work") or []
    for work in [works] if isinstance(works, dict) else works:
        number = book.begin_list(work["kind"], stream, again=work.get("again", False))
        book.note_keys(number, 1, work["keys"])
        book.start_list(number, complete=work["complete"], cursor=None)
    rows = [Row(key, unfetched=_AGAIN) for key in state.get("unfetched", ())]
    troubles = tuple(Quarantined(row.key, row.digest, _AGAIN, row) for row in rows)
    book.settle(Settlement(stream, checkpoint=tuple(state.get("checkpoint", ())), quarantined=troubles))
