"""The conversation with one server: headers, timeouts, and the one place where a request is sent again.

Every request of the sink may be repeated: it reads, or it is a transaction of guarded PUTs and DELETEs.  A bundle whose
answer was lost is refused as stale when it comes again, which the caller resolves by reading.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import httpx

from sinks.fhir.answers import Verdict, refusal, verdict, wrong_setting
from sinks.fhir.circuit import Circuit, OutOfPatience, Patience, Unwell
from sinks.fhir.compression import ACCEPTED, Compression, judged_packed
from sinks.fhir.documents import Reply
from sinks.fhir.options import FhirOptions
from sinks.fhir.trouble import in_words
from tsi_fetch.clock import Clock
from tsi_fetch.errors import SettingError, TryAgain
from tsi_fetch.http.answer import ReadWhole, http_date, untie
from tsi_fetch.http.failures import BodyTooLarge
from tsi_fetch.http.meter import Meter
from tsi_fetch.http.notable import Sent
from tsi_fetch.http.retry import TRANSIENT_ERRORS, retry_after
from tsi_fetch.http.scrub import Scrubber
from tsi_fetch.http.wire import Wire as Network
from tsi_fetch.ports import Permit

FHIR_JSON = "application/fhir+json"
MAX_ANSWER = 256 * 1024 * 1024
"""Bytes of one answer after decompression; a search that gives more is asked in parts."""

READERS = 4  # connections beside the writers'
HASTY = 2  # attempts of a part of a bundle that was sent often enough as a whole
PROBE = "metadata?_summary=true"  # any FHIR server answers it, cheaply, and to anybody

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


class AnswerTooLarge(SettingError):
    """An answer is larger than `MAX_ANSWER`."""

    def __init__(self, request: str) -> None:
        size = f"{MAX_ANSWER // 1024**2} MB"
        super().__init__(
            f"{request}: the answer is larger than {size}",
            f"no resource that a job writes comes near {size}: look at what answers there, or who else writes to it",
        )


class _Undisturbed:
    """The clock of an answer that has begun to come: it is read to its end, since what it acknowledges is done."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now()

    def sleep(self, seconds: float) -> None:
        """Hears no signal."""


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
        base = httpx.URL(options.url)
        self._meter, self._host = meter or Meter(), base.host
        self._options, self._clock = options, clock
        self._compression = Compression(options.gzip, base.scheme)
        self._scrub = Scrubber()
        self._circuit = Circuit(clock, options.probe_after, self._probe)
        headers = {
            "Accept": FHIR_JSON,
            "Accept-Encoding": ACCEPTED,
            "User-Agent": _USER_AGENT.format(writer),
            "X-Request-Id": run_id,
        }
        if options.token:
            headers["Authorization"] = f"Bearer {options.token.get_secret_value()}"
        network = transport or Network(connections=options.writers + READERS, ca_file=options.ca_file)
        self._client = httpx.Client(
            base_url=f"{options.url}/",
            headers=headers,
            event_hooks={"response": [untie]},
            timeout=httpx.Timeout(options.timeout, connect=options.connect_timeout),
            transport=ReadWhole(network, _Undisturbed(clock), self._scrub, MAX_ANSWER, options.timeout),
        )

    def get(self, path: str, judge: Judge = verdict) -> Reply:
        return self.send(Request("GET", path, headers={"Cache-Control": "no-cache"}), judge=judge)

    def transact(self, content: bytes, permit: Permit, *, hasty: bool = False) -> Reply:
        """Send one transaction.  `hasty`: a conflict that cannot be explained is sent `HASTY` times, no more."""
        packed = self._compression.packed(content)
        return self._packed(packed, content, permit, hasty) if packed else self._plain(content, permit, hasty)

    def _plain(self, content: bytes, permit: Permit, hasty: bool) -> Reply:
        return self.send(Request("POST", "", content, self._of_a_transaction()), permit, hasty=hasty)

    def _packed(self, packed: bytes, content: bytes, permit: Permit, hasty: bool) -> Reply:
        """As `_plain`; what may be meant for the compression is answered by sending it again without."""
        headers = {**self._of_a_transaction(), "Content-Encoding": "gzip"}
        reply = self.send(Request("POST", "", packed, headers), permit, judge=judged_packed, hasty=hasty)
        plain = self._plain(content, permit, hasty) if self._compression.doubted(reply) else None
        self._compression.learn(reply, plain)
        return plain or reply

    def _of_a_transaction(self) -> dict[str, str]:
        headers = {"Content-Type": FHIR_JSON, "Prefer": "return=minimal"}
        if self._options.tags == "exact":  # else HAPI merges tags and labels with what it has: a removed one stays
            headers["X-Meta-Snapshot-Mode"] = "TAG, PROFILE, SECURITY_LABEL"
        return headers

    def send(self, request: Request, permit: Permit = always, judge: Judge = verdict, *, hasty: bool = False) -> Reply:
        """Send until the answer is one that means something; `judge` says what it means.

        `permit` is asked before each attempt.  SettingError where address or credential are wrong; TryAgain where the
        attempts are used up, or the server asks for more patience than `max_wait`.  A conflict that cannot be explained
        is given back in the end.
        """
        patience = Patience(self._clock, self._host, self._options.max_wait)
        for attempt in itertools.count(1):
            try:
                self._circuit.enter(patience)
                return self._once(request, permit, judge)
            except OutOfPatience as e:
                raise self._given_up(request, e.why, patience) from e.why.__cause__
            except Unwell as e:
                most = min(HASTY, self._options.attempts) if hasty and e.conflict else self._options.attempts
                if attempt < most and self._backed_off(request, attempt, patience, e):
                    continue
                if e.conflict and patience.bears(e.asked):
                    return e.conflict
                raise self._given_up(request, e, patience) from e.__cause__
        raise AssertionError("counting has no end")

    def _backed_off(self, request: Request, attempt: int, patience: Patience, why: Unwell) -> bool:
        """Wait; False where that would be longer than may be waited."""
        self._meter.retried(self._host, self._sent(request), str(why))
        if why.asked and not why.alive:
            return True  # the circuit holds all lanes as long
        try:
            if why.asked:
                patience.wait(why.asked, why, self._circuit.jitter(1))
            else:
                patience.wait(self._circuit.jitter(attempt), why)
        except OutOfPatience:
            return False
        return True

    def _once(self, request: Request, permit: Permit, judge: Judge) -> Reply:
        permit()
        try:
            reply = self._exchange(request, judge)
        except Unwell as e:
            if not e.alive:
                self._circuit.failed(e)
            raise
        self._circuit.succeeded()
        return reply

    def _exchange(self, request: Request, judge: Judge) -> Reply:
        reply = Reply.of(self._answer(request))
        found = judge(reply)
        if found is Verdict.SETTING:
            raise wrong_setting(reply, self.url)
        if found in (Verdict.AGAIN, Verdict.CONFLICT):
            conflict = reply if found is Verdict.CONFLICT else None
            alive = reply.status == 409
            raise Unwell(_reason(reply), asked=self._asked(reply), page=reply.ok, alive=alive, conflict=conflict)
        return reply

    def _answer(self, request: Request) -> httpx.Response:
        begun = time.perf_counter()
        try:
            answer = self._client.request(
                request.method, request.path, content=request.content, headers=dict(request.headers)
            )
        except TRANSIENT_ERRORS as e:
            self._meter.failed(self._host, self._sent(request), e, _since(begun))
            raise Unwell(
                in_words(e, connect_timeout=self._options.connect_timeout, timeout=self._options.timeout)
            ) from e
        except BodyTooLarge as e:
            self._meter.failed(self._host, self._sent(request), e, _since(begun))
            raise AnswerTooLarge(f"{request.method} {request.path or '/'}") from e
        self._meter.answered(self._host, self._sent(request), answer, _since(begun))
        return answer

    def _sent(self, request: Request) -> Sent:
        """What the report may name of it."""
        return Sent.of(request.method, self._scrub(f"{self.url}/{request.path}"))

    def _probe(self) -> None:
        try:
            self._exchange(Request("GET", PROBE, headers={"Cache-Control": "no-cache"}), verdict)
        except Unwell as e:
            if e.page:
                raise self._no_fhir() from None
            raise

    def _asked(self, reply: Reply) -> float:
        """Seconds; a date is counted from the server's own clock, where the answer tells it."""
        at = http_date(reply.headers.get("date", "")) or self._clock.now()
        return retry_after(reply.headers.get("retry-after", ""), at)

    def _given_up(self, request: Request, why: Unwell, patience: Patience) -> SettingError | TryAgain:
        if why.page:
            return self._no_fhir()
        hint = "run again once it is well"
        if not patience.bears(why.asked):
            hint = f"it asks to come back in {why.asked:.0f} s; {patience.bounds}"
        if isinstance(why.__cause__, httpx.RequestError):
            return TryAgain(f"the FHIR server at {self.url} cannot be reached: {why}", hint)
        return TryAgain(
            f"the FHIR server at {self.url} cannot take {request.method} {request.path or '/'}: {why}", hint
        )

    def _no_fhir(self) -> SettingError:
        return SettingError(
            f"what answers at {self.url} is not a FHIR server: status 200 with a body that is not FHIR",
            "check the sink's url and its token: a login page looks like this",
        )

    def heed(self) -> None:
        """`Stopped` where the run was asked to stop: between pages, of which a server may have any number."""
        self._clock.sleep(0)

    def close(self) -> None:
        self._client.close()


def _since(begun: float) -> int:
    """Whole microseconds since `begun`, of the performance counter."""
    return round((time.perf_counter() - begun) * 1e6)


def _reason(reply: Reply) -> str:
    if reply.ok:
        return f"status {reply.status} with a body that is not FHIR"
    code = refusal(reply).code if reply.kind == "OperationOutcome" else ""
    return f"status {reply.status}" + (f" ({code})" if code else "")
