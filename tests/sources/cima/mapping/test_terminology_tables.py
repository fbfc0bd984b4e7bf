"""The tables hold together, and every system the mapping writes is one of them."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

import pytest

from sources.cima.mapping import to_changes
from sources.cima.mapping.terms import coding, normal, section_code, system
from tsi_fetch.words import Row, Upsert

TABLES = files("sources.cima.mapping") / "tables"


def rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((TABLES / f"{name}.csv").read_text(encoding="utf-8").splitlines(), strict=True))


def systems(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("system"), str):
            yield value["system"]
        value = list(value.values())
    if isinstance(value, list):
        for child in value:
            yield from systems(child)


TABLE_NAMES = sorted(path.name.removesuffix(".csv") for path in TABLES.iterdir() if path.name.endswith(".csv"))
KEYS = {"units": "unit", "dose_forms": "form", "presentation_units": "form", "routes": "id", "pack_words": "word",
        "documents": "tipo", "supply_problems": "tipo", "leaflet_titles": "title"}  # fmt: skip


@pytest.mark.parametrize("name", TABLE_NAMES)
def test_every_row_of_every_table_has_a_source_and_as_many_cells_as_its_head(name: str) -> None:
    for row in rows(name):
        assert row["source"]
        assert None not in row
        assert None not in row.values()


@pytest.mark.parametrize("name", TABLE_NAMES)
def test_the_readme_names_every_table(name: str) -> None:
    assert f"| {name}.csv |" in (TABLES / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["systems", "codes", *KEYS])
def test_a_name_stands_once(name: str) -> None:
    names = [row[KEYS.get(name, "name")] for row in rows(name)]

    assert len(names) == len(set(names))


def test_a_uri_stands_once_and_is_absolute() -> None:
    uris = [row["uri"] for row in rows("systems")]

    assert len(uris) == len(set(uris))
    assert all(re.match(r"https?://|urn:", uri) for uri in uris)


def test_every_code_has_a_system_of_the_tables() -> None:
    for row in rows("codes"):
        assert coding(row["name"])["system"] == system(row["system"])


def test_a_number_of_a_document_has_one_code() -> None:
    numbers = [(row["document"], row["number"]) for row in rows("sections")]

    assert len(numbers) == len(set(numbers))
    assert all(re.fullmatch(r"200000029[789]\d\d", row["code"]) for row in rows("sections"))


def test_titles_are_written_as_they_are_compared() -> None:
    for row in rows("leaflet_titles"):
        assert row["title"] == normal(row["title"])


def test_what_a_table_names_in_the_table_of_codes_is_there() -> None:
    named = [row["unit"] for row in rows("presentation_units")]
    named += [row["type"] for row in rows("pack_words")] + [row["code"] for row in rows("documents")]

    assert all(coding(name)["code"] for name in named if name)


def test_own_systems_share_one_root() -> None:
    own = {row["uri"] for row in rows("systems") if row["own"]}

    assert own == {row["uri"] for row in rows("systems") if "/sid/es-aemps/" in row["uri"]}
    assert all(row["source"] == "ours" for row in rows("systems") if row["own"])


def test_a_name_that_is_not_in_the_tables_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        coding("no-such-code")
    assert section_code("ft", "99.9", "") is None


@pytest.mark.parametrize("number", ["99001", "1998001001", "99 003-95-96"])
def test_the_mapping_writes_no_other_system(make_row: Callable[..., Row], number: str) -> None:
    known = {row["uri"] for row in rows("systems")}

    written = [s for c in to_changes(make_row(number)) if isinstance(c, Upsert) for s in systems(json.loads(c.body))]

    assert written
    assert set(written) <= known
