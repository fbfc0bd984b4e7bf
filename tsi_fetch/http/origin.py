"""Keeping to the configured origins: redirects and links elsewhere are refused, not followed."""

from __future__ import annotations

from collections.abc import Iterable

import httpx

from tsi_fetch.errors import SettingError

_PORTS = {"http": 80, "https": 443}


def origin_of(url: httpx.URL) -> str:
    """Scheme, host and port (RFC 6454), the default port written out."""
    return f"{url.scheme}://{url.host}:{url.port or _PORTS.get(url.scheme, 0)}"


class SameOrigin(httpx.BaseTransport):
    """Sends only to the origins named.  SettingError for any other, before anything is sent."""

    def __init__(self, inner: httpx.BaseTransport, origins: Iterable[str]) -> None:
        self._inner = inner
        self._origins = frozenset(origin_of(httpx.URL(origin)) for origin in origins)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        origin = origin_of(request.url)
        if origin not in self._origins:
            raise SettingError(
                f"the source leads to {origin}, which is not one of its origins ({', '.join(sorted(self._origins))})",
                "correct base_url if the source has moved; nothing was sent there",
            )
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()
