"""The canonical digest: one fingerprint for everything that means the same when it is written.

Keys sorted, arrays in order, decimals as written; without `meta.versionId`, `meta.lastUpdated` and `meta.source`, which
belong to the server (FHIR R5, resource.html#Meta; HAPI rewrites `source` as `source#request`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import msgspec

from tsi_fetch.fhir.tokens import NotJson, canonical
from tsi_fetch.words import Json

SERVER_OWNED_META = ("versionId", "lastUpdated", "source")

_decoder: msgspec.json.Decoder[Json] = msgspec.json.Decoder(float_hook=lambda token: msgspec.Raw(token.encode()))


def without_server_meta(resource: Json, owned: Collection[str] = SERVER_OWNED_META) -> Json:
    """The resource without what the server owns of its meta; an empty meta goes too.  The argument is not changed."""
    meta = resource.get("meta") if isinstance(resource, dict) else None
    if not isinstance(meta, dict):
        return resource
    kept = {k: v for k, v in meta.items() if k not in owned}
    rest = {k: v for k, v in resource.items() if k != "meta"}
    return {**rest, "meta": kept} if kept else rest


def canonical_digest(body: bytes) -> bytes:
    """16 bytes over the canonical form of a resource.  NotJson where the body is not JSON."""
    try:
        resource = _decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as e:
        raise NotJson("not JSON") from e
    return hashlib.sha256(canonical(without_server_meta(resource))).digest()[:16]
