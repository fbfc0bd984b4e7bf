"""A suite is one line of the tally, with what its tests have counted; a good one is not tried again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import lines
from tests.faults.checker import Verdict
from tests.faults.lines import Tally, read
from tests.faults.suites import SUITES, Suite, enough, tried

TESTS = """
import os
import pytest

def test_some(record_property):
    record_property("mutations", int(os.environ["SO_MANY"]))

def test_others(record_property):
    record_property("mutations", 2)
    assert os.environ["SO_MANY"] != "13", "unlucky"

@pytest.mark.skip(reason="not here")
def test_left_out():
    assert False
"""


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Suite:
    monkeypatch.setattr(lines, "_git", lambda *arguments: "abc" if arguments[0] == "rev-parse" else "")
    (tmp_path / "test_of_a_suite.py").write_text(TESTS)
    return Suite("mutations", "SO_MANY", 5, ("-p", "no:cacheprovider", str(tmp_path / "test_of_a_suite.py")))


def test_a_suite_that_passed_is_a_line_with_what_its_tests_counted(suite: Suite, tmp_path: Path) -> None:
    file = tmp_path / "tally.jsonl"
    assert tried(Tally(file, "hostile"), suite, 5) == 0
    (line,) = read(file)
    assert (line.ring, line.seed, line.wrong) == ("hostile", 0, 0)
    assert line.counts == {"mutations": 7, "tests": 3, "tests skipped": 1}
    again = Tally(file, "hostile")
    assert (enough(again, suite, 5), enough(again, suite, 8)) == (True, False)


def test_a_suite_that_failed_is_red_and_names_the_test(suite: Suite, tmp_path: Path) -> None:
    file = tmp_path / "tally.jsonl"
    assert tried(Tally(file, "hostile"), suite, 13) == 1
    (line,) = read(file)
    assert len(line.verdict["untrue"]) == 1
    assert "test_others: AssertionError: unlucky" in line.verdict["untrue"][0]
    assert not enough(Tally(file, "hostile"), suite, 13)


def test_a_suite_of_which_nothing_is_known_is_no_line(suite: Suite, tmp_path: Path) -> None:
    file = tmp_path / "tally.jsonl"
    (tmp_path / "test_of_a_suite.py").write_text("import nothing_of_that_name")
    assert tried(Tally(file, "hostile"), suite, 5) == 2
    assert read(file) == []


def test_a_red_line_is_no_reason_not_to_try_again(suite: Suite) -> None:
    tally = Tally(None, "hostile")
    tally.add(0, {"mutations": 9}, Verdict(untrue=("x",)))
    assert not enough(tally, suite, 5)


def test_the_numbers_that_suites_are_asked_for_are_those_that_their_tests_read() -> None:
    assert SUITES["crash"].asked(None)["TSI_CRASH"] == "all"
    assert SUITES["machine"].asked(500)["TSI_MACHINE"] == "500"
    for suite in SUITES.values():
        where = lines.ROOT / suite.arguments[-1]
        texts = [path.read_text() for path in ([where] if where.is_file() else where.glob("test_*.py"))]
        assert any(suite.variable in text and f'record_property("{suite.unit}"' in text for text in texts)
