"""Values that are stored compactly: the sink's versions, cursors' keys, notes, and what lies in quarantine or waits."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from tsi_fetch.words import Doubt, Row, Validators

_HEX = re.compile(r"(?:[0-9a-f]{2}){8,}")


def pack_version(version: str | None) -> bytes | None:
    """A version; a long hexadecimal one (the folder sink's sha256) takes half the room behind a NUL."""
    if version is None:
        return None
    return b"\0" + bytes.fromhex(version) if _HEX.fullmatch(version) else version.encode()


def unpack_version(stored: bytes | None) -> str | None:
    if stored is None:
        return None
    return stored[1:].hex() if stored[:1] == b"\0" else stored.decode()


def pack_keys(keys: Iterable[str]) -> bytes | None:
    """Row keys, sorted; None for none."""
    listed = sorted(keys)
    return zlib.compress(msgspec.json.encode(listed)) if listed else None


def unpack_keys(stored: bytes | None) -> frozenset[str]:
    return frozenset(msgspec.json.decode(zlib.decompress(stored), type=list[str])) if stored else frozenset()


@dataclass(frozen=True, slots=True)
class Payload:
    """What is kept whole of a quarantined row or change."""

    row: Row
    body: bytes | None = field(repr=False)


def pack_payload(row: Row, body: bytes | None) -> bytes:
    return zlib.compress(msgspec.msgpack.encode(Payload(row, body)))


def unpack_payload(stored: bytes) -> Payload:
    return msgspec.msgpack.decode(zlib.decompress(stored), type=Payload)


def pack_doubt(doubt: Doubt) -> bytes:
    """A note, compressed only as far as it costs less than the pages it saves."""
    return zlib.compress(msgspec.msgpack.encode(doubt), 1)


def unpack_doubt(stored: bytes) -> Doubt:
    return msgspec.msgpack.decode(zlib.decompress(stored), type=Doubt)


def pack_validators(validators: Validators | None) -> bytes | None:
    return msgspec.msgpack.encode(dict(validators)) if validators else None


def unpack_validators(stored: bytes) -> Validators:
    return msgspec.msgpack.decode(stored, type=dict[str, str])


def pack_body(body: bytes) -> bytes:
    return zlib.compress(body)


def unpack_body(stored: bytes) -> bytes:
    return zlib.decompress(stored)


def printable(text: str) -> str:
    """Text that both databases take: PostgreSQL has no NUL, and neither stores half a surrogate pair."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
