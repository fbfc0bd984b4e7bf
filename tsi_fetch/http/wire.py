"""The real network: proxies from the environment, an own certificate authority, timeouts.

httpx reads HTTP_PROXY and its kin only in `Client`, and there only for transports it makes itself; as our chain is a
transport of its own, the proxy is chosen here, by the standard library's reading of the environment.
"""

from __future__ import annotations

import ssl
import threading
from pathlib import Path
from urllib.request import getproxies, proxy_bypass

import httpx

from tsi_fetch.errors import SettingError
from tsi_fetch.http.origin import origin_of


class Wire(httpx.BaseTransport):
    """Sends over the network.  One connection pool per origin, since the proxy depends on it.

    `ca_file`: certificates (PEM) that are trusted beside the usual ones.
    """

    def __init__(self, connections: int = 4, ca_file: Path | None = None) -> None:
        self._limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._ca_file = ca_file
        self._pools: dict[str, httpx.HTTPTransport] = {}
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return self._pool(request.url).handle_request(request)
        except httpx.ConnectError as e:
            if _untrusted(e):
                raise SettingError(
                    f"the certificate of {origin_of(request.url)} is not trusted",
                    "set ca_file to the certificate authority's PEM file if the network has one of its own",
                ) from None
            raise

    def _pool(self, url: httpx.URL) -> httpx.HTTPTransport:
        with self._lock:
            origin = origin_of(url)
            if origin not in self._pools:
                self._pools[origin] = self._open(url)
            return self._pools[origin]

    def _open(self, url: httpx.URL) -> httpx.HTTPTransport:
        proxy = proxy_of(url)
        plain = url.scheme == "http" and not (proxy or "").startswith("https") and not self._ca_file
        # to read the usual authorities takes a tenth of a second: not where no TLS is spoken
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else trusted(self._ca_file)
        try:
            return httpx.HTTPTransport(verify=context, limits=self._limits, proxy=proxy, trust_env=False)
        except (ValueError, ImportError, httpx.InvalidURL) as e:
            # The address may hold a password: neither it nor the cause is shown.
            raise SettingError(
                f"the proxy for {origin_of(url)} cannot be used ({type(e).__name__})",
                "correct HTTP_PROXY, HTTPS_PROXY or ALL_PROXY: http://host:port",
            ) from None

    def close(self) -> None:
        with self._lock:
            for pool in self._pools.values():
                pool.close()
            self._pools.clear()


def proxy_of(url: httpx.URL) -> str | None:
    """The proxy that the environment names for this URL, or None."""
    proxies = getproxies()
    address = proxies.get(url.scheme) or proxies.get("all")
    netloc = f"{url.host}:{url.port}" if url.port else url.host
    if not address or proxy_bypass(netloc):
        return None
    return address if "://" in address else f"http://{address}"


def trusted(ca_file: Path | None) -> ssl.SSLContext:
    """The usual authorities (or SSL_CERT_FILE's) and those of `ca_file`.  SettingError where it cannot be read."""
    context = httpx.create_ssl_context()
    if ca_file is None:
        return context
    try:
        context.load_verify_locations(cafile=str(ca_file))
    except (OSError, ssl.SSLError) as e:
        raise SettingError(f"ca_file {ca_file} cannot be read ({type(e).__name__})", "name a PEM file") from None
    return context


def _untrusted(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
