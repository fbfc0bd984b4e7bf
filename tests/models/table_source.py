"""A source in memory: a table of products, a feed of what changed, newest first, and a listing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime

from tsi_fetch.clock import microseconds
from tsi_fetch.errors import TryAgain, Unusable
from tsi_fetch.fhir.tokens import dump, parse
from tsi_fetch.ports import NOTHING
from tsi_fetch.words import (
    Answer,
    Batch,
    Change,
    Cursor,
    CursorKind,
    Fault,
    KeyPage,
    Position,
    Ref,
    Row,
    ScopeClaim,
    Upsert,
    Validators,
)

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
TODAY = START.date()


class TableSource:
    """`table`: key → {resource id: name}; None where the product is gone.  `feed`: (day, key), in any order."""

    stream = "changes"
    mapping = 1
    types = frozenset({"Organization"})

    def __init__(self, table: dict[str, dict[str, str] | None], batch: int = 2) -> None:
        self.table, self.batch = table, batch
        self.feed: list[tuple[date, str]] = []
        self.asked: list[str] = []
        self.unfetched: set[str] = set()
        self.broken: set[str] = set()
        self.listings: list[list[str]] | None = None
        self.unreadable: list[int] = []  # of each reading of the listing, so many rows
        self.told: list[Batch] = []
        self.down_after: int | None = None
        self.now = START

    def change(self, key: str, product: dict[str, str] | None, day: date = TODAY) -> None:
        self.table[key] = product
        self.feed.append((day, key))

    def pull(self, position: Position, started: datetime) -> Iterator[Batch]:
        seen = position.cursor.seen if position.cursor else frozenset()
        rows = [(f"{day}|{key}|{n}", day, key) for n, (day, key) in enumerate(self.feed)]
        fresh = [r for r in rows if r[0] not in seen | position.checkpoint]
        last = max((day for _, day, _ in rows), default=None)
        cursor = Cursor(CursorKind.DATE, last.isoformat(), frozenset(r[0] for r in rows)) if last else position.cursor
        keys = list(dict.fromkeys(key for _, _, key in fresh))
        settles = {key: tuple(r[0] for r in fresh if r[2] == key) for key in keys}
        groups = [keys[i : i + self.batch] for i in range(0, len(keys), self.batch)] or [[]]
        for number, group in enumerate(groups):
            if self.down_after is not None and number >= self.down_after:
                raise TryAgain("the source is down")
            done = number == len(groups) - 1
            yield Batch(self.stream, tuple(self._row(k, settles[k]) for k in group), cursor if done else None)

    def keys(self) -> Iterator[KeyPage]:
        keys = self.listings.pop(0) if self.listings else [k for k, v in self.table.items() if v is not None]
        unreadable = self.unreadable.pop(0) if self.unreadable else 0
        yield KeyPage(tuple(keys), Cursor(CursorKind.DATE, START.date().isoformat()), unreadable)

    def fetch(self, keys: Iterable[str], known: Mapping[str, Validators] = NOTHING) -> Iterator[Batch]:
        todo = list(keys)
        for i in range(0, len(todo), self.batch):
            yield Batch(self.stream, tuple(self._row(k, ()) for k in todo[i : i + self.batch]))

    def _row(self, key: str, settles: tuple[str, ...]) -> Row:
        self.asked.append(key)
        order = microseconds(self.now) + len(self.asked)
        if key in self.unfetched:
            return Row(key, settles=settles, unfetched=Fault("http-500", "product", "answered 500"))
        product = self.table.get(key)
        body = b"oops" if key in self.broken else b"" if product is None else dump(product)
        answer = Answer("product", f"https://register.invalid/{key}", 204 if product is None else 200, body, self.now)
        return Row(key, (answer,), order, (ScopeClaim(key, whole=True),), settles)

    def to_changes(self, row: Row) -> Sequence[Change]:
        answer = row.answers[0]
        if answer.status == 204:
            return ()
        if answer.body == b"oops":
            raise Unusable(Fault("not-json", "product", "not JSON"))
        return [
            Upsert(Ref("Organization", i), organization(i, name), row.key, row.order)
            for i, name in parse(answer.body).items()
        ]

    def settled(self, batch: Batch) -> None:
        self.told.append(batch)


def organization(ident: str, name: str) -> bytes:
    return dump({"resourceType": "Organization", "id": ident, "name": name})
