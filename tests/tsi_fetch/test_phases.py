"""Seconds by phase: each in one phase, and those of what is pure, too."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from house import House

from tsi_fetch.fhir.narrative import xhtml
from tsi_fetch.phases import Phases, phase


class Ticking:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Ticking:
    return Ticking()


@pytest.fixture
def phases(clock: Ticking) -> Phases:
    return Phases(clock)


def test_a_phase_within_another_is_taken_out_of_it(clock: Ticking, phases: Phases) -> None:
    clock.now = 5
    with phases.phase("map"):
        clock.now += 1
        with phases.phase("clean"):
            clock.now += 10
        clock.now += 2
    clock.now += 50
    assert phases.seconds == {"map": 3, "clean": 10}


def test_a_generator_that_is_left_behind_ends_its_own_phase(clock: Ticking, phases: Phases) -> None:
    def writing() -> Iterator[int]:
        with phases.phase("write"):
            clock.now += 1
            yield 1

    left = writing()
    next(left)
    with phases.phase("remember"):
        clock.now += 2
        left.close()  # type: ignore[attr-defined]
        clock.now += 4
    assert phases.seconds == {"write": 1, "remember": 6}


def test_what_is_pure_counts_in_the_run_of_its_thread(clock: Ticking, phases: Phases) -> None:
    def work() -> None:
        with phase("clean"):
            clock.now += 1

    work()  # no run goes on
    with phases.running():
        work()
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    work()
    assert phases.seconds == {"clean": 1}


def test_cleaning_is_a_phase_and_gives_the_same_with_or_without_a_run() -> None:
    phases = Phases()
    with phases.running():
        inside = xhtml("<p>uno")
    assert inside == xhtml("<p>uno")
    assert set(phases.seconds) == {"clean"}


def test_a_run_tells_where_its_time_went_and_never_more_than_there_was(house: House) -> None:
    begun = time.perf_counter()
    report = house.run()
    assert sum(report.phases.values()) <= time.perf_counter() - begun
    assert {"wait", "lookup", "map", "decide", "validate", "write", "remember"} <= set(report.phases)
    assert report.to_json()["phases"].keys() == report.phases.keys()
