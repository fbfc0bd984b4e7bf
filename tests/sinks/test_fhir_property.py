"""For any graph, and whatever the server, the network and others do: what the runs say happened is what happened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from graph_source import GraphSource, Node
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from store.handle import Stored, open_store
from tests.sinks.disturbed_hapi import BROKEN, DONE_ALL_THE_SAME, LATE, NOTHING_DONE, UNTRUE, DisturbedHapi
from tests.sinks.graph_house import FINISHED, GraphHouse
from tests.sinks.sudden_death import Death
from tsi_fetch.words import Ref

EXAMPLES = int(os.environ.get("TSI_EXAMPLES", "150"))
NEVER = (Ref("Organization", "never0"), Ref("Substance", "never1"))
SPOILT = {
    "400": (("active", "dunno"),),
    "422": (("alias", "unprocessable"),),
    "500": (("description", "nul \0"),),
}


@dataclass(frozen=True)
class Spec:
    """A resource of a story; targets are numbers of resources, and those beyond them never come."""

    name: str
    to: tuple[int, ...] = ()
    spoilt: str | None = None


@dataclass(frozen=True)
class Night:
    """What happens before a run, and in it.

    `moves`: a row (None: every one) gives a resource no longer, or does.
    """

    changes: tuple[tuple[int, Spec], ...] = ()
    moves: tuple[tuple[int | None, int], ...] = ()
    others: tuple[tuple[str, int], ...] = ()
    bad_day: tuple[str | None, ...] = ()
    full: bool = False
    death: Death | None = None


@dataclass(frozen=True)
class Story:
    """`rows`: of each resource, the rows that give it."""

    specs: tuple[Spec, ...]
    rows: tuple[frozenset[int], ...]
    nights: tuple[Night, ...]
    batch: int = 2
    ordered: bool = True
    writers: int = 2
    entries: int = 3
    attempts: int = 3
    slice: int = 3
    notices: bool = True
    linger: bool = True
    removal: str = "retire"

    def ref(self, number: int) -> Ref:
        return Ref(("Organization", "Substance")[number % 2], f"n{number}")

    def node(self, spec: Spec) -> Node:
        pool = [*[self.ref(n) for n in range(len(self.specs))] * 3, *NEVER]
        targets = dict.fromkeys(pool[number % len(pool)] for number in spec.to)
        return Node(spec.name, tuple(targets), SPOILT[spec.spoilt] if spec.spoilt else ())

    def source(self) -> GraphSource:
        keys = sorted(set().union(*self.rows))
        rows = {f"row{k}": [self.ref(n) for n, of in enumerate(self.rows) if k in of] for k in keys}
        nodes = {self.ref(n): self.node(spec) for n, spec in enumerate(self.specs)}
        return GraphSource(rows, nodes, batch=self.batch, ordered=self.ordered)


def play(story: Story, stored: Stored) -> GraphHouse:
    """Every run is looked at when it ends; the last one is calm, and has to finish."""
    hapi = DisturbedHapi(notices=story.notices, linger=story.linger)
    options = {"writers": story.writers, "entries": story.entries, "attempts": story.attempts}
    house = GraphHouse(stored, story.source(), hapi, removal=story.removal, **options)
    pool = [*(story.ref(n) for n in range(len(story.specs))), *NEVER]
    for number, night in enumerate((*story.nights, Night())):
        for n, spec in night.changes:
            house.source.change(story.ref(n % len(story.specs)), story.node(spec))
        for row, n in night.moves:
            move(house.source, row, story.ref(n % len(story.specs)))
        for act, n in night.others:
            OTHERS[act](house, pool[n % len(pool)])
        calm = number == len(story.nights)
        house.run(*night.bad_day, calm=calm, death=night.death, full=night.full, slice=story.slice)
    last = house.reports[-1]
    assert last, "nothing killed it"
    assert last.exit_code in FINISHED, last.reasons
    return house


def move(source: GraphSource, row: int | None, ref: Ref) -> None:
    keys = sorted(source.rows)
    some = [keys[row % len(keys)]] if row is not None else source.rows_of(ref) or keys[:1]
    for key in some:
        (source.drop if ref in source.rows[key] else source.give)(key, ref)


OTHERS = {
    "edit": GraphHouse.somebody_edits,
    "the same": GraphHouse.somebody_does_the_same,
    "delete": GraphHouse.somebody_deletes,
}

numbers = st.integers(0, 8)
specs = st.builds(
    Spec,
    st.sampled_from("ABC"),
    st.lists(st.integers(0, 25), max_size=2).map(tuple),
    st.sampled_from([None] * 12 + list(SPOILT)),
)
faults = st.sampled_from([None] * 30 + [*NOTHING_DONE, *DONE_ALL_THE_SAME * 2, LATE, LATE, LATE, UNTRUE])


def _one_500(bad_day: tuple[str | None, ...], where: int | None) -> tuple[str | None, ...]:
    """At most one of a run: two could not be told from a resource's own."""
    return bad_day if where is None else (*bad_day[:where], BROKEN, *bad_day[where:])


MOMENTS = ("doubt", "settle", "advance", "write", "intend", "move_mark", "marked", "recover", "recovered", "start_list")
deaths = st.builds(Death, st.sampled_from(MOMENTS), st.integers(1, 3), st.booleans())
nights = st.builds(
    Night,
    st.lists(st.tuples(numbers, specs), max_size=4).map(tuple),
    st.lists(st.tuples(st.none() | numbers, numbers), max_size=3).map(tuple),
    st.just(()) | st.lists(st.tuples(st.sampled_from(sorted(OTHERS)), numbers), max_size=2).map(tuple),
    st.just(()) | st.builds(_one_500, st.lists(faults, max_size=20).map(tuple), st.none() | st.integers(0, 20)),
    st.sampled_from([False, False, False, True]),
    st.none() | deaths,
)


@st.composite
def stories(draw: st.DrawFn) -> Story:
    some = draw(st.lists(specs, min_size=2, max_size=8).map(tuple))
    rows = st.frozensets(st.integers(0, 4), min_size=1, max_size=2)
    return Story(
        some,
        tuple(draw(st.lists(rows, min_size=len(some), max_size=len(some)))),
        (*draw(st.sampled_from([(), (Night(),)])), *draw(st.lists(nights, min_size=1, max_size=4))),
        batch=draw(st.integers(1, 3)),
        ordered=draw(st.booleans()),
        writers=draw(st.integers(1, 3)),
        entries=draw(st.integers(2, 5)),
        attempts=draw(st.integers(2, 4)),
        slice=draw(st.integers(1, 5)),
        notices=draw(st.booleans()),
        linger=draw(st.booleans()),
        removal=draw(st.sampled_from(["delete", "retire", "keep"])),
    )


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    """One store for all stories, each a job of its own: to open one takes longer than to play."""
    with open_store(f"sqlite:///{tmp_path_factory.mktemp('store') / 'store.db'}", create=True) as made:
        yield made


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="TSI_EXAMPLES" not in os.environ,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(story=stories())
def test_what_the_runs_say_is_what_the_server_holds(story: Story, stored: Stored) -> None:
    house = play(story, stored)
    note(str([report.exit_code if report else "killed" for report in house.reports]))
    assert house.hapi.flaws == []
