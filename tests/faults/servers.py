"""The register and a FHIR server over real HTTP, which kill the child that asks them when its hour has come."""

from __future__ import annotations

import gzip
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from dev.cima_server import BASE as REGISTER_BASE
from dev.cima_server import Register, Reply
from tests.sinks.disturbed_hapi import DisturbedHapi
from tests.sinks.fake_hapi import BASE

Trickery = Callable[[Sequence[Any], int, int], tuple[Sequence[Any], int]]

MOMENTS = ("register", "asked", "written", "answered")
"""Before a call of the register is answered; before a FHIR request is handled; before a transaction is; after it was,
and before its answer is sent."""

JSON, HTML = {"Content-Type": "application/json"}, {"Content-Type": "text/html"}
CUT, NO_ANSWER, NO_CONNECTION = -1, -2, -3
"""Statuses of what is no answer."""

REGISTER_FAULTS: dict[str, Reply] = {
    "500": Reply(500, b"<html>error</html>", {"Content-Type": "text/html"}),
    "429": Reply(429, b"", {"Retry-After": "0"}),
    "429 in words": Reply(429, b"", {"Retry-After": "soon"}),
    "429 never": Reply(429, b"", {"Retry-After": "100000"}),
    "503": Reply(503, b"", {"Retry-After": "-1"}),
    "HTML with 200": Reply(200, b"<html>mantenimiento</html>", {"Content-Type": "text/html"}),
    "410": Reply(410, b"", {"Content-Type": "text/html"}),
    "truncated JSON": Reply(200, b'{"totalFilas": 3, "resultados": [{"nregis'),
    "cut": Reply(CUT),
    "cut in gzip": Reply(200, gzip.compress(b'{"totalFilas": 0, "resultados": []}')[:-9], {"Content-Encoding": "gzip"}),
    "429 past": Reply(429, b"", {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    "429 negative": Reply(429, b"", {"Retry-After": "-5"}),
}
"""What a call of the register may be answered with instead of the truth; `cut`: the connection ends in the middle."""

SLOW_FAULTS = {
    "429 in a second": Reply(429, b"", {"Retry-After": "1"}),
    "429 until": Reply(429, b"", {"Retry-After": "{in a second}"}),
    "429 until tomorrow": Reply(429, b"", {"Retry-After": "{tomorrow}"}),
    "no answer": Reply(NO_ANSWER),
    "no connection": Reply(NO_CONNECTION),
}
"""More of them, where waiting costs nothing."""


def _later(shown: Callable[[Sequence[Any]], Sequence[Any]]) -> Trickery:
    """From the second page on, the list is another one."""

    def trickery(rows: Sequence[Any], page: int, size: int) -> tuple[Sequence[Any], int]:
        rows = shown(rows) if page > 1 else rows
        return rows, len(rows)

    return trickery


def _page_twice(rows: Sequence[Any], page: int, size: int) -> tuple[Sequence[Any], int]:
    before = rows[: (page - 1) * size]
    return [*before, *before[-size:], *rows[len(before) :]], len(rows)


TRICKS: dict[str, Trickery] = {
    "shows fewer rows than it says": lambda rows, page, size: (rows[:-1], len(rows)),
    "shrinks while it is read": _later(lambda rows: rows[1:]),
    "grows while it is read": _later(lambda rows: [*rows[:1], *rows]),
    "shifts while it is read": _later(lambda rows: [*rows[1:], *rows[:1]]),
    "gives a page twice": _page_twice,
    "is empty": lambda rows, page, size: ([], 0),
    "is empty from its second page on": _later(lambda rows: []),
    "has a row without a key": lambda rows, page, size: (
        [{**row, "nregistro": None} for row in rows[:1]] + [*rows[1:]],
        len(rows),
    ),
}
"""How a list of the register is not what it says: of the true rows, the page and its size."""

TRICKS_OF_FEEDS = [name for name in TRICKS if name != "has a row without a key"]
"""A row of the feed that cannot be read lies in quarantine until a person drops it."""


@dataclass
class Trick:
    """`name` is played with `what`, for so many readings of it."""

    name: str
    what: str
    passes: int
    _begun: int = 0

    def works(self, what: str, page: int) -> bool:
        self._begun += what == self.what and page == 1
        return what == self.what and self._begun <= self.passes


@dataclass
class Hour:
    """When a child dies: at the `count`-th of such moments, by that signal."""

    moment: str
    count: int
    signal: int = signal.SIGKILL


@dataclass
class Reaper:
    """Kills the child of the run under trial at its hour, and waits until it is dead."""

    hour: Hour | None = None
    child: subprocess.Popen[bytes] | None = None
    seen: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, hour: Hour | None) -> None:
        with self._lock:
            self.hour, self.child = hour, None
            self.seen.clear()

    def at(self, moment: str) -> None:
        with self._lock:
            self.seen[moment] += 1
            hour, child = self.hour, self.child
            due = hour is not None and hour.moment == moment and self.seen[moment] == hour.count
        if due and hour and child and child.poll() is None:
            child.send_signal(hour.signal)
            self.done[f"{signal.Signals(hour.signal).name} {moment}"] += 1
            if hour.signal == signal.SIGKILL:
                with suppress(ChildProcessError):  # whoever began it has waited for it already
                    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)


