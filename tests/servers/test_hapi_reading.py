"""What the real servers answer to those who look: what they offer, searches, pages, and wrong addresses."""

from __future__ import annotations

import httpx
import pytest

from tests.servers.conversation import Crowd, Fhir, Ids, document, org, ref
from tsi_fetch.words import Json

pytestmark = pytest.mark.servers

SYSTEM = "http://t.invalid/s"
NEEDED = "metadata?_elements=fhirVersion,rest.mode,rest.interaction,rest.resource.type,rest.resource.interaction"


def tagged(ident: str, value: str) -> Json:
    return org(ident, identifier=[{"system": SYSTEM, "value": value}])


def next_page(page: Json) -> str | None:
    return next((link["url"] for link in page["link"] if link["relation"] == "next"), None)


def found(page: Json) -> list[str]:
    return [e["resource"]["id"] for e in page.get("entry", [])]


def test_metadata_tells_the_release_and_what_is_offered_for_each_type(fhir: Fhir) -> None:
    statement = fhir.read(NEEDED)
    assert statement["fhirVersion"] == ("5.0.0" if fhir.release == "R5" else "4.0.1")
    [rest] = statement["rest"]
    assert {i["code"] for i in rest["interaction"]} == {"transaction", "history-system"}
    offered = {r["type"]: {i["code"] for i in r["interaction"]} for r in rest["resource"]}
    assert offered["Bundle"] == {
        "read", "vread", "create", "update", "patch", "delete", "search-type", "history-type", "history-instance",
    }  # fmt: skip
    assert {"Organization", "Device", "Composition", "Provenance"} <= offered.keys()
    assert ("MedicinalProductDefinition" in offered) == (fhir.release == "R5")


def test_the_whole_of_metadata_is_megabytes_and_the_part_we_need_a_hundredth(fhir: Fhir) -> None:
    whole, part = len(fhir.get("metadata").content), len(fhir.get(NEEDED).content)
    assert whole > 1_000_000
    assert part < 50_000


def test_the_versions_of_a_thousand_ids_come_in_one_search(fhir: Fhir, crowd: Crowd) -> None:
    names = crowd.names[:1000]
    page = fhir.search("Organization", _id=",".join(names), _elements="id", _count="1000")
    assert sorted(found(page)) == sorted(names)
    assert {e["resource"]["meta"]["versionId"] for e in page["entry"]} == {"1"}
    assert next_page(page) is None


def test_a_listing_of_ids_over_several_pages_names_each_once(fhir: Fhir, crowd: Crowd) -> None:
    query = {"identifier": crowd.identifier, "_elements": "id", "_count": "900"}
    page, pages = fhir.http.get("Organization", params=query).json(), 1
    assert "total" not in page
    listed = found(page)
    while following := next_page(page):
        assert httpx.URL(following).path == httpx.URL(fhir.url).path, "a next page is the base's, with parameters"
        page, pages = fhir.http.get(following).json(), pages + 1
        listed += found(page)
    assert (pages, sorted(listed)) == (3, sorted(crowd.names))


def test_what_was_read_with_elements_is_marked_as_incomplete_and_has_its_meta(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids(), name="A"), X_Request_Id="run-1")
    [one] = fhir.search("Organization", _id=ids(), _elements="id")["entry"]
    assert "name" not in one["resource"]
    assert one["resource"]["meta"]["source"] == "#run-1"
    assert [t["code"] for t in one["resource"]["meta"]["tag"]] == ["SUBSETTED"]


@pytest.mark.parametrize("by", ["_id", "identifier"])
def test_an_identical_search_is_answered_from_memory_unless_forbidden(fhir: Fhir, ids: Ids, by: str) -> None:
    query = {by: ids() if by == "_id" else f"{SYSTEM}|{ids('s')}", "_elements": "id"}

    def search(cache: str) -> list[str]:
        answer = fhir.http.post("Organization/_search", data=query, headers={"Cache-Control": cache})
        return found(answer.json())

    assert search("max-age=60") == []
    fhir.put(tagged(ids(), ids("s")))
    assert search("max-age=60") == []
    assert search("no-cache") == [ids()]


def test_in_a_search_for_bundles_elements_are_those_of_the_search_set(fhir: Fhir, ids: Ids) -> None:
    fhir.put(document(ids()))
    assert found(fhir.search("Bundle", _id=ids(), _elements="id")) == []
    page = fhir.search("Bundle", _id=ids(), _elements="type,link,entry.resource.id")
    assert found(page) == [ids()]
    assert page["entry"][0]["resource"]["meta"]["versionId"] == "1"


def test_a_path_beside_the_base_is_404_in_fhirs_clothes(fhir: Fhir) -> None:
    answer = fhir.http.get(fhir.url.removesuffix("/fhir") + "/nowhere/metadata")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/fhir+json")
    assert "resourceType" not in answer.json()


def test_a_path_of_no_application_is_a_page(fhir: Fhir) -> None:
    answer = fhir.http.get(str(httpx.URL(fhir.url).copy_with(path="/nowhere/fhir/metadata")))
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")


def test_a_path_below_the_base_is_404_in_fhirs_words(fhir: Fhir) -> None:
    answer = fhir.get("fhir/metadata")
    assert (answer.status_code, answer.json()["resourceType"]) == (404, "OperationOutcome")


def test_a_history_gives_each_version_of_a_transaction_once_over_pages(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids(), name="0"))
    for n in range(1, 25):
        fhir.put(org(ids(), name=str(n)))
    page = fhir.read(f"Organization/{ids()}/_history?_count=10")
    versions = [e["resource"]["meta"]["versionId"] for e in page["entry"]]
    while following := next_page(page):
        page = fhir.http.get(following).json()
        versions += [e["resource"]["meta"]["versionId"] for e in page["entry"]]
    assert versions == [str(v) for v in range(25, 0, -1)]


def test_a_deletion_in_a_history_has_no_resource(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids()))
    fhir.delete(ref(org(ids())))
    [deletion, _] = fhir.read(f"Organization/{ids()}/_history")["entry"]
    assert deletion["request"]["method"] == "DELETE"
    assert "resource" not in deletion
