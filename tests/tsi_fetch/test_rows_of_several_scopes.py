"""A row that speaks for several scopes, of which another one may speak alone (a product; what a flag of it names)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from house import House, org
from table_source import TableSource

from tsi_fetch.words import Change, Fault, Row, ScopeClaim, Upsert


class Flagged(TableSource):
    """What has a name that begins with `!` is of the flag's scope.  A key `p1#flag` is fetched for that scope alone."""

    def __init__(self, table: dict[str, dict[str, str] | None], batch: int = 2) -> None:
        super().__init__(table, batch)
        self.mapped = 0

    def _row(self, key: str, settles: tuple[str, ...]) -> Row:
        product, _, flag = key.partition("#")
        row = super()._row(product, settles)
        scopes = (ScopeClaim(f"{product}#flag", whole=True),)
        return replace(row, key=key, scopes=scopes if flag else (ScopeClaim(product, whole=True), *scopes))

    def to_changes(self, row: Row) -> Sequence[Change]:
        self.mapped += 1
        product = row.key.partition("#")[0]
        made = [u for u in super().to_changes(row) if isinstance(u, Upsert)]
        placed = [replace(u, scope=f"{product}#flag" if b'"!' in u.body else product) for u in made]
        return [u for u in placed if u.scope in {claim.key for claim in row.scopes}]


@pytest.fixture
def flagged(tmp_path: Path) -> House:
    return House(tmp_path, Flagged({"p1": {"a": "A", "n": "!N"}, "p2": {"b": "B"}}))


def test_the_same_answers_are_not_mapped_again(flagged: House) -> None:
    assert flagged.run().counts == {"Organization": {"created": 3}}
    mapped = flagged.source.mapped
    report = flagged.run(full=True)
    assert (report.counts, report.rows["skipped"]) == ({"Organization": {"unchanged": 3}}, 2)
    assert flagged.source.mapped == mapped


def test_a_scope_beside_the_first_of_which_there_is_nothing_is_not_stored(flagged: House) -> None:
    flagged.run()
    stored = flagged.reader(lambda book: book.scopes(["p1", "p1#flag", "p2", "p2#flag"]))
    assert sorted(stored) == ["p1", "p1#flag", "p2"]  # type: ignore[call-overload]


def test_a_row_of_the_flag_alone_touches_nothing_else(flagged: House) -> None:
    flagged.run()
    flagged.source.change("p1", {"a": "A2", "n": "!N2", "m": "!M"})
    flagged.source.feed[-1] = (flagged.source.feed[-1][0], "p1#flag")
    assert flagged.run().counts == {"Organization": {"created": 1, "updated": 1}}
    assert flagged.names() == {"a": "A", "b": "B", "n": "!N2", "m": "!M"}
    report = flagged.run(full=True)
    assert report.counts == {"Organization": {"updated": 1, "unchanged": 3}}, "its scope was mapped from other answers"
    assert flagged.run(full=True).rows["skipped"] == 2


def test_what_the_flag_named_leaves_with_either_row(flagged: House) -> None:
    flagged.run()
    flagged.source.change("p1", {"a": "A"})
    assert flagged.run(removal="delete", accept_vanish=9).counts == {"Organization": {"deleted": 1, "unchanged": 1}}
    assert flagged.names() == {"a": "A", "b": "B"}
    flagged.source.change("p1", {"a": "A", "n": "!N"})
    assert flagged.run().exit_code == 0
    flagged.source.change("p1", None)
    assert flagged.run(removal="delete", accept_vanish=9).counts == {"Organization": {"deleted": 2}}
    assert flagged.names() == {"b": "B"}


def test_answers_of_which_a_change_was_refused_are_mapped_again(flagged: House) -> None:
    flagged.sink.refuse[org("n")] = Fault("no", "$", "the sink does not take it")
    assert flagged.run().exit_code == 65
    flagged.sink.refuse.clear()
    report = flagged.run(full=True)
    assert report.counts["Organization"]["created"] == 1
