"""`--full --again` that ends before its list does: whoever goes on with the list goes on with both."""

from __future__ import annotations

from datetime import timedelta

import pytest
from house import House

from store import backfills
from store.handle import open_store
from store.recorded_state import export_state, seed_state


def interrupted(house: House, **settings: object) -> None:
    """A `--full` that has done one of its keys as its time is up."""
    house.slow_fetches(60)
    assert house.run(full=True, slice=1, max_duration=timedelta(seconds=30), **settings).remainder > 0


@pytest.mark.parametrize("again", [True, False])
def test_a_list_that_was_asked_for_again_is_gone_on_with_so(loaded: House, again: bool) -> None:
    interrupted(loaded, again=again)
    report = loaded.run()
    left = report.rows["read"]
    assert left > 0
    assert report.rows["skipped"] == (0 if again else left)


def test_what_is_left_of_a_list_is_asked_for_again_by_whoever_goes_on_with_it_so(loaded: House) -> None:
    interrupted(loaded)
    assert loaded.run(full=True, again=True, slice=1, max_duration=timedelta(seconds=30)).rows["skipped"] == 0
    report = loaded.run()
    assert (report.rows["read"], report.rows["skipped"], report.remainder) == (1, 0, 0)


def test_a_run_again_that_is_not_asked_for_everything_leaves_the_list_as_it_was(loaded: House) -> None:
    interrupted(loaded)
    assert loaded.run(again=True, slice=1, max_duration=timedelta(seconds=30)).rows["skipped"] == 0
    assert loaded.run().rows["skipped"] == 1


def test_what_the_feed_brings_is_not_mapped_again_for_the_sake_of_a_list(loaded: House) -> None:
    interrupted(loaded, again=True)
    loaded.source.change("p2", loaded.source.table["p2"])
    report = loaded.run()
    assert (report.rows["read"], report.rows["skipped"]) == (3, 1), "p2, as the feed named it; the list does it, and p3"


def test_workers_of_such_a_list_are_told_so(loaded: House) -> None:
    interrupted(loaded, again=True)
    with open_store(loaded.url) as stored:
        (found,) = (one for one in backfills.backfills(stored) if one.kind == "full")
    assert found.asked == {"again": True}


def test_a_recording_keeps_it(loaded: House) -> None:
    interrupted(loaded, again=True)
    state = loaded.reader(lambda book: export_state(book, "changes"))  # type: ignore[arg-type]
    with open_store(loaded.url) as stored, stored.lease("job", "memory", "seeder", expiry=60, wait=print) as book:
        seed_state(book, state)  # type: ignore[arg-type]
    assert loaded.run().rows["skipped"] == 0
