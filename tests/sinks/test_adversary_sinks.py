"""The FHIR sink, attacked: two kinds of culprits in one bundle, a product that returns over its tombstones."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from sinks.fhir.server import FhirServer
from tests.sinks.fake_hapi import FakeHapi
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.words import Json, Outcome, Ref, Result, Write, WriteAction

Make = Callable[..., FhirServer]


def permit() -> None:
    """Always."""


def org(ident: str, version: str | None = None, **members: Json) -> Write:
    body = dump({"resourceType": "Organization", "id": ident, **members})
    return Write(Ref("Organization", ident), WriteAction.PUT, version, body)


def write(sink: FhirServer, *writes: Write) -> dict[str, Outcome]:
    return {o.ref.id: o for some in sink.write(writes, permit) for o in some}


def results(outcomes: dict[str, Outcome]) -> dict[str, Result]:
    return {ident: o.result for ident, o in outcomes.items()}


def test_a_deterministic_500_beside_what_waits_for_it_does_not_stop_the_job_for_good(
    server: Make, hapi_in_memory: FakeHapi
) -> None:
    broken = org("a", name="nul \0")
    outcomes = write(server(), broken, org("b", partOf={"reference": "Organization/a"}))
    assert results(outcomes) == {"a": Result.REFUSED, "b": Result.MISSING}


def test_what_is_held_back_with_a_tombstone_of_its_own_says_so(server: Make, hapi_in_memory: FakeHapi) -> None:
    for ident in "ab":
        hapi_in_memory.put(f"Organization/{ident}")
        hapi_in_memory.delete(f"Organization/{ident}")
    hapi_in_memory.delete("Organization/a")  # its version is another than believed
    outcomes = write(server(), org("a", "2"), org("b", "2", partOf={"reference": "Organization/a"}))
    assert results(outcomes) == {"a": Result.STALE, "b": Result.STALE}
    held = outcomes["b"].held
    assert held is not None
    assert (held.version, held.deleted) == ("2", True)


def test_a_long_chain_of_tombstones_is_told_at_once(server: Make, hapi_in_memory: FakeHapi) -> None:
    """A server restored to a night in which a product was gone: told one link at a time, the end of the chain was
    given up as contended before its turn came."""
    chain = "abcdef"
    for ident in chain:
        hapi_in_memory.put(f"Organization/{ident}")
        hapi_in_memory.delete(f"Organization/{ident}")
    links = [org(one, partOf={"reference": f"Organization/{other}"}) for other, one in pairwise(chain)]
    outcomes = write(server(entries=2), org("a"), *links)
    assert results(outcomes) == dict.fromkeys(chain, Result.STALE)
    assert {o.held and (o.held.version, o.held.deleted) for o in outcomes.values()} == {("2", True)}


def test_two_deterministic_500s_alone_do_not_stop_the_job_for_good(server: Make, hapi_in_memory: FakeHapi) -> None:
    outcomes = write(server(), org("a", name="nul \0"), org("b", name="nul \0"))
    assert results(outcomes) == {"a": Result.REFUSED, "b": Result.REFUSED}
