"""What the real servers make of references, and the words in which they name what is missing."""

from __future__ import annotations

import re

import pytest

from tests.servers.conversation import (
    NO_CHANGE,
    Fhir,
    Ids,
    entry,
    observed,
    org,
    outcomes,
    part_of,
    ref,
    removal,
    statuses,
    verdict,
    words,
)
from tsi_fetch.words import Json

pytestmark = pytest.mark.servers

MISSING = "HAPI-1094: Resource {} not found, specified in path: {}"
DELETED = "HAPI-1096: Resource {} is deleted, specified in path: {}"


def endpoint(ident: str) -> Json:
    return {"reference": f"Endpoint/{ident}"}


def test_a_missing_target_is_named_with_the_path(fhir: Fhir, ids: Ids) -> None:
    said = MISSING.format(f"Organization/{ids('b')}", "Organization.partOf")
    assert words(fhir.put(part_of(ids("a"), ids("b")))) == said
    answer = fhir.transact(entry(org(ids("c")), "0"), entry(part_of(ids("a"), ids("b")), "0"))
    assert (answer.status_code, words(answer)) == (400, said)
    assert fhir.get(f"Organization/{ids('c')}").status_code == 404


def test_a_deleted_target_is_named_with_the_path(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids("b")))
    fhir.delete(ref(org(ids("b"))))
    said = DELETED.format(f"Organization/{ids('b')}", "Organization.partOf")
    assert words(fhir.put(part_of(ids("a"), ids("b")))) == said
    answer = fhir.transact(entry(part_of(ids("a"), ids("b")), "0"))
    assert (answer.status_code, words(answer)) == (400, said)


def test_of_two_missing_targets_one_is_named_whichever(fhir: Fhir, ids: Ids) -> None:
    twice = org(ids("a"), partOf={"reference": f"Organization/{ids('b')}"}, endpoint=[endpoint(ids("e"))])
    said = words(fhir.transact(entry(twice, "0")))
    assert said in (
        MISSING.format(f"Organization/{ids('b')}", "Organization.partOf"),
        MISSING.format(f"Endpoint/{ids('e')}", "Organization.endpoint"),
    )
    said = words(fhir.transact(entry(part_of(ids("a"), ids("b")), "0"), entry(part_of(ids("c"), ids("d")), "0")))
    assert said in [MISSING.format(f"Organization/{ids(n)}", "Organization.partOf") for n in "bd"]


def test_a_missing_target_is_named_without_the_version_that_was_asked_for(fhir: Fhir, ids: Ids) -> None:
    said = words(fhir.transact(entry(part_of(ids("a"), f"Organization/{ids('b')}/_history/3"), "0")))
    assert said == MISSING.format(f"Organization/{ids('b')}", "Organization.partOf")


def test_a_reference_that_no_search_parameter_indexes_is_not_checked(fhir: Fhir, ids: Ids) -> None:
    nowhere = {"reference": f"Organization/{ids('nowhere')}"}
    issued = org(ids("a"), qualification=[{"code": {"text": "x"}, "issuer": nowhere}])
    extended = org(ids("b"), extension=[{"url": "http://x.invalid/e", "valueReference": nowhere}])
    contained = org(ids("c"), contained=[part_of("in", ids("nowhere"))], partOf={"reference": "#in"})
    answer = fhir.transact(entry(issued, "0"), entry(extended, "0"), entry(contained, "0"))
    assert statuses(answer) == ["201", "201", "201"]


def test_what_only_an_unindexed_reference_holds_can_be_deleted(fhir: Fhir, ids: Ids) -> None:
    issuer = {"reference": f"Organization/{ids('b')}"}
    fhir.transact(entry(org(ids("a"), qualification=[{"code": {"text": "x"}, "issuer": issuer}])), entry(org(ids("b"))))
    assert statuses(fhir.transact(removal(org(ids("b"))))) == ["204"]


