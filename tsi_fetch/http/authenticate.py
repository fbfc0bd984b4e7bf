"""Adding a credential to what is sent; nothing outside this transport ever sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote

import httpx

from tsi_fetch.http.origin import origin_of

_SHORTEST = 4
"""Shorter secrets are left in what a server repeats: to strike out every "a" would leave no answer."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A secret, and how it is shown: `Authorization: Bearer`, a header or a query parameter named `name`.

    It goes to `origin` (`https://host`) only.
    """

    kind: Literal["bearer", "header", "query"]
    secret: str = field(repr=False)
    origin: str
    name: str = ""


class Authenticated(httpx.BaseTransport):
    """Sends a copy that carries the credential; the request that others hold stays without it.

    So does the answer: servers like to repeat the URL that they were asked for (`self`, `next`, error pages), and what
    is answered is recorded and kept in quarantine.  A link without the secret gets it again when it is followed.
    """

    def __init__(self, inner: httpx.BaseTransport, credential: Credential) -> None:
        self._inner, self._credential = inner, credential
        self._origin = origin_of(httpx.URL(credential.origin))
        spelt = (credential.secret, quote(credential.secret, safe=""), quote(credential.secret))
        self._spellings = tuple({word.encode() for word in spelt if len(word) >= _SHORTEST})

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if origin_of(request.url) != self._origin:
            return self._inner.handle_request(request)
        copy = self._with_credential(request)
        try:
            return self._silenced(self._inner.handle_request(copy))
        except httpx.RequestError as e:
            e.request = request  # an exception must not carry the credential out either
            raise
        finally:
            request.extensions.update(copy.extensions)

    def _with_credential(self, request: httpx.Request) -> httpx.Request:
        credential, url, headers = self._credential, request.url, request.headers.copy()
        if credential.kind == "query":
            url = url.copy_set_param(credential.name, credential.secret)
        elif credential.kind == "bearer":
            headers["Authorization"] = f"Bearer {credential.secret}"
        else:
            headers[credential.name] = credential.secret
        return httpx.Request(
            request.method, url, headers=headers, stream=request.stream, extensions=dict(request.extensions)
        )

    def _silenced(self, response: httpx.Response) -> httpx.Response:
        headers, body = response.headers.raw, response.read()
        if not any(word in text for word in self._spellings for text in (body, *(value for _, value in headers))):
            return response
        kept = [(name, self._without(value)) for name, value in headers if name.lower() != b"content-length"]
        return httpx.Response(
            response.status_code, headers=kept, content=self._without(body), extensions=response.extensions
        )

    def _without(self, text: bytes) -> bytes:
        for word in self._spellings:
            text = text.replace(word, b"***")
        return text

    def close(self) -> None:
        self._inner.close()