class Faulty:
    """Answers for the register, now and then with something else.

    What goes wrong in a night is decided when it begins, whoever asks in whatever order: the n-th time that somebody
    makes a call, it is answered so or so.
    """

    def __init__(self, register: Register, reaper: Reaper) -> None:
        self.register, self.reaper = register, reaper
        self.share, self._plan = 0.0, 0
        self._asked: Counter[tuple[str, str]] = Counter()
        self.faults = dict(REGISTER_FAULTS)
        self.broken: str | None = None  # a product of which every call fails, until that is mended
        self.trick: Trick | None = None
        self.concealed = False  # a list was given as empty that is not
        self.meanwhile: Callable[[], None] | None = None  # happens once, while the feed is read
        register.edit = self._edit
        self.injected: Counter[str] = Counter()
        self._lock = threading.Lock()

    def tonight(self, share: float, plan: int) -> None:
        """A night begins, in which so much of what is asked goes wrong, by a plan of its own."""
        with self._lock:
            self.share, self._plan = share, plan
            self._asked.clear()

    def answer(self, target: str, accept: str, who: str = "") -> Reply:
        """`who` asks: each of two runners meets its own faults."""
        self.reaper.at("register")
        with self._lock:
            if self.meanwhile and "registroCambios" in target and not target.endswith("pagina=1"):
                happens, self.meanwhile = self.meanwhile, None
                happens()
            if self.broken and f"nregistro={self.broken}" in target and "registroCambios" not in target:
                self.injected["register 500, always of one product"] += 1
                return REGISTER_FAULTS["500"]
            if fault := self._fault(target, who):
                self.injected[f"register {fault}"] += 1
                return self._timed(self.faults[fault])
            return self.register.answer(target, accept)

    def _fault(self, target: str, who: str) -> str | None:
        if not self.share:
            return None
        self._asked[target, who] += 1
        dice = random.Random(f"{self._plan}/{who}/{target}/{self._asked[target, who]}")
        return dice.choice(list(self.faults)) if dice.random() < self.share else None

    def _timed(self, reply: Reply) -> Reply:
        """With the time that it is at the register."""
        now = self.register.date or datetime.now(UTC)
        until = {"{in a second}": timedelta(seconds=1), "{tomorrow}": timedelta(days=1)}
        headers = {
            name: format_datetime(now + until[value], usegmt=True) if value in until else value
            for name, value in reply.headers.items()
        }
        return replace(reply, headers=headers)

    def _edit(self, name: str, page: int, rows: Sequence[Any]) -> tuple[Sequence[Any], int]:
        if self.trick is None or not self.trick.works(name, page):
            return rows, len(rows)
        shown = TRICKS[self.trick.name](rows, page, self.register.page_size)
        self.concealed |= self.trick.name == "is empty" and bool(rows)
        if shown != (rows, len(rows)):
            self.injected[f"{name} {self.trick.name}"] += 1
        return shown


class World:
    """Both servers on one port of 127.0.0.1, as long as the `with` block lasts."""

    def __init__(self, register: Faulty, hapi: DisturbedHapi, reaper: Reaper) -> None:
        self._server = _Server(("127.0.0.1", 0), _handler(register, hapi, reaper))
        port = self._server.server_address[1]
        self.register_url = f"http://127.0.0.1:{port}{REGISTER_BASE}"
        self.fhir_url = f"http://127.0.0.1:{port}/epi/api/fhir"

    def __enter__(self) -> World:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A child that is killed resets its connections; anything else is a mistake of ours."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def _handler(register: Faulty, hapi: DisturbedHapi, reaper: Reaper) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_GET(self) -> None:
            if self.path.startswith(REGISTER_BASE):
                self._register()
            else:
                self._fhir(b"")

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(size)
            if len(body) < size:
                self.close_connection = True  # the child died while it sent this: no server would do any of it
                return
            self._fhir(body)

        def _register(self) -> None:
            reply = register.answer(self.path, self.headers.get("Accept", "*/*"))
            if reply.status < 0:
                self._send(200, {"Content-Length": "1000"}, b'{"half":')
                self.close_connection = True
                return
            length = {} if reply.status == 204 else {"Content-Length": str(len(reply.body))}
            self._send(reply.status, {"Date": register.register.now(), **reply.headers, **length}, reply.body)

        def _fhir(self, body: bytes) -> None:
            url = BASE + self.path.removeprefix("/epi/api/fhir")
            request = httpx.Request(self.command, url, headers=dict(self.headers), content=body)
            writes = self.command == "POST" and not request.url.path.endswith("_search")
            reaper.at("written" if writes else "asked")
            try:
                answer = hapi.handle(request)
            except httpx.RequestError:
                self.close_connection = True  # no answer at all
                return
            if writes:
                reaper.at("answered")
            kept = {k: v for k, v in answer.headers.items() if k not in ("content-length", "content-encoding")}
            self._send(answer.status_code, {**kept, "Content-Length": str(len(answer.content))}, answer.content)

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            try:
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the child is dead

        def log_message(self, format: str, *args: object) -> None:
            """Silence."""

    return Handler
