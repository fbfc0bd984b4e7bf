"""Answers that lay in quarantine, replayed over what has come since: where that loses something."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from house import House, org
from table_source import TODAY, TableSource, organization

from store import queries
from store.handle import open_store
from tsi_fetch.errors import Unusable
from tsi_fetch.fhir.tokens import parse
from tsi_fetch.words import Answer, Change, Fault, Row, ScopeClaim, Upsert

NIGHTS = [TODAY + timedelta(days=n) for n in range(9)]


class Parted(TableSource):
    """A product whose parts `m` and `n` may also come in rows of their own, as a register's notes do: `p1#m`, `p1#n`,
    or both as `p1#m+n`.  Ids of a part's resources begin with its letter.  `odd`: a mapping of the day cannot use any
    row of a whole product that has a resource of this id."""

    odd: str | None = None

    def _row(self, key: str, settles: tuple[str, ...]) -> Row:
        product, _, flags = key.partition("#")
        made = super()._row(product, settles)
        parts = sorted(flags.split("+")) if flags else ["m", "n"]
        scopes = [f"{product}#{part}" for part in parts]
        claims = tuple(ScopeClaim(scope, whole=True) for scope in ([product, *scopes] if not flags else scopes))
        overtakes = tuple(f"{product}#{part}" for part in ("m", "n", "m+n")) if not flags else ()
        return Row(key, made.answers, made.order, claims, settles, overtakes=overtakes)

    def to_changes(self, row: Row) -> Sequence[Change]:
        product, _, flags = row.key.partition("#")
        found = parse(row.answers[0].body)
        if not flags and self.odd in found:
            raise Unusable(Fault("odd", "$", "not known today"))
        of = {ident: f"{product}#{ident[0]}" if ident[0] in "mn" else product for ident in found}
        return [
            Upsert(org(ident), organization(ident, name), of[ident], row.order)
            for ident, name in found.items()
            if not flags or ident[0] in flags
        ]


@pytest.fixture
def parted(house: House) -> House:
    table = {"p1": {"a": "A", "m1": "M"}, "p2": {"b": "B"}, "p3": {"c": "C"}}
    made = Parted(dict(table))
    house.source = made
    assert house.run().exit_code == 0
    return house


def night(house: House, key: str, product: dict[str, str], n: int) -> int:
    """A night in which the feed names this row of p1."""
    house.source.table["p1"] = product
    house.source.feed.append((NIGHTS[n], key))
    return house.run().exit_code


def lying(house: House) -> list[tuple[str, str]]:
    with open_store(house.url) as stored:
        return [(row.key, row.fault.code) for row in queries.quarantine(stored)]


def test_parts_that_came_again_unchanged_are_newer_all_the_same(parted: House) -> None:
    """M, then nothing of it in a row that nobody could use, then M again, which is skipped."""
    assert night(parted, "p1#m", {"a": "A", "m1": "M"}, 1) == 0
    parted.source.odd = "q"  # type: ignore[attr-defined]
    assert night(parted, "p1", {"a": "A2", "q": "Q"}, 2) == 65
    assert night(parted, "p1#m", {"a": "A", "m1": "M"}, 3) == 0
    assert lying(parted) == [("p1", "odd")]
    parted.source.odd = None  # type: ignore[attr-defined]
    parted.replay()
    assert not parted.reader(lambda s: s.pending())
    assert parted.run(removal="delete").exit_code == 0
    assert parted.names().get("m1") == "M"


def test_parts_that_are_still_gone_are_not_brought_back(parted: House) -> None:
    """Nothing of it, then M in a row that nobody could use, then nothing again, which is skipped."""
    assert night(parted, "p1#m", {"a": "A"}, 1) == 0
    parted.source.odd = "q"  # type: ignore[attr-defined]
    assert night(parted, "p1", {"a": "A2", "m2": "M", "q": "Q"}, 2) == 65
    assert night(parted, "p1#m", {"a": "A"}, 3) == 0
    parted.source.odd = None  # type: ignore[attr-defined]
    parted.replay()
    assert "m2" not in parted.names()


def test_a_part_of_which_newer_answers_had_nothing_is_not_brought_back(parted: House) -> None:
    """That there is nothing of a scope beside a row's first one is not remembered."""
    parted.source.odd = "q"  # type: ignore[attr-defined]
    assert night(parted, "p1", {"a": "A2", "n1": "N", "q": "Q"}, 1) == 65
    assert night(parted, "p1#m+n", {"a": "A2", "m1": "M2"}, 2) == 0
    parted.source.odd = None  # type: ignore[attr-defined]
    parted.replay()
    assert "n1" not in parted.names()


def test_a_row_that_speaks_for_no_scope_is_not_said_to_be_overtaken(loaded: House) -> None:
    """An entry of a feed that cannot be read, say: no newer answers have come of anything."""
    made = loaded.source._row

    def unreadable(key: str, settles: tuple[str, ...]) -> Row:
        row = made(key, settles)
        return replace(row, scopes=(), order=None) if key == "p1" else row

    loaded.source._row = unreadable  # type: ignore[method-assign]
    loaded.source.broken.add("p1")
    loaded.source.change("p1", {"a": "A2"})
    assert loaded.run().exit_code == 65
    report = loaded.replay()
    assert report.exit_code == 65
    assert not [reason.what for reason in report.reasons if "newer answers" in reason.what]
    with open_store(loaded.url) as stored:
        assert [row.attempts for row in queries.quarantine(stored)] == [2]


