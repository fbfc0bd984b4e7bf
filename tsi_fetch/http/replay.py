"""Answering from a recording instead of the network."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime

import httpx

from tsi_fetch.errors import NotRecorded
from tsi_fetch.http.answer import REQUESTED_AT, TOOK, asked_for
from tsi_fetch.http.exchange import Exchange, body_digest
from tsi_fetch.http.failures import BodyTooLarge
from tsi_fetch.http.scrub import Scrubber

FAILURES: dict[str, type[httpx.RequestError]] = {
    kind.__name__: kind
    for kind in (
        httpx.ConnectTimeout,
        httpx.ReadTimeout,
        httpx.WriteTimeout,
        httpx.PoolTimeout,
        httpx.ConnectError,
        httpx.ReadError,
        httpx.WriteError,
        httpx.CloseError,
        httpx.RemoteProtocolError,
        httpx.LocalProtocolError,
        httpx.ProxyError,
        httpx.UnsupportedProtocol,
        httpx.DecodingError,
    )
}
"""The failures of a request that a recording keeps, by the name it keeps them under."""

TOO_LARGE = BodyTooLarge.__name__

Key = tuple[str, str, str | None]
"""Method, scrubbed URL, digest of the request's body."""


class Replay(httpx.BaseTransport):
    """Gives the recorded answers in their recorded order, per request; `NotRecorded` for any other request."""

    def __init__(self, exchanges: Iterable[Exchange], body: Callable[[Exchange], bytes], scrub: Scrubber) -> None:
        self._body, self._scrub = body, scrub
        self._lock = threading.Lock()
        self._queues: dict[Key, deque[Exchange]] = {}
        for exchange in exchanges:
            key = (exchange.method, scrub(exchange.url), exchange.request)  # an older one may have scrubbed less
            self._queues.setdefault(key, deque()).append(exchange)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        exchange = self._next(request)
        stamps = {REQUESTED_AT: datetime.fromisoformat(exchange.requested_at), TOOK: exchange.took}
        request.extensions.update(stamps)
        if exchange.error == TOO_LARGE:
            raise BodyTooLarge(exchange.method, asked_for(request, self._scrub), 0)
        if exchange.error is not None:
            raise FAILURES.get(exchange.error, httpx.ReadError)("recorded failure", request=request)
        content, headers = self._body(exchange), [(k.encode(), v.encode()) for k, v in (exchange.headers or {}).items()]
        return httpx.Response(exchange.status or 0, headers=headers, content=content, extensions=stamps)

    def _next(self, request: httpx.Request) -> Exchange:
        key = (request.method, self._scrub(request.url), body_digest(request.read()))
        with self._lock:
            queue = self._queues.get(key)
            if queue:
                return queue.popleft()
        often = "is not in the recording" if queue is None else "was recorded fewer times than it is asked now"
        raise NotRecorded(f"{key[0]} {key[1]} {often}", "record again with the present options")
