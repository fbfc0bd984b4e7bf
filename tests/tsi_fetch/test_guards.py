"""Where a run stops rather than believe."""

from __future__ import annotations

import pytest

from tsi_fetch.guards import going, too_many_rows, vanishing
from tsi_fetch.words import Pending, Ref


def refs(count: int) -> list[Ref]:
    return [Ref("Organization", str(n)) for n in range(count)]


@pytest.mark.parametrize(
    ("count", "live", "trips"),
    [
        (1, 1, False), (3, 3, False), (2, 4, False), (3, 4, True), (3, 1000, False), (4, 80, False), (4, 79, True),
        (50, 1000, False), (51, 1000, True), (4, 0, True),
    ],
)  # fmt: skip
def test_the_vanish_guard(count: int, live: int, trips: bool) -> None:
    assert bool(vanishing(refs(count), {"Organization": live}, 0.05, 0, {})) is trips


def test_the_vanish_guard_counts_types_apart() -> None:
    tripped = vanishing([*refs(3), Ref("List", "x")], {"Organization": 4, "List": 100}, 0.05, 0, {})
    assert [(v.type, v.going, v.live) for v in tripped] == [("Organization", 3, 4)]


def test_a_hand_lets_so_many_through() -> None:
    assert not vanishing(refs(51), {"Organization": 60}, 0.05, 51, {})
    assert vanishing(refs(52), {"Organization": 60}, 0.05, 51, {})


@pytest.mark.parametrize(
    ("count", "read", "trips"), [(19, 20, False), (20, 400, False), (20, 399, True), (21, 100, True)]
)
def test_the_refusal_guard(count: int, read: int, trips: bool) -> None:
    assert too_many_rows(count, read) is trips
    assert not too_many_rows(count, read, accepted=count)


def test_a_ref_goes_only_when_no_scope_holds_it() -> None:
    a, b = refs(2)
    pending = [Pending(a, "p1", "p1"), Pending(a, "p2", "p2"), Pending(b, "p1", "p1")]
    holders = {a: frozenset({"cima/p1", "cima/p2"}), b: frozenset({"cima/p1", "cima/p3"})}
    assert going(pending, holders, "cima") == {a}
