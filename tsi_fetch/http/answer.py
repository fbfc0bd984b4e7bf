"""Reading an answer whole, within bounds, and stamping it with the time of its request."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx

from tsi_fetch.clock import Clock, microseconds
from tsi_fetch.http.failures import BodyTooLarge
from tsi_fetch.http.inflate import inflated
from tsi_fetch.http.origin import origin_of
from tsi_fetch.http.scrub import Scrubber

MAX_BODY = 64 * 1024 * 1024
"""Bytes of one answer after decompression; the largest known register answer has a few megabytes."""

REQUESTED_AT = "requested_at"
"""Extension of requests and answers: the instant just before sending (UTC, on the store's clock)."""

ASKED = "asked"
"""Extension of requests: the URL that was asked for first, fit to be shown.  Where redirects lead is the server's word,
and may hold what must not be shown; httpx hands the extensions of a request on to the ones that follow."""

TOOK = "took"
"""Extension: whole microseconds from sending to the last byte."""

_OF_THE_WIRE = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})


def requested_at(response: httpx.Response) -> datetime:
    """When the request was sent.  KeyError where the answer did not come through the chain."""
    stamp = response.extensions[REQUESTED_AT]
    if not isinstance(stamp, datetime):
        raise KeyError(REQUESTED_AT)
    return stamp


def http_date(text: str) -> datetime | None:
    """An HTTP-date (RFC 9110, section 5.6.7); None where it is none."""
    try:
        instant = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def clock_skew(response: httpx.Response) -> timedelta | None:
    """By how much the server's clock is ahead of ours, to a second or so; None where it does not tell its time.

    A date names a second, which began half a second ago on average; it was written while we waited.  An answer from a
    cache says how old it is (Age; RFC 9111, section 5.1).
    """
    told, asked = http_date(response.headers.get("date", "")), response.extensions.get(REQUESTED_AT)
    if told is None or not isinstance(asked, datetime):
        return None
    age = response.headers.get("age", "").strip()
    if age.isdecimal():
        told += timedelta(seconds=int(age[:9]))
    waited = timedelta(microseconds=response.extensions.get(TOOK, 0))
    return told + timedelta(seconds=0.5) - (asked + waited / 2)


def asked_for(request: httpx.Request, scrub: Scrubber) -> str:
    """The URL to name in a message: that of the first request, where this one follows a redirect."""
    url = scrub(request.url)
    first = str(request.extensions.setdefault(ASKED, url))
    return first if url == first else f"{first} (redirected)"


def untie(response: httpx.Response) -> None:
    """A hook for clients: an answer that was read whole needs no stream.  httpx's own points back at the answer: its
    body, and that of its request, would stay until Python next looks for cycles."""
    response.stream = httpx.ByteStream(b"")


class ReadWhole(httpx.BaseTransport):
    """Reads and decompresses each answer before handing it on, so that a body that breaks off is a failed request.

    `deadline`: seconds for one answer in all; a read timeout alone lets a server send one byte a minute for ever.
    """

    def __init__(
        self,
        inner: httpx.BaseTransport,
        clock: Clock,
        scrub: Scrubber,
        max_body: int = MAX_BODY,
        deadline: float = 300.0,
    ) -> None:
        self._inner, self._clock, self._scrub = inner, clock, scrub
        self._max_body, self._deadline = max_body, deadline

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        start = self._clock.now()
        request.extensions[REQUESTED_AT] = start
        try:
            response = self._inner.handle_request(request)
            try:
                body = self._read(request, response, start)
            finally:
                response.close()
            if _leads_nowhere(request, response):
                raise httpx.RemoteProtocolError("a redirect to what is no URL", request=request)
        except (httpx.RequestError, BodyTooLarge):
            request.extensions[TOOK] = self._since(start)
            raise
        stamps = {REQUESTED_AT: start, TOOK: self._since(start)}
        request.extensions.update(stamps)
        # as bytes: httpx reads a header that is not ASCII, and does not write one
        headers = [(k, v) for k, v in response.headers.raw if k.lower() not in _OF_THE_WIRE]
        return httpx.Response(response.status_code, headers=headers, content=body, extensions=stamps)

    def _read(self, request: httpx.Request, response: httpx.Response, start: datetime) -> bytes:
        chunks, size = [], 0
        for chunk in _content(response):
            self._clock.sleep(0)  # `Stopped`, where the run was asked to stop: a server may drip for minutes
            size += len(chunk)
            if size > self._max_body:
                raise BodyTooLarge(request.method, asked_for(request, self._scrub), self._max_body)
            if self._since(start) > self._deadline * 1_000_000:
                raise httpx.ReadTimeout(f"no whole answer within {self._deadline:.0f} s", request=request)
            chunks.append(chunk)
        return b"".join(chunks)

    def _since(self, start: datetime) -> int:
        return max(0, microseconds(self._clock.now()) - microseconds(start))

    def close(self) -> None:
        self._inner.close()


def _content(response: httpx.Response) -> Iterable[bytes]:
    """The body without its compression.  httpx.DecodingError for any but gzip, which is all that we ask for: httpx
    expands what one read brought in one go, and gzip within gzip makes gigabytes of a kilobyte."""
    if response.is_closed:  # it was never a stream
        return (response.content,)
    named = (name.strip().lower() for name in response.headers.get("content-encoding", "").split(","))
    codings = [name for name in named if name not in {"", "identity"}]
    if not codings:
        return response.iter_raw()
    if codings in (["gzip"], ["x-gzip"]):
        return inflated(response.iter_raw())
    raise httpx.DecodingError("compressed in a way that was not asked for")


def _leads_nowhere(request: httpx.Request, response: httpx.Response) -> bool:
    """A redirect to what is no URL.  httpx looks where it leads, followed or not, and not all it raises then is its
    own (idna's errors for a host that begins with `xn--`)."""
    if not response.has_redirect_location:
        return False
    try:
        target = httpx.URL(response.headers["location"])
        if target.scheme and not target.host:  # as httpx understands `https:///x`
            target = target.copy_with(host=request.url.host)
        origin_of(request.url.join(target))
    except (httpx.InvalidURL, ValueError):
        return True
    return False
