"""The conversation with one server: headers, timeouts, and the one place where a request is sent again.

Every request of the sink may be repeated: it reads, or it is a transaction of guarded PUTs and DELETEs.  A bundle whose
answer was lost is refused as stale when it comes again, which the caller resolves by reading.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import httpx
import tenacity

from sinks.fhir.answers import Verdict, refusal, verdict, wrong_setting
from sinks.fhir.documents import Reply
from sinks.fhir.options import FhirOptions
from tsi_fetch.clock import Clock
from tsi_fetch.errors import SettingError, TryAgain
from tsi_fetch.http.meter import Meter
from tsi_fetch.http.retry import TRANSIENT_ERRORS, retry_after
from tsi_fetch.http.wire import Wire as Network
from tsi_fetch.ports import Permit

FHIR_JSON = "application/fhir+json"
TRANSACTION = {
    "Content-Type": FHIR_JSON,
    "Prefer": "return=minimal",
    # else HAPI merges tags and labels with what it has, and a removed one stays
    "X-Meta-Snapshot-Mode": "TAG, PROFILE, SECURITY_LABEL",
}
FIRST_WAIT = 1.0  # seconds; doubled with every attempt, the wait drawn between zero and it
LONGEST_WAIT = 30.0

_USER_AGENT = "tsi-fetch ({}; +https://github.com/Gravitate-Health/tsi-fetch)"

Judge = Callable[[Reply], Verdict]


def always() -> None:
    """The permit of what only reads."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent; `path` is below the FHIR base."""

    method: str
    path: str
    content: bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)


class _Again(Exception):
    """This attempt may be repeated; `after` is what the server asks to wait."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


class Wire:
    """One server.  Safe to use from several threads."""

    def __init__(  # noqa: PLR0917 — one caller, which names the last two
        self,
        options: FhirOptions,
        clock: Clock,
        run_id: str,
        writer: str,
        transport: httpx.BaseTransport | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.url = options.url
        self._meter, self._host = meter or Meter(), httpx.URL(options.url).host
        self._options, self._clock = options, clock
        self._rng = random.Random()
        headers = {"Accept": FHIR_JSON, "User-Agent": _USER_AGENT.format(writer), "X-Request-Id": run_id}
        if options.token:
            headers["Authorization"] = f"Bearer {options.token.get_secret_value()}"
        self._client = httpx.Client(
            base_url=f"{options.url}/",
            headers=headers,
            timeout=httpx.Timeout(options.timeout, connect=options.connect_timeout),
            transport=transport or Network(connections=options.writers + 1, ca_file=options.ca_file),
        )

    def get(self, path: str, judge: Judge = verdict) -> Reply:
        return self.send(Request("GET", path, headers={"Cache-Control": "no-cache"}), judge=judge)

    def transact(self, content: bytes, permit: Permit) -> Reply:
        """Send one transaction; SettingError where the base takes none."""
        reply = self.send(Request("POST", "", content, TRANSACTION), permit)
        if verdict(reply) is Verdict.GONE:
            raise SettingError(f"{self.url} takes no transactions", "the sink's url must be the FHIR base")
        return reply

    def send(self, request: Request, permit: Permit = always, judge: Judge = verdict) -> Reply:
        """Send until the answer is one that means something; `judge` says what it means.

        `permit` is asked before each attempt.  SettingError where address or credential are wrong; TryAgain where the
        attempts are used up, or the server asks for more patience than `max_wait`.
        """
        retrying = tenacity.Retrying(
            sleep=self._clock.sleep,
            stop=lambda state: state.attempt_number >= self._options.attempts or self._out_of_patience(state),
            wait=self._wait,
            retry=tenacity.retry_if_exception_type(_Again),
            reraise=True,
        )
        try:
            return retrying(self._once, request, permit, judge)
        except _Again as e:
            raise TryAgain(
                f"the FHIR server at {self.url} cannot take {request.method} {request.path or '/'}: {e}",
                f"it asks to come back in {e.after:.0f} s" if e.after else "run again once it is well",
            ) from e.__cause__

    def _once(self, request: Request, permit: Permit, judge: Judge) -> Reply:
        permit()
        begun = time.perf_counter()
        try:
            answer = self._client.request(
                request.method, request.path, content=request.content, headers=dict(request.headers)
            )
        except TRANSIENT_ERRORS as e:
            self._meter.failed(self._host, _since(begun))
            raise _Again(type(e).__name__) from e
        self._meter.answered(self._host, len(answer.content), _since(begun))
        reply = Reply.of(answer)
        found = judge(reply)
        if found is Verdict.SETTING:
            raise wrong_setting(reply, self.url)
        if found is Verdict.AGAIN:
            raise _Again(_reason(reply), self._asked(reply))
        return reply

    def _wait(self, state: tenacity.RetryCallState) -> float:
        self._meter.retried(self._host)
        after = _failure(state).after
        if after:  # a little later than asked, so that not all clients come back at the same moment
            return after + self._rng.uniform(0, FIRST_WAIT)
        return self._rng.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (state.attempt_number - 1)))

    def _out_of_patience(self, state: tenacity.RetryCallState) -> bool:
        return state.idle_for + state.upcoming_sleep > self._options.max_wait

    def _asked(self, reply: Reply) -> float:
        return retry_after(reply.headers.get("retry-after", ""), self._clock.now())

    def close(self) -> None:
        self._client.close()


def _since(begun: float) -> int:
    """Whole microseconds since `begun`, of the performance counter."""
    return round((time.perf_counter() - begun) * 1e6)


def _failure(state: tenacity.RetryCallState) -> _Again:
    failure = state.outcome.exception() if state.outcome else None
    if not isinstance(failure, _Again):
        raise AssertionError("tenacity asks only after a failed attempt")
    return failure


def _reason(reply: Reply) -> str:
    if reply.ok:
        return f"status {reply.status} with a body that is not FHIR"
    code = refusal(reply).code if reply.kind == "OperationOutcome" else ""
    return f"status {reply.status}" + (f" ({code})" if code else "")
