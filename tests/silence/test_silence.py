"""Silence: secrets come out nowhere, people's data only where it must be; and each was there to be told."""

from __future__ import annotations

import pytest

from tests.silence.listening import Heard
from tests.silence.markers import table, words_of


@pytest.mark.parametrize(("marker", "outlet", "sign"), list(table()))
def test_a_marker_is_found_where_it_may_be_and_nowhere_else(heard: Heard, marker: str, outlet: str, sign: str) -> None:
    told = heard.where(outlet, words_of(marker))
    if sign == "-":
        assert told == []
    if sign == "+":
        assert told, f"the {marker} never came to the outlet {outlet}"


def test_every_command_ended_as_it_should(heard: Heard) -> None:
    assert heard.surprises == []
