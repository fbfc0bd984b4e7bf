"""A listing that was incomplete, and a run that did not live to say so."""

from __future__ import annotations

from typing import cast

import pytest
from house import House

from tests.sinks.sudden_death import Death, Doom, Killed, Mortal
from tsi_fetch.ports import JobStore


@pytest.mark.xfail(strict=True, reason="an open list that is not complete is gone on with as if it were")
def test_a_run_that_ends_the_incomplete_list_of_a_killed_one_says_that_it_was(house: House) -> None:
    house.source.listings = [["p1"], ["p2"], ["p1"], ["p2"], ["p1"]]
    doom = Doom(Death("start_list", after=True))
    with pytest.raises(Killed):
        house.run(wrap_store=lambda store: cast(JobStore, Mortal(store, doom)))
    report = house.run()
    assert "c" not in house.names()
    assert report.exit_code == 65
