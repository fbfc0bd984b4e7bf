"""How long the store takes per 1,000 refs: lookups, first settlements, unchanged and changed ones.

    python dev/bench_store.py [URL] [REFS]

Without a URL an SQLite file in a temporary folder; a PostgreSQL database must have been upgraded and be empty.
Prints milliseconds per 1,000 refs, and bytes a ref for SQLite.
"""

from __future__ import annotations

import hashlib
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from store.handle import open_store
from store.job_store import JobBook
from tsi_fetch.words import Known, Ref, ScopeSettled, Settlement

BATCH = 1000
PER_SCOPE = 10
STREAM = "bench"
KINDS = ("Bundle", "Organization", "MedicinalProductDefinition", "RegulatedAuthorization", "PackagedProductDefinition")


def ref(n: int) -> Ref:
    return Ref(KINDS[n % len(KINDS)], f"bench-{hashlib.sha256(b'%d' % n).hexdigest()[:16]}")


def settlement(numbers: Sequence[int], version: int) -> Settlement:
    """The refs of whole scopes, as one batch settles them."""
    known = tuple(
        Known(ref(n), "bench", hashlib.md5(b"%d %d" % (n, version)).digest(), str(version), n, 1) for n in numbers
    )
    scopes: dict[int, list[Ref]] = {}
    for n in numbers:
        scopes.setdefault(n // PER_SCOPE, []).append(ref(n))
    held = tuple(ScopeSettled(f"{k}", frozenset(refs), frozenset(), b"r" * 16, 1, f"{k}") for k, refs in scopes.items())
    return Settlement(STREAM, known, held, checkpoint=tuple(s.key for s in held))


def a_thousand(most: int) -> list[int]:
    """Whole scopes, anywhere among the refs."""
    chosen = random.sample(range(most // PER_SCOPE), BATCH // PER_SCOPE)
    return [scope * PER_SCOPE + n for scope in chosen for n in range(PER_SCOPE)]


def timed(name: str, act: Callable[[], object], times: int = 20) -> None:
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        act()
        taken.append(time.perf_counter() - start)
    print(f"{name:<28}{1000 * sorted(taken)[times // 2]:8.1f} ms per 1,000")


def bench(book: JobBook, most: int) -> None:
    start = time.perf_counter()
    for first in range(0, most, BATCH):
        book.settle(settlement(range(first, first + BATCH), 1))
    spent = time.perf_counter() - start
    print(f"{'first settlement':<28}{1000 * spent / (most / BATCH):8.1f} ms per 1,000")
    timed("lookup", lambda: book.known([ref(n) for n in a_thousand(most)]))
    timed("lookup of the unknown", lambda: book.known([ref(most + n) for n in a_thousand(most)]))
    timed("scopes", lambda: book.scopes([str(n // PER_SCOPE) for n in a_thousand(most)[::PER_SCOPE]]))
    timed("settled unchanged", lambda: book.settle(settlement(a_thousand(most), 1)))
    timed("settled changed", lambda: book.settle(settlement(a_thousand(most), random.randrange(2, 99))))
    start = time.perf_counter()
    book.live()
    print(f"{'live, all of them':<28}{1000 * (time.perf_counter() - start):8.1f} ms")


def main() -> None:
    most = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "store.db"
        url = sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{file}"
        print(f"{most:,} refs")
        with (
            open_store(url, create=True) as stored,
            stored.lease("bench", "bench", "bench", wait=time.sleep) as book,
        ):
            bench(book, most)
        if file.exists():
            print(f"{file.stat().st_size / most:.0f} bytes a ref")


if __name__ == "__main__":
    main()
