"""The FHIR sink's patience: what it waits for, how often it asks, and what it says meanwhile."""

from __future__ import annotations

import errno
import gzip
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from sinks.fhir.options import FhirOptions
from sinks.fhir.server import FhirServer
from sinks.fhir.trouble import in_words
from tests.sinks.fake_hapi import BASE, FakeHapi, answer, breaks, content_of
from tsi_fetch.clock import ReplayClock, StopSignal, SystemClock
from tsi_fetch.errors import SettingError, Stopped, TryAgain
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.words import Json, Outcome, Ref, Result, Write, WriteAction

Make = Callable[..., FhirServer]
PATIENCE = 10  # seconds until a test that hangs fails
DOWN = answer(503, text="<html>")


def permit() -> None:
    """Always."""


def org(ident: str, version: str | None = None, **members: Json) -> Write:
    body = dump({"resourceType": "Organization", "id": ident, **members})
    return Write(Ref("Organization", ident), WriteAction.PUT, version, body)


def write(sink: FhirServer, *writes: Write) -> list[Outcome]:
    return [o for some in sink.write(writes, permit) for o in some]


def asked(hapi: FakeHapi) -> list[str]:
    """`write` or `probe`, in the order they came."""
    return ["probe" if r.url.path.endswith("/metadata") else "write" for r in hapi.requests]


def test_after_failures_in_a_row_the_server_is_probed_before_the_next_bundle(
    server: Make, hapi_in_memory: FakeHapi
) -> None:
    hapi_in_memory.faults = [DOWN] * 8
    assert [o.result for o in write(server(), org("a"))] == [Result.CREATED]
    assert asked(hapi_in_memory) == ["write"] * 5 + ["probe"] * 4 + ["write"]


def test_a_probe_that_succeeds_half_opens_so_that_one_more_failure_is_probed_again(
    server: Make, hapi_in_memory: FakeHapi
) -> None:
    hapi_in_memory.faults = [DOWN] * 5 + [lambda r: None, DOWN, DOWN]
    write(server(), org("a"))
    assert asked(hapi_in_memory) == ["write"] * 5 + ["probe", "write", "probe", "probe", "write"]


def test_failures_between_successes_do_not_count_up(server: Make, hapi_in_memory: FakeHapi) -> None:
    sink = server()
    for n in range(10):
        hapi_in_memory.faults = [DOWN]
        write(sink, org(f"o{n}"))
    assert "probe" not in asked(hapi_in_memory)


def test_a_race_for_a_version_is_no_failure_of_the_server(server: Make, hapi_in_memory: FakeHapi) -> None:
    raced = answer(409, json={"resourceType": "OperationOutcome", "issue": [{"diagnostics": "HAPI-0823: version"}]})
    hapi_in_memory.faults = [raced] * 7
    assert [o.result for o in write(server(), org("a"))] == [Result.CREATED]
    assert "probe" not in asked(hapi_in_memory)


def test_a_server_that_stays_down_is_left_alone_within_the_patience_of_one_request(
    server: Make, hapi_in_memory: FakeHapi, clock: ReplayClock
) -> None:
    hapi_in_memory.faults = [DOWN] * 1000
    start = clock.now()
    with pytest.raises(TryAgain, match="503"):
        write(server(max_wait=300), *(org(f"o{n}") for n in range(300)))
    assert clock.now() - start <= timedelta(seconds=2 * 300)  # two writers, on a clock that both move
    assert len(hapi_in_memory.requests) < 80


def test_while_one_lane_probes_the_others_wait(server: Make, hapi_in_memory: FakeHapi) -> None:
    release = threading.Event()
    gate = Gate(hapi_in_memory, release)
    sink = server(probe_after=1, attempts=1, transport=httpx.MockTransport(gate.handle))
    hapi_in_memory.faults = [DOWN]
    with pytest.raises(TryAgain):
        sink.find([Ref("Organization", "a")])
    calls = [sink.write([org(i)], permit) for i in "abcd"]
    assert gate.probing.wait(PATIENCE)
    assert gate.beside == []
    release.set()
    assert {o.result for call in calls for some in call for o in some} == {Result.CREATED}
    assert gate.beside == []