@pytest.mark.xfail(strict=True, reason="without an order nothing is newer")
def test_answers_without_an_order_do_not_replace_what_another_row_has_brought_since(loaded: House) -> None:
    """A resource that two products share, in a source that gives no orders."""
    made, mapped = loaded.source._row, loaded.source.to_changes
    loaded.source._row = lambda *given: replace(made(*given), order=None)  # type: ignore[method-assign]

    def of_the_day(row: Row) -> Sequence[Change]:
        answer: Answer = row.answers[0]
        if b"odd" in answer.body:
            raise Unusable(Fault("odd", "$", "not known today"))
        return mapped(row)

    loaded.source.to_changes = of_the_day  # type: ignore[method-assign]
    loaded.source.change("p1", {"a": "odd", "s": "S2"}, NIGHTS[1])
    assert loaded.run().exit_code == 65
    loaded.source.change("p2", {"b": "B", "s": "S3"}, NIGHTS[2])
    assert loaded.run().exit_code == 0
    loaded.source.to_changes = mapped  # type: ignore[method-assign]
    loaded.replay()
    assert loaded.names()["s"] == "S3"


def test_a_removal_that_is_refused_again_is_no_product_of_that_name(loaded: House) -> None:
    """Hints are typed as they stand, and must do what they say."""
    loaded.source.change("p3", {}, NIGHTS[1])
    loaded.sink.refuse = {org("c"): Fault("sink", "$", "not today")}
    assert loaded.run(removal="delete", accept_vanish=1).exit_code == 65
    assert [key for key, _ in lying(loaded)] == ["removal of Organization/c"]
    report = loaded.replay(removal="delete")
    assert (report.exit_code, [t.key for t in report.quarantined]) == (65, ["removal of Organization/c"])
    assert not any("--only" in reason.hint for reason in report.reasons)


def unusable(row: Row) -> Sequence[Change]:
    raise Unusable(Fault("odd", "$", "not known today"))


def test_of_two_entries_that_speak_for_one_part_the_newer_one_has_the_last_word(parted: House) -> None:
    """Both are replayed in one batch: the older one brings back what the newer one says is gone."""
    mapped = parted.source.to_changes
    parted.source.to_changes = unusable  # type: ignore[method-assign]
    assert night(parted, "p1", {"a": "A2", "m1": "M2", "m2": "M2"}, 1) == 65
    assert night(parted, "p1#m", {"a": "A2", "m1": "M3"}, 2) == 65
    assert [key for key, _ in lying(parted)] == ["p1", "p1#m"]
    parted.source.to_changes = mapped  # type: ignore[method-assign]
    parted.replay()
    parted.run(removal="delete")
    assert {name: parted.names().get(name) for name in ("a", "m1", "m2")} == {"a": "A2", "m1": "M3", "m2": None}


def test_of_two_entries_that_speak_for_one_part_the_whole_row_may_be_the_newer_one(parted: House) -> None:
    mapped = parted.source.to_changes
    parted.source.to_changes = unusable  # type: ignore[method-assign]
    assert night(parted, "p1#m", {"a": "A2", "m1": "M2", "m2": "M2"}, 1) == 65
    assert night(parted, "p1", {"a": "A3", "m1": "M3"}, 2) == 65
    assert [key for key, _ in lying(parted)] == ["p1#m", "p1"]
    parted.source.to_changes = mapped  # type: ignore[method-assign]
    parted.replay()
    parted.run(removal="delete")
    assert {name: parted.names().get(name) for name in ("a", "m1", "m2")} == {"a": "A3", "m1": "M3", "m2": None}


def test_what_left_by_a_replay_is_decided_anew_after_the_guard_refused_it(loaded: House) -> None:
    """No feed names those rows again, and no list has them: after one red night they would be forgotten."""
    mapped = loaded.source.to_changes
    loaded.source.to_changes = unusable  # type: ignore[method-assign]
    for key in ("p1", "p2", "p3"):
        loaded.source.change(key, {"z": "Z"}, NIGHTS[1])
    assert loaded.run().exit_code == 65
    loaded.source.to_changes = mapped  # type: ignore[method-assign]
    assert loaded.replay().exit_code == 0
    assert loaded.run(removal="delete").exit_code == 77
    assert loaded.run(removal="delete").exit_code == 77, "asked for anew, and refused anew"
    assert loaded.run(removal="delete", accept_vanish=4).exit_code == 0
    assert loaded.names() == {"z": "Z"}


def test_what_a_killed_run_has_written_is_newer_than_what_is_replayed(loaded: House) -> None:
    mapped = loaded.source.to_changes
    loaded.source.to_changes = unusable  # type: ignore[method-assign]
    loaded.source.change("p1", {"a": "A2", "s": "shared"}, NIGHTS[1])
    assert loaded.run().exit_code == 65
    loaded.source.to_changes = mapped  # type: ignore[method-assign]
    loaded.source.table["p1"] = {"a": "A3", "s": "shared"}
    write = loaded.sink.write

    def dying(*given: Any) -> Any:
        for outcomes in write(*given):
            raise KeyboardInterrupt(str(outcomes))

    loaded.sink.write = dying  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        loaded.run(only=("p1",))
    loaded.sink.write = write  # type: ignore[method-assign]
    assert loaded.names()["a"] == "A3"
    loaded.replay()
    assert loaded.run().exit_code == 0
    assert loaded.names()["a"] == "A3"
