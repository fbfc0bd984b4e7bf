"""Changes that refer to something not there yet wait, and are sent once it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
from house import org
from referring_table import referential

from tsi_fetch.ports import Permit, Sink
from tsi_fetch.words import Fault, Outcome, Write


@pytest.mark.parametrize("ahead", [0, 3])
def test_what_refers_to_a_later_batch_waits_and_arrives_in_the_same_run(tmp_path: Path, ahead: int) -> None:
    house = referential(tmp_path, {"p1": {"a": "A -> b"}, "p2": {"b": "B -> c"}, "p3": {"c": "C"}}, ahead)
    report = house.run()
    assert (report.exit_code, report.counts) == (0, {"Organization": {"created": 3}})
    assert house.names() == {"a": "A", "b": "B", "c": "C"}
    assert all(len(v) == 1 for v in house.sink.history.values()), "each was written once"


def test_a_circle_across_batches_travels_together(tmp_path: Path) -> None:
    house = referential(tmp_path, {"p1": {"a": "A -> b"}, "p2": {"b": "B -> a"}})
    assert house.run().exit_code == 0
    assert house.names() == {"a": "A", "b": "B"}


def test_what_is_not_there_is_waited_for_over_nights_and_the_report_says_so(tmp_path: Path) -> None:
    house = referential(tmp_path, {"p1": {"a": "A -> late"}, "p2": {"b": "B"}})
    report = house.run()
    assert (report.exit_code, report.counts) == (0, {"Organization": {"created": 1, "waiting": 1}})
    assert any("wait" in note for note in report.notes)
    assert house.run().exit_code == 0
    assert house.names() == {"b": "B"}
    house.source.change("p3", {"late": "L"})
    report = house.run()
    assert report.counts == {"Organization": {"created": 2}}
    assert house.names() == {"a": "A", "b": "B", "late": "L"}
    assert house.reader(lambda s: s.waiting_graph()) == {}


def test_somebody_else_may_bring_what_is_waited_for(tmp_path: Path) -> None:
    house = referential(tmp_path, {"p1": {"a": "A -> theirs"}})
    house.run()
    house.sink.edit(org("theirs"), b'{"resourceType":"Organization","id":"theirs","name":"T"}')
    assert house.run().counts == {"Organization": {"created": 1}}


def test_a_newer_change_replaces_what_waits(tmp_path: Path) -> None:
    house = referential(tmp_path, {"p1": {"a": "old -> late"}})
    house.run()
    house.source.change("p1", {"a": "new -> late"})
    house.run()
    house.source.change("p2", {"late": "L"})
    house.run()
    assert house.names() == {"a": "new", "late": "L"}
    assert len(house.sink.history[org("a")]) == 1


def test_a_newer_change_that_can_be_written_ends_the_wait(tmp_path: Path) -> None:
    house = referential(tmp_path, {"p1": {"a": "waits -> late"}})
    house.run()
    house.source.change("p1", {"a": "free"})
    assert house.run().counts == {"Organization": {"created": 1}}
    house.source.change("p2", {"late": "L"})
    house.run()
    assert house.names() == {"a": "free", "late": "L"}


def test_a_newer_change_that_is_refused_ends_the_wait_of_the_older_one(tmp_path: Path) -> None:
    house = referential(tmp_path, {"p1": {"a": "old -> late"}})
    house.run()
    house.sink.refuse[org("a")] = Fault("hapi-0450", "name", "too long")
    house.source.change("p1", {"a": "new"})
    assert house.run().exit_code == 65
    assert house.reader(lambda s: s.waiting_graph()) == {}
    house.sink.refuse.clear()
    house.source.change("p2", {"late": "L"})
    house.run()
    assert "a" not in house.names(), "what the source has taken back is not published"


def test_an_update_that_waits_and_is_taken_back_is_forgotten(tmp_path: Path) -> None:
    house = referential(tmp_path, {"p1": {"a": "A"}})
    house.run()
    house.source.change("p1", {"a": "A2 -> late"})
    house.run()
    house.source.change("p1", {"a": "A"})
    house.run()
    house.source.change("p2", {"late": "L"})
    house.run()
    assert house.names() == {"a": "A", "late": "L"}
    assert len(house.sink.history[org("a")]) == 1


def test_what_its_source_withdraws_while_it_waits_is_never_written(tmp_path: Path) -> None:
    house = referential(tmp_path, {"p1": {"a": "A -> late", "b": "B"}})
    house.run()
    house.source.change("p1", {"b": "B"})
    house.run()
    house.source.change("p2", {"late": "L"})
    assert house.run().exit_code == 0
    assert house.names() == {"b": "B", "late": "L"}


def test_what_is_released_leaves_with_its_scope_later(tmp_path: Path) -> None:
    house = referential(tmp_path, {"p1": {"a": "A -> late", "b": "B"}, "p2": {"x": "X", "y": "Y"}})
    house.run()
    house.source.change("p3", {"late": "L"})
    house.run()
    house.source.change("p1", {"b": "B"})
    assert house.run(removal="delete").exit_code == 0
    assert "a" not in house.names()


def test_what_waits_too_long_counts_as_quarantine(tmp_path: Path) -> None:
    house = referential(tmp_path, {"p1": {"a": "A -> never"}})
    assert house.run().exit_code == 0
    report = house.run(max_wait_age=timedelta(days=-9999))
    assert report.exit_code == 65
    assert "wait" in report.reasons[0].what


def test_a_released_change_that_the_sink_refuses_goes_to_quarantine(tmp_path: Path) -> None:
    house = referential(tmp_path, {"p1": {"a": "A -> late"}})
    house.run()
    house.sink.refuse[org("a")] = Fault("hapi-0450", "name", "too long")
    house.source.change("p2", {"late": "L"})
    report = house.run()
    assert (report.exit_code, [t.key for t in report.quarantined]) == (65, ["p1 Organization/a"])
    assert house.reader(lambda s: s.waiting_graph()) == {}
    house.sink.refuse.clear()
    assert house.run(only=("p1",)).exit_code == 0, "its answers are mapped again"
    assert house.names() == {"a": "A", "late": "L"}


def test_somebody_elses_resource_is_not_overwritten_by_what_waited(tmp_path: Path) -> None:
    house = referential(tmp_path, {"p1": {"a": "A -> late"}})
    house.run()
    house.sink.edit(org("a"), b'{"resourceType":"Organization","id":"a","name":"theirs"}')
    house.source.change("p2", {"late": "L"})
    report = house.run()
    assert [t.code for t in report.quarantined] == ["foreign"]
    assert house.names()["a"] == "theirs"


def test_a_chain_of_waiting_changes_arrives_in_its_order(tmp_path: Path) -> None:
    table: dict[str, dict[str, str] | None] = {f"p{n:03}": {f"a{n}": f"A{n} -> a{n + 1}"} for n in range(150)}
    house = referential(tmp_path, table, batch=10)
    assert house.run().counts == {"Organization": {"waiting": 150}}
    house.source.change("q", {"a150": "end"})
    assert house.run().counts == {"Organization": {"created": 151}}


def test_a_plan_says_what_would_wait(tmp_path: Path) -> None:
    from store.handle import open_scratch
    from store.overlay import Overlay

    house = referential(tmp_path, {"p1": {"a": "A -> never"}, "p2": {"b": "B -> c", "c": "C"}})
    with open_scratch() as scratch, scratch.lease("job", "memory", "plan", expiry=60, wait=lambda s: None) as overlay:
        plan = house.run(wrap_store=lambda s: Overlay(s, overlay), plan=True)
    assert plan.counts == {"Organization": {"created": 2, "waiting": 1}}
    assert plan.counts == house.run().counts


def test_what_departs_goes_referrers_first_however_much_it_is(tmp_path: Path) -> None:
    texts = {f"a{n:03}": f"A -> z{n:03}" for n in range(70)} | {f"z{n:03}": "Z" for n in range(70)}
    house = referential(tmp_path, {"p1": dict(reversed(texts.items())), "p2": {"b": "B"}})
    assert house.run().exit_code == 0
    house.source.change("p1", {"c": "C"})
    before = house.sink.writes
    report = house.run(removal="delete", accept_vanish=200)
    assert report.counts == {"Organization": {"created": 1, "deleted": 140}}
    assert house.sink.writes - before == 141, "nothing was tried in vain"
    assert house.names() == {"b": "B", "c": "C"}


class Counting:
    """Notes how many are written together."""

    def __init__(self, inner: Sink, seen: list[int]) -> None:
        self._inner, self._seen = inner, seen

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def write(self, writes: Sequence[Write], permit: Permit) -> Iterator[Sequence[Outcome]]:
        self._seen.append(len(writes))
        return iter(self._inner.write(writes, permit))


def test_what_departs_in_a_circle_goes_whole(tmp_path: Path) -> None:
    ring = {f"a{n:03}": f"A -> a{(n + 1) % 120:03}" for n in range(120)}
    house = referential(tmp_path, {"p1": ring, "p2": {"b": "B"}}, batch=200)
    house.sink.bundle = 200
    assert house.run().counts == {"Organization": {"created": 121}}
    house.source.change("p1", {"c": "C"})
    seen: list[int] = []
    house.run(removal="delete", accept_vanish=200, wrap_sink=lambda sink: cast(Sink, Counting(sink, seen)))
    assert seen == [1, 120], "the sink, which decides, saw the circle whole"


def test_a_retirement_that_lacks_what_it_refers_to_stays_pending_and_is_said(tmp_path: Path) -> None:
    house = referential(tmp_path, {"p1": {"a": "A -> t", "x": "X"}, "p2": {"t": "T"}})
    house.run()
    house.sink.edit(org("t"), None)
    house.source.change("p1", {"x": "X"})
    report = house.run(removal="retire")
    assert report.counts["Organization"].get("waiting") == 1
    assert any("cannot be retired" in note for note in report.notes)
    assert [p.ref for p in house.reader(lambda s: s.pending())] == [org("a")]
    house.sink.edit(org("t"), b'{"resourceType":"Organization","id":"t"}')
    assert house.run(removal="retire").counts == {"Organization": {"retired": 1}}
