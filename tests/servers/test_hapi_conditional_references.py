"""References that the server is to resolve by a search: what it says where that finds none, or several."""

from __future__ import annotations

import pytest

from sinks.fhir.server import FhirServer
from tests.servers.conversation import Fhir, Ids, entry, org, ref, verdict, words
from tests.servers.sink_writes import a_put, results, write
from tsi_fetch.words import Json, Result

pytestmark = pytest.mark.servers

SYSTEM = "http://t.invalid/conditional"


def named(ident: str, value: str) -> Json:
    return org(ident, identifier=[{"system": SYSTEM, "value": value}])


def searching(ident: str, value: str) -> Json:
    return org(ident, partOf={"reference": f"Organization?identifier={SYSTEM}|{value}"})


def test_a_conditional_reference_that_finds_nothing_is_404_and_nothing_is_written(fhir: Fhir, ids: Ids) -> None:
    answer = fhir.transact(entry(org(ids("a")), "0"), entry(searching(ids("b"), ids("none")), "0"))
    assert verdict(answer) == (404, "HAPI-1091")
    assert words(answer).startswith('HAPI-1091: Invalid match URL "Organization?identifier=')
    assert fhir.get(f"Organization/{ids('a')}").status_code == 404


def test_a_conditional_reference_that_finds_several_is_412(fhir: Fhir, ids: Ids) -> None:
    fhir.transact(entry(named(ids("x"), ids("same")), "0"), entry(named(ids("y"), ids("same")), "0"))
    answer = fhir.transact(entry(org(ids("a")), "0"), entry(searching(ids("b"), ids("same")), "0"))
    assert verdict(answer) == (412, "HAPI-2207")
    assert fhir.get(f"Organization/{ids('a')}").status_code == 404


def test_a_conditional_reference_that_finds_one_is_resolved(fhir: Fhir, ids: Ids) -> None:
    fhir.put(named(ids("x"), ids("one")))
    assert fhir.transact(entry(searching(ids("b"), ids("one")), "0")).status_code == 200
    assert fhir.read(ref(org(ids("b"))))["partOf"]["reference"] == f"Organization/{ids('x')}"


def test_our_sink_refuses_what_refers_to_nothing_or_to_several_and_writes_the_rest(
    sink: FhirServer, fhir: Fhir, ids: Ids
) -> None:
    fhir.transact(entry(named(ids("x"), ids("same")), "0"), entry(named(ids("y"), ids("same")), "0"))
    wanted = [
        org(ids("a")),
        searching(ids("b"), ids("none")),
        org(ids("c")),
        searching(ids("d"), ids("same")),
        org(ids("e")),
    ]
    outcomes = write(sink, *(a_put(r) for r in wanted))
    created, refused = Result.CREATED, Result.REFUSED
    assert results(outcomes) == [created, refused, created, refused, created]
    assert [o.fault.code for o in outcomes if o.fault] == ["hapi-1091", "hapi-2207"]
    assert not any(SYSTEM in o.fault.rule for o in outcomes if o.fault)
