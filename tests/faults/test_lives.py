"""A few lives of each ring, so that the harness stays true; `make fire` has many."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.inside import Inside, template
from tests.faults.inside import tried as tried_inside
from tests.faults.processes import places
from tests.faults.processes import tried as tried_as_process


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return template(tmp_path_factory.mktemp("fire"))


@pytest.mark.parametrize("seed", [1, 72, 1080, 7085, 7188])
def test_a_life_in_this_process(seed: int, empty: Path) -> None:
    """Seeds that once found something."""
    life, verdict = tried_inside(seed, empty, Inside)
    assert verdict.good, "\n".join([*life.told, str(verdict)])


@pytest.mark.parametrize("seed", [126, 267, 495])
def test_a_life_with_workers(seed: int, empty: Path) -> None:
    """Seeds that once found something, in the code or in what judges it."""
    life, verdict = tried_inside(seed, empty)
    assert verdict.good, "\n".join([*life.told, str(verdict)])
    assert life.all_counts["workers"]
    assert life.all_counts["a night before a worker's turn"]


@pytest.mark.parametrize("seed", [2014, 11681], ids=["two open lists", "a product half written by a worker"])
def test_a_life_that_ended_otherwise(seed: int, empty: Path) -> None:
    life, verdict = tried_inside(seed, empty)
    assert verdict.good, "\n".join([*life.told, str(verdict)])


def test_a_seed_makes_the_same_life_again(empty: Path) -> None:
    (one, _), (two, _) = (tried_inside(7002, empty) for _ in range(2))
    assert one.near, "of one thread"
    assert one.told == two.told
    assert one.all_counts == two.all_counts


def test_a_life_of_real_processes() -> None:
    with places("sqlite") as make:
        life, verdict = tried_as_process(3, make)
    assert verdict.good, "\n".join([*life.told, str(verdict)])
    assert len(life.ends) > 1
