"""The FHIR server of the tests on a port of this machine: for commands, which make their sinks themselves."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

import httpx

from tests.sinks.fake_hapi import BASE, FakeHapi

PATH = "/epi/api/fhir"


class ServedFhir:
    """`hapi` over HTTP, as long as the `with` block lasts."""

    def __init__(self, hapi: FakeHapi) -> None:
        self.hapi = hapi
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hapi))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}{PATH}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(hapi: FakeHapi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

        def _answer(self, body: bytes) -> None:
            url = BASE + self.path.removeprefix(PATH)
            answer = hapi.handle(httpx.Request(self.command, url, headers=dict(self.headers), content=body))
            self.send_response_only(answer.status_code)
            for name, value in answer.headers.items():
                if name not in ("content-length", "content-encoding"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, format: str, *args: object) -> None:
            """Silence."""

    return Handler
