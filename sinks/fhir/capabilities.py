"""Is this the server the job means?  Asked once, before anything else."""

from __future__ import annotations

from sinks.fhir.answers import Verdict, verdict
from sinks.fhir.documents import Document, Reply
from sinks.fhir.wire import Wire
from tsi_fetch.errors import SettingError

RELEASES = {"5.0": "R5", "4.0": "R4"}
"""FHIR releases by the first two numbers of `fhirVersion` (FHIR, history.html)."""

_HINT = "the sink's url must be the FHIR base of the server, and its release the server's"


def check(wire: Wire, release: str) -> None:
    """SettingError where something else than a FHIR server of this release answers; TryAgain where nothing does."""
    reply = wire.get("metadata", _judge)
    if reply.kind != "CapabilityStatement" or reply.document is None or not reply.ok:
        raise SettingError(f"what answers at {wire.url} is not a FHIR server (status {reply.status})", _HINT)
    offered = _release(reply.document)
    if offered != release:
        raise SettingError(f"the sink is set to FHIR {release}, but the server at {wire.url} has {offered}", _HINT)
    if not _takes_transactions(reply.document):
        raise SettingError(f"the server at {wire.url} does not offer transactions", "use a server that does")


def _judge(reply: Reply) -> Verdict:
    """As everywhere, but a page that is no FHIR with a status of success is a login page or another product."""
    found = verdict(reply)
    return Verdict.OK if found is Verdict.AGAIN and reply.ok else found


def _release(statement: Document) -> str:
    version = statement.fhir_version
    return RELEASES.get(".".join(version.split(".")[:2]), version or "an unnamed release")


def _takes_transactions(statement: Document) -> bool:
    return any(i.code == "transaction" for rest in statement.rest if rest.mode == "server" for i in rest.interaction)
