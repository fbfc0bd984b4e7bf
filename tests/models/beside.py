"""What tests of a backfill do beside its workers: look how far it is, and act between a fetch and its write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from house import House

from store import backfills
from store.handle import open_store
from tsi_fetch.ports import NOTHING
from tsi_fetch.words import Batch, Validators


def progress(house: House, number: int) -> tuple[str, int, int, int]:
    with open_store(house.url) as stored:
        found = backfills.backfill(stored, number)
    assert found is not None
    return found.progress.state, found.progress.left, found.progress.done, found.progress.aside


def meanwhile(house: House, act: Callable[[], object]) -> None:
    """Do this once, after the next batch was fetched by key and before it is written."""
    fetch = house.source.fetch

    def fetched(keys: Iterable[str], known: Mapping[str, Validators] = NOTHING) -> Iterator[Batch]:
        house.source.fetch = fetch  # type: ignore[method-assign]
        yield from list(fetch(keys, known))
        act()

    house.source.fetch = fetched  # type: ignore[method-assign]
