"""The real network, on 127.0.0.1: proxies, certificates, broken bodies, bounds."""

from __future__ import annotations

import gc
import gzip
import random
import ssl
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from still_clock import StillClock

from tsi_fetch.errors import SettingError
from tsi_fetch.http.agent import user_agent, version
from tsi_fetch.http.chain import ChainOptions, build_client
from tsi_fetch.http.failures import BodyTooLarge, Unreachable
from tsi_fetch.http.inflate import STEP, inflated
from tsi_fetch.http.retry import RetryPolicy
from tsi_fetch.http.wire import proxy_of, trusted

Play = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def serving(play: Play) -> Iterator[str]:
    """A server on this machine that does with each request what it is told."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            play(self)

        def log_message(self, format: str, *args: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(body: bytes, *headers: tuple[str, str], length: int | None = None) -> Play:
    def play(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers:
            handler.send_header(name, value)
        handler.send_header("Connection", "close")  # said, so that a second request does not meet the end of this one
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = True

    return play


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own proxy settings must not decide."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def get(url: str, path: str = "/", **options: object) -> httpx.Response:
    retry = RetryPolicy(attempts=2)
    chain = ChainOptions(origins=(url,), rate=1000, retry=retry, **options)  # type: ignore[arg-type]
    with build_client(chain, StillClock(), rng=random.Random(1)) as client:
        return client.get(url + path)


def test_a_compressed_body_arrives_decompressed_and_its_size_is_bounded_after_that() -> None:
    body = b"a" * 100_000
    with serving(answer(gzip.compress(body), ("Content-Encoding", "gzip"))) as url:
        found = get(url, max_body=100_000)
        assert found.content == body
        assert "content-encoding" not in found.headers
        with pytest.raises(BodyTooLarge, match="max_body"):
            get(url, max_body=99_999)


def test_an_answer_goes_with_the_last_who_holds_it() -> None:
    """Its body, and that of its request, are not left to the collector of cycles."""
    gc.disable()
    try:
        with serving(answer(b"whole")) as url:
            found = get(url)
            there = weakref.ref(found)
            assert found.content == b"whole"
            del found
            assert there() is None
    finally:
        gc.enable()


def test_a_body_that_breaks_off_is_a_failed_request() -> None:
    with (
        serving(answer(b"half", length=8)) as url,
        pytest.raises(Unreachable, match=r"2 times: RemoteProtocolError"),
    ):
        get(url)


def test_a_compressed_body_that_is_garbage_is_a_failed_request() -> None:
    with (
        serving(answer(b"not gzip", ("Content-Encoding", "gzip"))) as url,
        pytest.raises(Unreachable, match="DecodingError"),
    ):
        get(url)


def test_a_reset_connection_is_a_failed_request() -> None:
    def reset(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True

    with serving(reset) as url, pytest.raises(Unreachable, match=r"RemoteProtocolError|ReadError"):
        get(url)


def test_a_port_where_nobody_listens_is_a_failed_request() -> None:
    with serving(answer(b"")) as url:
        pass
    with pytest.raises(Unreachable, match="ConnectError"):
        get(url)


def test_a_body_that_drips_in_is_given_up_at_the_deadline() -> None:
    class Impatient(StillClock):
        """Each look at the clock is a minute later."""

        def now(self):  # type: ignore[no-untyped-def]
            self.sleep(60)
            return super().now()

    chain = ChainOptions(origins=("http://a.invalid",), rate=1000, deadline=30, retry=RetryPolicy(attempts=1))
    wire = httpx.MockTransport(lambda request: httpx.Response(200, content=iter([b"a", b"b"])))
    with pytest.raises(Unreachable, match="ReadTimeout"):
        build_client(chain, Impatient(), wire=wire).get("http://a.invalid")


def test_who_asks_is_said_honestly() -> None:
    seen: list[str] = []

    def note(handler: BaseHTTPRequestHandler) -> None:
        seen.append(handler.headers["User-Agent"])
        answer(b"ok")(handler)

    with serving(note) as url:
        get(url)
        get(url, user_agent=user_agent("ops@hospital.invalid"))
    project = "https://github.com/Gravitate-Health/tsi-fetch"
    assert seen == [f"tsi-fetch/{version()} (+{project})", f"tsi-fetch/{version()} (+{project}; ops@hospital.invalid)"]


def test_the_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def proxy(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        answer(b"through the proxy")(handler)

    with serving(proxy) as url:
        monkeypatch.setenv("http_proxy", url)
        assert get("http://register.invalid", "/rows").content == b"through the proxy"
    assert asked == ["http://register.invalid/rows"]


def test_no_proxy_keeps_hosts_off_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1,.cluster.invalid")
    with serving(answer(b"direct")) as url:
        assert get(url).content == b"direct"


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({"HTTPS_PROXY": "http://p.invalid:3128"}, "https://a.invalid/", "http://p.invalid:3128"),
        ({"https_proxy": "p.invalid:3128"}, "https://a.invalid/", "http://p.invalid:3128"),
        ({"HTTPS_PROXY": "http://p.invalid"}, "http://a.invalid/", None),
        ({"ALL_PROXY": "http://p.invalid"}, "http://a.invalid/", "http://p.invalid"),
        ({"ALL_PROXY": "http://p.invalid", "NO_PROXY": "a.invalid"}, "http://fhir.a.invalid/", None),
        ({"ALL_PROXY": "http://p.invalid", "NO_PROXY": "a.invalid"}, "http://b.invalid/", "http://p.invalid"),
        ({"ALL_PROXY": "http://p.invalid", "NO_PROXY": "*"}, "http://b.invalid/", None),
        ({"ALL_PROXY": "http://p.invalid", "NO_PROXY": "b.invalid:81"}, "http://b.invalid:81/", None),
        ({}, "http://b.invalid/", None),
    ],
)
def test_which_proxy_is_used_is_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, proxy: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_of(httpx.URL(url)) == proxy


def test_a_proxy_that_cannot_be_used_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "gopher://user:hush@p.invalid:70")
    with pytest.raises(SettingError) as failed:
        get("http://a.invalid")
    assert "HTTP_PROXY" in failed.value.hint
    assert "hush" not in f"{failed.value.message}{failed.value.hint}{failed.value.__cause__}"


def test_a_certificate_nobody_vouches_for_is_a_setting_error() -> None:
    def untrusted(request: httpx.Request) -> httpx.Response:
        try:
            raise ssl.SSLCertVerificationError("self-signed certificate")
        except ssl.SSLCertVerificationError as e:
            raise httpx.ConnectError("certificate verify failed", request=request) from e

    from tsi_fetch.http.wire import Wire

    wire = Wire()
    wire._pools["https://a.invalid:443"] = httpx.MockTransport(untrusted)  # type: ignore[assignment]
    chain = ChainOptions(origins=("https://a.invalid",), rate=1000)
    with pytest.raises(SettingError, match="not trusted"):
        build_client(chain, StillClock(), wire=wire).get("https://a.invalid")


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_a_ca_file_that_cannot_be_read_is_a_setting_error(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SettingError, match="ca_file"):
        trusted(path)


def test_a_broken_off_gzip_body_of_full_length_is_a_failed_request() -> None:
    whole = gzip.compress(b"a" * 1000 + random.Random(1).randbytes(1000))
    with (
        serving(answer(whole[: len(whole) // 2], ("Content-Encoding", "gzip"))) as url,
        pytest.raises(Unreachable, match="DecodingError"),
    ):
        get(url)


def test_a_gzip_bomb_is_noticed_before_it_is_unpacked() -> None:
    given = 0

    def bomb() -> Iterator[bytes]:
        nonlocal given
        squeezed = gzip.compress(bytes(64 * 1024 * 1024))
        for start in range(0, len(squeezed), 1024):
            given += 1
            yield squeezed[start : start + 1024]

    def wire(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=bomb())

    chain = ChainOptions(origins=("http://a.invalid",), rate=1000, max_body=1024 * 1024)
    with pytest.raises(BodyTooLarge):
        build_client(chain, StillClock(), wire=httpx.MockTransport(wire)).get("http://a.invalid")
    assert given <= 3


def test_gzip_members_in_a_row_are_one_body() -> None:
    parts = [b"a" * STEP, b"", b"b" * (STEP + 1)]
    squeezed = b"".join(map(gzip.compress, parts))
    assert b"".join(inflated(squeezed[n : n + 7] for n in range(0, len(squeezed), 7))) == b"".join(parts)
    assert b"".join(inflated([])) == b""
