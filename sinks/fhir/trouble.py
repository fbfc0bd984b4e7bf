"""Why no answer came, in words that a person understands: no class names, and nothing of a body or an address."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator

import httpx

_ERRNO = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "the connection was reset",
    errno.EPIPE: "the connection was reset",
    errno.ENETUNREACH: "no way to its network",
    errno.EHOSTUNREACH: "no way to the host",
    errno.ETIMEDOUT: "the network timed out",
}
_KIND: tuple[tuple[type[Exception], str], ...] = (
    (httpx.PoolTimeout, "no free connection"),
    (httpx.ProxyError, "the proxy refuses"),
    (httpx.DecodingError, "the answer is broken gzip"),
    (httpx.RemoteProtocolError, "the connection was closed before the answer was complete"),
    (httpx.ConnectError, "no connection"),
    (httpx.NetworkError, "the connection broke off"),
)


def in_words(error: httpx.RequestError, *, connect_timeout: float, timeout: float) -> str:
    """One short phrase; the timeouts are in seconds."""
    if isinstance(error, httpx.ConnectTimeout):
        return f"no connection within {connect_timeout:g} s"
    if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout):
        return f"timed out after {timeout:g} s"
    deeper = next((words for cause in _causes(error) if (words := _of_the_system(cause))), None)
    return deeper or next((words for kind, words in _KIND if isinstance(error, kind)), "the network failed")


def _of_the_system(cause: BaseException) -> str | None:
    if isinstance(cause, socket.gaierror):
        return "unknown host name"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return "certificate not trusted"
    if isinstance(cause, ssl.SSLError):
        return "no TLS connection"
    return _ERRNO.get(cause.errno or 0) if isinstance(cause, OSError) else None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
