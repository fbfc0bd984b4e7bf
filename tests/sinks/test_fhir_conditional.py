"""The FHIR sink, where a refusal has the status of something else: 404, 410, 412 and conflicts of unknown kinds."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from sinks.fhir.server import FhirServer
from tests.sinks.fake_hapi import FakeHapi, answer, content_of, outcome, says
from tsi_fetch.errors import SettingError, TryAgain
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.words import Json, Outcome, Ref, Result, Write, WriteAction

Make = Callable[..., FhirServer]

NONE = 'HAPI-1091: Invalid match URL "Organization?identifier=http://x|nope" - No resources match this search'
SEVERAL = "HAPI-2207: Multiple resources match this search"
UNIQUE = "HAPI-0550: HAPI-0824: The operation has failed with a unique index constraint failure"
GONE = "HAPI-0417: Search is gone"


def permit() -> None:
    """Always."""


def org(ident: str, version: str | None = None, **members: Json) -> Write:
    body = dump({"resourceType": "Organization", "id": ident, **members})
    return Write(Ref("Organization", ident), WriteAction.PUT, version, body)


def write(sink: FhirServer, *writes: Write) -> dict[str, Outcome]:
    outcomes = [o for some in sink.write(writes, permit) for o in some]
    assert sorted(o.ref for o in outcomes) == sorted(w.ref for w in writes)
    return {o.ref.id: o for o in outcomes}


def results(outcomes: dict[str, Outcome]) -> dict[str, Result]:
    return {ident: o.result for ident, o in outcomes.items()}


class Spoilt:
    """Before the server: each transaction that holds a `culprit` gets this answer."""

    def __init__(self, hapi: FakeHapi, status: int, words: str, *culprits: str) -> None:
        self._hapi, self._culprits = hapi, {f"Organization/{c}" for c in culprits}
        self._answer = outcome(status, words)
        self.asked: list[list[str]] = []

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._handle)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and not request.url.path.endswith("_search"):
            refs = [e["request"]["url"] for e in content_of(request)["entry"]]
            self.asked.append(refs)
            if self._culprits & set(refs):
                return self._answer
        return self._hapi.handle(request)


@pytest.mark.parametrize(
    ("status", "words", "code"),
    [
        (404, NONE, "hapi-1091"),
        (410, GONE, "hapi-0417"),
        (412, SEVERAL, "hapi-2207"),
        (409, UNIQUE, "hapi-0550"),
        (409, "no code at all", "fhir-409"),
    ],
)
@pytest.mark.parametrize("culprit", ["o0", "o4", "o9"])
def test_the_resource_at_fault_is_refused_with_the_servers_words_and_the_rest_is_written(
    server: Make, hapi_in_memory: FakeHapi, status: int, words: str, code: str, culprit: str
) -> None:
    spoilt = Spoilt(hapi_in_memory, status, words, culprit)
    outcomes = write(server(transport=spoilt.transport()), *(org(f"o{n}") for n in range(10)))
    assert [i for i, o in outcomes.items() if o.result is not Result.CREATED] == [culprit]
    fault = outcomes[culprit].fault
    assert (outcomes[culprit].result, fault and fault.code) == (Result.REFUSED, code)
    assert "http://x" not in (fault.rule if fault else "")


def test_a_server_that_answers_404_in_fhirs_words_to_everything_is_a_wrong_setting_and_blames_nobody(
    server: Make, hapi_in_memory: FakeHapi
) -> None:
    hapi_in_memory.faults = [says(404, "HAPI-0302: Unknown resource type")] * 300
    with pytest.raises(SettingError, match="takes no transactions"):
        write(server(), *(org(f"o{n}") for n in range(100)))
    assert len(hapi_in_memory.requests) <= 8


def test_a_404_that_is_not_fhir_is_a_wrong_setting(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.faults = [answer(404, json={"status": 404})]
    with pytest.raises(SettingError, match="no FHIR server"):
        write(server(), org("a"))


def test_a_412_that_says_edit_conflict_is_a_stale_version(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.put("Organization/a", name="theirs")
    issue = {"severity": "error", "code": "conflict", "diagnostics": "version 1 is not current"}
    hapi_in_memory.faults = [answer(412, json={"resourceType": "OperationOutcome", "issue": [issue]})]
    assert results(write(server(), org("a"), org("b"))) == {"a": Result.STALE, "b": Result.CREATED}


def test_a_conflict_that_nothing_explains_is_sent_again_before_anybody_is_blamed(
    server: Make, hapi_in_memory: FakeHapi
) -> None:
    hapi_in_memory.faults = [says(409, UNIQUE)] * 7
    assert results(write(server(), org("a"), org("b"))) == {"a": Result.CREATED, "b": Result.CREATED}
    assert len(hapi_in_memory.writes()) == 8


def test_the_parts_of_a_bundle_in_conflict_are_sent_twice_and_no_more(server: Make, hapi_in_memory: FakeHapi) -> None:
    spoilt = Spoilt(hapi_in_memory, 409, UNIQUE, "o0")
    write(server(transport=spoilt.transport()), *(org(f"o{n}") for n in range(4)))
    assert [len(refs) for refs in spoilt.asked] == [4] * 8 + [2, 2, 1, 1, 1, 2]


@pytest.mark.parametrize(
    "words", ["HAPI-0550: HAPI-0823: x", "HAPI-0825: x", "HAPI-0550: x", "could not execute batch"]
)
def test_a_race_that_does_not_end_blames_nobody(server: Make, hapi_in_memory: FakeHapi, words: str) -> None:
    hapi_in_memory.faults = [says(409, words)] * 20
    with pytest.raises(TryAgain, match="409"):
        write(server(), org("a"), org("b"))
    assert len(hapi_in_memory.requests) == 8


def test_a_conflict_that_is_not_fhir_blames_nobody(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.faults = [answer(409, text="<html>")] * 20
    with pytest.raises(TryAgain, match="409"):
        write(server(), org("a"))
