"""The table of what raw ePIs have, held against the raw ePIs themselves: what most of them have is asked for, or left
out for a reason that docs/sources/cima.md gives.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sources.cima.mapping.test_raw_epi_requirements import ALWAYS, GIVEN, NEVER, PROFILED, at, everything
from tsi_fetch.words import Row

PAGE = Path(__file__).parents[4] / "docs" / "sources" / "cima.md"

NO_EPI = frozenset({"DocumentReference", "Library"})
"""Support material and lenses, which the same guide has examples of."""

LEFT_OUT = {
    "Composition": "section.text section.section.section",
    "Ingredient": "substance.code.reference role.text",
    "List": "entry.flag subject.extension",
    "Organization": "contact",
    "PackagedProductDefinition": "meta.profile",
    "SubstanceDefinition": "",
}
"""Type → paths that most raw ePIs have and we do not; nothing: the whole type."""


def leaves(value: Any, path: str = "") -> Iterator[str]:
    """The path of every value that is neither a list nor an object."""
    if isinstance(value, dict):
        for name, child in value.items():
            yield from leaves(child, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for child in value:
            yield from leaves(child, path)
    else:
        yield path


def raw(folder: Path) -> Iterator[Any]:
    """Every resource of the raw ePIs, those within Bundles too; a Bundle without them."""
    for path in sorted(folder.glob("*.json")):
        one = json.loads(path.read_bytes())
        entries = [e["resource"] for e in one.get("entry", ()) if "resource" in e]
        bare = {**one, "entry": [{**e, "resource": None} for e in one["entry"]]} if entries else one
        yield from (r for r in (bare, *entries) if r["resourceType"] not in NO_EPI)


def usual(folder: Path) -> dict[str, set[str]]:
    """Type → paths that more than half of its resources have."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    number: Counter[str] = Counter()
    for resource in raw(folder):
        number[resource["resourceType"]] += 1
        counts[resource["resourceType"]].update(set(leaves(resource)))
    return {kind: {path for path, n in found.items() if 2 * n > number[kind]} for kind, found in counts.items()}


def within(path: str, others: list[str]) -> bool:
    """True where one of the others is the path, stands above it, or below it."""
    return any(f"{path}.".startswith(f"{other}.") or other.startswith(f"{path}.") for other in others)


def in_tables(kind: str) -> list[str]:
    profile = ["meta.profile"] if kind in PROFILED else []
    return ["resourceType", "id", *profile, *ALWAYS.get(kind, "").split(), *GIVEN.get(kind, {})]


@pytest.fixture
def found(samples: Path) -> dict[str, set[str]]:
    return usual(samples.parent / "epi_bundles")


@pytest.mark.samples
def test_what_most_raw_epis_have_is_in_the_tables_or_left_out(found: dict[str, set[str]]) -> None:
    strange = [
        f"{kind}.{path}"
        for kind, paths in found.items()
        for path in sorted(paths)
        if LEFT_OUT.get(kind) != "" and not within(path, [*in_tables(kind), *LEFT_OUT.get(kind, "").split()])
    ]

    assert strange == []
    assert {"Composition", "Bundle", "MedicinalProductDefinition", "List"} <= found.keys()


@pytest.mark.samples
def test_what_is_left_out_is_what_raw_epis_have(found: dict[str, set[str]]) -> None:
    for kind, paths in LEFT_OUT.items():
        assert all(within(path, list(found[kind])) for path in paths.split()), kind


def test_what_is_left_out_is_not_asked_for_and_stands_nowhere(make_row: Callable[..., Row]) -> None:
    for resource in everything(make_row("99001")):
        kind = resource["resourceType"]
        for path in LEFT_OUT.get(kind, "").split():
            assert not any(True for _ in at(resource, path)), f"{kind}.{path}"
            assert path not in in_tables(kind)


def test_the_page_says_what_is_left_out_and_why() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for kind, paths in LEFT_OUT.items():
        for name in [f"{kind}.{path}" for path in paths.split()] or [kind]:
            assert f"`{name}`" in page, name


def test_what_readers_do_not_bear_is_in_no_table() -> None:
    assert [f"{kind}.{path}" for kind in NEVER for path in NEVER[kind].split() if path in in_tables(kind)] == []
