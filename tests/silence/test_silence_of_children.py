"""What a process of its own says, when it is stopped and when it meets a bug: nothing more than one that is called."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.silence.errands import Desk
from tests.silence.listening import Heard
from tests.silence.markers import PEOPLE, SECRETS, words_of
from tests.silence.town import KEYS

ROOT = Path(__file__).parents[2]


def _child(desk: Desk, *arguments: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-m", "tests.silence.child", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _silent(out: str, err: str) -> None:
    said = Heard()
    said.add("said", "the child", out + err)
    for marker in (*SECRETS, *PEOPLE):
        assert said.where("said", words_of(marker)) == [], marker


@pytest.mark.parametrize("log", ["text", "json"])
def test_a_run_that_is_stopped_says_so_and_no_more(desk: Desk, heard: Heard, log: str) -> None:
    people = desk.town.people
    people.held = threading.Event()
    people.waits.clear()
    child = _child(desk, "run", "file", "--log", log)
    try:
        assert people.waits.wait(60)
        child.send_signal(signal.SIGTERM)
    finally:
        people.held.set()
        people.held = None
    out, err = child.communicate(timeout=60)
    assert child.returncode == 143
    assert "stopped" in out
    _silent(out, err)


@pytest.mark.parametrize("log", ["text", "json"])
def test_a_bug_is_told_by_its_place_and_not_by_its_words(desk: Desk, heard: Heard, log: str) -> None:
    desk.town.people.keys = (*KEYS, "bug")
    child = _child(desk, "run", "file", "--log", log)
    out, err = child.communicate(timeout=60)
    desk.town.people.keys = KEYS
    assert child.returncode == 70
    assert "in Patients.to_changes" in err
    _silent(out, err)
