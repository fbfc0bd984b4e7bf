"""The network between a child and a real FHIR server: it cuts connections, kills the child at its hour, and passes on
everything else as it is."""

from __future__ import annotations

import gzip
import http.client
import sys
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.faults.register_story import REFUSED
from tests.faults.servers import Reaper
from tests.sinks.fake_hapi import outcome

CUTS = IN_THE_BODY, IN_MID_TRANSACTION, IN_THE_ANSWER = (
    "connection cut in the body",  # the server gets half of it, too
    "connection cut in mid-transaction",  # the server goes on with it, while the child already asks again
    "connection cut in the answer",  # the child gets half of it
)
SLOWEST = 180.0  # seconds for one answer
_HERE = "/"  # below no server's base: answered by the proxy itself
_OF_THE_CONNECTION = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "date"})


class Passed(NamedTuple):
    """An answer of the server: its body as it came, compressed or not."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Proxy:
    """Listens on a port of its own, as long as the `with` block lasts, and asks the server at `target` (a URL).

    `cuts`: of the next writes, in turn, what the network does to them.  `before`: called with the number of each write
    of the run, before it is passed on.  `injected`: what went wrong, by name.
    """

    def __init__(self, target: str, reaper: Reaper) -> None:
        parts = urlsplit(target)
        self.reaper, self.injected = reaper, Counter[str]()
        self.cuts: list[str | None] = []
        self.before: Callable[[int], None] = _nothing
        self._target = str(parts.hostname), int(parts.port or 80)
        self._writes, self._under_way = 0, 0
        self._moved = threading.Condition()
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}{parts.path}"

    def __enter__(self) -> Proxy:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def begin(self, cuts: list[str | None], before: Callable[[int], None] | None = None) -> None:
        """Another run."""
        with self._moved:
            self.cuts, self.before, self._writes = cuts, before or _nothing, 0

    def settle(self) -> None:
        """The child has ended: wait until the server is done with all that it was asked."""
        ask = http.client.HTTPConnection(*self._server.server_address[:2], timeout=SLOWEST)  # type: ignore[arg-type]
        ask.request("GET", _HERE)  # connections are accepted in turn: once this is answered, all others were
        ask.getresponse().read()
        ask.close()
        with self._moved:
            if not self._moved.wait_for(lambda: not self._under_way, SLOWEST):
                raise TimeoutError(f"the server is not done with {self._under_way} requests")

    # for the handler

    def at(self, moment: str) -> None:
        """The child may die here."""
        self.reaper.at(moment)

    def next_write(self) -> str | None:
        """What the network does to this one."""
        with self._moved:
            self._writes += 1
            number = self._writes
            cut = self.cuts.pop(0) if self.cuts else None
        self.before(number)
        return cut

    def comes(self) -> None:
        """Something is under way."""
        with self._moved:
            self._under_way += 1

    def goes(self) -> None:
        with self._moved:
            self._under_way -= 1
            self._moved.notify_all()

    def sent(self, request: BaseHTTPRequestHandler, body: bytes) -> http.client.HTTPConnection:
        """The request is at the server.  OSError where it is not there."""
        connection = http.client.HTTPConnection(*self._target, timeout=SLOWEST)
        connection.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            if name.lower() != "connection":
                connection.putheader(name, value)
        connection.putheader("Connection", "close")
        connection.endheaders(body or None)
        return connection

    def half_sent(self, request: BaseHTTPRequestHandler, half: bytes) -> None:
        """The server gets the beginning of a request, and then nothing more."""
        try:
            self.sent(request, half).close()
        except OSError:
            self.injected["HAPI not there"] += 1


def answer_of(connection: http.client.HTTPConnection) -> Passed:
    """OSError or HTTPException where it does not come."""
    try:
        response = connection.getresponse()
        kept = [(k, v) for k, v in response.getheaders() if k.lower() not in _OF_THE_CONNECTION]
        return Passed(response.status, kept, response.read())
    finally:
        connection.close()


class _Server(ThreadingHTTPServer):
    """A connection is under way from when it is accepted until all that came through it is done."""

    daemon_threads = True

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(("127.0.0.1", 0), _handler(proxy))
        self._proxy = proxy

    def process_request(self, request: Any, client_address: Any) -> None:
        self._proxy.comes()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._proxy.goes()

    def handle_error(self, request: object, client_address: object) -> None:
        """A child that is killed resets its connections; anything else is a mistake of ours."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def _handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_GET(self) -> None:
            self._asked()

        def do_POST(self) -> None:
            if self.path.partition("?")[0].endswith("/_search"):
                self._asked()
            else:
                self._written()

        def do_PUT(self) -> None:
            self._written()

        def do_DELETE(self) -> None:
            self._written()

        def _asked(self) -> None:
            body = self._body()
            if self.path == _HERE:
                self._give(Passed(204, [], b""))
                return
            proxy.at("asked")
            self._give(self._passed(body))

        def _written(self) -> None:
            cut = proxy.next_write()
            if cut == IN_THE_BODY:
                proxy.injected[cut] += 1
                proxy.half_sent(self, self.rfile.read(self._length() // 2))
                self.close_connection = True
                return
            body = self._body()
            if len(body) < self._length():  # the child died while it sent this
                proxy.half_sent(self, body)
                self.close_connection = True
                return
            if _is_refused(self.headers.get("Content-Encoding"), body):
                words = outcome(422, "HAPI-0574: there is a word in it that this server does not take")
                self._give(Passed(422, [("Content-Type", "application/fhir+json")], words.content))
                return
            proxy.at("written")
            if cut == IN_MID_TRANSACTION:
                proxy.injected[cut] += 1
                self._leave(body)
                return
            answer = self._passed(body)
            proxy.at("answered")
            if answer and cut == IN_THE_ANSWER:
                proxy.injected[cut] += 1
            self._give(answer, half=cut == IN_THE_ANSWER)

        def _length(self) -> int:
            return int(self.headers.get("Content-Length", 0))

        def _body(self) -> bytes:
            return self.rfile.read(self._length())

        def _passed(self, body: bytes) -> Passed | None:
            try:
                connection = proxy.sent(self, body)
            except OSError:
                proxy.injected["HAPI not there"] += 1
                return Passed(502, [("Content-Type", "text/html")], b"<html>bad gateway</html>")
            try:
                return answer_of(connection)
            except (OSError, http.client.HTTPException):
                proxy.injected["HAPI gone before its answer"] += 1
                return None

        def _leave(self, body: bytes) -> None:
            """The server works on it; the child is told nothing, and its connection ends."""

            def work() -> None:
                try:
                    self._passed(body)
                finally:
                    proxy.goes()

            proxy.comes()
            threading.Thread(target=work, daemon=True).start()
            self.close_connection = True

        def _give(self, answer: Passed | None, *, half: bool = False) -> None:
            if answer is None:
                self.close_connection = True
                return
            try:
                self.send_response_only(answer.status)
                for name, value in answer.headers:
                    self.send_header(name, value)
                if answer.status != 204:
                    self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body[: len(answer.body) // 2] if half else answer.body)
                self.wfile.flush()
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the child is dead
            if half:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Silence."""

    return Handler


def _is_refused(encoding: str | None, body: bytes) -> bool:
    """As `ChoosyHapi` does it: what a real server never takes is made up here, since the register's stories know it."""
    return REFUSED.encode() in (gzip.decompress(body) if encoding == "gzip" else body)


def _nothing(number: int) -> None:
    """What happens before most writes."""
