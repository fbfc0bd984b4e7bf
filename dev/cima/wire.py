"""The generated register over HTTP/1.1: an event loop of its own, since a benchmark is not to measure the server.

Connections are kept open; requests of one connection are answered in turn (nobody sends the next one before).
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any

from dev.cima.control import CONTROL, control
from dev.cima.generated import Generated
from dev.cima_server import BASE, Reply

HOST = "127.0.0.1"
LONGEST_HEAD = 64_000  # bytes


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: Mapping[str, str]
    body_size: int


def read_head(head: bytes) -> Request:
    """A request's line and headers; ValueError for what is none."""
    lines = head.decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return Request(method, target, headers, int(headers.get("content-length", "0")))


class Talk(asyncio.Protocol):
    """One connection.  `latency`: seconds until an answer is sent; `open_ones`: where it is while it lasts."""

    def __init__(self, register: Generated, latency: float, open_ones: set[asyncio.Transport]) -> None:
        self._register, self._latency, self._open = register, latency, open_ones
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._open.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport:
            self._open.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            try:
                request = read_head(self._received[:end])
            except ValueError:
                return self._send(Request("GET", "", {"connection": "close"}, 0), Reply(400, headers={}))
            if len(self._received) < end + 4 + request.body_size:
                return None
            self._received = self._received[end + 4 + request.body_size :]
            self._take(request)
        if len(self._received) > LONGEST_HEAD and self._transport:
            self._transport.abort()
        return None

    def _take(self, request: Request) -> None:
        if request.target.startswith(CONTROL):
            return self._send(request, control(self._register, request.method, request.target))
        reply = self._reply(request)
        if self._latency:
            asyncio.get_running_loop().call_later(self._latency, self._send, request, reply)
            return None
        return self._send(request, reply)

    def _reply(self, request: Request) -> Reply:
        wait = self._register.board.admit()
        if wait:
            return Reply(429, b"", {"Retry-After": str(math.ceil(wait))})
        if request.method not in ("GET", "HEAD", "POST"):
            return Reply(405)
        given = request.headers
        return self._register.answer(request.target, given.get("accept", "*/*"), given.get("if-none-match", ""))

    def _send(self, request: Request, reply: Reply) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        lines = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}", f"Date: {self._register.now()}"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        if reply.status not in (204, 304):
            lines.append(f"Content-Length: {len(reply.body)}")
        body = b"" if request.method == "HEAD" else reply.body
        self._transport.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        if request.headers.get("connection", "").lower() == "close":
            self._transport.close()


def bound(port: int) -> socket.socket:
    """A socket that listens on a port of 127.0.0.1 (0: a free one); processes may share it."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind((HOST, port))
    made.listen(256)
    return made


async def serve(register: Generated, listening: socket.socket, latency: float, stop: asyncio.Event) -> None:
    """Answer until `stop` is set."""
    loop = asyncio.get_running_loop()
    open_ones = set[asyncio.Transport]()
    server = await loop.create_server(lambda: Talk(register, latency, open_ones), sock=listening, backlog=256)
    async with server:
        await stop.wait()
        for transport in list(open_ones):  # else the loop waits for clients that keep theirs open
            transport.abort()


def run(register: Generated, listening: socket.socket, *, latency: float = 0, workers: int = 1) -> None:
    """Serve with so many processes until SIGTERM or SIGINT; each replays the nights for itself."""
    port = listening.getsockname()[1]
    children = []
    for _ in range(workers - 1):
        child = os.fork()
        if not child:
            listening.close()
            asyncio.run(_until_told(register, bound(port), latency))
            os._exit(0)
        children.append(child)
    try:
        asyncio.run(_until_told(register, listening, latency))
    finally:
        for child in children:
            os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)


async def _until_told(register: Generated, listening: socket.socket, latency: float) -> None:
    stop = asyncio.Event()
    for told in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(told, stop.set)
    await serve(register, listening, latency, stop)


class GeneratedServer:
    """A generated register on a free port, by a thread of this process, as long as the `with` block lasts."""

    def __init__(self, register: Generated, *, latency: float = 0, port: int = 0) -> None:
        self.register = register
        self._listening, self._latency = bound(port), latency
        self.port: int = self._listening.getsockname()[1]
        self.base_url = f"http://{HOST}:{self.port}{BASE}"
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()

    def __enter__(self) -> GeneratedServer:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def _run(self) -> None:
        self._loop.run_until_complete(serve(self.register, self._listening, self._latency, self._stop))

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()


class GeneratedProcess:
    """A generated register served by processes of its own, for benchmarks; arguments as those of the command line.

    Whoever checks makes a `Generated` of the same settings and lets it pass the same nights.
    """

    SCRIPT = Path(__file__).parents[1] / "cima_server.py"

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments

    def __enter__(self) -> GeneratedProcess:
        command: Sequence[str] = [sys.executable, str(self.SCRIPT), *self._arguments, "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.base_url = self.process.stdout.readline().strip()
        if not self.base_url:
            raise RuntimeError(f"the register's server ended with {self.process.wait()}")
        return self

    def call(self, method: str, path: str) -> Any:
        """A control call, such as ("POST", "night?changes=45"); its answer."""
        url = f"{self.base_url.removesuffix(BASE)}{CONTROL}/{path}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(url, method=method)) as response:
            return json.load(response)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.terminate()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
