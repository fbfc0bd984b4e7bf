"""What a hint recommends looks where the command that gives it has looked."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.reporting.place import Place

HERE = Place(Path("my jobs.yaml"), "sqlite:///x.db", "epi")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("tsi-fetch run cima", "tsi-fetch run --config 'my jobs.yaml' --store sqlite:///x.db --sink epi cima"),
        ("tsi-fetch status", "tsi-fetch status --config 'my jobs.yaml' --store sqlite:///x.db"),
        (
            "tsi-fetch quarantine list --job a",
            "tsi-fetch quarantine list --config 'my jobs.yaml' --store sqlite:///x.db --job a",
        ),
        ("tsi-fetch check", "tsi-fetch check --config 'my jobs.yaml'"),
        ("tsi-fetch: down", "tsi-fetch: down"),
        ("the tsi-fetch runner", "the tsi-fetch runner"),
    ],
)
def test_every_command_is_given_the_options_it_takes(said: str, told: str) -> None:
    assert HERE.completed(said) == told


def test_a_store_without_its_sink_is_only_looked_into() -> None:
    hint = "tsi-fetch run cima, tsi-fetch status"
    assert Place(store="x.db").completed(hint) == "tsi-fetch run cima, tsi-fetch status --store x.db"


def test_nothing_is_added_where_nothing_was_given() -> None:
    assert Place().completed("tsi-fetch run cima") == "tsi-fetch run cima"
