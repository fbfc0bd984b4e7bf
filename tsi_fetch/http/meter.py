"""Counting requests, for the report; and what servers' clocks say, for who looks."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import httpx

from tsi_fetch.http.answer import TOOK, asked_for, clock_skew
from tsi_fetch.http.failures import BodyTooLarge
from tsi_fetch.http.notable import Notable, Sent
from tsi_fetch.http.scrub import Scrubber
from tsi_fetch.words import Json


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
        self._notable = Notable()
        self._skews: dict[str, timedelta] = {}

    def answered(self, host: str, sent: Sent, answer: httpx.Response, took: int) -> None:
        """An answer was read whole, after so many microseconds."""
        size, skew = len(answer.content), clock_skew(answer)
        with self._lock:
            self._add(host, Tally(requests=1, bytes=size, took=took))
            self._notable.ended(host, sent, size, took, f"status {answer.status_code}")
            if skew is not None:
                self._skews[host] = skew

    def failed(self, host: str, sent: Sent, error: Exception, took: int) -> None:
        """No answer came, or none that could be read."""
        with self._lock:
            self._add(host, Tally(requests=1, failed=1, took=took))
            self._notable.ended(host, sent, 0, took, type(error).__name__)

    def retried(self, host: str, sent: Sent, why: str) -> None:
        """It is sent again, because of this."""
        with self._lock:
            self._add(host, Tally(retries=1))
            self._notable.again(host, sent, why)

    def slowest(self) -> Sequence[Mapping[str, Json]]:
        """See `Notable.slowest`."""
        with self._lock:
            return self._notable.slowest()

    def resent(self) -> Sequence[Mapping[str, Json]]:
        """See `Notable.retried`."""
        with self._lock:
            return self._notable.retried()

    def skews(self) -> Mapping[str, timedelta]:
        """By how much each host's clock was ahead of ours when it last told its time; hosts that never did left out."""
        with self._lock:
            return dict(self._skews)

    def by_host(self) -> Mapping[str, Tally]:
        with self._lock:
            return dict(sorted(self._tallies.items()))

    def _add(self, host: str, more: Tally) -> None:
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

    def __init__(self, inner: httpx.BaseTransport, meter: Meter, scrub: Scrubber) -> None:
        self._inner, self._meter, self._scrub = inner, meter, scrub

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        host, sent = request.url.host, Sent.of(request.method, asked_for(request, self._scrub))
        try:
            response = self._inner.handle_request(request)
        except (httpx.RequestError, BodyTooLarge) as e:
            self._meter.failed(host, sent, e, request.extensions.get(TOOK, 0))
            raise
        self._meter.answered(host, sent, response, response.extensions.get(TOOK, 0))
        return response

    def close(self) -> None:
        self._inner.close()
