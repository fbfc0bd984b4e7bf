"""What ring 1 does to a run, one at a time: each has to come about, and the checker has to bear it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from tests.faults.checker import RowSeen
from tests.faults.inside import Inside, template
from tests.faults.life import may_end, read_to
from tests.faults.seams import HEARTBEAT, OF_SINK, OF_SOURCE, WAIT
from tests.sinks.sudden_death import Death, Doom
from tsi_fetch.errors import Exit
from tsi_fetch.words import Cursor, CursorKind


class Staged(Inside):
    """The next run has this fate, and the server has that bad day; nothing else happens."""

    guarded, broken, overtaken = 0.0, 0.0, 1.0
    fate: Doom | None = None
    bad: tuple[str | None, ...] = ()

    def run(self, *, calm: bool, full: bool) -> tuple[int, str]:
        if self.fate is None:
            return super().run(calm=calm, full=full)
        self.hapi.bad_day = list(self.bad)
        return self.dared(self.fate, timedelta(0), calm=True, full=full)


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Staged]:
    shutil.copy(template(tmp_path), tmp_path / "store.db")
    with closing(Staged(random.Random(1), f"sqlite:///{tmp_path}/store.db", tmp_path, near=True)) as life:
        assert life.night("a first load", full=False, calm=True).good
        yield life


@pytest.mark.parametrize("at", [WAIT, HEARTBEAT, OF_SINK, OF_SOURCE])
def test_another_runner_may_come_while_the_sink_or_the_source_is_waited_for(at: str, life: Staged) -> None:
    life.story.act("changes")
    life.fate, life.bad = Doom(Death(at)), (None, "503")
    assert life.night("overtaken", full=False, calm=False).good
    assert life.counts["overtaken"] == 1
    assert sorted(end.code for end in life.ends[-2:])[-1] == Exit.TRY_AGAIN
    life.fate = None
    assert life.end().good


def test_a_run_may_die_while_it_waits(life: Staged) -> None:
    life.story.act("changes")
    life.overtaken = 0.0
    life.fate, life.bad = Doom(Death(WAIT, after=True)), (None, "503")
    assert life.night("dies", full=False, calm=False).good
    assert life.counts["died after wait"] == 1
    life.fate = None
    assert life.end().good


def test_a_planned_stop_is_no_green_and_the_next_run_goes_on(life: Staged) -> None:
    for _ in range(4):
        life.story.act("appears")
    life.hurried = 1.0
    life.dice.seed("in a hurry")
    for _ in range(9):
        assert life.night("in a hurry", full=True, calm=False).good
    assert life.counts["a planned stop"] > 0
    assert any(end.outcome == "partial" for end in life.ends)
    assert life.end().good


def test_what_the_server_refuses_by_500_lies_in_quarantine(life: Staged) -> None:
    life.hapi.refusal = 500
    assert life.story.act("is refused by the server")
    assert life.night("refused", full=False, calm=True).good
    assert life.ends[-1].code == Exit.QUARANTINE
    assert life.end().good
    assert life.evidence(calm=True).refusals


@pytest.mark.parametrize(
    ("happened", "excused", "more"),
    [
        ({"runs": 2, "a planned stop": 1}, False, set()),
        ({"register 503": 0}, False, set()),
        ({"register 503": 1}, False, {75}),
        ({}, True, {75}),
        ({"sink login": 1}, False, {75, 78}),
        ({"died after settle": 1}, False, {75, -9}),
        ({"SIGTERM at some time": 1}, False, {75, 143, -15}),
        ({"SIGINT asked": 1}, False, {75, 130, -2}),
    ],
)
def test_a_run_ends_as_what_happened_to_it_may_cause(happened: dict[str, int], excused: bool, more: set[int]) -> None:
    assert may_end(happened, excused=excused) == {0, 65} | more


def test_each_of_the_calm_nights_is_looked_at(life: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong in the first of them is not forgotten, as the last one ends well."""
    codes, true = iter([Exit.BUG, Exit.DONE]), life.recorded

    def recorded(code: int) -> None:
        life.codes[f"run-{life._numbers}"] = next(codes)
        true(code)

    monkeypatch.setattr(life, "recorded", recorded)
    life.incomplete = True
    assert any("ended with 70" in what for what in life.end().untrue)


def test_the_watermark_has_read_what_was_told_before_it_moved_there() -> None:
    today, before = date(2026, 3, 5), Cursor(CursorKind.DATE, "2026-03-03")
    told = [_row("1", today - timedelta(days=1)), _row("2", today), _row("3", today + timedelta(days=1))]
    moved = Cursor(CursorKind.DATE, today.isoformat())
    assert read_to(told, before, moved) == {told[0].key, told[1].key}
    assert read_to(told, before, before) == set()
    assert read_to(told, None, moved) == set(), "of a listing, before the feed was read"


def _row(product: str, day: date) -> RowSeen:
    stamp = int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp() * 1000)
    return RowSeen(f'["{product}",{stamp},3,["estado"]]', product, 0)


def test_days_may_pass_without_a_run_and_not_while_something_is_late(life: Staged) -> None:
    life.steps.seed(1)
    steps = {life._until_the_next() for _ in range(30)}
    assert {timedelta(days=n) for n in (2, 3, 4)} < steps
    life.hapi.slow = True
    assert {life._until_the_next() for _ in range(30)} == {timedelta(hours=1), timedelta(days=1)}
