"""Signals: a run that is asked to stop ends soon, says so, and the next one goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from dev.cima_server import Register, Reply
from jobs.signals import listening, tie
from tsi_fetch.clock import StopSignal, SystemClock
from tsi_fetch.errors import Stopped

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_a_signal_ends_a_wait_at_once_with_its_own_code(number: signal.Signals, code: int) -> None:
    before = signal.getsignal(number)
    with listening() as stop:
        os.kill(os.getpid(), number)
        with pytest.raises(Stopped) as caught:
            SystemClock(stop).sleep(60)
    assert int(caught.value.exit_code) == code
    assert signal.getsignal(number) is before


def test_a_hangup_that_whoever_began_it_has_ignored_stays_ignored() -> None:
    """As `nohup` does."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with listening() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            stop.check()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_is_tied_to_a_pipe_ends_as_if_it_were_terminated_when_the_other_end_is_gone() -> None:
    reading, writing = os.pipe()
    stop = StopSignal()
    try:
        tie(stop, reading)
        stop.check()
        os.close(writing)
        with pytest.raises(Stopped) as caught:
            stop.wait(60)
    finally:
        os.close(reading)
    assert int(caught.value.exit_code) == 143


def test_a_second_interrupt_is_for_people_in_a_hurry() -> None:
    with listening() as stop:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Stopped):
            stop.wait(60)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


class _Asked(Register):
    """Tells when it is asked, and answers only that it is busy: the run then waits to try again."""

    def __init__(self, asked: threading.Event) -> None:
        super().__init__()
        self._asked = asked

    def answer(self, target: str, accept: str = "application/json") -> Reply:
        self._asked.set()
        return Reply(503, b"", {"Retry-After": "120"})


def test_a_run_that_is_terminated_says_143_and_closes_its_record(desk: Any) -> None:
    from dev.cima_server import Server

    asked = threading.Event()
    with Server(_Asked(asked)) as server:
        file = desk.folder / "jobs.yaml"
        file.write_text(file.read_text().replace(desk_url(file), server.base_url).replace("attempts: 1", "attempts: 3"))
        child = subprocess.Popen(
            [sys.executable, "-m", "jobs", "run", "cima", "--json"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert asked.wait(60)
        child.send_signal(signal.SIGTERM)
        out, _ = child.communicate(timeout=60)
    report = json.loads(out.splitlines()[-1])
    assert (child.returncode, report["outcome"], report["exit_code"]) == (143, "stopped", 143)
    _, out, _ = desk.run("runs", "cima", "--json")
    [run] = json.loads(out)["runs"]
    assert (run["outcome"], run["exit_code"]) == ("stopped", 143)


def desk_url(file: Path) -> str:
    """The register that the desk's job file names."""
    return file.read_text().partition('base_url: "')[2].partition('"')[0]
