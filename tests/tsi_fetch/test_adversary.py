"""The promises, attacked: kills with a source that moves on, dead keys, second writers, guards at the wrong moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from house import House
from memory_sink import MemorySink
from table_source import TODAY, TableSource, organization

from tsi_fetch.decide import Policy, decide
from tsi_fetch.fhir.digest import canonical_digest
from tsi_fetch.fhir.tokens import parse
from tsi_fetch.ports import Permit, Sink
from tsi_fetch.words import (
    Action,
    Known,
    Outcome,
    Ref,
    State,
    Upsert,
    Write,
)

TOMORROW = TODAY + timedelta(days=1)


def org(ident: str) -> Ref:
    return Ref("Organization", ident)


@pytest.fixture
def house(tmp_path: Path) -> House:
    table = {"p1": {"a": "A", "s": "shared"}, "p2": {"b": "B", "s": "shared"}, "p3": {"c": "C"}}
    return House(tmp_path, TableSource(dict(table)))


@pytest.fixture
def loaded(house: House) -> House:
    assert house.run().exit_code == 0
    return house


def names(house: House) -> dict[str, str]:
    return {ref.id: parse(body)["name"] for ref, body in house.sink.live().items()}


def retired(house: House, ident: str) -> bool:
    return b'"active":false' in house.sink.live()[org(ident)]


class Dies:
    """The process ends right after the nth write of the sink, before anything of it is remembered."""

    def __init__(self, inner: Sink, nth: int = 1) -> None:
        self._inner, self._left = inner, nth

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def write(self, writes: Sequence[Write], permit: Permit) -> Iterator[Sequence[Outcome]]:
        self._left -= 1
        outcomes = list(self._inner.write(writes, permit))
        if self._left == 0:
            raise KeyboardInterrupt
        yield from outcomes


def die_after_a_write(house: House, nth: int = 1, **settings: object) -> None:
    with suppress(KeyboardInterrupt):
        house.run(wrap_sink=lambda s: Dies(s, nth), **settings)  # type: ignore[arg-type,return-value]
        pytest.fail("the run was to die")


# -- killed between the write and its memory, and the source moves on


def test_killed_after_an_update_and_the_source_takes_it_back(loaded: House) -> None:
    loaded.source.change("p1", {"a": "A2", "s": "shared"})
    die_after_a_write(loaded)
    assert names(loaded)["a"] == "A2"
    loaded.source.change("p1", {"a": "A", "s": "shared"})
    assert loaded.run().exit_code == 0
    assert names(loaded)["a"] == "A", "what is remembered says A already, and yet the sink holds A2"


@pytest.mark.parametrize("removal", ["retire", "delete"])
def test_killed_after_a_removal_and_the_product_comes_back_as_it_was(loaded: House, removal: str) -> None:
    loaded.source.change("p1", None)
    die_after_a_write(loaded, removal=removal)
    loaded.source.change("p1", {"a": "A", "s": "shared"}, TOMORROW)
    assert loaded.run(removal=removal).exit_code == 0
    assert org("a") in loaded.sink.live()
    assert not retired(loaded, "a")


def test_killed_after_a_creation_and_the_source_moves_on(loaded: House) -> None:
    loaded.source.change("p4", {"d": "D"})
    die_after_a_write(loaded)
    loaded.source.change("p4", {"d": "D2"})
    assert loaded.run().exit_code == 0, "what a killed run of ours made is not foreign"
    assert names(loaded)["d"] == "D2"


class DownAt:
    """The sink is down from its nth send on."""

    def __init__(self, inner: object, sink: MemorySink, nth: int) -> None:
        self._inner, self._sink, self._left = inner, sink, nth

    def permit(self) -> None:
        self._left -= 1
        self._sink.down = self._left <= 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


def test_what_was_created_before_the_sink_went_down_goes_with_its_product(loaded: House) -> None:
    loaded.source.change("p4", {"d": "D"})
    loaded.source.change("p5", {"e": "E"})
    loaded.sink.bundle = 1
    report = loaded.run(wrap_store=lambda s: DownAt(s, loaded.sink, 3))  # type: ignore[arg-type,return-value]
    assert (report.exit_code, names(loaded)["d"]) == (75, "D")
    loaded.sink.down = False
    loaded.source.change("p4", None)
    assert loaded.run().exit_code == 0
    assert retired(loaded, "d"), "it is known, and no product holds it"


# -- keys that cannot be fetched


def test_a_few_keys_that_can_never_be_fetched_do_not_stop_the_feed(house: House) -> None:
    for n in range(60):
        house.source.table[f"m{n}"] = {f"m{n}": "M"}
    house.source.unfetched = {"m0", "m1", "m2"}
    assert house.run().exit_code == 65
    house.source.change("p3", {"c": "C2"})
    report = house.run()
    assert names(house)["c"] == "C2"
    assert report.exit_code == 65


def test_many_old_unfetched_keys_do_not_count_against_the_night(house: House) -> None:
    for n in range(500):
        house.source.table[f"m{n}"] = {f"m{n}": "M"}
    house.source.batch = 100
    house.source.unfetched = {f"m{n}" for n in range(0, 440, 20)}  # 22 of 503
    assert house.run().exit_code == 65
    house.source.change("p3", {"c": "C2"})
    assert house.run().exit_code == 65
    assert names(house)["c"] == "C2"


def test_a_removal_found_by_asking_again_is_not_lost_to_a_tripped_guard(loaded: House) -> None:
    for n in range(6):
        loaded.source.change(f"m{n}", {f"m{n}": "M"})
    loaded.source.change("p1", None)
    loaded.source.unfetched = {"p1"}
    assert loaded.run().exit_code == 65
    loaded.source.unfetched.clear()
    for n in range(6):
        loaded.source.change(f"m{n}", None, TOMORROW)
    assert loaded.run().exit_code == 77
    assert loaded.run(accept_vanish=10).exit_code == 0
    assert retired(loaded, "m0")
    assert retired(loaded, "a"), "the feed never names p1 again: it is to be asked for as before"


# -- somebody else's work


def test_what_others_made_after_theirs_was_deleted_is_not_overwritten(loaded: House) -> None:
    loaded.sink.edit(org("a"), None)
    loaded.source.change("p1", None)
    assert loaded.run().exit_code == 0
    loaded.sink.edit(org("a"), organization("a", "somebody's"))
    loaded.source.change("p1", {"a": "A", "s": "shared"}, TOMORROW)
    report = loaded.run()
    assert names(loaded)["a"] == "somebody's"
    assert [t.code for t in report.quarantined] == ["foreign"]


def test_lower_never_replaces_higher_where_the_tombstones_version_is_not_known() -> None:
    body = organization("a", "A")
    gone = Known(org("a"), "job", canonical_digest(body), None, 9, 1, State.DELETED)
    assert decide(Upsert(org("a"), body, "p1", 8), gone, None, Policy("job", 1)).action is Action.OLDER
