"""The FHIR sink's deletions, where one of them fails every time."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from sinks.fhir.server import FhirServer
from tests.sinks.fake_hapi import FakeHapi, answer, content_of, outcome, says, works
from tsi_fetch.errors import TryAgain
from tsi_fetch.words import Outcome, Ref, Result, Write, WriteAction

Make = Callable[..., FhirServer]
BOOM = "HAPI-0389: Failed to call access method: could not execute batch"


def permit() -> None:
    """Always."""


def gone(ident: str, version: str = "1") -> Write:
    return Write(Ref("Organization", ident), WriteAction.DELETE, version)


def filled(hapi: FakeHapi, *idents: str) -> None:
    for ident in idents:
        hapi.put(f"Organization/{ident}")


def poisoned(hapi: FakeHapi, culprit: str, status: int, words: str) -> httpx.MockTransport:
    """Each transaction that deletes the culprit gets this answer."""

    def handle(request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and not request.url.path.endswith("_search"):
            refs = [e["request"]["url"] for e in content_of(request)["entry"]]
            if f"Organization/{culprit}" in refs:
                return outcome(status, words)
        return hapi.handle(request)

    return httpx.MockTransport(handle)


def delete(sink: FhirServer, *idents: str) -> dict[str, Outcome]:
    outcomes = [o for some in sink.write([gone(i) for i in idents], permit) for o in some]
    assert sorted(o.ref.id for o in outcomes) == sorted(idents)
    return {o.ref.id: o for o in outcomes}


@pytest.mark.parametrize(("status", "words"), [(500, BOOM), (409, "HAPI-0824: a unique index"), (422, "HAPI-0999: no")])
@pytest.mark.parametrize("entries", [1, 100])
@pytest.mark.parametrize("culprit", ["a", "b", "c"])
def test_one_deletion_that_fails_every_time_is_refused_and_the_others_go(
    server: Make, hapi_in_memory: FakeHapi, culprit: str, entries: int, status: int, words: str
) -> None:
    filled(hapi_in_memory, *"abc")
    sink = server(entries=entries, transport=poisoned(hapi_in_memory, culprit, status, words))
    outcomes = delete(sink, *"abc")
    assert {i for i, o in outcomes.items() if o.result is Result.DELETED} == set("abc") - {culprit}
    fault = outcomes[culprit].fault
    assert outcomes[culprit].result is Result.REFUSED
    assert fault is not None
    assert fault.code == f"hapi-{words[5:9]}"


def test_a_server_that_answers_500_to_every_deletion_blames_nobody(server: Make, hapi_in_memory: FakeHapi) -> None:
    filled(hapi_in_memory, *"abc")
    hapi_in_memory.faults = [works] + [says(500, BOOM)] * 50
    with pytest.raises(TryAgain, match="500 to everything"):
        delete(server(), *"abc")


def test_a_full_server_that_acknowledges_what_is_gone_already_blames_nobody(
    server: Make, hapi_in_memory: FakeHapi
) -> None:
    filled(hapi_in_memory, *"ab")
    hapi_in_memory.delete("Organization/b")
    hapi_in_memory.full = True
    with pytest.raises(TryAgain, match="500 to everything"):
        delete(server(), *"abc")


def test_what_was_deleted_is_told_before_anything_is_raised(server: Make, hapi_in_memory: FakeHapi) -> None:
    filled(hapi_in_memory, *"abcd")
    hapi_in_memory.faults = [works, says(422, "HAPI-0999: no"), works, *[answer(503)] * 50]
    seen: list[Outcome] = []
    batches = server().write([gone(i) for i in "abcd"], permit)
    with pytest.raises(TryAgain, match="503"):
        seen.extend(o for some in batches for o in some)
    assert [(o.ref.id, o.result) for o in seen] == [("a", Result.DELETED), ("b", Result.DELETED)]


def test_a_target_whose_referrer_cannot_go_is_kept_and_named(server: Make, hapi_in_memory: FakeHapi) -> None:
    filled(hapi_in_memory, "whole", "free")
    hapi_in_memory.put("Organization/part", partOf={"reference": "Organization/whole"})
    sink = server(transport=poisoned(hapi_in_memory, "part", 500, BOOM))
    outcomes = delete(sink, "whole", "part", "free")
    told = {i: o.result for i, o in outcomes.items()}
    assert told == {"whole": Result.REFERRED, "part": Result.REFUSED, "free": Result.DELETED}
