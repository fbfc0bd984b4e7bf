"""Counting requests, for the report."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace

import httpx

from tsi_fetch.http.answer import TOOK
from tsi_fetch.http.failures import BodyTooLarge


@dataclass(frozen=True, slots=True)
class Tally:
    """What was asked of one host.  `failed`: no answer came; `took`: whole microseconds waited for answers, summed."""

    requests: int = 0
    bytes: int = 0
    retries: int = 0
    failed: int = 0
    took: int = 0


class Meter:
    """Tallies per host; may be shared by threads and by clients.  In a replay the recorded times are counted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tallies: dict[str, Tally] = {}

    def answered(self, host: str, size: int, took: int) -> None:
        self._add(host, Tally(requests=1, bytes=size, took=took))

    def failed(self, host: str, took: int) -> None:
        self._add(host, Tally(requests=1, failed=1, took=took))

    def retried(self, host: str) -> None:
        self._add(host, Tally(retries=1))

    def by_host(self) -> Mapping[str, Tally]:
        with self._lock:
            return dict(sorted(self._tallies.items()))

    def _add(self, host: str, more: Tally) -> None:
        with self._lock:
            old = self._tallies.get(host, Tally())
            self._tallies[host] = replace(
                old,
                requests=old.requests + more.requests,
                bytes=old.bytes + more.bytes,
                retries=old.retries + more.retries,
                failed=old.failed + more.failed,
                took=old.took + more.took,
            )


class Metered(httpx.BaseTransport):
    """Counts every attempt, live and in a replay alike."""

    def __init__(self, inner: httpx.BaseTransport, meter: Meter) -> None:
        self._inner, self._meter = inner, meter

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        try:
            response = self._inner.handle_request(request)
        except (httpx.RequestError, BodyTooLarge):
            self._meter.failed(host, request.extensions.get(TOOK, 0))
            raise
        self._meter.answered(host, len(response.content), response.extensions.get(TOOK, 0))
        return response

    def close(self) -> None:
        self._inner.close()
