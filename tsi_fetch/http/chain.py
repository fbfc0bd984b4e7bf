"""Putting the chain of transports together: the one place where its order stands."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path

import httpx

from tsi_fetch.clock import Clock
from tsi_fetch.http.agent import user_agent
from tsi_fetch.http.answer import MAX_BODY, ReadWhole, untie
from tsi_fetch.http.authenticate import Authenticated, Credential
from tsi_fetch.http.limit import Limited, Pace, SteadyPace
from tsi_fetch.http.meter import Meter, Metered
from tsi_fetch.http.origin import SameOrigin
from tsi_fetch.http.record import Recorder
from tsi_fetch.http.recording import Recording
from tsi_fetch.http.retry import Retry, RetryPolicy
from tsi_fetch.http.scrub import Scrubber
from tsi_fetch.http.wire import Wire


@dataclass(frozen=True, slots=True)
class ChainOptions:
    """What a client needs to know of the server it talks to.  Times in seconds, sizes in bytes.

    `rate`: requests a second, at most.  `deadline`: for one whole answer.  `max_body`: after decompression.
    """

    origins: tuple[str, ...]
    user_agent: str = field(default_factory=user_agent)
    accept: str = "*/*"
    rate: float = 5.0
    connections: int = 4
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    deadline: float = 300.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    max_body: int = MAX_BODY
    ca_file: Path | None = None
    credential: Credential | None = None
    secret_parameters: frozenset[str] = frozenset()

    @property
    def scrubber(self) -> Scrubber:
        own = {self.credential.name} if self.credential and self.credential.kind == "query" else set()
        return Scrubber(self.secret_parameters | own)


def build_client(
    options: ChainOptions,
    clock: Clock,
    *,
    recorder: Recorder | None = None,
    recording: Recording | None = None,
    meter: Meter | None = None,
    wire: httpx.BaseTransport | None = None,
    pace: Pace | None = None,
    rng: random.Random | None = None,
) -> httpx.Client:
    """A client whose answers have been read whole, within bounds, and stamped with the time of their request.

    With `recording` nothing is sent: answers come from it.  With `recorder` all traffic is kept.  `wire` replaces the
    network, `pace` the rate of this process alone.  Redirects are followed within the origins; cookies are refused, as
    they would make answers depend on what was asked before.
    """
    meter = meter or Meter()
    inner = recording.transport() if recording else _live(options, clock, wire, pace)
    if recorder and not recording:
        inner = recorder.transport(inner)
    chain = Retry(
        Metered(inner, meter, options.scrubber),
        clock,
        options.retry,
        rng=rng or random.Random(0 if recording else None),  # a replay waits alike every time
        scrub=options.scrubber,
        meter=meter,
    )
    return httpx.Client(
        transport=chain,
        event_hooks={"response": [untie]},
        headers={"User-Agent": options.user_agent, "Accept": options.accept, "Accept-Encoding": "gzip"},
        cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
        timeout=_timeout(options),
        follow_redirects=True,
        max_redirects=5,
        trust_env=False,
    )


def _live(
    options: ChainOptions, clock: Clock, wire: httpx.BaseTransport | None, pace: Pace | None
) -> httpx.BaseTransport:
    network = wire or Wire(options.connections, options.ca_file)
    inner: httpx.BaseTransport = ReadWhole(network, clock, options.scrubber, options.max_body, options.deadline)
    inner = SameOrigin(inner, options.origins)
    if options.credential:
        inner = Authenticated(inner, options.credential)
    return Limited(inner, pace or SteadyPace(clock, options.rate), options.connections)


def _timeout(options: ChainOptions) -> httpx.Timeout:
    return httpx.Timeout(options.read_timeout, connect=options.connect_timeout)
