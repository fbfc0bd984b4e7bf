"""What the real servers do with deletions."""

from __future__ import annotations

import pytest

from tests.servers.conversation import (
    Fhir,
    Ids,
    entry,
    etags,
    org,
    outcomes,
    part_of,
    ref,
    removal,
    responses,
    statuses,
    verdict,
    words,
)

pytestmark = pytest.mark.servers

REFERRED = (
    "Unable to delete {} because at least one resource has a reference to this resource. "
    "First reference found was resource {} in path {}"
)


def linked(fhir: Fhir, ids: Ids) -> tuple[dict[str, object], dict[str, object]]:
    """A resource, and another that refers to it; both at the server."""
    whole, part = org(ids("whole")), part_of(ids("part"), ids("whole"))
    assert fhir.transact(entry(whole, "0"), entry(part, "0")).status_code == 200
    return whole, part


def test_a_deletion_is_a_version_which_a_410_names(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids()))
    assert etags(fhir.transact(removal(org(ids())))) == ["2"]
    gone = fhir.get(ref(org(ids())))
    assert gone.status_code == 410
    assert gone.headers["location"].endswith(f"/Organization/{ids()}/_history/2")
    assert gone.json()["resourceType"] == "OperationOutcome"


def test_a_search_does_not_see_what_was_deleted(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids()))
    fhir.delete(ref(org(ids())))
    assert "entry" not in fhir.search("Organization", _id=ids(), _elements="id")


def test_deleting_what_is_gone_says_so_with_the_first_deletions_version(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids()))
    fhir.transact(removal(org(ids())))
    again = fhir.transact(removal(org(ids())))
    assert (statuses(again), etags(again)) == (["204"], ["2"])
    assert fhir.delete(ref(org(ids()))).status_code == 200


def test_deleting_what_never_was_is_done_and_has_no_version(fhir: Fhir, ids: Ids) -> None:
    [response] = responses(fhir.transact(removal(org(ids()))))
    assert response["status"].startswith("204")
    assert "etag" not in response
    assert fhir.delete(ref(org(ids()))).status_code == 200


def test_deleting_ignores_the_version_believed(fhir: Fhir, ids: Ids) -> None:
    for name in "ab":
        fhir.put(org(ids(name)))
        fhir.put(org(ids(name), name="B"))
    assert fhir.delete(ref(org(ids("a"))), If_Match='W/"1"').status_code == 200
    assert statuses(fhir.transact(removal(org(ids("b")), ifMatch='W/"1"'))) == ["204"]
    assert [fhir.get(ref(org(ids(n)))).status_code for n in "ab"] == [410, 410]


def test_a_guarded_put_of_another_resource_guards_the_deletions_beside_it(fhir: Fhir, ids: Ids) -> None:
    marker, one = org(ids("marker"), name="1"), org(ids("one"))
    fhir.transact(entry(marker, "0"), entry(one, "0"))
    fhir.put(marker | {"name": "2"})
    moved = marker | {"name": "3"}
    assert verdict(fhir.transact(entry(moved, "1"), removal(one))) == (409, "HAPI-0989")
    assert fhir.get(ref(one)).status_code == 200
    assert statuses(fhir.transact(entry(moved, "2"), removal(one))) == ["200", "204"]


def test_what_is_referred_to_is_kept_and_the_first_referrer_named(fhir: Fhir, ids: Ids) -> None:
    whole, part = linked(fhir, ids)
    said = REFERRED.format(ref(whole), ref(part), "Organization.partOf")
    for answer in (fhir.transact(removal(whole)), fhir.delete(ref(whole))):
        assert answer.status_code == 409
        assert words(answer).startswith(said)


def test_a_referred_one_keeps_all_others_of_its_transaction(fhir: Fhir, ids: Ids) -> None:
    whole, _ = linked(fhir, ids)
    fhir.put(org(ids("free")))
    assert fhir.transact(removal(org(ids("free"))), removal(whole)).status_code == 409
    assert fhir.get(ref(org(ids("free")))).status_code == 200


def test_a_provenance_counts_as_a_referrer(fhir: Fhir, ids: Ids) -> None:
    provenance = {
        "resourceType": "Provenance",
        "id": ids("p"),
        "target": [{"reference": f"Organization/{ids('o')}"}],
        "recorded": "2026-01-01T00:00:00Z",
        "agent": [{"who": {"display": "x"}}],
    }
    fhir.transact(entry(org(ids("o")), "0"), entry(provenance, "0"))
    answer = fhir.transact(removal(org(ids("o"))))
    assert answer.status_code == 409
    assert words(answer).startswith(REFERRED.format(ref(org(ids("o"))), ref(provenance), "Provenance.target"))


@pytest.mark.parametrize("first", [0, 1], ids=["target first", "referrer first"])
def test_referrer_and_target_go_together_in_either_order(fhir: Fhir, ids: Ids, first: int) -> None:
    pair = linked(fhir, ids)
    assert statuses(fhir.transact(removal(pair[first]), removal(pair[1 - first]))) == ["204", "204"]


def test_a_circle_goes_together(fhir: Fhir, ids: Ids) -> None:
    ring = [part_of(ids("a"), ids("b")), part_of(ids("b"), ids("a"))]
    fhir.transact(*(entry(r, "0") for r in ring))
    assert fhir.transact(removal(ring[0])).status_code == 409
    assert statuses(fhir.transact(*(removal(r) for r in ring))) == ["204", "204"]


def test_a_target_goes_with_the_put_that_no_longer_refers_to_it(fhir: Fhir, ids: Ids) -> None:
    whole, part = linked(fhir, ids)
    assert statuses(fhir.transact(entry(org(str(part["id"])), "1"), removal(whole))) == ["200", "204"]


def test_a_new_reference_to_what_goes_in_the_same_transaction_is_refused(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids("o")))
    answer = fhir.transact(entry(part_of(ids("new"), ids("o")), "0"), removal(org(ids("o"))))
    assert verdict(answer) == (400, "HAPI-1096")
    assert fhir.get(ref(org(ids("o")))).status_code == 200


def test_referrer_and_target_return_together(fhir: Fhir, ids: Ids) -> None:
    whole, part = linked(fhir, ids)
    fhir.transact(removal(whole), removal(part))
    back = fhir.transact(entry(part, "2"), entry(whole, "2"))
    assert (statuses(back), etags(back)) == (["201", "201"], ["3", "3"])


def test_delete_and_put_of_one_id_leave_the_put(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids(), name="A"))
    answer = fhir.transact(removal(org(ids())), entry(org(ids(), name="B")))
    assert outcomes(answer) == ["SUCCESSFUL_DELETE", "SUCCESSFUL_UPDATE_AS_CREATE"]
    held = fhir.read(ref(org(ids())))
    assert (held["name"], held["meta"]["versionId"]) == ("B", etags(answer)[1])
