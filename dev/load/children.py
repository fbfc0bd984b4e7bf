"""`tsi-fetch run` as a child process that is watched, and told to end: by whom, and what it took."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOOK = 0.05  # seconds between two looks at a child


@dataclass
class Usage:
    """What all children took: the peak of any one's memory in megabytes, CPU seconds of all."""

    rss: float = 0.0
    cpu: float = 0.0


@dataclass(frozen=True)
class Ran:
    """How a child ended (negative: the signal that killed it), and what it was told before that."""

    code: int
    told: signal.Signals | None


class Stuck(Exception):
    """A child asked the register for nothing for too long, and did not end."""


def command(config: Path, job: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "jobs", "run", job, "--config", str(config), "--json", *options]


def environment() -> dict[str, str]:
    """What a child gets of ours."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "TZ", "LANG", "TMPDIR")}
    return {**kept, "NO_PROXY": "127.0.0.1"}


@dataclass(frozen=True)
class Watch:
    """`asked`: how many requests the register has answered; `due`: what a child is to be told after so many of them.
    `patience`: seconds that a child may ask for nothing."""

    asked: Callable[[], int]
    due: Callable[[int], signal.Signals | None]
    patience: float


def run(words: Sequence[str], out: Path, usage: Usage, watch: Watch) -> Ran:
    """Run it to its end; Stuck where that does not come."""
    told: signal.Signals | None = None
    with out.open("ab") as file:
        child = subprocess.Popen(words, cwd=ROOT, stdout=file, stderr=file, env=environment())
        before = last = watch.asked()
        since = time.monotonic()
        while (code := _ended(child, usage)) is None:
            time.sleep(LOOK)
            usage.rss = max(usage.rss, _peak(child.pid))
            if (now := watch.asked()) > last:
                last, since = now, time.monotonic()
            if told is None and now > before and (told := watch.due(now)):
                child.send_signal(told)
            if time.monotonic() - since > watch.patience:
                child.kill()
                child.wait()
                raise Stuck(f"a run asked for nothing for {watch.patience:.0f} s, and did not end")
    return Ran(code, told)


def _ended(child: subprocess.Popen[bytes], usage: Usage) -> int | None:
    """Its code once it has ended, and what it took."""
    pid, status, took = os.wait4(child.pid, os.WNOHANG)
    if not pid:
        return None
    child.returncode = os.waitstatus_to_exitcode(status)
    usage.cpu += took.ru_utime + took.ru_stime
    return child.returncode


def _peak(pid: int) -> float:
    """Megabytes; 0 where the system does not say.  What rusage says would count our own memory before the exec."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    lines = [line.split() for line in text.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0][1]) / 1024 if lines else 0.0
