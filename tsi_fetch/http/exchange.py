"""One request and what came of it, as a recording keeps it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what came of it: `status`, `headers` and perhaps `body` (a file), or `error` (a kind).

    `request` is the sha256 of the request's body, None where it had none.  `took` is in microseconds.
    """

    n: int
    method: str
    url: str
    requested_at: str
    took: int = 0
    request: str | None = None
    status: int | None = None
    error: str | None = None
    headers: Mapping[str, str] | None = None
    body: str | None = None

    def line(self) -> bytes:
        kept = {name: value for name, value in asdict(self).items() if value is not None}
        return json.dumps(kept, ensure_ascii=False).encode() + b"\n"


def body_digest(content: bytes) -> str | None:
    """What a request's body is known by; the body itself may hold what must not be kept."""
    return hashlib.sha256(content).hexdigest() if content else None
