"""The FHIR sink and resources that refer to each other: what travels together, and who is blamed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import httpx
import pytest

from sinks.fhir import bundles
from sinks.fhir.server import FhirServer
from tests.sinks.disturbed_hapi import DisturbedHapi
from tests.sinks.fake_hapi import FakeHapi, content_of, outcome
from tsi_fetch.decide import Policy, decide
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.words import Fault, Held, Json, Known, Outcome, Ref, Result, State, Upsert, Write, WriteAction

Make = Callable[..., FhirServer]


def permit() -> None:
    """Always."""


def org(ident: str, version: str | None = None, revives: bool = False, **members: Json) -> Write:
    ref = Ref("Organization", ident)
    return Write(ref, WriteAction.PUT, version, dump({"resourceType": ref.type, "id": ident, **members}), revives)


def part_of(ident: str, whole: str, version: str | None = None, **members: Json) -> Write:
    return org(ident, version, partOf={"reference": f"Organization/{whole}"}, **members)


def ring(names: Sequence[str], version: str | None = None, **of: Json) -> list[Write]:
    """Each part of the next, the last of the first; `of`: more members, by name."""
    return [part_of(n, names[(k + 1) % len(names)], version, **of.get(n, {})) for k, n in enumerate(names)]


def write(sink: FhirServer, *writes: Write) -> dict[str, Outcome]:
    outcomes = [o for some in sink.write(writes, permit) for o in some]
    assert sorted(o.ref for o in outcomes) == sorted(w.ref for w in writes)
    return {o.ref.id: o for o in outcomes}


def results(outcomes: dict[str, Outcome]) -> dict[str, Result]:
    return {ident: o.result for ident, o in outcomes.items()}


def fault(outcomes: dict[str, Outcome], ident: str) -> Fault:
    found = outcomes[ident].fault
    assert found is not None
    return found


@pytest.mark.parametrize("culprit", ["o0", "o30", "o59"])
@pytest.mark.parametrize("members", [{"active": "dunno"}, {"name": "\0"}])
def test_one_bad_member_of_a_circle_that_is_there_is_refused_alone(
    server: Make, hapi_in_memory: FakeHapi, culprit: str, members: Json
) -> None:
    names = [f"o{n}" for n in range(60)]
    sink = server()
    write(sink, *ring(names))
    outcomes = write(sink, *ring(names, "1", **{n: members if n == culprit else {"name": "new"} for n in names}))
    assert Counter(results(outcomes).values()) == {Result.UPDATED: 59, Result.REFUSED: 1}
    assert outcomes[culprit].result is Result.REFUSED


def test_a_circle_of_which_all_is_there_keeps_to_the_limits(server: Make, hapi_in_memory: FakeHapi) -> None:
    sink = server(entries=2)
    write(sink, *ring("abcde"))
    assert [len(refs) for refs in hapi_in_memory.transactions] == [5]
    write(sink, *ring("abcde", "1", **{n: {"name": "new"} for n in "abcde"}))
    assert sorted(len(refs) for refs in hapi_in_memory.transactions[1:]) == [1, 2, 2]


def test_a_circle_with_one_that_comes_back_travels_together(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.put("Organization/a")
    hapi_in_memory.delete("Organization/a")
    for other in "bc":
        hapi_in_memory.put(f"Organization/{other}")
    back = org("a", "2", revives=True, partOf={"reference": "Organization/b"})
    outcomes = write(server(entries=1), back, part_of("b", "c", "1"), part_of("c", "a", "1"))
    assert results(outcomes) == {"a": Result.CREATED, "b": Result.UPDATED, "c": Result.UPDATED}
    assert [sorted(refs) for refs in hapi_in_memory.transactions] == [[f"Organization/{n}" for n in "abc"]]


@pytest.mark.parametrize("culprit", ["a", "b", "c"])
def test_a_new_circle_is_refused_whole_and_names_the_member_that_is_at_fault(
    server: Make, hapi_in_memory: FakeHapi, culprit: str
) -> None:
    outcomes = write(server(), *ring("abc", **{culprit: {"active": "dunno"}}), org("free"))
    assert results(outcomes) == {**dict.fromkeys("abc", Result.REFUSED), "free": Result.CREATED}
    own = fault(outcomes, culprit)
    assert (own.code, own.path) == ("hapi-0450", "active")
    for other in {"a", "b", "c"} - {culprit}:
        assert fault(outcomes, other).rule == f"Organization/{culprit}, of its circle, is refused: {own.rule}"
        assert fault(outcomes, other).path == ""


def test_two_members_at_fault_have_each_a_reason_of_their_own(server: Make) -> None:
    both = ring("abc", a={"active": "dunno"}, b={"active": "perhaps"})
    outcomes = write(server(), *both)
    assert (fault(outcomes, "a").path, fault(outcomes, "b").path, fault(outcomes, "c").path) == ("active", "active", "")


def test_a_member_at_fault_by_a_500_is_named_once_the_server_has_proved_itself(server: Make) -> None:
    outcomes = write(server(), *ring("abc", b={"name": "Jane Roe\0"}), org("free"))
    assert results(outcomes) == {**dict.fromkeys("abc", Result.REFUSED), "free": Result.CREATED}
    assert fault(outcomes, "a").rule.startswith("Organization/b, of its circle, is refused: ")
    assert "Jane" not in str(outcomes)


def test_a_circle_that_is_refused_only_as_a_whole_says_so(server: Make, hapi_in_memory: FakeHapi) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and len(content_of(request)["entry"]) > 1:
            return outcome(422, "HAPI-0999: too much")
        return hapi_in_memory.handle(request)

    outcomes = write(server(transport=httpx.MockTransport(handle)), *ring("abc"))
    assert {o.fault for o in outcomes.values()} == {
        Fault("hapi-0999", "", "one of its circle of 3 is refused, and which is not said: HAPI-0999: too much")
    }


def test_a_member_that_is_stale_besides_is_decided_anew(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.put("Organization/b", name="theirs")
    outcomes = write(server(), *ring("abc", a={"active": "dunno"}))
    assert results(outcomes) == {"a": Result.REFUSED, "b": Result.STALE, "c": Result.REFUSED}


def test_what_comes_back_is_created_for_what_refers_to_it() -> None:
    assert [bundles.creates(w) for w in (org("a"), org("a", "2", revives=True), org("a", "1"))] == [True, True, False]
    assert bundles.creates(Write(Ref("Organization", "a"), WriteAction.DELETE, None)) is False


@pytest.mark.parametrize(
    ("remembered", "held", "expected"),
    [
        (None, None, True),
        (State.DELETED, None, True),
        (None, Held(Ref("Organization", "a"), "3", deleted=True), True),
        (State.LIVE, None, False),
        (State.RETIRED, None, False),
    ],
)
def test_what_is_decided_says_whether_it_comes_into_being(
    remembered: State | None, held: Held | None, expected: bool
) -> None:
    ref = Ref("Organization", "a")
    known = Known(ref, "cima", bytes(16), "3", 1, 1, remembered) if remembered else None
    body = org("a", name="new").body or b""
    decision = decide(Upsert(ref, body, "s", 2), known, held, Policy("cima", 1))
    assert bundles.creates(decision.write) is expected


def test_what_refers_to_a_resource_is_not_in_flight_beside_its_return(server: Make) -> None:
    hapi = DisturbedHapi(linger=True)
    hapi.put("Organization/x")
    hapi.delete("Organization/x")
    sink = server(transport=hapi.transport(), writers=2)
    calls = [sink.write([w], permit) for w in (part_of("a", "x"), org("x", "2", revives=True))]
    found = [o.result for call in calls for some in call for o in some]
    assert found == [Result.MISSING, Result.CREATED]
    assert [flaw for flaw in hapi.flaws if "in flight" in flaw] == []
