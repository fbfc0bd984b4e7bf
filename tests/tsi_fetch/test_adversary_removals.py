"""What is to be removed, and what somebody made of it meanwhile: where that loses their work, or says too little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from house import House, org
from referring_table import referential
from table_source import TODAY, TableSource, organization

from store.explaining import places, trace_ref
from store.handle import open_store
from store.troubles import Which, drop, numbers
from tsi_fetch.errors import Unusable
from tsi_fetch.fhir.tokens import dump, parse
from tsi_fetch.words import Change, Fault, Held, Ref, Row

NIGHTS = [TODAY + timedelta(days=n) for n in range(9)]
THEIRS = dump({"resourceType": "Organization", "id": "c", "name": "C, see the curator's note", "active": False})
FOREIGN = organization("c", "edited")
LONG_AGO = timedelta(days=-9999)
"""How old what waits may be: whatever it is, it is older."""


def many(folder: Path, count: int) -> House:
    """A register of so many products, one resource each, loaded."""
    house = House(folder, TableSource({f"p{n}": {f"o{n}": f"O{n}"} for n in range(count)}))
    assert house.run().exit_code == 0
    return house


def lying(house: House) -> list[str]:
    with open_store(house.url) as stored:
        return [t.key for t in stored.reader("job", "memory").troubles()]


def to_go(house: House) -> list[Ref]:
    with open_store(house.url) as stored:
        return [p.ref for p in stored.reader("job", "memory").pending()]


def edited(house: House, body: bytes = FOREIGN, **settings: object) -> House:
    """Somebody edited c, and then its product left the source."""
    house.sink.edit(org("c"), body)
    house.source.change("p3", None, NIGHTS[1])
    house.run(**settings)
    return house


# -- somebody retired it, and wrote something of their own


def test_what_somebody_retired_in_other_words_is_theirs_when_the_product_comes_back(loaded: House) -> None:
    edited(loaded, THEIRS)
    assert (loaded.sink.body(org("c")), lying(loaded), to_go(loaded)) == (THEIRS, [], [])
    loaded.source.change("p3", {"c": "C"}, NIGHTS[2])
    report = loaded.run()
    assert (report.exit_code, [t.code for t in report.quarantined]) == (65, ["foreign"])
    assert loaded.sink.body(org("c")) == THEIRS


# -- a removal that was refused


@pytest.mark.parametrize("removal", ["retire", "delete"])
def test_a_refused_removal_is_carried_out_by_a_replay_of_a_job_that_adopts(loaded: House, removal: str) -> None:
    edited(loaded, removal=removal, on_existing="adopt")
    assert (lying(loaded), to_go(loaded)) == (["removal of Organization/c"], [org("c")])
    lookups = loaded.sink.lookups
    assert loaded.run(removal=removal).exit_code == 0, "it was told, and a person is to look"
    assert (loaded.sink.body(org("c")), loaded.sink.lookups) == (FOREIGN, lookups)
    report = loaded.run(removal=removal, full=True, on_existing="adopt")
    assert report.exit_code == 65, "asked again, and still somebody's"
    assert len(lying(loaded)) == 1
    assert loaded.replay(removal=removal).exit_code == 65
    report = loaded.replay(removal=removal, on_existing="adopt")
    assert (report.exit_code, lying(loaded), to_go(loaded)) == (0, [], [])
    left = loaded.sink.body(org("c"))
    assert left is None if removal == "delete" else parse(left or b"")["active"] is False


@pytest.mark.parametrize("removal", ["retire", "delete"])
def test_what_somebody_edits_while_it_is_being_removed_is_theirs_where_the_job_adopts(
    loaded: House, removal: str
) -> None:
    find = loaded.sink.find

    def and_then(refs: Sequence[Ref], *, bodies: bool = False) -> Mapping[Ref, Held]:
        found = find(refs, bodies=bodies)
        if org("c") in refs and loaded.sink.body(org("c")) != FOREIGN:
            loaded.sink.edit(org("c"), FOREIGN)
        return found

    loaded.source.change("p3", None, NIGHTS[1])
    loaded.sink.find = and_then  # type: ignore[method-assign]
    report = loaded.run(removal=removal, on_existing="adopt")
    assert (report.exit_code, lying(loaded)) == (65, ["removal of Organization/c"])
    assert loaded.sink.body(org("c")) == FOREIGN


def test_a_replay_tries_a_refused_removal_again(loaded: House) -> None:
    loaded.source.change("p3", None, NIGHTS[1])
    loaded.sink.refuse = {org("c"): Fault("sink", "$", "not today")}
    assert loaded.run().exit_code == 65
    assert (loaded.replay().exit_code, lying(loaded)) == (65, ["removal of Organization/c"])
    loaded.sink.refuse = {}
    report = loaded.replay()
    assert (report.exit_code, report.counts, lying(loaded)) == (0, {"Organization": {"retired": 1}}, [])


@pytest.mark.parametrize("key", ["removal of", "removal of p3", "removal of Organization/c"])
def test_a_row_that_is_called_as_a_removal_is_replayed_as_the_row_that_it_is(house: House, key: str) -> None:
    house.source = TableSource({key: {"x": "X"}})
    real, house.source.to_changes = house.source.to_changes, unusable  # type: ignore[method-assign]
    assert (house.run().exit_code, lying(house)) == (65, [key])
    house.source.to_changes = real  # type: ignore[method-assign]
    report = house.replay()
    assert (report.exit_code, report.counts, lying(house)) == (0, {"Organization": {"created": 1}}, [])


def unusable(row: Row) -> Sequence[Change]:
    raise Unusable(Fault("odd", "$", "not known today"))


def test_a_refused_removal_that_nobody_wants_any_more_does_not_stay_in_quarantine(loaded: House) -> None:
    edited(loaded)
    report = loaded.replay(removal="keep")
    assert (report.exit_code, lying(loaded), to_go(loaded)) == (0, [], [])
    assert loaded.sink.body(org("c")) == FOREIGN


def test_a_refused_removal_that_is_dropped_is_over(loaded: House) -> None:
    edited(loaded)
    with open_store(loaded.url) as stored:
        drop(stored, numbers(stored, Which("job")), "theirs are right", "me@here")
    assert (to_go(loaded), lying(loaded)) == ([], [])
    assert loaded.run(full=True).exit_code == 0
    assert loaded.sink.body(org("c")) == FOREIGN


def test_a_refused_removal_is_over_when_the_product_comes_back(loaded: House) -> None:
    edited(loaded)
    loaded.source.change("p3", {"c": "C"}, NIGHTS[2])
    report = loaded.run()
    assert [(t.key, t.code) for t in report.quarantined] == [("p3 Organization/c", "foreign")]
    assert (lying(loaded), to_go(loaded)) == (["p3"], [])
    loaded.run(full=True)
    assert lying(loaded) == ["p3"]


# -- what is said of what was not removed


def writer(house: House, ident: str) -> str | None:
    """The run that is told to have written what is remembered of it, or to have removed it."""
    with open_store(house.url) as stored:
        [trace] = trace_ref(stored, org(ident), places(stored))
    return trace.wrote.id if trace.wrote else None


@pytest.mark.parametrize("removal", ["retire", "delete"])
def test_who_refused_to_remove_it_and_who_found_it_gone_have_neither_written_nor_removed_it(
    house: House, removal: str
) -> None:
    house.source = TableSource({"p1": {"a": "A", "b": "B", "c": "C"}, "p2": {"x": "X"}})
    house.run()
    house.sink.edit(org("a"), organization("a", "edited"))
    house.sink.edit(org("b"), None)
    house.source.change("p1", None, NIGHTS[1])
    report = house.run(removal=removal, accept_vanish=3)
    assert (report.exit_code, house.sink.run) == (65, "run-2")
    assert (writer(house, "a"), writer(house, "b"), writer(house, "c")) == ("run-1", None, "run-2")
    done = {"retire": "retired", "delete": "deleted"}[removal]
    assert report.counts == {"Organization": {"refused": 1, "gone": 1, done: 1}}, "each of the three is told"


def test_what_is_as_it_should_be_already_is_told_too(loaded: House) -> None:
    retired = organization("c", "C").replace(b"}", b',"active":false}')
    loaded.sink.run = "run-1"
    loaded.sink.edit(org("c"), retired)
    loaded.source.change("p3", None, NIGHTS[1])
    assert loaded.run().counts == {"Organization": {"unchanged": 1}}


# -- the guard


def test_what_leaves_in_several_passes_of_a_run_is_counted_together(tmp_path: Path) -> None:
    house = many(tmp_path, 60)
    for n in range(3):
        house.source.change(f"p{n}", None, NIGHTS[1])
    for n in range(3, 6):
        house.source.table[f"p{n}"] = None
    report = house.run(full=True)
    assert (report.exit_code, report.counts) == (77, {"Organization": {"unchanged": 54}})
    [reason] = report.reasons
    told = "too much would vanish: 6 of 60 Organization; 3 Organization of it were let go before, and no more is"
    assert reason.what == told
    assert "--accept-vanish 6" in reason.hint
    assert house.run(accept_vanish=6).counts == {"Organization": {"retired": 6}}


def test_single_products_pass_the_guard_too(tmp_path: Path) -> None:
    house = many(tmp_path, 60)
    keys = tuple(f"p{n}" for n in range(40))
    house.source.table.update(dict.fromkeys(keys))
    report = house.run(only=keys)
    assert (report.exit_code, report.counts) == (77, {})
    assert house.run().counts == {}
    assert house.run(only=keys, accept_vanish=40).counts == {"Organization": {"retired": 40}}


def test_single_products_say_nothing_of_what_another_pass_has_left_undecided(tmp_path: Path) -> None:
    """A feed that was cut short has decided nothing yet; its removals are not those of the products that are named."""
    house = many(tmp_path, 60)
    for n in range(10):
        house.source.change(f"p{n}", None, NIGHTS[1])
    house.run(most_rows=10)
    house.source.table["p20"] = None
    assert house.run(only=("p20",)).counts == {"Organization": {"retired": 1}}


# -- what cannot be retired yet


def test_a_retirement_that_waits_for_too_long_is_red(tmp_path: Path) -> None:
    house = referential(tmp_path, {"p1": {"a": "A -> t", "x": "X"}, "p2": {"t": "T"}})
    house.run()
    house.sink.edit(org("t"), None)
    house.source.change("p1", {"x": "X"})
    assert house.run().exit_code == 0
    report = house.run(max_wait_age=LONG_AGO)
    assert (report.exit_code, report.outcome) == (65, "quarantined")
    assert [("Organization/a" in r.what, r.hint) for r in report.reasons] == [
        (True, "tsi-fetch explain Organization/a")
    ]
    house.sink.edit(org("t"), b'{"resourceType":"Organization","id":"t"}')
    assert house.run(max_wait_age=LONG_AGO).exit_code == 0


def test_a_deletion_that_something_refers_to_is_told_and_no_more(tmp_path: Path) -> None:
    house = referential(tmp_path, {"p1": {"a": "A"}, "p2": {"t": "T"}})
    house.run()
    house.sink.edit(org("z"), b'{"resourceType":"Organization","id":"z","partOf":{"reference":"Organization/a"}}')
    house.source.change("p1", None)
    report = house.run(removal="delete", max_wait_age=LONG_AGO)
    assert (report.exit_code, ["still referred to" in note for note in report.notes]) == (0, [True])


# -- what is said of what has gone


@pytest.mark.parametrize("removal", ["retire", "keep"])
def test_of_a_product_that_has_gone_it_is_not_said_that_nothing_is_there(loaded: House, removal: str) -> None:
    loaded.source.change("p3", None, NIGHTS[1])
    loaded.run(removal=removal)
    assert loaded.run(only=("p3",)).notes == ("the source has nothing for p3, and no resource belongs to it",)
    assert org("c") in loaded.sink.live()
