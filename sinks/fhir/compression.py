"""Whether bundles travel compressed: where it is worth it, and where the server takes it.  Answers always may.

gzip triples the client's processor time for large bodies and pays on slow links only, so `auto` means: over https, as
a server outside the cluster is reached.  Whether the server takes it is learnt from the first bundle.
"""

from __future__ import annotations

import gzip
from typing import Literal

from sinks.fhir.answers import Verdict, verdict
from sinks.fhir.documents import Reply

ACCEPTED = "gzip"
"""The Accept-Encoding of every request.  HAPI writes a plain answer in a dozen chunks an entry, each of which costs the
reader as much as a whole compressed answer: 0.9 ms of CPU an entry against 0.05 (measured on 7.6)."""

WORTH_IT = 64 * 1024  # bytes; smaller bodies travel as they are
_LEVEL = 1  # FHIR's JSON loses most of its size at the first level already

Wish = Literal["auto", "off", "on"]


def judged_packed(reply: Reply) -> Verdict:
    """As any answer, but what may mean the compression is not tried again as it was."""
    return Verdict.REFUSED if reply.status in (400, 415) else verdict(reply)


class Compression:
    """What one server takes.  Several threads may learn it at once; they learn the same."""

    def __init__(self, wish: Wish, scheme: str) -> None:
        self.wanted = wish == "on" or (wish == "auto" and scheme == "https")
        self._proven = False

    def packed(self, content: bytes) -> bytes | None:
        """The body to send, or None where it travels as it is."""
        if not self.wanted or len(content) < WORTH_IT:
            return None
        return gzip.compress(content, _LEVEL, mtime=0)

    def doubted(self, reply: Reply) -> bool:
        """True where this answer to a compressed body may mean the compression: it is to be sent again plain."""
        return reply.status == 415 or (reply.status == 400 and not (self._proven and reply.document))

    def learn(self, reply: Reply, plain: Reply | None = None) -> None:
        """From the answer to a compressed body, and to the same body plain."""
        if reply.ok:
            self._proven = True
        elif reply.status == 415 or (plain and plain.ok):
            self.wanted = False
