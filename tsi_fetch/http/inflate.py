"""Decompressing gzip in small steps: what expands too far is noticed early, and what breaks off is noticed at all.

httpx decompresses whatever one read brought in one go, and takes a gzip body that lacks its end as whole.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

import httpx

STEP = 256 * 1024
"""Bytes that one step gives at most."""

_GZIP = 31  # zlib's window bits for gzip, header and checksum included


def inflated(raw: Iterable[bytes]) -> Iterator[bytes]:
    """The decompressed bytes, `STEP` at a time.  httpx.DecodingError where they are not gzip or break off.

    Several gzip members in a row are one body (RFC 1952, section 2.2); an empty body stays empty.
    """
    inflater, begun = zlib.decompressobj(_GZIP), False
    for received in raw:
        rest, out = received, b""
        while rest or (begun and len(out) == STEP):  # a full step: there may be more in what was taken
            try:
                out = inflater.decompress(rest, STEP)
            except zlib.error as e:
                raise httpx.DecodingError("not gzip") from e
            rest, begun = inflater.unconsumed_tail, True
            if inflater.eof:
                rest, begun = inflater.unused_data, False
                inflater = zlib.decompressobj(_GZIP)
            yield out
    if begun:
        raise httpx.DecodingError("the gzip body breaks off")
