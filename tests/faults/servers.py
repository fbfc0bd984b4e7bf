"""The register and a FHIR server over real HTTP, which kill the child that asks them when its hour has come."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

from dev.cima_server import BASE as REGISTER_BASE
from dev.cima_server import Register, Reply
from tests.sinks.disturbed_hapi import DisturbedHapi
from tests.sinks.fake_hapi import BASE

MOMENTS = ("register", "asked", "written", "answered")
"""Before a call of the register is answered; before a FHIR request is handled; before a transaction is; after it was,
and before its answer is sent."""

REGISTER_FAULTS: dict[str, Reply] = {
    "500": Reply(500, b"<html>error</html>", {"Content-Type": "text/html"}),
    "429": Reply(429, b"", {"Retry-After": "0"}),
    "429 in words": Reply(429, b"", {"Retry-After": "soon"}),
    "429 never": Reply(429, b"", {"Retry-After": "100000"}),
    "503": Reply(503, b"", {"Retry-After": "-1"}),
    "HTML with 200": Reply(200, b"<html>mantenimiento</html>", {"Content-Type": "text/html"}),
    "410": Reply(410, b"", {"Content-Type": "text/html"}),
    "truncated JSON": Reply(200, b'{"totalFilas": 3, "resultados": [{"nregis'),
    "cut": Reply(-1),
}
"""What a call of the register may be answered with instead of the truth; `cut`: the connection ends in the middle."""


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
        if due and hour and child:
            child.send_signal(hour.signal)
            self.done[f"{signal.Signals(hour.signal).name} {moment}"] += 1
            if hour.signal == signal.SIGKILL:
                os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)


class Faulty:
    """Answers for the register, now and then with something else."""

    def __init__(self, register: Register, reaper: Reaper, dice: random.Random) -> None:
        self.register, self.reaper, self.dice = register, reaper, dice
        self.share = 0.0
        self.injected: Counter[str] = Counter()
        self._lock = threading.Lock()

    def answer(self, target: str, accept: str) -> Reply:
        self.reaper.at("register")
        with self._lock:
            fault = self.dice.choice(list(REGISTER_FAULTS)) if self.dice.random() < self.share else None
            if fault:
                self.injected[f"register {fault}"] += 1
                return REGISTER_FAULTS[fault]
            return self.register.answer(target, accept)


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
            self._fhir(self.rfile.read(int(self.headers.get("Content-Length", 0))))

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
