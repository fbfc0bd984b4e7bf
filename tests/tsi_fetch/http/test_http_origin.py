"""Keeping to the origin, credentials, cookies: nothing leaves that should not."""

from __future__ import annotations

import httpx
import pytest
from still_clock import StillClock

from tsi_fetch.errors import SettingError
from tsi_fetch.http.authenticate import Credential
from tsi_fetch.http.chain import ChainOptions, build_client
from tsi_fetch.http.scrub import Scrubber

HOME = "https://register.invalid/api"
SECRET = "hush-hush"


class Wire:
    """Notes what is sent, and redirects as told."""

    def __init__(self, **redirects: str) -> None:
        self.redirects, self.sent = redirects, list[httpx.Request]()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        target = self.redirects.get(request.url.path.rsplit("/", 1)[-1])
        if target:
            return httpx.Response(302, headers={"Location": target})
        return httpx.Response(200, json={"ok": True}, headers={"Set-Cookie": "session=1; Path=/"})


def client(wire: Wire, credential: Credential | None = None) -> httpx.Client:
    options = ChainOptions(origins=(HOME,), rate=1000, credential=credential)
    return build_client(options, StillClock(), wire=httpx.MockTransport(wire))


@pytest.mark.parametrize(
    "target",
    [
        "https://elsewhere.invalid/api",
        "http://register.invalid/api",
        "https://register.invalid:8443/api",
        "https://register.invalid@elsewhere.invalid/",
        "//elsewhere.invalid/x",
        "https://register.invalid.elsewhere.invalid/",
    ],
)
def test_a_redirect_that_leaves_the_origin_is_refused_and_not_sent(target: str) -> None:
    wire = Wire(away=target)
    with pytest.raises(SettingError, match="not one of its origins"):
        client(wire, Credential("bearer", SECRET, HOME)).get(f"{HOME}/away")
    assert len(wire.sent) == 1


def test_a_redirect_within_the_origin_is_followed() -> None:
    wire = Wire(old="/api/new")
    assert client(wire).get(f"{HOME}/old").json() == {"ok": True}


def test_a_circle_of_redirects_ends() -> None:
    with pytest.raises(httpx.TooManyRedirects):
        client(Wire(round="/api/round")).get(f"{HOME}/round")


@pytest.mark.parametrize(
    ("credential", "shown"),
    [
        (Credential("bearer", SECRET, HOME), ("authorization", f"Bearer {SECRET}")),
        (Credential("header", SECRET, HOME, "x-api-key"), ("x-api-key", SECRET)),
    ],
)
def test_a_header_credential_is_sent_and_stays_inside(credential: Credential, shown: tuple[str, str]) -> None:
    wire = Wire()
    answer = client(wire, credential).get(HOME)
    assert wire.sent[0].headers[shown[0]] == shown[1]
    assert shown[0] not in answer.request.headers
    assert SECRET not in repr(credential)


def test_a_query_credential_is_sent_and_stays_inside() -> None:
    wire = Wire()
    answer = client(wire, Credential("query", SECRET, HOME, "key")).get(f"{HOME}?page=1")
    assert wire.sent[0].url.params["key"] == SECRET
    assert wire.sent[0].url.params["page"] == "1"
    assert SECRET not in str(answer.request.url)


def test_a_credential_goes_to_its_own_origin_only() -> None:
    wire = Wire()
    options = ChainOptions(
        origins=(HOME, "https://files.invalid"), rate=1000, credential=Credential("bearer", SECRET, HOME)
    )
    build_client(options, StillClock(), wire=httpx.MockTransport(wire)).get("https://files.invalid/x")
    assert "authorization" not in wire.sent[0].headers


def test_an_exception_does_not_carry_the_credential_out() -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.UnsupportedProtocol("no", request=request)

    options = ChainOptions(origins=(HOME,), rate=1000, credential=Credential("query", SECRET, HOME, "key"))
    with pytest.raises(httpx.UnsupportedProtocol) as failed:
        build_client(options, StillClock(), wire=httpx.MockTransport(broken)).get(HOME)
    assert SECRET not in str(failed.value.request.url)


def test_cookies_are_neither_kept_nor_sent() -> None:
    wire = Wire()
    talking = client(wire)
    talking.get(HOME)
    talking.get(HOME)
    assert "cookie" not in wire.sent[1].headers


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pass@a.invalid/x", "https://a.invalid/x"),
        ("https://a.invalid/x?api_key=s1&p=2", "https://a.invalid/x?api_key=***&p=2"),
        ("https://a.invalid/x?p=2&TOKEN=s1#f", "https://a.invalid/x?p=2&TOKEN=***#f"),
        ('<https://a.invalid/x?own=s1>; rel="next"', '<https://a.invalid/x?own=***>; rel="next"'),
        ("https://a.invalid/x?tokens=3", "https://a.invalid/x?tokens=3"),
    ],
)
def test_urls_are_shown_without_secrets(url: str, shown: str) -> None:
    assert Scrubber({"own"})(url) == shown