class Gate:
    """Holds a probe back until it is released, and notes what is sent meanwhile."""

    def __init__(self, hapi: FakeHapi, release: threading.Event) -> None:
        self._hapi, self._release = hapi, release
        self.probing = threading.Event()
        self.beside: list[str] = []

    def handle(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/metadata"):
            self.probing.set()
            assert self._release.wait(PATIENCE)
        elif self.probing.is_set() and not self._release.is_set():
            self.beside.append(request.url.path)
        return self._hapi.handle(request)


def test_a_signal_ends_the_wait_of_the_one_that_probes_and_of_those_behind_it(hapi_in_memory: FakeHapi) -> None:
    stop = StopSignal()

    def stopped(request: httpx.Request) -> httpx.Response:
        stop.set(15)
        return httpx.Response(503)

    hapi_in_memory.faults = [stopped] * 9
    with FhirServer(
        FhirOptions(url=BASE, probe_after=1),
        SystemClock(stop),
        "run-1",
        "cima",
        "ab12cd34",
        transport=hapi_in_memory.transport(),
    ) as sink:
        for call in [sink.write([org(i)], permit) for i in "abc"]:
            with pytest.raises(Stopped):
                list(call)
    assert len(hapi_in_memory.requests) <= 2  # what was in flight


def test_what_a_server_asks_to_wait_holds_all_requests(
    server: Make, hapi_in_memory: FakeHapi, clock: ReplayClock
) -> None:
    hapi_in_memory.faults = [answer(429, headers={"retry-after": "40"})]
    start = clock.now()
    sink = server(attempts=1)
    with pytest.raises(TryAgain, match="429"):
        write(sink, org("a"))
    sink.find([Ref("Organization", "a")])
    assert clock.now() - start >= timedelta(seconds=40)


@pytest.mark.parametrize("value", ["86400", "9" * 30, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_an_absurd_wait_ends_the_run_and_says_how_long_it_was(
    server: Make, hapi_in_memory: FakeHapi, clock: ReplayClock, value: str
) -> None:
    hapi_in_memory.faults = [answer(503, headers={"retry-after": value})]
    start = clock.now()
    with pytest.raises(TryAgain) as error:
        write(server(max_wait=300), org("a"))
    assert "asks to come back in " in error.value.hint
    assert "300 s at most" in error.value.hint
    assert clock.now() == start


def test_a_wait_that_a_person_would_notice_is_logged_without_bodies(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.faults = [answer(503, text="secret page", headers={"retry-after": "60"})]
    with capture_logs() as lines:
        write(server(token="hush"), org("a", name="Jane"))
    [line] = lines
    assert (line["log_level"], line["host"], line["why"]) == ("warning", "fhir.invalid", "status 503")
    assert 60 <= line["seconds"] <= 61
    assert not {"secret", "hush", "Jane"} & set(str(line).split())


def test_a_short_wait_is_not_logged(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.faults = [DOWN]
    with capture_logs() as lines:
        write(server(), org("a"))
    assert lines == []


def test_a_server_that_begins_to_fail_is_said_aloud(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.faults = [breaks(httpx.ConnectError)] * 5
    with capture_logs() as lines:
        write(server(), org("a"))
    assert [(line["why"], line["failures"]) for line in lines if "failures" in line] == [("no connection", 5)]


@pytest.mark.parametrize(
    "page", [answer(200, html="<html>log in</html>"), answer(200, json={"name": "another product"})]
)
def test_a_page_instead_of_fhir_is_tried_again_and_then_a_wrong_setting(
    server: Make, hapi_in_memory: FakeHapi, page: Callable[[httpx.Request], httpx.Response]
) -> None:
    hapi_in_memory.faults = [page]
    sink = server()
    assert [o.result for o in write(sink, org("a"))] == [Result.CREATED]
    hapi_in_memory.faults = [page] * 100
    with pytest.raises(SettingError, match="not a FHIR server"):
        write(sink, org("b"))
    assert len(hapi_in_memory.requests) < 12


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "connection refused"),
        (socket.gaierror(-2, "x"), "unknown host name"),
        (ssl.SSLCertVerificationError("x"), "certificate not trusted"),
        (ssl.SSLError("x"), "no TLS connection"),
        (OSError(errno.EHOSTUNREACH, "x"), "no way to the host"),
        (OSError("x"), "no connection"),
    ],
)
def test_why_there_is_no_connection_is_said_in_words(cause: Exception, words: str) -> None:
    assert in_words(caused_by(httpx.ConnectError("x"), cause), connect_timeout=10, timeout=120) == words


def caused_by(error: httpx.RequestError, cause: Exception) -> httpx.RequestError:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (httpx.ConnectTimeout("x"), "no connection within 10 s"),
        (httpx.ReadTimeout("x"), "timed out after 120 s"),
        (httpx.PoolTimeout("x"), "no free connection"),
        (httpx.RemoteProtocolError("x"), "the connection was closed before the answer was complete"),
        (httpx.ReadError("x"), "the connection broke off"),
        (caused_by(httpx.ReadError("x"), ConnectionResetError(errno.ECONNRESET, "x")), "the connection was reset"),
        (httpx.DecodingError("x"), "the answer is broken gzip"),
        (httpx.ProxyError("x"), "the proxy refuses"),
        (httpx.UnsupportedProtocol("x"), "the network failed"),
    ],
)
def test_what_broke_is_said_in_words(error: httpx.RequestError, words: str) -> None:
    assert in_words(error, connect_timeout=10, timeout=120) == words


def test_a_refused_connection_is_named_so_in_the_end(clock: ReplayClock) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    options = FhirOptions(url=f"http://127.0.0.1:{port}/fhir", attempts=2)
    with (
        FhirServer(options, clock, "run-1", "cima", "ab12cd34") as sink,
        pytest.raises(TryAgain, match="cannot be reached: connection refused"),
    ):
        sink.open()


def large(ident: str) -> Write:
    return org(ident, name="x" * 70_000)


def test_large_bundles_are_compressed_where_it_is_wished_and_small_ones_are_not(
    server: Make, hapi_in_memory: FakeHapi
) -> None:
    sink = server(gzip="on")
    write(sink, large("a"))
    write(sink, org("b"))
    packed, plain = hapi_in_memory.writes()
    assert packed.headers["content-encoding"] == "gzip"
    assert len(packed.content) < 2000
    assert content_of(packed)["entry"][0]["request"]["url"] == "Organization/a"
    assert "content-encoding" not in plain.headers
    assert hapi_in_memory.live("Organization/a") is not None


@pytest.mark.parametrize(("url", "packed"), [(BASE, False), (BASE.replace("http:", "https:"), True)])
def test_compression_is_left_to_slow_links_unless_it_is_wished(
    server: Make, hapi_in_memory: FakeHapi, url: str, packed: bool
) -> None:
    write(server(url=url, transport=httpx.MockTransport(lambda r: as_http(hapi_in_memory, r))), large("a"))
    [request] = hapi_in_memory.writes()
    assert ("content-encoding" in request.headers) is packed
    assert request.headers["accept-encoding"] == "gzip"


def as_http(hapi: FakeHapi, request: httpx.Request) -> httpx.Response:
    url = str(request.url).replace("https:", "http:")
    return hapi.handle(httpx.Request(request.method, url, headers=request.headers, content=request.content))


@pytest.mark.parametrize("refusal", [None, answer(415, text="<html>"), answer(400, text="<html>Tomcat</html>")])
def test_a_server_that_does_not_take_compressed_bundles_gets_them_plain(
    server: Make, hapi_in_memory: FakeHapi, refusal: Any
) -> None:
    hapi_in_memory.gzip = refusal is not None
    hapi_in_memory.faults = [refusal] if refusal else []
    sink = server(gzip="on")
    assert {o.result for i in "abc" for o in write(sink, large(i))} == {Result.CREATED}
    assert ["content-encoding" in r.headers for r in hapi_in_memory.writes()] == [True, False, False, False]


def test_a_refusal_of_a_resource_does_not_end_compression(server: Make, hapi_in_memory: FakeHapi) -> None:
    sink = server(gzip="on")
    refused = write(sink, org("a", name="x" * 70_000, active="dunno"))
    assert [o.result for o in refused] == [Result.REFUSED]
    write(sink, large("b"))
    assert hapi_in_memory.writes()[-1].headers["content-encoding"] == "gzip"


def test_a_compressed_answer_is_read(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.put("Organization/a")

    def packed(request: httpx.Request) -> httpx.Response:
        plain = hapi_in_memory.handle(request)
        headers = {"content-encoding": "gzip", "content-type": "application/fhir+json"}
        return httpx.Response(200, headers=headers, stream=httpx.ByteStream(gzip.compress(plain.content)))

    sink = server(gzip="on", transport=httpx.MockTransport(packed))
    assert set(sink.find([Ref("Organization", "a")])) == {Ref("Organization", "a")}


@pytest.mark.parametrize(("tags", "header"), [("exact", "TAG, PROFILE, SECURITY_LABEL"), ("merge", None)])
def test_tags_become_what_is_sent_unless_they_are_to_be_merged(
    server: Make, hapi_in_memory: FakeHapi, tags: str, header: str | None
) -> None:
    write(server(tags=tags), org("a"))
    [request] = hapi_in_memory.requests
    assert request.headers.get("x-meta-snapshot-mode") == header


def test_patience_ends_with_the_run(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.faults = [DOWN]
    with pytest.raises(TryAgain):
        write(server(max_wait=0), org("a"))
    assert len(hapi_in_memory.requests) == 1