@pytest.mark.parametrize("kind", ["Patient", "Nonsense"])
def test_a_target_of_the_wrong_type_is_refused(fhir: Fhir, ids: Ids, kind: str) -> None:
    wrong = part_of(ids("a"), f"{kind}/{ids('b')}")
    assert verdict(fhir.put(wrong)) == (422, "HAPI-0931")
    assert verdict(fhir.transact(entry(wrong, "0"))) == (422, "HAPI-0931")


def test_an_unresolved_urn_is_refused(fhir: Fhir, ids: Ids) -> None:
    urn = org(ids("a"), partOf={"reference": "urn:uuid:9d1b2c1e-7a55-4c1c-8d39-0d1b3b1f7d10"})
    assert verdict(fhir.put(urn)) == (400, "HAPI-0505")
    assert verdict(fhir.transact(entry(urn, "0"))) == (400, "HAPI-0541")


def test_absolute_addresses_of_other_servers_are_kept(fhir: Fhir, ids: Ids) -> None:
    fhir.put(part_of(ids("a"), "http://other.invalid/fhir/Organization/x"))
    assert fhir.read(ref(org(ids("a"))))["partOf"] == {"reference": "http://other.invalid/fhir/Organization/x"}


def test_the_servers_own_address_is_made_relative_and_yet_not_checked(fhir: Fhir, ids: Ids) -> None:
    written = fhir.transact(entry(part_of(ids("a"), f"{fhir.url}/Organization/{ids('b')}"), "0"))
    assert statuses(written) == ["201"]
    assert fhir.read(ref(org(ids("a"))))["partOf"] == {"reference": f"Organization/{ids('b')}"}
    fhir.put(org(ids("b")))
    assert statuses(fhir.transact(removal(org(ids("b"))))) == ["204"]


def test_a_version_in_a_reference_is_dropped(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids("b")))
    versioned = part_of(ids("a"), f"Organization/{ids('b')}/_history/1")
    fhir.put(versioned)
    assert fhir.read(ref(versioned))["partOf"] == {"reference": f"Organization/{ids('b')}"}
    assert outcomes(fhir.transact(entry(part_of(ids("a"), ids("b")), "1"))) == [NO_CHANGE]


def test_a_resource_that_refers_to_itself_is_created_in_a_transaction_only(fhir: Fhir, ids: Ids) -> None:
    own = part_of(ids("a"), ids("a"))
    assert verdict(fhir.put(own)) == (400, "HAPI-1094")
    assert statuses(fhir.transact(entry(own, "0"))) == ["201"]


def test_forward_references_and_circles_are_fine_inside_one_transaction(fhir: Fhir, ids: Ids) -> None:
    forward = fhir.transact(entry(part_of(ids("a"), ids("b")), "0"), entry(org(ids("b")), "0"))
    assert statuses(forward) == ["201", "201"]
    names = "xyz"
    ring = [part_of(ids(n), ids(names[(k + 1) % 3])) for k, n in enumerate(names)]
    assert statuses(fhir.transact(*(entry(r, "0") for r in ring))) == ["201", "201", "201"]


def test_a_logical_reference_needs_no_target(fhir: Fhir, ids: Ids) -> None:
    logical = org(ids("a"), partOf={"identifier": {"system": "http://t.invalid", "value": "q"}})
    assert statuses(fhir.transact(entry(logical, "0"))) == ["201"]


def test_the_path_of_a_missing_target_is_some_search_parameters_perhaps_with_a_filter(fhir: Fhir, ids: Ids) -> None:
    said = words(fhir.put(observed(ids("a"), subject={"reference": f"Patient/{ids('b')}"})))
    path = "Observation.subject"
    both = [MISSING.format(f"Patient/{ids('b')}", p) for p in (path, f"{path}.where(resolve() is Patient)")]
    assert said in both


def test_the_words_for_a_missing_target_can_be_read_by_one_pattern(fhir: Fhir, ids: Ids) -> None:
    pattern = re.compile(r"^HAPI-109[46]: Resource ([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64}) (?:not found|is deleted),")
    target = ids("A.b-").ljust(64, "9")
    found = pattern.match(words(fhir.transact(entry(part_of(ids("a"), target), "0"))))
    assert found is not None
    assert found.groups() == ("Organization", target)
