"""A listing that was incomplete, and a run that did not live to say so."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

import pytest
from house import House

from store.handle import open_store
from tests.sinks.sudden_death import Death, Doom, Killed, Mortal
from tsi_fetch.ports import JobStore


def test_a_run_that_ends_the_incomplete_list_of_a_killed_one_says_that_it_was(house: House) -> None:
    house.source.listings = [["p1"], ["p2"], ["p1"], ["p2"], ["p1"]]
    doom = Doom(Death("start_list", after=True))
    with pytest.raises(Killed):
        house.run(wrap_store=lambda store: cast(JobStore, Mortal(store, doom)))
    report = house.run()
    assert "c" not in house.names()
    assert report.exit_code == 65


def test_an_incomplete_listing_is_told_every_night_and_makes_them_red_once_it_is_old(house: House) -> None:
    house.source.listings = [["p1"], ["p2"], ["p1"], ["p2"], ["p1"]]
    first = house.run()
    assert (first.exit_code, "--full" in first.reasons[0].hint) == (65, True)
    assert len(first.reasons) == 1
    next_night = house.run()
    assert next_night.exit_code == 0
    assert any("no listing of the source has been complete since" in note for note in next_night.notes)
    with open_store(house.url) as stored:
        house.clock.time = stored.now() + timedelta(days=8)
    old = house.run(max_quarantine_age=timedelta(days=7))
    assert (old.exit_code, old.reasons[0].hint) == (65, "read it again: tsi-fetch run job --full")


def test_a_complete_listing_ends_it(house: House) -> None:
    house.source.listings = [["p1"], ["p2"], ["p1"], ["p2"], ["p1"]]
    house.run()
    assert house.run(full=True).exit_code == 0
    report = house.run()
    assert not any("listing" in note for note in report.notes)
    assert house.reader(lambda s: s.unlisted(house.source.stream)) is None


def test_a_run_that_died_before_it_could_say_so_leaves_that_to_the_next(house: House) -> None:
    house.source.listings = [["p1"], ["p2"], ["p1"], ["p2"], ["p1"]]
    doom = Doom(Death("unlisted", after=False))
    with pytest.raises(Killed):
        house.run(wrap_store=lambda store: cast(JobStore, Mortal(store, doom)))
    assert [house.run().exit_code, house.run().exit_code] == [65, 0]


def test_a_reading_that_lacks_a_row_is_not_the_last(house: House) -> None:
    house.source.unreadable = [0, 1, 0]
    assert house.run().exit_code == 0


def test_a_load_that_is_gone_on_with_is_to_be_ended_before_it_is_read_again(house: House) -> None:
    house.source.listings = [["p1"], ["p2"], ["p1"], ["p2"], ["p1"]]
    doom = Doom(Death("start_list", after=True))
    with pytest.raises(Killed):
        house.run(wrap_store=lambda store: cast(JobStore, Mortal(store, doom)))
    assert "once 2 keys of it are done" in house.run(full=True).reasons[0].hint
