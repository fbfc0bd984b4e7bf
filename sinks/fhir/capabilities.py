"""Is this the server the job means, and does it offer what the job needs?  Asked once, before anything else."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from sinks.fhir.answers import Verdict, verdict
from sinks.fhir.documents import Document, Reply
from sinks.fhir.wire import Wire
from tsi_fetch.errors import SettingError

RELEASES = {"5.0": "R5", "4.0": "R4"}
"""FHIR releases by the first two numbers of `fhirVersion` (FHIR, history.html)."""

NEEDED = ("read", "search-type", "update")
"""What a job does with every type it writes; one whose policy is to delete what is gone does that, too."""

WHOLE = "metadata"
PART = f"{WHOLE}?_elements=fhirVersion,rest.mode,rest.interaction,rest.resource.type,rest.resource.interaction"
"""What is needed of a statement: 35 KB of HAPI's 3.4 MB.  A server that does not know `_elements` gives all."""

MARKER = "Device"  # what markers are made of

_HINT = "the sink's url must be the FHIR base of the server, and its release the server's"


class Capabilities:
    """What one server says of itself; asked for once, however often it is looked at."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._statement: Document | None = None

    def check(self, release: str, types: Collection[str], *, deletes: bool = False) -> None:
        """SettingError where it is no FHIR server of this release that takes these types; TryAgain where it is down."""
        statement = self._statement or self._ask()
        offered = _release(statement)
        if offered != release:
            raise SettingError(
                f"the sink is set to FHIR {release}, but the server at {self._wire.url} has {offered}", _HINT
            )
        if not _takes_transactions(statement):
            raise SettingError(f"the server at {self._wire.url} does not offer transactions", "use a server that does")
        if lacking := "; ".join(_lacking(statement, types, deletes=deletes)):
            raise SettingError(
                f"the server at {self._wire.url} does not take what the job needs: {lacking}",
                "enable it there, or use another server",
            )
        self._statement = statement

    def _ask(self) -> Document:
        """The part that is needed; the whole where a server refuses to give a part, or leaves out too much."""
        reply = self._wire.get(PART, _judge)
        refused = verdict(reply) is Verdict.REFUSED
        if refused or (_is_statement(reply) and not (reply.document and _tells_enough(reply.document))):
            reply = self._wire.get(WHOLE, _judge)
        if reply.document is None or not _is_statement(reply):
            raise SettingError(f"what answers at {self._wire.url} is not a FHIR server (status {reply.status})", _HINT)
        return reply.document


def _is_statement(reply: Reply) -> bool:
    return reply.ok and reply.kind == "CapabilityStatement"


def _tells_enough(statement: Document) -> bool:
    return bool(statement.fhir_version) and _takes_transactions(statement)


def _judge(reply: Reply) -> Verdict:
    """As everywhere, but a page that is no FHIR with a status of success is a login page or another product."""
    found = verdict(reply)
    return Verdict.OK if found is Verdict.AGAIN and reply.ok else found


def _release(statement: Document) -> str:
    version = statement.fhir_version
    named = version if re.fullmatch(r"[\d.]{1,12}(-[a-z\d]{1,16})?", version) else "an unnamed release"
    return RELEASES.get(".".join(version.split(".")[:2]), named)


def _takes_transactions(statement: Document) -> bool:
    return any(i.code == "transaction" for rest in statement.rest if rest.mode == "server" for i in rest.interaction)


def _lacking(statement: Document, types: Collection[str], *, deletes: bool) -> Iterator[str]:
    """What is needed and not offered, both sides named.

    A statement that lists no types, or a type without interactions, says nothing about them (both are optional in
    FHIR): what is not taken is then refused when it comes.
    """
    offered = _offered(statement)
    for kind in sorted({*types, MARKER}) if offered else ():
        needed = (*NEEDED, "delete") if deletes and kind in types else NEEDED
        writes = f"the {'marker is a' if kind == MARKER else 'job writes'} {kind}"
        if kind not in offered:
            yield f"{writes}, the server does not offer that type"
        elif missing := [i for i in needed if offered[kind] and i not in offered[kind]]:
            yield f"{writes}, the server offers no {' and no '.join(missing)} of it"


def _offered(statement: Document) -> Mapping[str, frozenset[str]]:
    return {
        resource.type: frozenset(i.code for i in resource.interaction)
        for rest in statement.rest
        if rest.mode == "server"
        for resource in rest.resource
    }
