"""The source's options."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from sources.cima.options import CimaOptions
from tsi_fetch.http.agent import user_agent


def test_the_defaults_are_polite() -> None:
    options = CimaOptions()
    assert (options.base_url, options.rate, options.connections) == ("https://cima.aemps.es/cima/rest", 5.0, 4)
    assert options.overlap_days == 2


def test_every_option_is_described() -> None:
    assert [name for name, field in CimaOptions.model_fields.items() if not field.description] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"unknown": 1},
        {"rate": 0},
        {"connections": 0},
        {"overlap_days": -1},
        {"batch": 0},
        {"base_url": "cima.aemps.es"},
        {"base_url": "ftp://cima.invalid"},
        {"base_url": "https://user:hush@cima.invalid"},
        {"base_url": "https://cima.invalid?x=1"},
        {"user_agent": ""},
    ],
)
def test_mistakes_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CimaOptions(**wrong)


def test_a_trailing_slash_does_not_matter() -> None:
    assert CimaOptions(base_url="https://cima.invalid/rest/").base_url == "https://cima.invalid/rest"


def test_who_asks_can_be_said_in_two_ways() -> None:
    assert CimaOptions().chain().user_agent == user_agent()
    assert CimaOptions(contact="ops@hospital.invalid").chain().user_agent.endswith("; ops@hospital.invalid)")
    assert CimaOptions(user_agent="mine").chain().user_agent == "mine"
