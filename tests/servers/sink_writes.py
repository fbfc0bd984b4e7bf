"""Writes as the loop hands them to the sink, and reading what came of them."""

from __future__ import annotations

from collections.abc import Callable

from sinks.fhir.server import FhirServer
from tests.servers.conversation import org, part_of, ref
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.words import Held, Json, Outcome, Result, Write, WriteAction

Make = Callable[..., FhirServer]
"""Connect to the server of this test: `make("run-2", entries=1)`."""


def permit() -> None:
    """Always."""


def a_put(resource: Json, version: str | None = None) -> Write:
    return Write(ref(resource), WriteAction.PUT, version, dump(resource))


def an_org(ident: str, version: str | None = None, **members: Json) -> Write:
    return a_put(org(ident, **members), version)


def a_part_of(ident: str, whole: str, version: str | None = None) -> Write:
    return a_put(part_of(ident, whole), version)


def gone(write: Write, version: str | None) -> Write:
    return Write(write.ref, WriteAction.DELETE, version)


def write(sink: FhirServer, *writes: Write) -> list[Outcome]:
    """The outcomes, in the order of the writes."""
    outcomes = {o.ref: o for some in sink.write(writes, permit) for o in some}
    return [outcomes[w.ref] for w in writes]


def results(outcomes: list[Outcome]) -> list[Result]:
    return [o.result for o in outcomes]


def held(sink: FhirServer, write: Write) -> Held:
    return sink.find([write.ref], bodies=True)[write.ref]
