"""Links, redirects and dates of somebody who wishes us ill: nothing is sent elsewhere, no credential is seen, no
traceback, and no watermark that nothing ever passes.

More on redirects and credentials of a source is in tests/tsi_fetch/http/test_http_origin.py, on a product's redirects
in tests/sources/cima/test_cima_product.py, on plain `next` links in tests/sinks/test_fhir_server.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import httpx
import pytest
from fake_cima import at as seen_up_to
from fake_cima import cima, page, register, rows_of, wire
from still_clock import StillClock

from dev.cima_server import Reply
from sinks.fhir.options import FhirOptions
from sinks.fhir.server import FhirServer
from tsi_fetch.errors import SettingError, TryAgain, TsiFetchError
from tsi_fetch.http.authenticate import Credential
from tsi_fetch.http.chain import ChainOptions, build_client
from tsi_fetch.http.record import Recorder
from tsi_fetch.http.recording import Recording
from tsi_fetch.http.retry import RetryPolicy
from tsi_fetch.words import Ref, Write, WriteAction

HOME = "https://register.invalid/api"
FHIR = "https://fhir.invalid/fhir"
TOKEN = "hush-hush"

ELSEWHERE = [
    "https://elsewhere.invalid/",
    "//elsewhere.invalid/x",
    "http://{host}/x",
    "https://{host}:8443/x",
    "https://{host}@elsewhere.invalid/",
    "https://{host}\\@elsewhere.invalid/",
    "https://{host}%2f@elsewhere.invalid/",
    "https://{host}:443@elsewhere.invalid/",
    "https://{host}.elsewhere.invalid/",
    "https://{host}./x",
    "https://elsewhere.invalid\\x/",
    "https://1.2.3.4.5/",
    "https://[::1]/",
    "https://%65lsewhere.invalid/",
    "file:///etc/passwd",
    "ftp://{host}/x",
    "gopher://{host}/",
]
"""What leads to another origin, whoever reads it."""

NO_URL = [
    "https://[::1",
    "https://xn--0.invalid/",
    "https://xn--a/",
    "https://a\u200bb.invalid/",
    "https://{host}:99x/",
    "javascript:alert(1)",
    "data:text/html,x",
    "https:x",
    "https://" + "a" * 70_000,
]
"""What is no URL, or one that only some would read."""

STATUSES = [301, 302, 303, 307, 308]


class Trap:
    """A wire that notes every request, and answers those for `path` with a redirect."""

    def __init__(self, target: str, status: int = 302) -> None:
        self.target, self.status = target, status
        self.sent: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        target = self.target.replace("{host}", request.url.host)
        return httpx.Response(self.status, headers=[(b"Location", target.encode())])

    @property
    def hosts(self) -> set[str]:
        return {request.url.raw_host.decode() for request in self.sent}


def get(trap: Trap, kind: str) -> None:
    """Ask with a credential of each kind."""
    credential = Credential(kind, TOKEN, HOME, name="X-Key")  # type: ignore[arg-type]
    options = ChainOptions(origins=(HOME,), rate=1000, credential=credential, retry=RetryPolicy(attempts=2))
    build_client(options, StillClock(), wire=httpx.MockTransport(trap)).get(f"{HOME}/x")


@pytest.mark.parametrize("kind", ["bearer", "header", "query"])
@pytest.mark.parametrize("target", ELSEWHERE)
def test_a_sources_redirect_elsewhere_is_refused_and_sees_no_credential(target: str, kind: str) -> None:
    trap = Trap(target)
    with pytest.raises(SettingError) as refused:
        get(trap, kind)
    assert len(trap.sent) == 1
    assert trap.hosts == {"register.invalid"}
    assert TOKEN not in f"{refused.value.message} {refused.value.hint} {refused.value!r}"


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("target", NO_URL)
def test_a_sources_redirect_to_no_url_is_a_failure_of_the_request(target: str, status: int) -> None:
    trap = Trap(target, status)
    source = cima(httpx.MockTransport(trap))
    (row,) = rows_of(list(source.fetch(["99001"])))
    assert row.unfetched is not None
    assert (row.unfetched.code, row.unfetched.path) == ("cima-unreachable", "medicamento")
    assert trap.hosts == {"cima.invalid"}


@pytest.mark.parametrize("target", [*ELSEWHERE, *NO_URL])
@pytest.mark.parametrize("reads", ["feed", "listing", "what changed"])
def test_a_feed_or_listing_that_redirects_elsewhere_ends_the_pass(target: str, reads: str) -> None:
    trap, now = Trap(target), StillClock().now()
    source = cima(httpx.MockTransport(trap))
    read: dict[str, Callable[[], Iterable[object]]] = {
        "feed": lambda: source.pull(seen_up_to("2026-03-01"), now),
        "listing": source.keys,
        "what changed": lambda: source.changed(now, now),
    }
    given: list[object] = []
    with pytest.raises(TsiFetchError):
        given.extend(read[reads]())
    assert given == []
    assert trap.hosts == {"cima.invalid"}
    assert all(request.url.path.endswith(("/registroCambios", "/medicamentos")) for request in trap.sent)


@pytest.mark.parametrize("number", ["..", ".", "../../x", "//elsewhere.invalid", "?x=1", "#", "%2e%2e", "\\", "a\0b"])
def test_a_number_of_the_source_cannot_lead_a_request_elsewhere(number: str) -> None:
    upstream = register()
    upstream.products["99001"]["presentaciones"][0]["cn"] = number
    sent: list[httpx.URL] = []
    (row,) = rows_of(list(cima(wire(upstream, lambda request: sent.append(request.url))).fetch(["99001"])))
    assert all(url.host == "cima.invalid" and f"{url.path}/".startswith("/cima/rest/") for url in sent)
    if "\0" in number:  # no code: the mapping refuses it where it stands, and nobody is asked for it
        assert row.unfetched is None
        assert [url.path for url in sent if "presentacion" in url.path] == ["/cima/rest/presentacion/999102"]
    else:
        assert row.unfetched is not None or any(answer.status == 204 for answer in row.answers)

    asked: list[httpx.URL] = []

    def note(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        return httpx.Response(204)

    list(cima(httpx.MockTransport(note)).fetch([number]))
    assert [(url.host, url.path) for url in asked] == [("cima.invalid", "/cima/rest/medicamento")]
    assert dict(asked[0].params) == {"nregistro": number}


# --- the FHIR sink ---------------------------------------------------------------------------------------------------


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


def sink(trap: httpx.BaseTransport, clock: StillClock) -> FhirServer:
    options = FhirOptions.model_validate({"url": FHIR, "token": TOKEN, "attempts": 2})
    return FhirServer(options, clock, "run-1", "cima", "ab12cd34", transport=trap)


class Leading:
    """A FHIR server whose search sets go on elsewhere."""

    def __init__(self, following: str) -> None:
        self.following = following.replace("{host}", "fhir.invalid")
        self.sent: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        link = [{"relation": "next", "url": self.following}]
        return httpx.Response(200, json={"resourceType": "Bundle", "type": "searchset", "link": link})


def reads(server: FhirServer) -> Iterator[Callable[[], object]]:
    yield lambda: server.find([Ref("Organization", "a")])
    yield lambda: list(server.listing("Organization"))


@pytest.mark.parametrize("target", [*ELSEWHERE, *NO_URL])
def test_a_next_link_elsewhere_is_refused_and_sees_no_token(target: str, clock: StillClock) -> None:
    for number in range(2):
        leading = Leading(target)
        server = sink(httpx.MockTransport(leading), clock)
        read = list(reads(server))[number]
        with pytest.raises((SettingError, TryAgain)) as refused:
            read()
        server.close()
        assert {request.url.host for request in leading.sent} == {"fhir.invalid"}
        assert TOKEN not in f"{refused.value.message} {refused.value.hint}"


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize(
    "target", ["https://elsewhere.invalid/", "http://{host}/x", "https://xn--0.invalid/", "https:x"]
)
def test_a_servers_redirect_is_not_followed_by_what_reads_or_writes(
    target: str, status: int, clock: StillClock
) -> None:
    trap = Trap(target, status)
    server = sink(httpx.MockTransport(trap), clock)
    ref = Ref("Organization", "a")
    write = Write(ref, WriteAction.PUT, None, b'{"resourceType":"Organization","id":"a"}')
    with pytest.raises((SettingError, TryAgain)):
        server.open(["Bundle"])
    with pytest.raises((SettingError, TryAgain)):
        list(server.write([write], permit=lambda: None))
    for read in reads(server):
        with pytest.raises((SettingError, TryAgain)):
            read()
    server.close()
    assert trap.hosts == {"fhir.invalid"}
    assert {request.url.scheme for request in trap.sent} == {"https"}


# --- dates -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "date",
    [
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "Tue, 03 Mar 2026 09:30:00 GMT",
        "Sat, 01 Jan 2050 00:00:00 GMT",
        "soon",
        "0",
        " , , , ",
        "9" * 500,
    ],
)
def test_a_registers_clock_never_sets_the_watermark_past_our_own(date: str) -> None:
    upstream = register()
    upstream.instead("medicamentos?pagina=1", Reply(200, page([{"nregistro": "99001"}]).body, {"Date": date}))
    (found,) = cima(upstream, StillClock()).keys()
    assert found.cursor is not None
    assert found.cursor.value == "2026-03-02"


@pytest.mark.parametrize("value", [b"\xf1", "ñ".encode(), b"\x80\xff", "ficha técnica.pdf".encode("latin-1")])
def test_a_header_that_is_not_ascii_is_no_reason_to_stop(value: bytes, tmp_path: Path) -> None:
    def odd(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={}, headers=[(b"X-Name", value), (b"ETag", value), (b"Link", value)])

    options, clock = ChainOptions(origins=(HOME,), rate=1000), StillClock()
    recorder = Recorder(tmp_path / "recording", "cima", clock)
    live = build_client(options, clock, recorder=recorder, wire=httpx.MockTransport(odd)).get(HOME)
    recorder.close()
    again = build_client(options, clock, recording=Recording.open(tmp_path / "recording")).get(HOME)
    assert live.status_code == again.status_code == 200
    assert live.headers["etag"] == again.headers["etag"]
