"""Where a fault points to: its path, walked in the answers that the quarantine keeps beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tsi_fetch.fhir.tokens import dump, parse
from tsi_fetch.words import Answer, Quarantined

Step = str | int

MISSING: Any = object()
"""What stands at a place that is not there."""

_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")


def steps_of(path: str) -> list[Step]:
    """`.docs[0].tipo` step by step.  AssertionError where a reader could not walk it."""
    steps: list[Step] = [name or int(index) for name, index in _STEP.findall(path)]
    assert written(steps) == path, f"{path!r} is no path"
    return steps


def written(steps: Sequence[Step]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def at(tree: Any, steps: Sequence[Step]) -> Any:
    """What stands there; MISSING where a step leads nowhere."""
    for step in steps:
        shape = list if isinstance(step, int) else dict
        if not isinstance(tree, shape):
            return MISSING
        try:
            tree = tree[step]
        except (KeyError, IndexError):
            return MISSING
    return tree


def pointed(entry: Quarantined) -> tuple[Answer, list[Step]]:
    """The stored answer that the fault's path begins with, and the way on from there."""
    path = entry.fault.path
    found = [answer for answer in entry.row.answers if path.startswith(answer.part)]
    assert found, f"{path!r} names none of {[answer.part for answer in entry.row.answers]}"
    answer = max(found, key=lambda one: len(one.part))
    return answer, steps_of(path.removeprefix(answer.part))


def offending(entry: Quarantined) -> Any:
    """The value that was refused, read where the fault says; MISSING for a member that must be there and is not: what
    it should stand in must be found."""
    answer, steps = pointed(entry)
    tree = parse(answer.body)
    value = at(tree, steps)
    if value is MISSING:
        assert entry.fault.code == "cima-missing", f"nothing stands at {entry.fault.path}"
        assert at(tree, steps[:-1]) is not MISSING, f"nothing stands near {entry.fault.path}"
    return value


def refused_part(entry: Quarantined) -> tuple[Any, list[Step]]:
    """Of a resource that may not be written: what stands in it where the fault says (`name.0.family`), and the way
    there; where a member is missing, what it should stand in."""
    assert entry.body is not None
    tree = parse(entry.body)
    steps: list[Step] = [int(word) if word.isdecimal() else word for word in entry.fault.path.split(".")]
    value = at(tree, steps)
    if value is MISSING:
        steps.pop()
        value = at(tree, steps)
    assert value is not MISSING, f"nothing stands at {entry.fault.path}, nor near it"
    return value, steps


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same to the last digit."""
    return one is other if MISSING in (one, other) else dump(one) == dump(other)


def within(steps: Sequence[Step], place: str) -> bool:
    """Whether the steps lead to this place, or into it."""
    outer = steps_of(place)
    return list(steps[: len(outer)]) == outer
