"""Transactions of a register's products that are ready before the clock starts: what a server takes at its best.

Made by the source's mapping and the sink's own code, in the sink's size, and posted with the sink's headers.  A
product's resources stay in one transaction, so that any two may be in flight at once; what products share goes first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from dev.bench_cima_trial import Trial, source_of
from dev.bench_trial import client, packed, post
from sinks.fhir import bundles
from tsi_fetch.clock import SystemClock
from tsi_fetch.http.wire import Wire
from tsi_fetch.words import Upsert, Write, WriteAction


@dataclass(frozen=True)
class Ready:
    """`first`: to be posted one after another, before the others."""

    first: list[bytes]
    others: list[bytes]
    resources: int

    @property
    def requests(self) -> int:
        return len(self.first) + len(self.others)


def ready_made(trial: Trial, entries: int) -> Ready:
    """Everything that a first load of the trial's register writes, in transactions of at most so many resources."""
    rows = list(_rows(trial))
    named = Counter(write.ref for row in rows for write in row)
    shared = {w.ref: w for row in rows for w in row if named[w.ref] > 1}
    first = list(packed([[write] for write in shared.values()], entries))
    others = list(packed([[w for w in row if w.ref not in shared] for row in rows], entries))
    return Ready([*map(bundles.transaction, first)], [*map(bundles.transaction, others)], len(named))


def _rows(trial: Trial) -> Iterator[list[Write]]:
    """The writes of every product, in the listing's order."""
    clock = SystemClock()
    with closing(source_of(trial, clock, Wire(trial.connections))) as source:
        pages = source.keys()
        for batch in source.fetch([key for page in pages for key in page.keys]):
            for row in batch.rows:
                changes = (change for change in source.to_changes(row) if isinstance(change, Upsert))
                yield [Write(change.ref, WriteAction.PUT, None, change.body) for change in changes]


def send(url: str, ready: Ready, writers: int) -> None:
    """Post all of it by so many threads; SystemExit where the server does not take it."""
    with client(url) as http, ThreadPoolExecutor(writers) as pool:
        for body in ready.first:
            post(http, body)
        for answered in pool.map(partial(post, http), ready.others):
            assert answered is None
