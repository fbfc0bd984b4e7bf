"""A source in memory whose rows give any graph of resources that refer to each other.

A resource may be in several rows.  Its row comes again in the feed whenever it changes; the first load is a listing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tsi_fetch.clock import microseconds
from tsi_fetch.fhir.tokens import dump, parse
from tsi_fetch.ports import NOTHING
from tsi_fetch.words import (
    Answer,
    Batch,
    Change,
    Cursor,
    CursorKind,
    Json,
    KeyPage,
    Position,
    Ref,
    Row,
    ScopeClaim,
    Upsert,
    Validators,
)

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Node:
    """What the source has of a resource: its name, what it refers to, and members that a server may not like."""

    name: str
    to: tuple[Ref, ...] = ()
    spoilt: tuple[tuple[str, str], ...] = ()

    def body(self, ref: Ref) -> bytes:
        links = [
            {"url": "https://example.invalid/to", "valueReference": {"reference": str(target)}} for target in self.to
        ]
        extension = {"extension": links} if links else {}
        resource = {"resourceType": ref.type, "id": ref.id, **extension, "name": self.name}
        return dump(resource | dict(self.spoilt))


class GraphSource:
    """`rows`: key → refs, in the order in which they come.  `nodes`: what each ref is now.

    `batch`: rows in a batch.  `ordered`: rows carry an order that rises with every fetch.
    """

    stream = "graph"
    mapping = 1
    types = frozenset({"Organization", "Substance"})

    def __init__(
        self, rows: Mapping[str, Sequence[Ref]], nodes: Mapping[Ref, Node], *, batch: int = 2, ordered: bool = True
    ) -> None:
        self.rows = {key: list(refs) for key, refs in rows.items()}
        self.nodes = dict(nodes)
        self._batch, self._ordered = batch, ordered
        self._feed: list[str] = []
        self._fetched = 0

    def change(self, ref: Ref, node: Node) -> None:
        """The resource is something else now; its rows come in the feed."""
        self.nodes[ref] = node
        self._feed += [key for key, refs in self.rows.items() if ref in refs]

    def drop(self, key: str, ref: Ref) -> None:
        """The row gives the resource no longer."""
        self.rows[key].remove(ref)
        self._feed.append(key)

    def give(self, key: str, ref: Ref) -> None:
        """The row gives the resource from now on, or again."""
        self.rows[key].append(ref)
        self._feed.append(key)

    def rows_of(self, ref: Ref) -> list[str]:
        return [key for key, refs in self.rows.items() if ref in refs]

    @property
    def given(self) -> dict[Ref, Node]:
        """What the source has now of all that any row gives."""
        return {ref: self.nodes[ref] for refs in self.rows.values() for ref in refs}

    # the seam

    def pull(self, position: Position, started: datetime) -> Iterator[Batch]:
        seen = (position.cursor.seen if position.cursor else frozenset()) | position.checkpoint
        entries = {f"{n}|{key}": key for n, key in enumerate(self._feed)}
        fresh = {name: key for name, key in entries.items() if name not in seen}
        keys = list(dict.fromkeys(fresh.values()))
        settles = {key: tuple(name for name, k in fresh.items() if k == key) for key in keys}
        cursor = Cursor(CursorKind.DATE, START.date().isoformat(), frozenset(entries))
        groups = self._groups(keys) or [[]]
        for group in groups:
            rows = tuple(self._row(key, settles[key]) for key in group)
            yield Batch(self.stream, rows, cursor if group is groups[-1] else None)

    def keys(self) -> Iterator[KeyPage]:
        seen = frozenset(f"{n}|{key}" for n, key in enumerate(self._feed))
        yield KeyPage(tuple(self.rows), Cursor(CursorKind.DATE, START.date().isoformat(), seen))

    def fetch(self, keys: Iterable[str], known: Mapping[str, Validators] = NOTHING) -> Iterator[Batch]:
        for group in self._groups(list(keys)):
            yield Batch(self.stream, tuple(self._row(key, ()) for key in group))

    def to_changes(self, row: Row) -> Sequence[Change]:
        resources: Sequence[Json] = parse(row.answers[0].body)
        return [Upsert(Ref(r["resourceType"], r["id"]), dump(r), row.key, row.order) for r in resources]

    def settled(self, batch: Batch) -> None:
        """Nothing is acknowledged: the feed stays as it is."""

    def _groups(self, keys: list[str]) -> list[list[str]]:
        return [keys[i : i + self._batch] for i in range(0, len(keys), self._batch)]

    def _row(self, key: str, settles: tuple[str, ...]) -> Row:
        self._fetched += 1
        body = b"[" + b",".join(self.nodes[ref].body(ref) for ref in self.rows[key]) + b"]"
        answer = Answer("graph", f"https://register.invalid/{key}", 200, body, START)
        order = microseconds(START) + self._fetched if self._ordered else None
        return Row(key, (answer,), order, (ScopeClaim(key, whole=True),), settles)
