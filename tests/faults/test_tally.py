"""One tally of one commit: what was tried is not tried again, and a wrong trial is not forgotten."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import get_args

import pytest

from tests.faults import lines as module
from tests.faults import tally, trials
from tests.faults.checker import Verdict
from tests.faults.hapi_life import Rare
from tests.faults.lines import Line, Tally, commit, read
from tests.faults.real_servers import RARE
from tests.faults.tally import Need, in_all, page, red, sums, table

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
    mine = Tally(file, "in process")
    assert [line.seed for line in mine.lines] == [1]
    mine.add(2, {}, Verdict())
    assert [line.seed for line in Tally(file, "in process").lines] == [1, 2], (
        "and what comes after it is a line of its own"
    )


def test_the_sums_name_what_was_tried_and_what_was_wrong() -> None:
    total = sums([GOOD, WRONG])["in process"]
    assert (total["trials"], total["runs"], total["sink 502"], total["lost"]) == (2, 5, 1, 1)
    text = page([GOOD, WRONG])
    assert "Commit `abc`. Seeds: in process: 1 to 2." in text
    assert "- in process, seed 2: lost: x is not there" in text
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

    assert trials.play("in process", given, life) == 1
    assert trials.play("in process", given, life) == 1, "seed 1 was lost, and is not tried again"
    assert played == [1, 2]
    assert trials.play("another ring", argparse.Namespace(trials=1, seed=2, tally=file, workers=1), life) == 0


@pytest.mark.usefixtures("here")
def test_a_tally_with_anything_wrong_in_it_is_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, shown = tmp_path / "tally.jsonl", tmp_path / "fire.md"
    file.write_text(json.dumps(asdict(GOOD)) + "\n")
    monkeypatch.setattr("sys.argv", ["tally", str(file), "--page", str(shown)])
    assert tally.main() == 0
    assert "| lost | 0 |" in shown.read_text()
    file.write_text(file.read_text() + json.dumps(asdict(WRONG)) + "\n")
    assert tally.main() == 1
    file.write_text("")
    assert tally.main() == 1, "nothing was tried"


@pytest.mark.usefixtures("here")
def test_trials_at_once_are_told_by_one_process_and_a_wrong_one_among_them_is_red(tmp_path: Path) -> None:
    given = argparse.Namespace(trials=5, seed=1, tally=tmp_path / "tally.jsonl", workers=2)
    here = os.getpid()

    def life(seed: int) -> tuple[dict[str, int], Verdict]:
        return {"elsewhere": os.getpid() != here}, Verdict(lost=("x",)) if seed == 3 else Verdict()

    assert trials.play("in process", given, life) == 1
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
        trials.play("in process", given, life)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["tidied 1", "tidied 2"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.usefixtures("here")
def test_what_was_found_wrong_before_is_named_with_its_seed_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tally.jsonl"
    file.write_text(json.dumps(asdict(WRONG)) + "\n")
    given = argparse.Namespace(trials=1, seed=2, tally=file, workers=1)
    assert trials.play("in process", given, lambda seed: pytest.fail("it was tried already")) == 1
    assert "in process, seed 2: lost: x is not there" in capsys.readouterr().out


@pytest.mark.usefixtures("here")
def test_the_sum_is_red_where_a_ring_was_not_tried_or_too_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, shown = tmp_path / "tally.jsonl", tmp_path / "fire.md"
    file.write_text(json.dumps(asdict(GOOD)) + "\n")
    needs = ["in process=2", "two runners=1", "in process=1 kills", "in process=1 sink 502"]
    monkeypatch.setattr("sys.argv", ["tally", str(file), "--page", str(shown), "--need", *needs])
    assert tally.main() == 1
    said = capsys.readouterr().out.splitlines()
    assert said[-4:] == [
        "in process: too few: 1 of 2 trials",
        "two runners: not tried",
        "in process: too few: 0 of 1 kills",
        "In all: 1 trials, 0 kills, 1 faults; 0 lost, 0 doubled, 0 false green, 0 untrue.",
    ]
    assert not shown.exists(), "a page tells of a whole trial"


@pytest.mark.usefixtures("here")
def test_real_servers_that_are_left_out_on_purpose_are_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, shown = tmp_path / "tally.jsonl", tmp_path / "fire.md"
    file.write_text(json.dumps(asdict(GOOD)) + "\n")
    monkeypatch.setenv("TSI_SKIP_SERVERS", "no Java here")
    arguments = ["tally", str(file), "--need", "in process=1", "real servers=25 kills"]
    monkeypatch.setattr("sys.argv", arguments)
    assert tally.main() == 0
    assert "real servers: not tried, left out: no Java here" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", [*arguments, "--page", str(shown)])
    assert (tally.main(), shown.exists()) == (1, False)


def test_a_need_that_names_no_number_is_refused() -> None:
    assert Need.parse("real process, sqlite=8") == Need("real process, sqlite", 8)
    assert Need.parse("real servers=25 kills") == Need("real servers", 25, "kills")
    with pytest.raises(argparse.ArgumentTypeError):
        Need.parse("in process")


def test_one_line_sums_up_all_rings_and_what_is_no_fault_is_not_counted_as_one() -> None:
    counts = {"runs": 4, "SIGKILL asked": 2, "register 500": 3, "undisturbed": 1, "reconcile --fix": 1}
    suite = replace(GOOD, ring="hostile", seed=0, counts={"mutations": 100})
    assert in_all([GOOD, replace(WRONG, ring="two runners", counts=counts), suite]) == (
        "In all: 2 trials, 2 kills, 4 faults; 1 lost, 0 doubled, 0 false green, 0 untrue."
    )
    assert red([suite]) == ""
    assert "| trials |" not in table([suite])


@pytest.mark.usefixtures("here")
def test_a_trial_to_which_nothing_happened_says_so() -> None:
    mine = Tally(None, "in process")
    calm, killed = mine.add(1, {"runs": 3, "SIGKILL asked": 0}, Verdict()), mine.add(2, {"died in it": 1}, Verdict())
    assert calm.counts == {"runs": 3, "undisturbed": 1}
    assert "undisturbed" not in killed.counts
    assert "| undisturbed | 1 |" in table(mine.lines)


def _git_says(differs: str, new: str = "") -> Callable[..., str]:
    return lambda *arguments: {"rev-parse": "abc", "diff": differs, "ls-files": new}[arguments[0]]


def test_edits_that_are_not_committed_are_told_apart_and_make_no_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for differs, new in (("", ""), ("- a\n+ b", ""), ("- a\n+ c", ""), ("- a\n+ c", "tests/faults/lines.py")):
        monkeypatch.setattr(module, "_git", _git_says(differs, new))
        found.append(commit())
    assert found[0] == "abc"
    assert all(name.startswith("abc+") for name in found[1:])
    assert len(set(found)) == 4
    file, shown = tmp_path / "tally.jsonl", tmp_path / "fire.md"
    file.write_text(json.dumps(asdict(replace(GOOD, commit=found[-1]))) + "\n")
    monkeypatch.setattr("sys.argv", ["tally", str(file)])
    assert tally.main() == 0
    monkeypatch.setattr("sys.argv", ["tally", str(file), "--page", str(shown)])
    assert (tally.main(), shown.exists()) == (1, False)
    assert "no commit" in capsys.readouterr().err


def test_a_kind_of_which_nothing_was_tried_is_named() -> None:
    counts = {"paused at written, written late": 1, "HAPI restarted by SIGKILL": 2, "store gone": 0}
    lines = [replace(GOOD, counts=counts)]
    assert Need("in process", 1, "paused at").lacking(lines) is None
    assert Need("in process", 2, "HAPI restarted").lacking(lines) is None
    assert Need("in process", 1, "store gone").lacking(lines) == "in process: too few: 0 of 1 store gone"
    assert Need("in process", 1, "HAPI rest").lacking(lines), "no word is cut"


def test_what_is_rare_comes_with_the_first_seeds_on_real_servers() -> None:
    assert set(RARE) == {1, 2, 3}
    assert set(RARE.values()) == set(get_args(Rare))


def test_workers_are_no_fault_and_what_they_die_of_is_a_kill_and_the_life_of_the_register_is_neither() -> None:
    counts = {"workers": 3, "a worker died before settle": 2, "a product changes": 5, "the sink says: stale": 1}
    assert in_all([replace(GOOD, counts={**counts, "a row comes a day late": 1, "sink 502": 1})]).startswith(
        "In all: 1 trials, 2 kills, 1 faults;"
    )
