"""Answers of a size that nobody needs, over real HTTP, at the bound that nobody has set: what they cost."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from sources.cima.options import CimaOptions

ROOT = Path(__file__).parents[2]
MEGABYTE = 1_000_000
LARGE = 64 * MEGABYTE
LIMIT = 512
"""Megabytes that the CronJob may have."""

SMALL = b'{"a":1},'
"""What takes the most memory for its size, once it is read."""


@dataclass
class Large:
    """A register whose products have this many bytes.  `given`: of them, what went out before the other end hung up."""

    size: int
    compressed: bool = False
    given: int = 0

    def pieces(self, number: str) -> Iterator[bytes]:
        before, after = f'{{"nregistro":"{number}","x":['.encode(), b"1]}"
        many, rest = divmod(self.size - len(before) - len(after), len(SMALL))
        yield before
        for at in range(0, many, 8_000):
            yield SMALL * min(8_000, many - at)
        yield b" " * rest + after

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        number = parse_qs(urlsplit(handler.path).query)["nregistro"][0]
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        if self.compressed:
            handler.send_header("Content-Encoding", "gzip")
        handler.end_headers()
        for piece in map(gzip.compress, self.pieces(number)) if self.compressed else self.pieces(number):
            handler.wfile.write(piece)
            self.given += len(piece)


@pytest.fixture
def serve() -> Iterator[Any]:
    servers: list[ThreadingHTTPServer] = []

    def start(large: Large) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                try:
                    large.answer(self)
                except OSError:  # the other end has had enough
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                """Silence."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}/cima/rest"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def child(url: str, number: str) -> dict[str, Any]:
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths, "no_proxy": "*", "NO_PROXY": "*"}
    command = [sys.executable, "-m", "tests.hostile.large_child", url, number]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=True)
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
def test_a_body_of_64_megabytes_is_refused_before_it_is_read_whole(serve: Any, *, compressed: bool) -> None:
    large = Large(LARGE, compressed)
    found = child(serve(large), "90001")
    assert found["fates"] == ["cima-too-large at medicamento"]
    assert found["megabytes"] < 150
    assert compressed or large.given < LARGE / 3


def test_a_body_of_just_the_size_that_is_read_fits_into_the_memory_of_the_cron_job(serve: Any) -> None:
    found = child(serve(Large(CimaOptions().max_body)), "90001")
    assert found["fates"] == ["cima-list-row at medicamento"]
    assert found["megabytes"] < LIMIT
