"""One of two runners of a job: its own way to the servers, where it may be stopped, and its process."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from dev.cima_server import Reply
from tests.faults.conduct import Sent
from tests.faults.processes import PATIENCE
from tests.faults.servers import Faulty, Hour, Reaper, World
from tests.sinks.disturbed_hapi import DisturbedHapi

ELSEWHEN = """\
import datetime, sys, time
from jobs.__main__ import main
from tsi_fetch import clock

shift, at = float(sys.argv.pop(1)), time.time

class Shifted(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.fromtimestamp(at() + shift, tz)

clock.datetime, time.time = Shifted, lambda: at() + shift
sys.exit(main(sys.argv[1:]))
"""
"""What a child is started by on a machine whose clock is wrong."""


class Gate(Reaper):
    """Does something, once, at the hour; the request that reached it waits for that."""

    act: Callable[[], None]

    def open(self, hour: Hour | None, act: Callable[[], None]) -> None:
        self.begin(hour)
        self.act = act

    def at(self, moment: str) -> None:
        with self._lock:
            self.seen[moment] += 1
            due = self.hour is not None and (moment, self.seen[moment]) == (self.hour.moment, self.hour.count)
        if due:
            self.act()


class Witness:
    """A server as one runner meets it: who asks is written down.  Everything else is the server's own."""

    def __init__(self, hapi: DisturbedHapi, sent: list[Sent]) -> None:
        self._hapi, self._sent = hapi, sent
        self.runs: set[str] = set()

    def handle(self, request: httpx.Request) -> httpx.Response:
        run = request.headers.get("x-request-id", "")
        self.runs.add(run)
        if request.method == "POST" and not request.url.path.endswith("_search"):
            self._sent.append(Sent(run, datetime.now(UTC)))
        return self._hapi.handle(request)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hapi, name)


class Door:
    """The register as one runner meets it."""

    def __init__(self, register: Faulty, gate: Gate, name: str) -> None:
        self._register, self._gate, self._name = register, gate, name

    def answer(self, target: str, accept: str) -> Reply:
        self._gate.at("register")
        return self._register.answer(target, accept, self._name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._register, name)


@dataclass
class Runner:
    """One of the two: its way to both servers, and its process tonight."""

    name: str
    gate: Gate
    witness: Witness
    world: World
    child: subprocess.Popen[bytes] | None = None
    code: int | None = None  # None: it has not ended
    paused: threading.Event = field(default_factory=threading.Event)

    def pause(self) -> None:
        if (child := self.child) and child.poll() is None:
            child.send_signal(signal.SIGSTOP)
            with suppress(ChildProcessError):  # it has just ended, and somebody has waited for it
                os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
                self.paused.set()

    def wake(self) -> None:
        if self.child and self.paused.is_set():
            self.child.send_signal(signal.SIGCONT)

    def wait(self, seconds: float = PATIENCE) -> bool:
        """Whether it has ended by then."""
        assert self.child
        try:
            self.code = self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def until_paused(self) -> bool:
        """False where it ended before."""
        while not self.paused.wait(0.02):
            if self.wait(0):
                return False
        return True

    def kill(self) -> None:
        """If it is still there, since something else went wrong."""
        if self.child and self.child.poll() is None:
            self.child.kill()
            self.child.wait()
