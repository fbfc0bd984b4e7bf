"""What the real servers make of `meta`."""

from __future__ import annotations

import pytest

from tests.servers.conversation import NO_CHANGE, SNAPSHOT, Fhir, Ids, entry, org, outcomes, ref
from tsi_fetch.words import Json

pytestmark = pytest.mark.servers

WRITTEN = "SUCCESSFUL_UPDATE"


def codings(*codes: str) -> list[Json]:
    return [{"system": "http://t.invalid", "code": code} for code in codes]


def held(fhir: Fhir, ident: str) -> tuple[list[str], list[str], list[str]]:
    """Tags, labels and profiles at the server."""
    meta = fhir.read(f"Organization/{ident}")["meta"]
    return (
        [t["code"] for t in meta.get("tag", [])],
        [t["code"] for t in meta.get("security", [])],
        meta.get("profile", []),
    )


def test_added_tags_count_and_removed_ones_stay_where_nothing_else_is_said(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids(), meta={"tag": codings("x", "y"), "security": codings("s", "t")}))
    assert outcomes(fhir.transact(entry(org(ids(), meta={"tag": codings("y")})))) == [NO_CHANGE]
    assert held(fhir, ids()) == (["x", "y"], ["s", "t"], [])
    assert outcomes(fhir.transact(entry(org(ids(), meta={"tag": codings("z")})))) == [WRITTEN]
    assert held(fhir, ids()) == (["x", "y", "z"], ["s", "t"], [])


def test_profiles_are_replaced(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids(), meta={"profile": ["http://p.invalid/1", "http://p.invalid/2"]}))
    assert outcomes(fhir.transact(entry(org(ids(), meta={"profile": ["http://p.invalid/2"]})))) == [WRITTEN]
    assert held(fhir, ids())[2] == ["http://p.invalid/2"]
    assert outcomes(fhir.transact(entry(org(ids())))) == [WRITTEN]
    assert held(fhir, ids())[2] == []


def test_in_snapshot_mode_tags_and_labels_become_what_was_sent(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids(), meta={"tag": codings("x", "y"), "security": codings("s")}))
    less = entry(org(ids(), meta={"tag": codings("y")}))
    assert outcomes(fhir.transact(less, **SNAPSHOT)) == [WRITTEN]
    assert held(fhir, ids()) == (["y"], [], [])
    assert outcomes(fhir.transact(less, **SNAPSHOT)) == [NO_CHANGE]
    assert outcomes(fhir.transact(entry(org(ids())), **SNAPSHOT)) == [WRITTEN]
    assert held(fhir, ids()) == ([], [], [])


def test_snapshot_mode_holds_for_a_single_put_too(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids(), meta={"tag": codings("x", "y")}))
    assert fhir.put(org(ids(), meta={"tag": codings("y")}), **SNAPSHOT).status_code == 200
    assert held(fhir, ids())[0] == ["y"]


@pytest.mark.parametrize("first", [("x", "y"), ("x", "x")], ids=["another order", "twice the same"])
def test_the_order_and_the_repetition_of_tags_do_not_count(fhir: Fhir, ids: Ids, first: tuple[str, ...]) -> None:
    fhir.put(org(ids(), meta={"tag": codings(*first)}))
    assert outcomes(fhir.transact(entry(org(ids(), meta={"tag": codings(*first[::-1])})), **SNAPSHOT)) == [NO_CHANGE]


def test_the_clients_version_and_instant_are_ignored(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids(), meta={"versionId": "7", "lastUpdated": "2001-01-01T00:00:00Z"}))
    meta = fhir.read(ref(org(ids())))["meta"]
    assert meta["versionId"] == "1"
    assert not meta["lastUpdated"].startswith("2001")


def test_the_request_id_is_echoed_and_stands_behind_the_source(fhir: Fhir, ids: Ids) -> None:
    run = "20261121T0900-ab"
    sourced = entry(org(ids(), meta={"source": "http://s.invalid"}))
    assert fhir.transact(sourced, X_Request_Id=run).headers["x-request-id"] == run
    assert fhir.read(ref(org(ids())))["meta"]["source"] == f"http://s.invalid#{run}"
    fhir.transact(entry(org(ids(), name="A")), X_Request_Id=run)
    assert fhir.read(ref(org(ids())))["meta"]["source"] == f"#{run}"


def test_sixteen_characters_of_a_request_id_are_kept(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids()), X_Request_Id="0123456789abcdefXYZ")
    assert fhir.read(ref(org(ids())))["meta"]["source"] == "#0123456789abcdef"


def test_an_identical_write_leaves_the_request_id_of_the_one_before(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids(), meta={"source": "http://s.invalid"}), X_Request_Id="run-1")
    other = entry(org(ids(), meta={"source": "http://other.invalid"}))
    assert outcomes(fhir.transact(other, X_Request_Id="run-2")) == [NO_CHANGE]
    assert fhir.read(ref(org(ids())))["meta"]["source"] == "http://s.invalid#run-1"
