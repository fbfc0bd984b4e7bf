"""Only what the server checks keeps a resource waiting: a reference elsewhere may lead to nothing."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from sinks.fhir.paths import CheckedPaths
from sinks.fhir.server import FhirServer
from tests.sinks.fake_hapi import BASE, FakeHapi, content_of, outcome
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.words import Json, Outcome, Ref, Result, Write, WriteAction

Make = Callable[..., FhirServer]
NONE = Ref("Organization", "none")


def permit() -> None:
    """Always."""


def put(kind: str, ident: str, **members: Json) -> Write:
    body = dump({"resourceType": kind, "id": ident, **members})
    return Write(Ref(kind, ident), WriteAction.PUT, None, body)


def org(ident: str, **members: Json) -> Write:
    return put("Organization", ident, **members)


def to(ref: Ref | str) -> Json:
    return {"reference": str(ref)}


def aside(ident: str, ref: Ref | str = NONE) -> Write:
    """Refers to it in an extension."""
    return org(ident, extension=[{"url": "u", "valueReference": to(ref)}])


def write(sink: FhirServer, *writes: Write) -> dict[str, Outcome]:
    outcomes = [o for some in sink.write(writes, permit) for o in some]
    assert sorted(o.ref for o in outcomes) == sorted(w.ref for w in writes)
    return {o.ref.id: o for o in outcomes}


def results(outcomes: dict[str, Outcome]) -> dict[str, Result]:
    return {ident: o.result for ident, o in outcomes.items()}


class Indexing:
    """Before the server: it checks the references in these elements, and no others."""

    def __init__(self, hapi: FakeHapi, *elements: str) -> None:
        self.hapi, self.elements = hapi, elements
        self.asked: list[list[str]] = []

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._handle)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("_search"):
            return self.hapi.handle(request)
        entries = content_of(request)["entry"]
        self.asked.append([e["request"]["url"].partition("/")[2] for e in entries])
        for entry in entries:
            for element in self.elements:
                kind, _, name = element.partition(".")
                there = entry["resource"].get(name) if entry["resource"]["resourceType"] == kind else None
                if there and self._lacks(there["reference"], entries):
                    words = f"HAPI-1094: Resource {there['reference']} not found, specified in path: {element}"
                    return outcome(400, words)
        done = [{"response": {"status": "201 Created", "etag": "1"}} for _ in entries]
        for entry in entries:
            self.hapi.put(entry["request"]["url"])
        return httpx.Response(200, json={"resourceType": "Bundle", "type": "transaction-response", "entry": done})

    def _lacks(self, ref: str, entries: list[Json]) -> bool:
        return self.hapi.live(ref) is None and ref not in {e["request"]["url"] for e in entries}


def test_what_refers_in_an_extension_does_not_wait_for_its_neighbours_target(
    server: Make, hapi_in_memory: FakeHapi
) -> None:
    indexing = Indexing(hapi_in_memory, "Organization.partOf")
    outcomes = write(server(transport=indexing.transport()), aside("a"), org("b", partOf=to(NONE)), org("c"))
    assert results(outcomes) == {"a": Result.CREATED, "b": Result.MISSING, "c": Result.CREATED}
    assert outcomes["b"].missing == (NONE,)
    assert len(indexing.asked) == 2


def test_what_refers_in_an_extension_to_what_waits_does_not_wait(server: Make, hapi_in_memory: FakeHapi) -> None:
    indexing = Indexing(hapi_in_memory, "Organization.partOf")
    outcomes = write(
        server(transport=indexing.transport()),
        org("b", partOf=to(NONE)),
        aside("a", "Organization/b"),
        org("c", partOf=to("Organization/b")),
    )
    assert results(outcomes) == {"a": Result.CREATED, "b": Result.MISSING, "c": Result.MISSING}


def test_another_path_that_is_checked_too_is_learnt_once_for_all_calls(server: Make, hapi_in_memory: FakeHapi) -> None:
    indexing = Indexing(hapi_in_memory, "Organization.partOf", "Substance.maker")
    sink = server(transport=indexing.transport())
    first = [org("a", partOf=to(NONE)), put("Substance", "s", maker=to(NONE)), org("c")]
    assert list(results(write(sink, *first)).values()).count(Result.MISSING) == 2
    assert len(indexing.asked) == 3
    indexing.asked.clear()
    again = [org("x", partOf=to(NONE)), put("Substance", "y", maker=to(NONE)), org("z")]
    assert list(results(write(sink, *again)).values()).count(Result.MISSING) == 2
    assert len(indexing.asked) == 2


def test_a_target_that_is_not_seen_at_the_path_named_keeps_all_that_refer_to_it(
    server: Make, hapi_in_memory: FakeHapi
) -> None:
    words = f"HAPI-1094: Resource {NONE} not found, specified in path: Organization.elsewhere"
    hapi_in_memory.faults = [lambda request: outcome(400, words)]
    assert results(write(server(), aside("a"), org("b"))) == {"a": Result.MISSING, "b": Result.CREATED}


@pytest.mark.parametrize(
    ("path", "members"),
    [
        ("Organization.partOf", {"partOf": to(NONE)}),
        ("Organization.partOf", {"partOf": to("Organization/none/_history/3")}),
        ("Organization.partOf.where(resolve() is Organization)", {"partOf": to(NONE)}),
        ("Organization.endpoint", {"endpoint": [to("Endpoint/x"), to(NONE)]}),
        ("Organization.qualification.issuer", {"qualification": [{"issuer": to("Endpoint/x")}, {"issuer": to(NONE)}]}),
        ("(Organization.value as Reference)", {"valueReference": to(NONE)}),
        ("Organization.value.ofType(Reference)", {"valueReference": to(NONE)}),
        ("Organization.item.reference", {"itemCodeableReference": {"reference": to(NONE)}}),
        ("Organization.item", {"itemCodeableReference": {"reference": to(NONE)}}),
        ("Resource.partOf", {"partOf": to(NONE)}),
        ("Organization", {"partOf": to(NONE)}),
    ],
)
def test_a_reference_is_found_where_the_path_leads(path: str, members: Json) -> None:
    paths = CheckedPaths()
    paths.learn(path)
    assert paths.checked(org("a", **members), {NONE}) == {NONE}


@pytest.mark.parametrize(
    ("path", "members"),
    [
        ("Organization.partOf", {"endpoint": to(NONE)}),
        ("Organization.partOf", {"extension": [{"valueReference": to(NONE)}]}),
        ("Organization.partOf", {"partOf": {"extension": [{"valueReference": to(NONE)}], **to("Organization/b")}}),
        ("Organization.partOf", {"partOf": to(f"{BASE}/{NONE}")}),
        ("Substance.partOf", {"partOf": to(NONE)}),
        ("Organization.partOf.deeper", {"partOf": to(NONE)}),
        ("Organization.partOf", {"partOf": [1, "x", None, {"reference": 5}]}),
        ("", {"partOf": to(NONE)}),
    ],
)
def test_a_reference_elsewhere_is_not(path: str, members: Json) -> None:
    paths = CheckedPaths()
    paths.learn(path)
    assert paths.checked(org("a", **members), {NONE}) == frozenset()


def test_a_body_that_is_not_json_refers_to_nothing() -> None:
    paths = CheckedPaths()
    paths.learn("Organization.partOf")
    assert paths.checked(Write(NONE, WriteAction.PUT, None, b"{"), {NONE}) == frozenset()
