"""How the real servers guard a write by the version that the writer believes in."""

from __future__ import annotations

import pytest

from tests.servers.conversation import (
    NO_CHANGE,
    Fhir,
    Ids,
    entry,
    etags,
    org,
    outcomes,
    ref,
    removal,
    statuses,
    verdict,
    words,
)

pytestmark = pytest.mark.servers

STALE = "HAPI-0550: HAPI-0989: Trying to update {}/_history/{} but this is not the current version"


def test_a_version_moves_with_each_change_and_is_the_entrys_etag(fhir: Fhir, ids: Ids) -> None:
    assert etags(fhir.transact(entry(org(ids()), "0"))) == ["1"]
    assert etags(fhir.transact(entry(org(ids(), name="B"), "1"))) == ["2"]
    assert etags(fhir.transact(entry(org(ids(), name="B"), "2"))) == ["2"]


def test_version_nought_creates_only(fhir: Fhir, ids: Ids) -> None:
    assert outcomes(fhir.transact(entry(org(ids()), "0"))) == ["SUCCESSFUL_UPDATE_AS_CREATE"]
    again = fhir.transact(entry(org(ids()), "0"))
    assert (again.status_code, words(again)) == (409, STALE.format(f"Organization/{ids()}", "0"))
    fhir.delete(ref(org(ids())))
    assert fhir.transact(entry(org(ids()), "0")).status_code == 409


def test_a_stale_version_is_409_and_the_whole_transaction_is_rolled_back(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids("a"), name="A"))
    fhir.put(org(ids("a"), name="B"))
    answer = fhir.transact(entry(org(ids("new")), "0"), entry(org(ids("a"), name="C"), "1"))
    assert (answer.status_code, words(answer)) == (409, STALE.format(f"Organization/{ids('a')}", "1"))
    assert fhir.get(f"Organization/{ids('new')}").status_code == 404
    assert fhir.read(ref(org(ids("a"))))["name"] == "B"


def test_a_stale_version_is_409_although_the_content_is_equal(fhir: Fhir, ids: Ids) -> None:
    fhir.transact(entry(org(ids(), name="A"), "0"))
    bundle = entry(org(ids(), name="B"), "1")
    assert statuses(fhir.transact(bundle)) == ["200"]
    assert verdict(fhir.transact(bundle)) == (409, "HAPI-0989")
    assert outcomes(fhir.transact(entry(org(ids(), name="B"), "2"))) == [NO_CHANGE]


def test_of_several_stale_versions_one_is_named(fhir: Fhir, ids: Ids) -> None:
    for name in "ab":
        fhir.put(org(ids(name)))
    said = words(fhir.transact(entry(org(ids("a"), name="X"), "7"), entry(org(ids("b"), name="X"), "7")))
    assert said in [STALE.format(f"Organization/{ids(n)}", "7") for n in "ab"]


def test_a_version_higher_than_the_servers_is_stale_too(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids()))
    assert verdict(fhir.transact(entry(org(ids(), name="A"), "5"))) == (409, "HAPI-0989")


def test_what_never_was_is_created_whatever_version_is_expected(fhir: Fhir, ids: Ids) -> None:
    """A server that lost its data does not object: only the marker tells."""
    assert etags(fhir.transact(entry(org(ids()), "3"))) == ["1"]


def test_the_header_of_a_single_put_is_409_when_stale(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids()))
    fhir.put(org(ids(), name="B"))
    assert verdict(fhir.put(org(ids(), name="C"), If_Match='W/"1"')) == (409, "HAPI-0989")


def test_a_version_that_is_no_number_is_a_500(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids()))
    assert verdict(fhir.put(org(ids(), name="B"), If_Match='W/"abc"')) == (500, "HAPI-2223")
    assert verdict(fhir.transact(entry(org(ids(), name="B"), "abc"))) == (500, "HAPI-2223")


def test_if_none_match_is_ignored(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids()))
    assert fhir.put(org(ids(), name="B"), If_None_Match="*").status_code == 200
    assert fhir.read(ref(org(ids())))["name"] == "B"


def test_a_revival_takes_the_deletions_version(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids(), name="A"))
    assert etags(fhir.transact(removal(org(ids())))) == ["2"]
    for believed in ("0", "1"):
        assert verdict(fhir.transact(entry(org(ids(), name="A"), believed))) == (409, "HAPI-0989")
    back = fhir.transact(entry(org(ids(), name="A"), "2"))
    assert (statuses(back), etags(back)) == (["201"], ["3"])


def test_a_plain_put_revives_with_a_higher_version(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids()))
    fhir.delete(ref(org(ids())))
    assert fhir.put(org(ids())).status_code == 201
    assert fhir.read(ref(org(ids())))["meta"]["versionId"] == "3"


def test_a_conditional_put_that_finds_several_is_412(fhir: Fhir, ids: Ids) -> None:
    identifier = [{"system": "http://t.invalid/c", "value": ids("v")}]
    for name in "ab":
        fhir.put(org(ids(name), identifier=identifier))
    url = f"Organization?identifier=http://t.invalid/c%7C{ids('v')}"
    conditional = {"resource": org(ids("a")), "request": {"method": "PUT", "url": url}}
    assert verdict(fhir.transact(conditional)) == (412, "HAPI-2207")
