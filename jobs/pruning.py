"""Letting go of what is old in the stores: what would go, and doing it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from jobs.actor import actor
from jobs.config.duration import show_duration
from jobs.config.secret import SecretUrl
from store.handle import NoStore, Stored, open_store
from store.pruning import Pruning
from store.trail import Deed
from tsi_fetch.clock import StopSignal


@dataclass(frozen=True, slots=True)
class Old:
    """What goes of one store, by kind, or went.  `there`: False where no run has made the store yet."""

    store: SecretUrl
    before: datetime
    counts: Mapping[str, int]
    there: bool = True

    def figures(self) -> dict[str, Any]:
        return {
            "store": str(self.store),
            "before": self.before.isoformat(timespec="seconds"),
            "counts": dict(self.counts),
            "there": self.there,
        }


def foresee(store: SecretUrl, keep: timedelta, now: datetime, *, named: bool) -> Old:
    """What would go; nothing is written.  `NoStore` where a store was `named` that is not there.

    `now`: where the store is not there to say what time it is.
    """
    try:
        with _opened(store) as stored:
            before = stored.now() - keep
            return Old(store, before, Pruning(stored, before).count())
    except NoStore:
        if named:
            raise
        return Old(store, now - keep, {}, there=False)


def prune(old: Old, keep: timedelta, stop: StopSignal) -> Old:
    """Let go of what `foresee` saw, with an entry in the audit trail."""
    with _opened(old.store) as stored:
        told = {"before": old.before.isoformat(timespec="seconds")}
        deed = Deed(actor(), "db prune", f"older than {show_duration(keep)}", told)
        return Old(old.store, old.before, Pruning(stored, old.before).prune(deed, stop.check))


@contextmanager
def _opened(store: SecretUrl) -> Iterator[Stored]:
    with open_store(store.reveal()) as stored:
        yield stored
