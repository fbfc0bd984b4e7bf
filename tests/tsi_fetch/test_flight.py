"""Several batches on their way to a far sink at once: who may fly together, and what happens when one fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from house import House, org
from table_source import TableSource, organization

from tsi_fetch.clock import StopSignal
from tsi_fetch.errors import TryAgain
from tsi_fetch.ports import Permit, Sink
from tsi_fetch.words import Outcome, Ref, Write

PATIENCE = 20  # seconds until a test that waits for another thread gives up


class Meeting:
    """A sink whose writes wait until so many of them are in progress; `together` is what met."""

    def __init__(self, inner: Sink, number: int) -> None:
        self._inner = inner
        self._barrier = threading.Barrier(number, timeout=PATIENCE)
        self.together: list[frozenset[Ref]] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def write(self, writes: Sequence[Write], permit: Permit) -> Iterator[Sequence[Outcome]]:
        self._barrier.wait()
        self.together.append(frozenset(w.ref for w in writes))
        yield from self._inner.write(writes, permit)


class Watched:
    """A sink that fails the test where two writes of one resource are in progress, and counts the most at once."""

    def __init__(self, inner: Sink, before: Callable[[Sequence[Write]], None] = lambda writes: None) -> None:
        self._inner, self._before = inner, before
        self._lock = threading.Lock()
        self._flying: list[Ref] = []
        self.clashes: list[Ref] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def write(self, writes: Sequence[Write], permit: Permit) -> Iterator[Sequence[Outcome]]:
        refs = [w.ref for w in writes]
        with self._lock:
            self.clashes += [ref for ref in refs if ref in self._flying]
            self._flying += refs
        try:
            self._before(writes)
            yield from self._inner.write(writes, permit)
        finally:
            with self._lock:
                self._flying = [ref for ref in self._flying if ref not in refs]


def far(folder: Path, count: int, ahead: int = 3, batch: int = 1) -> House:
    house = House(folder, TableSource({f"p{n:02}": {f"r{n}": f"R{n}"} for n in range(count)}, batch))
    house.sink.ahead = ahead
    return house


def test_batches_that_have_nothing_to_do_with_each_other_are_written_at_once(tmp_path: Path) -> None:
    house = far(tmp_path, 6)
    meetings: list[Meeting] = []
    report = house.run(wrap_sink=lambda s: meetings.append(Meeting(s, 3)) or meetings[0])  # type: ignore[func-returns-value,return-value]
    assert (report.exit_code, report.counts) == (0, {"Organization": {"created": 6}})
    assert len(meetings[0].together) == 6, "they would have waited for each other for ever"


def test_two_batches_that_write_the_same_resource_never_fly_together(tmp_path: Path) -> None:
    house = far(tmp_path, 0)
    house.source.table = {f"p{n}": {f"r{n}": "R", "shared": f"S{n}"} for n in range(8)}
    watched: list[Watched] = []
    report = house.run(wrap_sink=lambda s: watched.append(Watched(s)) or watched[0])  # type: ignore[func-returns-value,return-value]
    assert report.exit_code == 0
    assert watched[0].clashes == []
    assert house.names()["shared"] == "S7", "the last by the source's order"
    assert len(house.sink.history[org("shared")]) == 8


def test_a_resource_that_all_share_and_none_changes_keeps_nobody_waiting(tmp_path: Path) -> None:
    house = far(tmp_path, 0)
    house.source.table = {f"p{n}": {f"r{n}": "R", "shared": "S"} for n in range(7)}
    house.run(only=("p0",))
    meetings: list[Meeting] = []
    report = house.run(
        wrap_sink=lambda s: meetings.append(Meeting(s, 3)) or meetings[0], only=tuple(f"p{n}" for n in range(1, 7))
    )  # type: ignore[func-returns-value,return-value]
    assert report.counts == {"Organization": {"created": 6, "unchanged": 6}}


def test_what_is_in_the_air_when_the_source_fails_is_remembered(tmp_path: Path) -> None:
    house = far(tmp_path, 0)
    house.run()
    for n in range(5):
        house.source.change(f"p{n}", {f"r{n}": "R"})
    house.source.down_after = 3
    report = house.run()
    assert (report.exit_code, report.counts) == (75, {"Organization": {"created": 3}})
    house.source.down_after, asked = None, len(house.source.asked)
    assert house.run().counts == {"Organization": {"created": 2}}
    assert len(house.source.asked) - asked == 2, "what was settled is not fetched again"


def test_one_batch_that_fails_takes_no_other_with_it(tmp_path: Path) -> None:
    house = far(tmp_path, 5)

    def fails(writes: Sequence[Write]) -> None:
        if org("r1") in {w.ref for w in writes}:
            raise TryAgain("the sink has a hiccup")

    report = house.run(wrap_sink=lambda s: Watched(s, fails))  # type: ignore[arg-type,return-value]
    assert (report.exit_code, [r.what for r in report.reasons]) == (75, ["the sink has a hiccup"])
    there = set(house.names())
    assert {"r0"} <= there <= {"r0", "r2", "r3", "r4"}
    again = house.run()
    assert (again.exit_code, again.counts["Organization"]["created"]) == (0, 5 - len(there))
    assert all(len(v) == 1 for v in house.sink.history.values())


def test_a_bug_in_the_sink_is_a_bug_and_not_a_row_in_quarantine(tmp_path: Path) -> None:
    house = far(tmp_path, 4)

    def breaks(writes: Sequence[Write]) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        house.run(wrap_sink=lambda s: Watched(s, breaks))  # type: ignore[arg-type,return-value]
    assert house.run().exit_code == 0
    assert len(house.names()) == 4


def test_a_signal_ends_what_is_in_the_air_and_the_next_run_completes_it(tmp_path: Path) -> None:
    house = far(tmp_path, 8, batch=2)
    house.sink.bundle = 1

    def stop(writes: Sequence[Write]) -> None:
        house.stop.set(15)

    report = house.run(wrap_sink=lambda s: Watched(s, stop))  # type: ignore[arg-type,return-value]
    assert (report.exit_code, report.outcome) == (143, "stopped")
    house.stop = StopSignal()
    assert house.run().exit_code == 0
    assert len(house.names()) == 8
    assert all(len(v) == 1 for v in house.sink.history.values())


def test_a_far_sink_that_holds_nothing_is_not_asked_about_each_new_resource(tmp_path: Path) -> None:
    house = far(tmp_path, 20)
    assert house.run().exit_code == 0
    assert house.sink.lookups == 1


@pytest.mark.parametrize("on_existing", ["refuse", "adopt"])
def test_what_stands_in_the_way_is_found_and_decided_as_if_it_had_been_looked_up(
    tmp_path: Path, on_existing: str
) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "near").mkdir()
    houses = far(tmp_path / "far", 12), far(tmp_path / "near", 12, ahead=0)
    for house in houses:
        house.sink.edit(org("r5"), organization("r5", "R5"))
        house.sink.edit(org("r7"), organization("r7", "somebody's"))
        house.sink.edit(org("r8"), None)
    reports = [house.run(on_existing=on_existing) for house in houses]
    assert reports[0].counts == reports[1].counts
    assert reports[0].exit_code == reports[1].exit_code
    assert houses[0].names() == houses[1].names()
    assert houses[0].sink.history.keys() == houses[1].sink.history.keys()
