"""Two jobs of one store that settle the same resources while both are under way: found by an adversary, then mended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from house import House, org
from lost_requests import planned
from two_jobs import SHARED, Two, day

from tsi_fetch.ports import Permit
from tsi_fetch.report import Report
from tsi_fetch.words import Outcome, State, Write


@pytest.fixture
def two(tmp_path: Path) -> Two:
    """Both hold s."""
    return Two(tmp_path)


def beside(house: House, ident: str, act: Callable[[], Report]) -> list[int]:
    """`act`, once, while the first write that names this resource is on its way; how it ended."""
    write, codes = house.sink.write, list[int]()

    def hooked(writes: Sequence[Write], permit: Permit) -> Iterator[Sequence[Outcome]]:
        if any(w.ref.id == ident for w in writes) and not codes:
            codes.append(-1)
            run = house.sink.run
            codes[:] = [act().exit_code]
            house.sink.run = run
        yield from write(writes, permit)

    house.sink.write = hooked  # type: ignore[method-assign]
    return codes


def nights(two: Two, **settings: object) -> None:
    """Both jobs, until nothing is left to be done."""
    for _ in range(3):
        assert [two.other().exit_code, two.house.run(shared=SHARED, **settings).exit_code] == [0, 0]
    writes = two.house.sink.writes
    assert [two.other().exit_code, two.house.run(shared=SHARED, **settings).exit_code] == [0, 0]
    assert two.house.sink.writes == writes, "a night in which nothing changed writes nothing"


def is_true(two: Two) -> None:
    """What is remembered of s is what the sink holds."""
    held = two.house.sink.find([org("s")])[org("s")]
    known = two.house.reader(lambda book: book.known([org("s")])[org("s")])
    assert (known.version, known.state) == (held.version, State.LIVE)  # type: ignore[attr-defined]


@pytest.mark.parametrize("theirs", ["S", "S2"])
@pytest.mark.parametrize("removal", ["delete", "retire"])
def test_what_another_job_takes_hold_of_while_it_is_being_removed_is_there_in_the_end(
    two: Two, theirs: str, removal: str
) -> None:
    two.other()
    two.house.source.change("p1", {"a": "A"}, day(1))
    two.theirs.change("q1", {"q": "Q", "s": theirs}, day(1))
    codes = beside(two.house, "s", two.other)
    assert two.house.run(shared=SHARED, removal=removal).exit_code == 0
    assert codes == [0]
    nights(two, removal=removal)
    assert two.house.names().get("s") == theirs
    assert b"false" not in two.house.sink.live()[org("s")]
    is_true(two)


def test_what_was_removed_between_anothers_look_and_its_settlement_is_there_in_the_end(two: Two) -> None:
    two.other()
    two.house.source.change("p1", {"a": "A"}, day(1))
    codes = beside(two.house, "q", lambda: two.house.run(shared=SHARED, removal="delete"))
    two.theirs.change("q1", {"q": "Q2", "s": "S"}, day(1))
    assert two.other().exit_code == 0
    assert codes == [0]
    nights(two, removal="delete")
    assert two.house.names().get("s") == "S"
    is_true(two)


def test_what_another_job_wrote_meanwhile_is_not_forgotten(two: Two) -> None:
    two.theirs.table["q1"] = {"q": "Q", "s": "S"}
    assert two.other().exit_code == 0
    two.house.source.change("p1", {"a": "A", "s": "S2"}, day(1))
    codes = beside(two.house, "q", lambda: two.house.run(shared=SHARED))  # writes S2
    two.theirs.change("q1", {"q": "Q2", "s": "S"}, day(1))
    assert two.other().exit_code == 0
    assert codes == [0]
    two.house.source.change("p1", {"a": "A", "s": "S"}, day(2))  # both say S now
    plan = planned(two.house, shared=SHARED)
    report = two.house.run(shared=SHARED)
    assert (report.exit_code, plan.counts) == (0, report.counts)
    nights(two)
    assert two.house.names()["s"] == "S"
    is_true(two)


def test_where_both_write_what_is_remembered_is_what_the_sink_holds(two: Two) -> None:
    assert two.other().exit_code == 0
    two.theirs.now += timedelta(hours=1)
    two.house.source.change("p1", {"a": "A", "s": "S2"}, day(1))
    two.theirs.change("q1", {"q": "Q", "s": "S3"}, day(1))
    codes = beside(two.house, "s", two.other)
    assert two.house.run(shared=SHARED).exit_code == 0
    assert codes == [0]
    nights(two)
    assert two.house.names()["s"] == "S3", "their answers are the later ones"
    is_true(two)


def test_what_both_bring_alike_is_no_contention(two: Two) -> None:
    two.theirs.table = {"q1": {"q": "Q", "s": "S"}}
    assert two.other().exit_code == 0
    two.house.source.change("p1", {"a": "A", "s": "S2"}, day(1))
    two.theirs.change("q1", {"q": "Q", "s": "S2"}, day(1))
    codes = beside(two.house, "s", two.other)
    assert two.house.run(shared=SHARED).exit_code == 0
    assert codes == [0]
    two.house.source.asked.clear()
    assert two.house.run(shared=SHARED).counts == {}
    assert two.house.source.asked == []
    is_true(two)
