"""The FHIR sink, where a server answers 500: a resource's fault, or the server's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sinks.fhir.server import FhirServer
from tests.sinks.fake_hapi import FakeHapi, says, works
from tsi_fetch.errors import TryAgain
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.words import Json, Mark, Outcome, Ref, Result, Write, WriteAction

Make = Callable[..., FhirServer]
DOWN = says(500, "HAPI-0389: could not extend file: No space left on device")


def permit() -> None:
    """Always."""


def org(ident: str, version: str | None = None, **members: Json) -> Write:
    body = dump({"resourceType": "Organization", "id": ident, **members})
    return Write(Ref("Organization", ident), WriteAction.PUT, version, body)


def poison(ident: str) -> Write:
    return org(ident, name="Jane Roe\0")


def write(sink: FhirServer, *writes: Write) -> dict[str, Outcome]:
    outcomes = [o for some in sink.write(writes, permit) for o in some]
    assert sorted(o.ref for o in outcomes) == sorted(w.ref for w in writes)
    return {o.ref.id: o for o in outcomes}


def results(outcomes: dict[str, Outcome]) -> dict[str, Result]:
    return {ident: o.result for ident, o in outcomes.items()}


def proofs(hapi: FakeHapi) -> list[str]:
    return [ref for ref in hapi.sent() if ref.startswith("Device/")]


def test_a_deterministic_500_is_narrowed_down_and_shows_no_value(server: Make, hapi_in_memory: FakeHapi) -> None:
    outcomes = write(server(), org("a"), poison("b"), org("c"))
    assert results(outcomes) == {"a": Result.CREATED, "b": Result.REFUSED, "c": Result.CREATED}
    fault = outcomes["b"].fault
    assert fault is not None
    assert fault.code == "hapi-0389"
    assert "Jane" not in fault.rule
    assert proofs(hapi_in_memory) == []  # the others prove that the server is well


def test_a_single_resource_that_gets_500_is_refused_once_the_server_has_stored_something_else(
    server: Make, hapi_in_memory: FakeHapi
) -> None:
    sink = server()
    assert results(write(sink, poison("b"))) == {"b": Result.REFUSED}
    assert hapi_in_memory.sent() == ["Organization/b"] * 2 + [proof(hapi_in_memory), "Organization/b"]


def proof(hapi: FakeHapi) -> str:
    [device] = set(proofs(hapi))
    return device


def test_a_full_bundle_of_500s_is_quarantined_with_two_proofs_at_most(server: Make, hapi_in_memory: FakeHapi) -> None:
    outcomes = write(server(), *(poison(f"p{n}") for n in range(40)))
    assert set(results(outcomes).values()) == {Result.REFUSED}
    assert len(proofs(hapi_in_memory)) == 2


def test_a_500_that_does_not_come_again_blames_nobody(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.faults = [says(500, "HAPI-0389: connection is not available")]
    assert results(write(server(), org("a"), org("b"))) == {"a": Result.CREATED, "b": Result.CREATED}


@pytest.mark.parametrize("count", [1, 2, 3, 100])
def test_a_server_that_answers_500_to_everything_blames_nobody_and_is_soon_left_alone(
    server: Make, hapi_in_memory: FakeHapi, count: int
) -> None:
    hapi_in_memory.faults = [DOWN] * 300
    with pytest.raises(TryAgain, match="500 to everything"):
        write(server(), *(org(f"o{n}") for n in range(count)))
    assert len(hapi_in_memory.requests) <= 8


def test_a_full_server_that_takes_what_it_has_and_refuses_what_is_new_blames_nobody(
    server: Make, hapi_in_memory: FakeHapi
) -> None:
    hapi_in_memory.put("Organization/same")
    hapi_in_memory.full = True
    with pytest.raises(TryAgain, match="500 to everything"):
        write(server(), org("same", "1"), org("a"), org("b"))


def test_a_server_that_is_down_for_a_moment_blames_nobody(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.faults = [DOWN] * 4  # the bundle twice, each half; then the proof is taken, and the resources are
    assert results(write(server(), org("a"), org("b"))) == {"a": Result.CREATED, "b": Result.CREATED}


def test_a_server_that_stores_but_no_device_blames_nobody(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.faults = [works, works, says(400, "HAPI-0302: Unknown resource type 'Device'")]
    with pytest.raises(TryAgain, match="does not prove"):
        write(server(), poison("a"))


def test_a_proof_has_another_content_each_time(server: Make, hapi_in_memory: FakeHapi) -> None:
    sink = server()
    write(sink, poison("a"))
    write(sink, poison("b"))
    versions = hapi_in_memory.resources[proof(hapi_in_memory)]
    assert len(versions) == 2
    assert versions[0].resource != versions[1].resource


def test_the_marker_is_not_blamed_for_a_server_that_is_down(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.faults = [DOWN] * 10
    with pytest.raises(TryAgain):
        server().move_mark("tsi-fetch-ab12cd34-cima", Mark("run-1", 1), permit)


def test_three_hundred_with_one_poisoned_take_few_round_trips(server: Make, hapi_in_memory: FakeHapi) -> None:
    writes = [org(f"o{n}", active="dunno" if n == 157 else True) for n in range(300)]
    outcomes = write(server(), *writes)
    assert list(results(outcomes).values()).count(Result.CREATED) == 299
    assert outcomes["o157"].result is Result.REFUSED
    assert len(hapi_in_memory.writes()) <= 3 + 2 * 7  # three bundles, and halves down to one of a hundred


@pytest.mark.parametrize("culprit", [0, 49, 50, 99])
@pytest.mark.parametrize("members", [{"active": "dunno"}, {"name": "\0"}])
def test_one_culprit_of_a_hundred_is_found_wherever_it_stands(
    server: Make, hapi_in_memory: FakeHapi, culprit: int, members: Json
) -> None:
    outcomes = write(server(), *(org(f"o{n}", **(members if n == culprit else {})) for n in range(100)))
    assert [i for i, o in outcomes.items() if o.result is not Result.CREATED] == [f"o{culprit}"]
    assert len(hapi_in_memory.writes()) <= 1 + 2 * 7 + 3  # a 500: once more at both ends, and a proof
