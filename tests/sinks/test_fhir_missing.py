"""The FHIR sink, where what is written refers to something that is not there."""

from __future__ import annotations

from collections.abc import Callable

from sinks.fhir.server import FhirServer
from tests.sinks.fake_hapi import BASE, FakeHapi, says
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.words import Fault, Json, Outcome, Ref, Result, Write, WriteAction

Make = Callable[..., FhirServer]


def permit() -> None:
    """Always."""


def organization(ident: str) -> Ref:
    return Ref("Organization", ident)


def org(ident: str, version: str | None = None, **members: Json) -> Write:
    body = dump({"resourceType": "Organization", "id": ident, **members})
    return Write(organization(ident), WriteAction.PUT, version, body)


def part_of(ident: str, whole: str, version: str | None = None) -> Write:
    return org(ident, version, partOf={"reference": f"Organization/{whole}"})


def write(sink: FhirServer, *writes: Write) -> dict[str, Outcome]:
    outcomes = [o for some in sink.write(writes, permit) for o in some]
    assert sorted(o.ref for o in outcomes) == sorted(w.ref for w in writes)
    return {o.ref.id: o for o in outcomes}


def results(outcomes: dict[str, Outcome]) -> dict[str, Result]:
    return {ident: o.result for ident, o in outcomes.items()}


def test_what_refers_to_something_not_there_is_missing_it_and_the_rest_goes_at_once(
    server: Make, hapi_in_memory: FakeHapi
) -> None:
    outcomes = write(server(), org("b"), part_of("a", "none"), org("c"))
    assert results(outcomes) == {"a": Result.MISSING, "b": Result.CREATED, "c": Result.CREATED}
    assert outcomes["a"].missing == (organization("none"),)
    assert outcomes["a"].fault == Fault("hapi-1094", "Organization.partOf", "Organization/none is not there")
    assert len(hapi_in_memory.writes()) == 2


def test_a_deleted_target_is_missing_too(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.put("Organization/gone")
    hapi_in_memory.delete("Organization/gone")
    missing = write(server(), part_of("a", "gone"))["a"]
    assert (missing.result, missing.missing) == (Result.MISSING, (organization("gone"),))
    assert missing.fault == Fault("hapi-1096", "Organization.partOf", "Organization/gone was deleted")


def test_every_target_costs_one_round_trip_however_many_refer_to_it(server: Make, hapi_in_memory: FakeHapi) -> None:
    waiting = [part_of(f"w{n}", f"none{n % 4}") for n in range(40)]
    outcomes = write(server(), *waiting, *(org(f"o{n}") for n in range(60)))
    assert {outcomes[f"w{n}"].missing for n in range(40)} == {(organization(f"none{n}"),) for n in range(4)}
    assert sum(o.result is Result.CREATED for o in outcomes.values()) == 60
    assert len(hapi_in_memory.writes()) == 1 + 4


def test_what_refers_to_something_that_waits_waits_for_that(server: Make, hapi_in_memory: FakeHapi) -> None:
    outcomes = write(server(), part_of("c", "b"), part_of("b", "a"), part_of("a", "none"), org("x"))
    assert {i: o.missing for i, o in outcomes.items()} == {
        "a": (organization("none"),),
        "b": (organization("a"),),
        "c": (organization("b"),),
        "x": (),
    }
    assert len(hapi_in_memory.writes()) == 2


def test_what_refers_to_an_update_that_waits_goes(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.put("Organization/a")
    outcomes = write(server(), part_of("a", "none", "1"), part_of("b", "a"))
    assert results(outcomes) == {"a": Result.MISSING, "b": Result.CREATED}


def test_a_circle_waits_whole_for_all_that_it_misses(server: Make) -> None:
    outcomes = write(server(), part_of("a", "b"), org("b", partOf={"reference": "Organization/c"}, x=1), around("c"))
    assert set(results(outcomes).values()) == {Result.MISSING}
    assert {i: o.missing for i, o in outcomes.items()} == {
        "a": (organization("b"),),
        "b": (organization("c"),),
        "c": (organization("none"),),
    }


def test_what_is_new_does_not_wait_with_a_neighbour_of_its_circle_that_is_there(
    server: Make, hapi_in_memory: FakeHapi
) -> None:
    hapi_in_memory.put("Organization/b")
    both = [{"reference": "Organization/a"}, {"reference": "Organization/never"}]
    outcomes = write(server(), part_of("a", "b"), org("b", "1", endpoint=both))
    assert results(outcomes) == {"a": Result.CREATED, "b": Result.MISSING}


def around(ident: str) -> Write:
    """Closes the circle, and refers to something that is not there."""
    endpoints = [{"reference": "Organization/none"}]
    return org(ident, partOf={"reference": "Organization/a"}, endpoint=endpoints)


def test_references_in_contained_resources_and_extensions_are_read(server: Make, hapi_in_memory: FakeHapi) -> None:
    inner = org("a", contained=[{"resourceType": "Basic", "id": "x", "subject": {"reference": "Organization/none"}}])
    extended = org("b", extension=[{"url": "u", "valueReference": {"reference": "Organization/none"}}])
    outcomes = write(server(), inner, extended, org("c"))
    assert results(outcomes) == {"a": Result.MISSING, "b": Result.MISSING, "c": Result.CREATED}
    assert len(hapi_in_memory.writes()) == 3  # one for each path that is learnt


def test_a_target_that_no_body_shows_is_found_by_halves(server: Make) -> None:
    hidden = org("a", partOf={"reference": f"{BASE}/Organization/none"})
    outcomes = write(server(), *(org(f"o{n}") for n in range(7)), hidden)
    assert sum(o.result is Result.CREATED for o in outcomes.values()) == 7
    assert (outcomes["a"].result, outcomes["a"].missing) == (Result.MISSING, (organization("none"),))


def test_a_refusal_that_names_no_target_is_a_refusal(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.faults = [says(400, "HAPI-1094: Resource of another wording")] * 2
    outcomes = write(server(), org("a"))
    assert results(outcomes) == {"a": Result.REFUSED}


def test_what_a_later_bundle_misses_because_it_was_refused_is_missing(server: Make) -> None:
    outcomes = write(server(entries=1), org("a", active="dunno"), part_of("b", "a"), part_of("c", "b"))
    assert results(outcomes) == {"a": Result.REFUSED, "b": Result.MISSING, "c": Result.MISSING}
    assert outcomes["c"].missing == (organization("b"),)


def test_what_waited_goes_once_its_target_is_there(server: Make) -> None:
    sink = server()
    write(sink, part_of("a", "b"))
    assert results(write(sink, org("b"), part_of("a", "b"))) == {"a": Result.CREATED, "b": Result.CREATED}


def test_a_sink_of_this_kind_says_that_it_checks_references(server: Make) -> None:
    assert server().referential is True
