"""A source in memory that gives any resources: rows of one body or many, a feed of what changed, and a listing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sinks.fhir.documents import head
from tsi_fetch.ports import NOTHING
from tsi_fetch.words import (
    Answer,
    Batch,
    Change,
    Cursor,
    CursorKind,
    KeyPage,
    Order,
    Position,
    Ref,
    Row,
    ScopeClaim,
    Upsert,
    Validators,
)

READ_AT = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


def ref_of(body: bytes) -> Ref:
    """`Type/id` of a resource; AssertionError where it has none."""
    identity = head(body)
    assert identity is not None, "not a resource"
    return identity.ref


@dataclass(frozen=True, slots=True)
class Given:
    """What the source says of one key: its resources (none: it is gone), and how new that is."""

    bodies: tuple[bytes, ...]
    order: Order | None


class DocumentSource:
    """`batch`: rows handed over at a time, in the order in which they were given first (listing) or last (feed)."""

    stream = "documents"
    mapping = 1

    def __init__(self, batch: int = 5) -> None:
        self.batch = batch
        self.types: frozenset[str] = frozenset()
        self.told: list[str] = []
        self._given: dict[str, Given] = {}
        self._feed: list[str] = []

    def give(self, key: str, *bodies: bytes, order: Order | None = None) -> None:
        """From now on the row of this key holds these resources; without any, it is gone."""
        self._feed.append(key)
        self._given[key] = Given(bodies, len(self._feed) if order is None else order)
        self.types |= {ref_of(body).type for body in bodies}

    def give_each(self, bodies: Iterable[bytes]) -> None:
        """Each resource as a row of its own, in this order."""
        for body in bodies:
            self.give(str(ref_of(body)), body)

    def resources(self) -> dict[Ref, bytes]:
        """What a sink is to hold in the end."""
        return {ref_of(body): body for given in self._given.values() for body in given.bodies}

    def pull(self, position: Position, started: datetime) -> Iterator[Batch]:
        begin = int(position.cursor.value) if position.cursor else 0
        fresh = {key: n for n, key in enumerate(self._feed) if n >= begin}  # the last time that each changed
        rows = [self._row(key, mark) for key, n in fresh.items() if (mark := f"{n}|{key}") not in position.checkpoint]
        groups = [rows[i : i + self.batch] for i in range(0, len(rows), self.batch)] or [[]]
        for group in groups[:-1]:
            yield Batch(self.stream, tuple(group))
        yield Batch(self.stream, tuple(groups[-1]), self._cursor())

    def keys(self) -> Iterator[KeyPage]:
        yield KeyPage(tuple(key for key, given in self._given.items() if given.bodies), self._cursor())

    def fetch(self, keys: Iterable[str], known: Mapping[str, Validators] = NOTHING) -> Iterator[Batch]:
        rows = [self._row(key) for key in keys]
        for i in range(0, len(rows), self.batch):
            yield Batch(self.stream, tuple(rows[i : i + self.batch]))

    def _cursor(self) -> Cursor:
        return Cursor(CursorKind.OPAQUE, str(len(self._feed)))

    def _row(self, key: str, *settles: str) -> Row:
        given = self._given[key]
        url = f"https://register.invalid/{key}"
        answers = [Answer(str(n), url, 200, body, READ_AT) for n, body in enumerate(given.bodies)]
        gone = Answer("gone", url, 204, b"", READ_AT)
        return Row(key, tuple(answers) or (gone,), given.order, (ScopeClaim(key, whole=True),), settles)

    def to_changes(self, row: Row) -> Sequence[Change]:
        return [Upsert(ref_of(a.body), a.body, row.key, row.order) for a in row.answers if a.body]

    def settled(self, batch: Batch) -> None:
        self.told += [row.key for row in batch.rows]
