"""Ctrl-C: what is said of it, and what to do then, is so of the very command."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from dev.cima_server import Register, Reply, Server
from jobs.signals import listening
from tsi_fetch.errors import Exit, Stopped

ROOT = Path(__file__).parents[2]
TSI_FETCH = [sys.executable, "-W", "ignore", "-m", "jobs"]


class _Interrupted:
    """A terminal at which a person presses Ctrl-C, or Ctrl-D, when asked."""

    def __init__(self, broken_off: type[BaseException]) -> None:
        self._broken_off = broken_off

    def isatty(self) -> bool:
        return True

    def readline(self, *_: object) -> str:
        raise self._broken_off


@pytest.mark.parametrize("broken_off", [KeyboardInterrupt, EOFError])
def test_a_question_that_is_broken_off_changes_nothing_and_nothing_is_to_be_run_again(
    desk: Any, monkeypatch: pytest.MonkeyPatch, broken_off: type[BaseException]
) -> None:
    desk.run("run", "cima", "--json")
    monkeypatch.setattr(sys, "stdin", _Interrupted(broken_off))
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: True, raising=False)
    code, _, err = desk.run("watermark", "rewind", "cima", "7d", "--why", "tried", "--log", "text")
    said = err.splitlines()
    assert (code, "Do it?" in said[-2], "run again" in err) == (130, True, False), err
    assert said[-1] == "tsi-fetch: nothing was changed, as the question was not answered"
    assert json.loads(desk.run("audit", "--json")[1])["audit"] == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here: a full disk cannot be made")
@pytest.mark.parametrize("full", ["stdout", "stderr"])
def test_a_full_disk_behind_what_is_said_takes_nothing_from_the_run(desk: Any, full: str) -> None:
    with open("/dev/full", "wb") as disk:
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, full: disk}
        ended = subprocess.run([*TSI_FETCH, "run", "cima", "--log", "text"], cwd=ROOT, check=False, **streams)
    assert ended.returncode == (75 if full == "stdout" else 0)
    if full == "stdout":
        assert b"what was found cannot be written: No space left on device" in ended.stderr
        assert b"bug" not in ended.stderr
    [run] = json.loads(desk.run("runs", "--json")[1])["runs"]
    assert (run["outcome"], run["exit_code"]) == ("done", 0)


@pytest.mark.parametrize(
    ("closed", "arguments", "code"),
    [
        (">&-", "run cima", 0),
        ("2>&-", "run cima", 0),
        (">&- 2>&- <&-", "run cima --log json", 0),
        (">&-", "status", 0),
        ("2>&-", "no-such-command", 2),
        ("<&-", "watermark reset cima --why tried", 2),
    ],
)
def test_a_stream_that_was_closed_takes_nothing_from_the_run(desk: Any, closed: str, arguments: str, code: int) -> None:
    desk.run("run", "cima", "--json")
    command = f"{shlex.join(TSI_FETCH)} {arguments} {closed}"
    ended = subprocess.run(["sh", "-c", command], cwd=ROOT, check=False, capture_output=True)
    assert (ended.returncode, b"bug" in ended.stderr, b"Traceback" in ended.stderr) == (code, False, False)
    runs = json.loads(desk.run("runs", "--json")[1])["runs"]
    assert [run["exit_code"] for run in runs] == [0] * (2 if "run" in arguments else 1)
    assert json.loads(desk.run("audit", "--json")[1])["audit"] == []


def test_a_reader_of_the_log_who_goes_away_takes_nothing_from_the_run(desk: Any) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        ended = subprocess.run(
            [*TSI_FETCH, "run", "cima", "--log", "json"], cwd=ROOT, check=False, stdout=pipe, stderr=pipe
        )
    [run] = json.loads(desk.run("runs", "--json")[1])["runs"]
    assert (ended.returncode, run["outcome"], run["exit_code"]) == (0, "done", 0)


def test_a_second_interrupt_is_told_with_what_to_do_then() -> None:
    def hurry() -> None:
        with listening("say it again"):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Stopped) as caught:
        hurry()
    assert (caught.value.exit_code, caught.value.message) == (Exit.INTERRUPTED, "interrupted")
    assert caught.value.hint == "say it again"


class _Asked(Register):
    """Has everything, and waits with a product until somebody has heard that it was asked for one."""

    def __init__(self, of: Register, asked: threading.Event) -> None:
        super().__init__()
        self._of, self._asked = of, asked

    def answer(self, target: str, accept: str = "application/json") -> Reply:
        if "/medicamento?" in target:
            self._asked.set()
            return Reply(503, b"", {"Retry-After": "120"})
        return self._of.answer(target, accept)


def test_a_backfill_that_is_interrupted_names_itself_as_what_is_to_be_resumed(desk: Any) -> None:
    asked = threading.Event()
    file = desk.folder / "jobs.yaml"
    with Server(_Asked(desk.register, asked)) as server:
        before = file.read_text().partition('base_url: "')[2].partition('"')[0]
        file.write_text(file.read_text().replace(before, server.base_url).replace("attempts: 1", "attempts: 3"))
        command = [sys.executable, "-m", "jobs", "backfill", "cima", "--all", "--config", str(file), "--json"]
        child = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ}
        )
        assert asked.wait(60)
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=60)
    report = json.loads(out.splitlines()[-1])
    assert (child.returncode, report["outcome"]) == (130, "stopped")
    assert "run again" not in json.dumps(report)
    assert f"tsi-fetch backfill resume {report['backfill']['id']}" in [reason["hint"] for reason in report["reasons"]]
