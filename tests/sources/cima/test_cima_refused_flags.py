"""What a product's flags asked for and could not be mapped: in quarantine until answers come that can."""

from __future__ import annotations

from pathlib import Path

import pytest
from cima_house import CimaHouse

NONSENSE = {"cn": "0", "fini": 1_642_719_600_000, "activo": True}


@pytest.fixture
def house(tmp_path: Path) -> CimaHouse:
    """After a night in which what two flags had asked for could not be mapped."""
    made = CimaHouse(tmp_path)
    made.night()
    made.register.supply["999101"] = NONSENSE
    made.tell("psum", "matinf")
    assert made.any_night().exit_code == 65
    assert made.troubles() == {"99001#matinf+psum"}
    del made.register.supply["999101"]
    return made


@pytest.mark.parametrize("told", [("psum", "matinf"), ("psum", "matinf", "notasSeguridad"), ("ft",)])
def test_answers_to_all_that_was_asked_for_end_it(house: CimaHouse, told: tuple[str, ...]) -> None:
    house.tell(*told)
    house.night()

    assert house.troubles() == set()


def test_answers_to_a_part_of_it_do_not(house: CimaHouse) -> None:
    house.tell("psum")
    house.any_night()

    assert house.troubles() == {"99001#matinf+psum"}


def test_a_product_that_cannot_be_mapped_itself_ends_nothing(house: CimaHouse) -> None:
    house.product()["estado"] = {}
    house.tell("ft")
    house.any_night()

    assert house.troubles() == {"99001", "99001#matinf+psum"}


def test_a_night_in_which_nothing_is_told_ends_nothing(house: CimaHouse) -> None:
    house.any_night()

    assert house.troubles() == {"99001#matinf+psum"}
