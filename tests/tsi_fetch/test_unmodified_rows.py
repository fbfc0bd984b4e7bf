"""Rows of which the source says that they are as they were."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from house import House
from lost_requests import planned
from sqlalchemy import update
from table_source import TableSource

from store.handle import open_store
from store.schema import scopes
from tsi_fetch.ports import NOTHING
from tsi_fetch.words import Batch, Row, Validators


class Tagged(TableSource):
    """Gives ETags, and heeds them."""

    def __init__(self, table: dict[str, dict[str, str] | None]) -> None:
        super().__init__(table)
        self.bodies: list[str] = []

    def _row(self, key: str, settles: tuple[str, ...]) -> Row:
        row = super()._row(key, settles)
        return replace(
            row, answers=tuple(replace(a, validator=hashlib.sha256(a.body).hexdigest()) for a in row.answers)
        )

    def fetch(self, keys: Iterable[str], known: Mapping[str, Validators] = NOTHING) -> Iterator[Batch]:
        for batch in super().fetch(keys):
            yield replace(batch, rows=tuple(self._heeded(row, known) for row in batch.rows))

    def _heeded(self, row: Row, known: Mapping[str, Validators]) -> Row:
        if row.validators and row.validators == known.get(row.key):
            return replace(row, answers=(), unmodified=True)
        self.bodies.append(row.key)
        return row


@pytest.fixture
def tagged(tmp_path: Path) -> House:
    house = House(
        tmp_path, Tagged({"p1": {"a": "A", "s": "shared"}, "p2": {"b": "B", "s": "shared"}, "p3": {"c": "C"}})
    )
    assert house.run().exit_code == 0
    house.source.bodies.clear()
    return house


def test_a_full_load_of_what_has_not_changed_gets_no_body_and_is_done(tagged: House) -> None:
    plan, report = planned(tagged, full=True), tagged.run(full=True)
    assert plan.counts == report.counts == {"Organization": {"unchanged": 4}}
    assert (report.exit_code, report.rows["read"], report.rows["skipped"], report.rows["fetched"]) == (0, 3, 3, 3)
    assert tagged.source.bodies == []
    assert tagged.reader(lambda book: book.open_list("changes")) is None  # type: ignore[attr-defined]


def test_only_what_changed_is_got(tagged: House) -> None:
    tagged.source.table["p2"] = {"b": "B2", "s": "shared"}
    report = tagged.run(full=True)
    assert (report.counts, tagged.source.bodies) == ({"Organization": {"updated": 1, "unchanged": 3}}, ["p2"])
    assert tagged.names()["b"] == "B2"


def test_with_again_everything_is_got(tagged: House) -> None:
    assert tagged.run(full=True, again=True).exit_code == 0
    assert tagged.source.bodies == ["p1", "p2", "p3"]


def test_a_row_that_lay_in_quarantine_is_good_when_the_source_says_that_it_is_as_it_was(tagged: House) -> None:
    tagged.source.unfetched.add("p3")
    tagged.source.change("p3", {"c": "C"})
    assert tagged.run().exit_code == 65
    tagged.source.unfetched.clear()
    assert tagged.run(full=True).exit_code == 0
    assert tagged.reader(lambda book: book.oldest_quarantine()) is None  # type: ignore[attr-defined]


def test_what_came_into_doubt_after_it_was_asked_for_is_set_aside_and_asked_for_again(tagged: House) -> None:
    fetch = tagged.source.fetch

    def doubted(keys: Iterable[str], known: Mapping[str, Validators] = NOTHING) -> Iterator[Batch]:
        for batch in fetch(keys, known):
            with open_store(tagged.url) as stored, stored.database.write() as conn:
                conn.execute(update(scopes).where(scopes.c.key == "p1").values(raw=None))
            yield batch

    tagged.source.fetch = doubted  # type: ignore[method-assign]
    report = tagged.run(full=True)
    assert (report.exit_code, [t.key for t in report.quarantined]) == (65, ["p1"])
    tagged.source.fetch = fetch  # type: ignore[method-assign]
    assert tagged.run().exit_code == 0
    assert tagged.source.bodies == ["p1"]
