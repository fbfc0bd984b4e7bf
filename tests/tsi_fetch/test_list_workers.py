"""Workers on a list that runs go on with: a first load, or `--full` (issue 7: one mechanism)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from beside import meanwhile, progress
from house import House, org
from table_source import TODAY

from store import backfills, queries
from store.handle import open_store
from tsi_fetch.words import KeyPage


def the_list(house: House) -> backfills.Backfill:
    with open_store(house.url) as stored:
        [found] = backfills.backfills(stored)
    return found


def test_workers_end_a_first_load_and_the_next_run_has_nothing_left(begun: House) -> None:
    found = the_list(begun)
    assert (found.kind, found.of_runs, found.progress.left) == ("first", True, 2)
    assert begun.work(found.id).counts == {"Organization": {"created": 2, "unchanged": 1}}
    assert progress(begun, found.id) == ("closed", 0, 3, 0)
    report = begun.run()
    assert (report.outcome, report.counts, report.remainder) == ("done", {}, 0)
    assert begun.names() == {"a": "A", "b": "B", "c": "C", "s": "shared"}


def test_a_run_leaves_the_list_to_workers_that_are_at_it_and_reads_the_feed(begun: House) -> None:
    found = the_list(begun)

    def night() -> None:
        begun.source.change("p1", {"a": "A2", "s": "shared"}, TODAY + timedelta(days=1))
        report = begun.run()
        assert (report.outcome, report.exit_code, report.remainder) == ("partial", 0, 2)
        assert report.counts == {"Organization": {"unchanged": 1, "updated": 1}}
        assert any("workers are at it" in note for note in report.notes)

    meanwhile(begun, night)
    assert begun.work(found.id, at_once=1).exit_code == 0
    assert progress(begun, found.id) == ("closed", 0, 3, 0)
    assert begun.names()["a"] == "A2"


def test_a_run_that_settles_an_item_by_the_feed_takes_it_away_from_the_worker_that_has_it(begun: House) -> None:
    def night() -> None:
        begun.source.change("p2", {"b": "B2", "s": "shared"}, TODAY + timedelta(days=1))
        assert begun.run().counts == {"Organization": {"created": 2, "unchanged": 1}}

    meanwhile(begun, night)
    report = begun.work(the_list(begun).id, at_once=1)
    assert report.counts == {}, "with its only claim gone, the run has ended the list itself"
    assert begun.names() == {"a": "A", "b": "B2", "c": "C", "s": "shared"}


def test_a_run_goes_on_where_a_worker_died(begun: House) -> None:
    found = the_list(begun)
    with open_store(begun.url) as stored:
        dead = stored.worker("job", "memory", "dead", found.id, expiry=0, of_runs=True)
        assert len(dead.claims.claim(2)) == 2
    assert begun.run().outcome == "done"
    assert progress(begun, found.id) == ("closed", 0, 3, 0)


def test_what_workers_give_up_the_next_run_asks_for_and_brings_into_quarantine(begun: House) -> None:
    """Set aside on a list that nobody looks at, it would be lost behind the watermark."""
    found = the_list(begun)
    begun.source.unfetched.add("p2")
    assert begun.work(found.id).exit_code == 65
    assert progress(begun, found.id) == ("open", 0, 2, 1)
    with open_store(begun.url) as stored:
        assert [(a.key, a.attempts) for a in backfills.asides(stored, found.id, 9)] == [("p2", 3)]
        [row] = queries.status(stored, "job")
        assert row.work is not None
        assert row.work.left == 1, "status says what is left of the load"
    report = begun.run()
    assert (report.exit_code, [t.key for t in report.quarantined]) == (65, ["p2"])
    begun.source.unfetched.clear()
    assert begun.run().exit_code == 0
    assert begun.names()["b"] == "B"


def test_what_workers_gave_up_is_tried_anew_when_it_is_resumed(begun: House) -> None:
    found = the_list(begun)
    begun.source.unfetched.add("p2")
    assert begun.work(found.id).exit_code == 65
    begun.source.unfetched.clear()
    with open_store(begun.url) as stored:
        backfills.resume(stored, found.id)
    assert begun.work(found.id).exit_code == 0
    assert progress(begun, found.id) == ("closed", 0, 3, 0)


def test_a_halted_one_is_still_to_be_done_for_a_run(begun: House) -> None:
    """The watermark is set: a list that nobody went on with would be a first load that never was."""
    found = the_list(begun)
    mark = dict(begun.sink.marks)
    begun.sink.marks.clear()
    assert begun.work(found.id).exit_code == 77
    assert progress(begun, found.id)[0] == "halted"
    begun.sink.marks.update(mark)
    with open_store(begun.url) as stored:
        [row] = queries.status(stored, "job")
    assert row.work is not None
    assert begun.run().outcome == "done"
    assert progress(begun, found.id) == ("closed", 0, 3, 0)
    assert begun.names() == {"a": "A", "b": "B", "c": "C", "s": "shared"}


def test_a_full_load_keeps_what_left_until_the_next_runs_guard_has_seen_it(begun: House) -> None:
    begun.run()
    begun.source.table["p1"] = {"a": "A"}
    report = begun.run(full=True, slice=1, max_duration=timedelta(seconds=40), removal="delete")
    assert report.remainder == 2
    begun.source.table.update(p2=None, p3=None)
    with open_store(begun.url) as stored:
        [full] = [one for one in backfills.backfills(stored) if one.kind == "full"]
    assert begun.work(full.id).exit_code == 0
    assert begun.run(removal="delete").exit_code == 77
    assert progress(begun, full.id)[0] == "open", "what the guard discards is asked for anew"
    assert begun.names() == {"a": "A", "b": "B", "c": "C", "s": "shared"}
    assert begun.run(removal="delete", accept_vanish=3).counts == {"Organization": {"deleted": 3}}
    assert begun.names() == {"a": "A"}


def test_a_worker_that_ends_the_list_has_not_said_that_the_listing_was_incomplete(house: House) -> None:
    """Ring 1, seed 498: the run that read the listing was killed before it could say so."""
    keys = house.source.keys

    def incomplete() -> Iterator[KeyPage]:
        for page in keys():
            yield replace(page, unreadable=1)

    house.source.keys = incomplete  # type: ignore[method-assign]
    fetch = house.source.fetch

    def dying(*given: Any) -> Any:
        raise KeyboardInterrupt

    house.source.fetch = dying  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        house.run()
    house.source.keys, house.source.fetch = keys, fetch  # type: ignore[method-assign]
    assert house.work(the_list(house).id).exit_code == 0
    report = house.run()
    assert (report.exit_code, [r.code for r in report.reasons]) == (65, [65])
    assert "no listing of the source has been complete" in report.reasons[0].what
    assert house.run().exit_code == 0, "it is said; that is a note for a week"


def test_a_first_load_that_ends_by_plan_within_the_feed_says_what_is_left_of_it(house: House) -> None:
    pull = house.source.pull

    def slowly(*given: Any) -> Any:
        for batch in pull(*given):
            house.clock.sleep(50)
            yield replace(batch, cursor=None)

    house.source.pull = slowly  # type: ignore[method-assign]
    report = house.run(max_duration=timedelta(seconds=40))
    assert (report.outcome, report.exit_code, report.remainder) == ("partial", 0, 3)
    assert any("3 of 3 keys of the first load are left" in note for note in report.notes)


def test_single_products_report_the_watermark_that_they_leave_where_it_is(begun: House) -> None:
    report = begun.run(only=("p1",))
    assert report.watermark[0] is not None
    assert report.watermark[0] == report.watermark[1]


@pytest.mark.parametrize("key", ["p1", "99 003-95-96"])
def test_a_product_that_is_refused_is_not_called_unknown_to_the_source(house: House, key: str) -> None:
    house.sink.edit(org("a"), b'{"resourceType":"Organization","id":"a","name":"somebody else"}')
    house.source.table[key] = {"a": "A"}
    report = house.run(only=(key,))
    assert report.exit_code == 65
    assert not any("has nothing for" in note for note in report.notes)


def test_what_somebody_spoilt_so_that_it_is_no_json_is_refused_and_the_rest_is_written(begun: House) -> None:
    begun.run()
    begun.sink.edit(org("a"), b"garbage")
    begun.source.change("p1", {"a": "A2", "n": "new", "s": "shared"}, TODAY + timedelta(days=1))
    report = begun.run()
    assert (report.exit_code, [t.code for t in report.quarantined]) == (65, ["foreign"])
    assert b"new" in begun.sink.body(org("n"))
    assert begun.run(only=("p1",), on_existing="adopt").exit_code == 0
    assert begun.names()["a"] == "A2", "that is the way out"
