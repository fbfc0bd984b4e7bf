"""One tally of one commit: what was tried is not tried again, and a wrong trial is not forgotten."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import threading
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.faults import tally as module
from tests.faults.checker import Verdict
from tests.faults.tally import Line, Tally, page, read, sums, table

GOOD = Line(
    "abc", "in process", 1, {"runs": 3, "sink 502": 1}, {"lost": [], "doubled": [], "false_green": [], "untrue": []}
)
WRONG = Line(
    "abc", "in process", 2, {"runs": 2}, {"lost": ["x is not there"], "doubled": [], "false_green": [], "untrue": []}
)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests run from an archive, too, where there is no commit."""
    monkeypatch.setattr(module, "_git", lambda *arguments: "abc" if arguments[0] == "rev-parse" else "")


@pytest.mark.usefixtures("here")
def test_what_was_tried_of_this_commit_is_not_tried_again(tmp_path: Path) -> None:
    file = tmp_path / "fire" / "tally.jsonl"
    Tally(file, "in process").add(1, {"runs": 3}, Verdict())
    again = Tally(file, "in process")
    assert (again.has(1), again.has(2), Tally(file, "another ring").has(1)) == (True, False, False)


@pytest.mark.usefixtures("here")
def test_another_commit_begins_anew_and_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "tally.jsonl"
    old = {**asdict(GOOD), "commit": "before"}
    file.write_text(f"{json.dumps(old)}\n{json.dumps(asdict(GOOD))}\n" + '{"commit": "abc", "ri')
    assert [line.commit for line in read(file)] == ["before", "abc"]
    tally = Tally(file, "in process")
    assert [line.seed for line in tally.lines] == [1]
    tally.add(2, {}, Verdict())
    assert [line.seed for line in Tally(file, "in process").lines] == [1, 2], (
        "and what comes after it is a line of its own"
    )


def test_the_sums_name_what_was_tried_and_what_was_wrong() -> None:
    total = sums([GOOD, WRONG])["in process"]
    assert (total["trials"], total["runs"], total["sink 502"], total["lost"]) == (2, 5, 1, 1)
    text = page([GOOD, WRONG])
    assert "Commit `abc`. Seeds: in process: 1 to 2." in text
    assert "| lost | 1 |" in text
    assert "| kills | 3 |" in table(
        [replace(GOOD, counts={"died before settle": 2, "SIGTERM asked": 1, "SIGINT asked": 1})]
    )


@pytest.mark.usefixtures("here")
def test_a_ring_that_is_gone_on_with_is_as_red_as_what_was_tried_before(tmp_path: Path) -> None:
    file = tmp_path / "tally.jsonl"
    given = argparse.Namespace(trials=2, seed=1, tally=file, workers=1)
    played: list[int] = []

    def life(seed: int) -> tuple[dict[str, int], Verdict]:
        played.append(seed)
        return {"runs": 1}, Verdict(lost=("x is not there",)) if seed == 1 else Verdict()

    assert module.play("in process", given, life) == 1
    assert module.play("in process", given, life) == 1, "seed 1 was lost, and is not tried again"
    assert played == [1, 2]
    assert module.play("another ring", argparse.Namespace(trials=1, seed=2, tally=file, workers=1), life) == 0


@pytest.mark.usefixtures("here")
def test_a_tally_with_anything_wrong_in_it_is_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, shown = tmp_path / "tally.jsonl", tmp_path / "fire.md"
    file.write_text(json.dumps(asdict(GOOD)) + "\n")
    monkeypatch.setattr("sys.argv", ["tally", str(file), "--page", str(shown)])
    assert module.main() == 0
    assert "| lost | 0 |" in shown.read_text()
    file.write_text(file.read_text() + json.dumps(asdict(WRONG)) + "\n")
    assert module.main() == 1
    file.write_text("")
    assert module.main() == 1, "nothing was tried"


@pytest.mark.usefixtures("here")
def test_trials_at_once_are_told_by_one_process_and_a_wrong_one_among_them_is_red(tmp_path: Path) -> None:
    given = argparse.Namespace(trials=5, seed=1, tally=tmp_path / "tally.jsonl", workers=2)
    here = os.getpid()

    def life(seed: int) -> tuple[dict[str, int], Verdict]:
        return {"elsewhere": os.getpid() != here}, Verdict(lost=("x",)) if seed == 3 else Verdict()

    assert module.play("in process", given, life) == 1
    lines = read(given.tally)
    assert sorted(line.seed for line in lines) == [1, 2, 3, 4, 5]
    assert [line.seed for line in lines if line.wrong] == [3]
    assert all(line.counts["elsewhere"] for line in lines)


@pytest.mark.usefixtures("here")
def test_an_interrupt_ends_trials_at_once_and_what_they_hold_is_tidied_up(tmp_path: Path) -> None:
    given = argparse.Namespace(trials=9, seed=1, tally=tmp_path / "tally.jsonl", workers=2)
    both = multiprocessing.get_context("fork").Barrier(2)

    def life(seed: int) -> tuple[dict[str, int], Verdict]:
        try:
            both.wait(50)
            if seed == 2:
                os.kill(os.getppid(), signal.SIGTERM)
            threading.Event().wait(50)
        finally:
            (tmp_path / f"tidied {seed}").touch()
        return {}, Verdict()

    with pytest.raises(KeyboardInterrupt):
        module.play("in process", given, life)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["tidied 1", "tidied 2"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
