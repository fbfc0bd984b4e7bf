"""When a request is sent again, and how long to wait before: the one place that knows."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import httpx
import tenacity

from tsi_fetch.clock import Clock
from tsi_fetch.http.answer import REQUESTED_AT, asked_for, http_date
from tsi_fetch.http.failures import Postponed, Unreachable
from tsi_fetch.http.meter import Meter
from tsi_fetch.http.notable import Sent
from tsi_fetch.http.scrub import Scrubber

TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses of a server that may answer otherwise in a moment.  A source may name others."""

TRANSIENT_ERRORS = (
    httpx.TimeoutException,
    httpx.NetworkError,
    httpx.RemoteProtocolError,  # a body that breaks off, among others
    httpx.DecodingError,  # a compressed body that breaks off
    httpx.ProxyError,
)

Transient = Callable[[httpx.Response], str | None]
"""Says why an answer is not to be taken at its word (a login page with status 200), or None where it is."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and how long.  Waits are in seconds; `max_wait` bounds what a server may ask for by Retry-After."""

    attempts: int = 5
    first_wait: float = 1.0
    longest_wait: float = 30.0
    max_wait: float = 300.0
    statuses: frozenset[int] = TRANSIENT_STATUSES
    transient: Transient | None = None


@dataclass(frozen=True, slots=True)
class _Attempt:
    """How one attempt ended.  `reason` is None where nothing is left to be tried."""

    response: httpx.Response | None
    reason: str | None = None
    error: Exception | None = None


class Retry(httpx.BaseTransport):
    """Sends again what failed for the moment, with full jitter; `Unreachable` when the attempts are used up.

    For requests that may be repeated without harm: sources only read.
    """

    def __init__(
        self,
        inner: httpx.BaseTransport,
        clock: Clock,
        policy: RetryPolicy,
        *,
        rng: random.Random,
        scrub: Scrubber,
        meter: Meter,
    ) -> None:
        self._inner, self._clock, self._policy = inner, clock, policy
        self._rng, self._scrub, self._meter = rng, scrub, meter

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        asked_for(request, self._scrub)
        retrying = tenacity.Retrying(
            sleep=self._clock.sleep,
            stop=tenacity.stop_after_attempt(self._policy.attempts),
            wait=lambda state: self._wait(request, state),
            retry=tenacity.retry_if_result(lambda attempt: attempt.reason is not None),
            before_sleep=lambda state: self._retried(request, _outcome(state)),
            retry_error_callback=lambda state: self._give_up(request, state),
        )
        attempt: _Attempt = retrying(self._attempt, request)
        if attempt.response is None:
            raise AssertionError("an attempt that succeeded has an answer")
        return attempt.response

    def _retried(self, request: httpx.Request, last: _Attempt) -> None:
        sent = Sent.of(request.method, asked_for(request, self._scrub))
        self._meter.retried(request.url.host, sent, last.reason or "")

    def _attempt(self, request: httpx.Request) -> _Attempt:
        try:
            response = self._inner.handle_request(request)
        except TRANSIENT_ERRORS as e:
            return _Attempt(None, type(e).__name__, e)
        if response.status_code in self._policy.statuses:
            return _Attempt(response, f"status {response.status_code}")
        transient = self._policy.transient
        return _Attempt(response, transient(response) if transient else None)

    def _wait(self, request: httpx.Request, state: tenacity.RetryCallState) -> float:
        """Seconds to wait: at least what the server asks for, else full jitter up to a doubling bound."""
        policy = self._policy
        asked = self._asked(_outcome(state))
        if asked > policy.max_wait:
            raise Postponed(request.method, asked_for(request, self._scrub), asked, policy.max_wait)
        bound = min(policy.longest_wait, policy.first_wait * 2.0 ** (state.attempt_number - 1))
        if asked > 0:  # a little later than asked, so that not all clients come back at the same moment
            return asked + self._rng.uniform(0, policy.first_wait)
        return self._rng.uniform(0, bound)

    def _asked(self, attempt: _Attempt) -> float:
        header = attempt.response.headers.get("retry-after") if attempt.response is not None else None
        if header is None or attempt.response is None:
            return 0.0
        stamp = attempt.response.extensions.get(REQUESTED_AT)
        asked_at = http_date(attempt.response.headers.get("date", "")) or stamp or self._clock.now()
        return retry_after(header, asked_at)

    def _give_up(self, request: httpx.Request, state: tenacity.RetryCallState) -> _Attempt:
        attempt = _outcome(state)
        asked = self._asked(attempt)
        if asked > self._policy.max_wait:
            raise Postponed(request.method, asked_for(request, self._scrub), asked, self._policy.max_wait)
        status = attempt.response.status_code if attempt.response is not None else None
        url = asked_for(request, self._scrub)
        raise Unreachable(request.method, url, state.attempt_number, attempt.reason or "", status) from attempt.error

    def close(self) -> None:
        self._inner.close()


def _outcome(state: tenacity.RetryCallState) -> _Attempt:
    if state.outcome is None:
        raise AssertionError("tenacity asks only after an attempt")
    attempt: _Attempt = state.outcome.result()
    return attempt


def retry_after(header: str, at: datetime) -> float:
    """Seconds that a `Retry-After` asks for: a number, or an HTTP-date counted from `at`; 0 where it says nothing.

    RFC 9110, section 10.2.3.  Zero, negative and unreadable values mean: back off as without the header.
    """
    text = header.strip()
    if text.removeprefix("-").isdecimal():
        return max(0.0, float(text[:12]))
    until = http_date(text)
    return max(0.0, (until - at).total_seconds()) if until else 0.0
