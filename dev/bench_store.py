"""How the store's lookups and commits fare among ten million known refs, against a hundred thousand.

    python -m dev.bench_store [--refs N] [--few N] [--stores sqlite,postgres] [--batch N] [--rounds N] [--json FILE]

Two stores of each kind are filled by the database itself (`dev/bench_filling.py`), one ref a scope.  Then, in turn at
the one and the other, the loop's own calls for keys chosen at random over all there are, which is the worst of
orders: nothing that one batch has read serves the next.

    scopes, known     what a batch looks up: its scopes with what is known of their refs; refs alone
    unchanged         one that is all unchanged is remembered: the checkpoint of a feed; items of an open work list,
                      which are taken in the order in which they lie
    changed, new      one that is all written: its note, and its settlement; new ones lie between those that are there
    live              counts all that is alive, once a run: linear, and not part of the aim
    explain           where one resource came from, and what one row holds: the store's part of `tsi-fetch explain`

Printed: the median milliseconds per 1,000 keys at each size, and the ratio.  PostgreSQL is also asked how it would
find what is looked up (EXPLAIN): by index, or the benchmark ends with an error.  docs/performance.md has figures.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from dev.bench_filling import JOB, LISTED, SINK, STREAM, Entry, fill, read_through
from dev.bench_sink import stores
from store.explaining import places, trace_key, trace_ref
from store.handle import Stored, open_store
from store.job_store import JobBook
from tsi_fetch.words import Doubt, Known, ScopeSettled, Settlement

AIM = 2.0
WARM_UP = 3  # rounds that are not counted
LOOKUPS, COMMITS = ("scopes", "known"), ("unchanged", "unchanged, listed", "changed", "new")


@dataclass
class Size:
    """One filled store, and the seconds that each call took."""

    refs: int
    stored: Stored
    book: JobBook
    spent: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def took(self, name: str, act: Callable[[], object]) -> None:
        begun = time.perf_counter()
        act()
        self.spent[name].append(time.perf_counter() - begun)

    def per_thousand(self, name: str, batch: int) -> float:
        """The median, in milliseconds per 1,000 keys."""
        return 1e6 * median(self.spent[name][WARM_UP:]) / batch


def one_round(size: Size, number: int, batch: int) -> None:
    """Every call once, each for other keys."""
    chosen = random.Random(number).sample(range(size.refs), 4 * batch)
    looked, passed, changed, beside = (
        [Entry(n, f".{number}" if i == 3 else "") for n in chosen[i * batch : (i + 1) * batch]] for i in range(4)
    )
    items = tuple(Entry(n % size.refs).key for n in range(chosen[0], chosen[0] + batch))  # taken as they lie
    found: list[int] = []
    size.took("scopes", lambda: found.append(len(size.book.scopes([e.key for e in looked]))))
    size.took("known", lambda: found.append(len(size.book.known([e.ref for e in passed]))))
    if found != [batch, batch]:
        raise SystemExit(f"{found} of twice {batch} keys were found")
    keys = tuple(e.key for e in passed)
    size.took("unchanged", lambda: size.book.settle(Settlement(STREAM, checkpoint=keys, keys=keys, closed=keys)))
    size.took("unchanged, listed", lambda: size.book.settle(Settlement(LISTED, keys=items, closed=items)))
    size.took("changed", lambda: written(size.book, changed, number))
    size.took("new", lambda: written(size.book, beside, number))


def written(book: JobBook, entries: Sequence[Entry], number: int) -> None:
    """What the loop asks for a batch of which everything is written."""
    raw = b"%016d" % number
    keys, refs = tuple(e.key for e in entries), tuple(e.ref for e in entries)
    scopes = tuple(ScopeSettled(e.key, frozenset({e.ref}), frozenset(), raw, 1, e.key) for e in entries)
    known = tuple(Known(ref, JOB, raw, str(number), number, 1) for ref in refs)
    arrived = tuple((ref, number) for ref in refs)
    doubt = book.doubt(Doubt(refs, scopes, 1))
    book.settle(Settlement(STREAM, known=known, scopes=scopes, keys=keys, closed=keys, arrived=arrived, doubt=doubt))


def explained(size: Size, entry: Entry) -> None:
    """Both questions of one thing."""
    found: list[int] = []
    size.took("explain", lambda: found.append(len(trace_ref(size.stored, entry.ref, places(size.stored)))))
    size.took("explain, row", lambda: found.append(len(trace_key(size.stored, entry.key, places(size.stored)))))
    if found != [1, 1]:
        raise SystemExit(f"{entry.key} is known {found} times")


def bench(kind: str, given: argparse.Namespace, folder: Path) -> list[dict[str, object]]:
    """Both sizes of one kind of store, in turn."""
    with ExitStack() as stack:
        new_store = stack.enter_context(stores(kind, folder))
        sizes: list[Size] = []
        for refs in (given.few, given.refs):
            begun = time.perf_counter()
            stored = stack.enter_context(open_store(new_store(), create=True))
            room = fill(stored, refs)
            seconds = time.perf_counter() - begun
            print(f"{kind}: {refs:,} refs, {room / refs:.0f} bytes each, filled in {seconds:.0f} s", flush=True)
            if kind == "postgres" and refs == given.refs:
                see(read_through(stored, [Entry(n) for n in range(0, refs, max(1, refs // given.batch))]))
            book = stack.enter_context(stored.lease(JOB, SINK, "measure", wait=time.sleep))
            sizes.append(Size(refs, stored, book))
        for number in range(1, given.rounds + WARM_UP + 1):
            for size in sizes:
                one_round(size, number, given.batch)
        for size in sizes:
            for _ in range(WARM_UP + 2):
                size.took("live", size.book.live)
        for number in range(WARM_UP + given.rounds):
            for size in sizes:
                explained(size, Entry(random.Random(number).randrange(size.refs)))
        return list(figures(kind, sizes[0], sizes[1], given.batch))


def see(plans: Mapping[str, Sequence[str]]) -> None:
    """End where PostgreSQL would read a table whole."""
    for name, plan in plans.items():
        if any("Seq Scan" in step for step in plan):
            raise SystemExit("\n".join((f"{name} reads a table whole:", *plan)))
    print(f"    by index alone: {', '.join(plans)}", flush=True)


def figures(kind: str, few: Size, many: Size, batch: int) -> Iterator[dict[str, object]]:
    def line(name: str, parts: Sequence[str]) -> dict[str, object]:
        small, large = (sum(size.per_thousand(part, batch) for part in parts) for size in (few, many))
        return {"store": kind, "what": name, "few": small, "many": large, "ratio": large / small}

    for name in (*LOOKUPS, *COMMITS):
        yield line(name, (name,))
    yield line("lookups together", LOOKUPS)
    yield line("commits together", COMMITS)
    for name in ("live", "explain", "explain, row"):
        small, large = (1000 * median(size.spent[name][WARM_UP:]) for size in (few, many))
        yield {"store": kind, "what": f"{name}, once", "few": small, "many": large, "ratio": large / small}


def show(lines: Sequence[Mapping[str, object]], given: argparse.Namespace) -> None:
    print(f"\n{'ms per 1,000 keys':28}{f'{given.few:,}':>12}{f'{given.refs:,}':>14}{'ratio':>8}")
    for line in lines:
        print(f"{line['store']:10}{line['what']:18}{line['few']:12.1f}{line['many']:14.1f}{line['ratio']:8.2f}")
    worst = max(float(str(line["ratio"])) for line in lines if "together" in str(line["what"]))
    print(f"\nlookups and commits: at most {worst:.2f} times as long (aim {AIM:.0f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--refs", type=int, default=10_000_000)
    parser.add_argument("--few", type=int, default=100_000)
    parser.add_argument("--stores", type=lambda text: text.split(","), default=["sqlite", "postgres"])
    parser.add_argument("--batch", type=int, default=1000, help="keys a call")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--folder", type=Path, help="where the stores lie meanwhile (5 GB each at full size)")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    given = parser.parse_args()
    lines: list[dict[str, object]] = []
    for kind in given.stores:
        with tempfile.TemporaryDirectory(prefix="tsi-fetch-store-", dir=given.folder) as name:
            folder = Path(name)
            folder.chmod(0o755)  # PostgreSQL runs as another user where we are root
            lines += bench(kind, given, folder)
    show(lines, given)
    if given.json:
        given.json.write_text(json.dumps(lines, indent=1) + "\n")


if __name__ == "__main__":
    main()
