"""How long the store takes per 1,000 rows: a first load in small batches, an unchanged run in larger ones, changes.

    python dev/bench_store.py [URL] [--refs N] [--batch N] [--unchanged N] [--per-scope N]

Without a URL an SQLite file in a temporary folder; a PostgreSQL database must have been upgraded and be empty.
Prints milliseconds for what the loop asks of the store per 1,000 rows: of the clock, of our own CPU, and of our CPU by
the lower quartile of the calls (`quiet`: without most of what others on the machine add); and bytes a ref for SQLite.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from store.handle import open_store
from store.job_store import JobBook
from tsi_fetch.words import Cursor, CursorKind, Doubt, Known, Ref, ScopeSettled, Settlement

STREAM = "bench"
KINDS = ("Bundle", "Organization", "MedicinalProductDefinition", "RegulatedAuthorization", "PackagedProductDefinition")
T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """One row: its own scope, and the refs of it."""

    key: str
    refs: tuple[Ref, ...]
    first: int

    def known(self, version: int) -> list[Known]:
        return [
            Known(ref, "bench", hashlib.md5(b"%d %d" % (n, version)).digest(), str(version), n, 1)
            for n, ref in enumerate(self.refs, self.first)
        ]

    def scope(self, version: int) -> ScopeSettled:
        return ScopeSettled(self.key, frozenset(self.refs), frozenset(), b"%016d" % version, 1, self.key, True)


def entries(most: int, per_scope: int) -> list[Entry]:
    refs = [Ref(KINDS[n % len(KINDS)], f"bench-{hashlib.sha256(b'%d' % n).hexdigest()[:16]}") for n in range(most)]
    return [Entry(f"{n:08}", tuple(refs[n : n + per_scope]), n) for n in range(0, most, per_scope)]


class Watch:
    """Adds up what each call took."""

    def __init__(self) -> None:
        self._spent: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def __call__(self, name: str, act: Callable[[], T]) -> T:
        wall, cpu = time.perf_counter(), time.process_time()
        result = act()
        self._spent[name].append((time.perf_counter() - wall, time.process_time() - cpu))
        return result

    def show(self, title: str, rows: int) -> None:
        print(f"{title:<32}{'ms':>8}{'CPU ms':>8}{'quiet':>8}   per 1,000 of {rows:,} rows")
        lines = {name: self._line(calls) for name, calls in self._spent.items()}
        lines["together"] = tuple(map(sum, zip(*lines.values(), strict=True)))
        for name, figures in lines.items():
            print(f"  {name:<30}" + "".join(f"{1e6 * seconds / rows:8.1f}" for seconds in figures))

    def _line(self, calls: Sequence[tuple[float, float]]) -> tuple[float, ...]:
        """The clock, our CPU, and what that would be if every call took the lower quartile."""
        wall, cpu = zip(*calls, strict=True)
        return sum(wall), sum(cpu), sorted(cpu)[len(cpu) // 4] * len(cpu)


def batches(rows: Sequence[Entry], size: int) -> list[Sequence[Entry]]:
    return [rows[n : n + size] for n in range(0, len(rows), size)]


def looked_up(book: JobBook, rows: Sequence[Entry], watch: Watch) -> None:
    watch("scopes", lambda: book.scopes([row.key for row in rows]))
    watch("known", lambda: book.known([ref for row in rows for ref in row.refs]))


def written(book: JobBook, rows: Sequence[Entry], version: int, watch: Watch) -> None:
    """What the loop asks for a batch of which everything is written."""
    looked_up(book, rows, watch)
    refs = tuple(ref for row in rows for ref in row.refs)
    scopes, keys = tuple(row.scope(version) for row in rows), tuple(row.key for row in rows)
    known = tuple(k for row in rows for k in row.known(version))
    arrived = tuple((k.ref, k.order) for k in known)
    number = watch("doubt", lambda: book.doubt(Doubt(refs, scopes, 1)))
    settlement = Settlement(STREAM, known=known, scopes=scopes, keys=keys, closed=keys, arrived=arrived, doubt=number)
    watch("settle", lambda: book.settle(settlement))


def unchanged(book: JobBook, rows: Sequence[Entry], watch: Watch) -> None:
    """What it asks for one of which nothing has changed."""
    looked_up(book, rows, watch)
    keys = tuple(row.key for row in rows)
    watch("settle", lambda: book.settle(Settlement(STREAM, checkpoint=keys, keys=keys, closed=keys)))


def listed(book: JobBook, rows: Sequence[Entry]) -> None:
    number = book.begin_list("full", STREAM)
    book.note_keys(number, 1, [row.key for row in rows])
    book.start_list(number, complete=False, cursor=Cursor(CursorKind.DATE, "2026-01-01"))


def bench(book: JobBook, rows: Sequence[Entry], batch: int, quiet: int) -> None:
    listed(book, rows)
    watch = Watch()
    for some in batches(rows, batch):
        written(book, some, 1, watch)
    watch.show(f"first load, batches of {batch}", len(rows))
    listed(book, rows)
    watch = Watch()
    for some in batches(rows, quiet):
        unchanged(book, some, watch)
    watch.show(f"unchanged, batches of {quiet}", len(rows))
    watch = Watch()
    for some in batches(rows, batch)[::10]:
        written(book, some, 2, watch)
    watch.show(f"changed, batches of {batch}", len(rows) // 10)
    watch = Watch()
    watch("live", book.live)
    watch.show("live", len(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?")
    parser.add_argument("--refs", type=int, default=50_000)
    parser.add_argument("--batch", type=int, default=100, help="rows a batch of the loads")
    parser.add_argument("--unchanged", type=int, default=500, help="rows a batch of the unchanged run")
    parser.add_argument("--per-scope", type=int, default=1, help="refs a row")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "store.db"
        with (
            open_store(asked.url or f"sqlite:///{file}", create=True) as stored,
            stored.lease("bench", "bench", "bench", wait=time.sleep) as book,
        ):
            bench(book, entries(asked.refs, asked.per_scope), asked.batch, asked.unchanged)
        if file.exists():
            print(f"{file.stat().st_size / asked.refs:.0f} bytes a ref")


if __name__ == "__main__":
    main()
