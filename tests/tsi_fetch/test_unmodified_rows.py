"""Rows of which the source says that they are as they were."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from house import House
from lost_requests import planned
from sqlalchemy import update
from table_source import TableSource

from store.handle import open_store
from store.schema import scopes
from tsi_fetch.identity import Identity
from tsi_fetch.ports import NOTHING
from tsi_fetch.words import Batch, Change, Row, ScopeClaim, Upsert, Validators


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


class Parted(Tagged):
    """What has a name that begins with `!` is of a scope beside the row's own."""

    def _row(self, key: str, settles: tuple[str, ...]) -> Row:
        row = super()._row(key, settles)
        return replace(row, scopes=(*row.scopes, ScopeClaim(f"{key}#part", whole=True)))

    def to_changes(self, row: Row) -> Sequence[Change]:
        made = [u for u in super().to_changes(row) if isinstance(u, Upsert)]
        return [replace(u, scope=f"{row.key}#part") if b'"!' in u.body else u for u in made]


@pytest.fixture
def parted(tmp_path: Path) -> House:
    house = House(tmp_path, Parted({"p1": {"a": "A", "n": "!N"}, "p2": {"b": "B"}}))
    assert house.run().exit_code == 0
    house.source.bodies.clear()
    return house


def _part_in_doubt(house: House) -> None:
    with open_store(house.url) as stored, stored.database.write() as conn:
        conn.execute(update(scopes).where(scopes.c.key == "p1#part").values(raw=None))


def test_what_is_in_doubt_of_a_scope_beside_the_first_is_got_and_written_again(parted: House) -> None:
    _part_in_doubt(parted)
    assert parted.run(full=True).exit_code == 0
    assert parted.source.bodies == ["p1"]


def test_a_scope_beside_the_first_that_came_into_doubt_meanwhile_is_not_taken_for_as_it_was(parted: House) -> None:
    fetch = parted.source.fetch

    def doubted(keys: Iterable[str], known: Mapping[str, Validators] = NOTHING) -> Iterator[Batch]:
        for batch in fetch(keys, known):
            _part_in_doubt(parted)
            yield batch

    parted.source.fetch = doubted  # type: ignore[method-assign]
    assert [t.key for t in parted.run(full=True).quarantined] == ["p1"]


def test_under_another_identity_nothing_is_as_it_was(tagged: House) -> None:
    other = Identity("other")
    report = tagged.run(full=True, identity=other, accept_vanish=99)
    assert report.counts["Organization"]["created"] == 4
    assert tagged.source.bodies == ["p1", "p2", "p3"]
    tagged.source.bodies.clear()
    assert tagged.run(full=True, identity=other).counts == {"Organization": {"unchanged": 4}}
    assert tagged.source.bodies == []
    tagged.run(full=True, accept_vanish=99)
    assert tagged.source.bodies == ["p1", "p2", "p3"]
