"""A run that breaks off says what the sink acknowledged until then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from house import House, org
from referring_table import referential

from tsi_fetch.errors import TryAgain
from tsi_fetch.ports import Permit
from tsi_fetch.words import Fault, Outcome, Write


class BreaksOff:
    """A sink that goes down after so many writes."""

    def __init__(self, inner: Any, after: int) -> None:
        self._inner, self._left = inner, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def write(self, writes: Sequence[Write], permit: Permit) -> Iterator[Sequence[Outcome]]:
        for write in writes:
            if not self._left:
                raise TryAgain("the sink is down")
            self._left -= 1
            yield from self._inner.write([write], permit)


def test_what_was_written_before_the_sink_went_down_is_counted(house: House) -> None:
    report = house.run(wrap_sink=lambda sink: BreaksOff(sink, 2))
    assert (report.exit_code, report.counts) == (75, {"Organization": {"created": 2}})
    assert house.run().counts == {"Organization": {"created": 2, "unchanged": 2}}


@pytest.mark.parametrize(("removal", "word"), [("delete", "deleted"), ("retire", "retired")])
def test_what_was_removed_before_the_sink_went_down_is_counted(house: House, removal: str, word: str) -> None:
    house.run()
    house.source.change("p1", None)
    house.source.change("p2", None)
    broken = house.run(wrap_sink=lambda sink: BreaksOff(sink, 1), removal=removal, accept_vanish=9)
    assert (broken.exit_code, broken.counts["Organization"][word]) == (75, 1)
    rest = house.run(removal=removal, accept_vanish=9)
    assert (rest.exit_code, rest.counts["Organization"][word]) == (0, 2)


def test_what_no_longer_waits_when_the_sink_goes_down_is_counted(tmp_path: Path) -> None:
    house = referential(tmp_path, {"p1": {"a": "A -> t", "b": "B -> t"}})
    assert house.run().counts == {"Organization": {"waiting": 2}}
    house.sink.edit(org("t"), b'{"resourceType":"Organization","id":"t","name":"T"}')
    report = house.run(wrap_sink=lambda sink: BreaksOff(sink, 1))
    assert (report.exit_code, report.counts) == (75, {"Organization": {"created": 1}})


def test_what_was_written_before_too_much_was_refused_is_counted(house: House) -> None:
    for n in range(30):
        house.source.table[f"q{n:02}"] = {f"q{n:02}": "Q"}
        house.sink.refuse[org(f"q{n:02}")] = Fault("no", "$", "the sink does not take it")
    house.source.batch = 40
    report = house.run()
    assert (report.exit_code, report.counts["Organization"]["created"]) == (77, len(house.sink.live()))
