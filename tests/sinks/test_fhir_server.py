"""The FHIR sink at its start, when reading, and with its marker."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest
from pydantic import ValidationError

from sinks.fhir.marker import device
from sinks.fhir.options import FhirOptions
from sinks.fhir.server import FhirServer
from tests.sinks.fake_hapi import BASE, FakeHapi, answer, breaks, says, works
from tsi_fetch.errors import Guarded, SettingError, TryAgain
from tsi_fetch.http.failures import BodyTooLarge
from tsi_fetch.words import Held, Mark, Ref

Make = Callable[..., FhirServer]
MARK = "tsi-fetch-ab12cd34-cima"


def permit() -> None:
    """Always."""


def test_a_server_of_the_right_release_is_opened(server: Make, hapi_in_memory: FakeHapi) -> None:
    server().open()
    assert [r.url.path for r in hapi_in_memory.requests] == ["/epi/api/fhir/metadata"]


def test_another_release_names_both_sides(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.release = "4.0.1"
    with pytest.raises(SettingError, match=r"set to FHIR R5, but the server at \S+ has R4"):
        server().open()


def test_an_r4_server_is_opened_by_an_r4_sink(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.release = "4.0.1"
    sink = server(release="R4")
    sink.open()
    assert sink.release == "R4"


def test_a_statement_is_asked_for_once_however_often_it_is_looked_at(server: Make, hapi_in_memory: FakeHapi) -> None:
    sink = server()
    sink.open()
    sink.open(["Organization"])
    assert len(hapi_in_memory.requests) == 1


def test_a_type_that_is_not_offered_names_both_sides(server: Make) -> None:
    with pytest.raises(SettingError, match="the job writes MedicinalProductDefinition, the server does not offer"):
        server().open(["Organization", "MedicinalProductDefinition"])


def test_all_that_is_not_offered_is_named_at_once(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.offers = {"Ingredient": ["read", "search-type"], "Substance": ["update", "read"]}
    with pytest.raises(SettingError) as error:
        server().open(["Ingredient", "Substance"])
    assert "the job writes Ingredient, the server offers no update of it" in error.value.message
    assert "the job writes Substance, the server offers no search-type of it" in error.value.message
    assert "the marker is a Device, the server does not offer that type" in error.value.message


@pytest.mark.parametrize("offers", [{}, {"Device": [], "Ingredient": []}])
def test_a_statement_that_says_nothing_of_types_is_believed_to_take_them(
    server: Make, hapi_in_memory: FakeHapi, offers: dict[str, list[str]]
) -> None:
    hapi_in_memory.offers = offers
    server().open(["Ingredient"])
    assert len(hapi_in_memory.requests) == 1


def test_a_server_that_cannot_delete_is_good_for_a_job_that_does_not(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.offers = {t: ["read", "search-type", "update"] for t in ("Device", "Ingredient")}
    server().open(["Ingredient"])
    assert len(hapi_in_memory.requests) == 1
    with pytest.raises(SettingError, match="the job writes Ingredient, the server offers no delete of it") as error:
        server().open(["Ingredient"], deletes=True)
    assert "marker" not in error.value.message, "the marker is never deleted"


def test_a_server_without_transactions_is_a_wrong_setting(server: Make, hapi_in_memory: FakeHapi) -> None:
    statement = {"resourceType": "CapabilityStatement", "fhirVersion": "5.0.0", "rest": [{"mode": "server"}]}
    hapi_in_memory.faults = [answer(200, json=statement)] * 2
    with pytest.raises(SettingError, match="does not offer transactions"):
        server().open()


def test_only_the_part_of_a_statement_that_is_needed_is_asked_for(server: Make, hapi_in_memory: FakeHapi) -> None:
    server().open(["Ingredient"])
    [request] = hapi_in_memory.requests
    assert request.url.params["_elements"].split(",") == [
        "fhirVersion", "rest.mode", "rest.interaction", "rest.resource.type", "rest.resource.interaction",
    ]  # fmt: skip


def test_a_server_that_gives_the_whole_statement_all_the_same_is_asked_once(
    server: Make, hapi_in_memory: FakeHapi
) -> None:
    hapi_in_memory.elements = False
    server().open(["Ingredient"])
    assert len(hapi_in_memory.requests) == 1


@pytest.mark.parametrize(
    "part",
    [
        says(400, "unknown parameter _elements"),
        answer(200, json={"resourceType": "CapabilityStatement", "fhirVersion": "5.0.0"}),
        answer(200, json={"resourceType": "CapabilityStatement", "rest": [{"mode": "server"}]}),
    ],
    ids=["refused", "without rest", "without a version"],
)
def test_a_server_that_gives_no_part_of_its_statement_or_too_little_is_asked_for_the_whole(
    server: Make, hapi_in_memory: FakeHapi, part: Callable[[httpx.Request], httpx.Response]
) -> None:
    hapi_in_memory.faults = [part]
    server().open(["Ingredient"])
    assert [r.url.query for r in hapi_in_memory.requests][1:] == [b""]


@pytest.mark.parametrize(
    "page",
    [
        answer(200, html="<html>log in</html>"),
        answer(200, json={"name": "another product"}),
        answer(200, json={"resourceType": "OperationOutcome"}),
        answer(302, headers={"location": "https://login.invalid/"}),
        answer(401),
        answer(403, html="<html>"),
        answer(404, json={"status": 404}, headers={"content-type": "application/fhir+json"}),
    ],
)
def test_what_is_no_fhir_server_is_a_wrong_setting(
    server: Make, hapi_in_memory: FakeHapi, page: Callable[[httpx.Request], httpx.Response]
) -> None:
    hapi_in_memory.faults = [page]
    with pytest.raises(SettingError):
        server().open()
    assert len(hapi_in_memory.requests) == 1


@pytest.mark.parametrize("fault", [answer(503), answer(500, text="oops"), breaks(httpx.ConnectError)])
def test_a_server_that_is_down_is_asked_again_and_then_later(
    server: Make, hapi_in_memory: FakeHapi, fault: Callable[[httpx.Request], httpx.Response]
) -> None:
    hapi_in_memory.faults = [fault] * 10
    with pytest.raises(TryAgain):
        server(attempts=3).open()
    assert len(hapi_in_memory.requests) == 3


def test_versions_are_read_in_bulk_past_every_page_and_not_from_a_cache(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.page = 7
    refs = [Ref("Organization", f"o{n}") for n in range(30)] + [Ref("Substance", "s")]
    for ref in refs[:20]:
        hapi_in_memory.put(str(ref))
    hapi_in_memory.put("Substance/s")
    held = server().find([*refs, Ref("Organization", "not an id")])
    assert sorted(held) == sorted([*refs[:20], refs[-1]])
    assert {h.version for h in held.values()} == {"1"}
    assert all(r.headers["cache-control"] == "no-cache" for r in hapi_in_memory.requests)


def test_bundles_are_found_though_a_search_for_them_means_elements_otherwise(
    server: Make, hapi_in_memory: FakeHapi
) -> None:
    hapi_in_memory.put("Bundle/b")
    assert server().find([Ref("Bundle", "b"), Ref("Bundle", "none")])[Ref("Bundle", "b")].version == "1"


def test_an_answer_that_is_no_search_set_is_never_taken_for_nothing_there(
    server: Make, hapi_in_memory: FakeHapi
) -> None:
    hapi_in_memory.faults = [answer(200, json={"resourceType": "Bundle", "id": "x", "meta": {}})]
    with pytest.raises(TryAgain):
        server().find([Ref("Organization", "a")])


def test_bodies_come_with_the_run_that_wrote_them(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.put("Organization/a", run="run-7", name="A")
    held = server().find([Ref("Organization", "a")], bodies=True)[Ref("Organization", "a")]
    assert held.run == "run-7"
    assert json.loads(held.body or b"")["name"] == "A"


def test_a_deleted_resource_is_not_found(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.put("Organization/a")
    hapi_in_memory.delete("Organization/a")
    assert server().find([Ref("Organization", "a")]) == {}


def test_a_next_link_that_leads_elsewhere_is_refused(server: Make, hapi_in_memory: FakeHapi) -> None:
    link = [{"relation": "next", "url": "http://elsewhere.invalid/?page=2"}]
    hapi_in_memory.faults = [answer(200, json={"resourceType": "Bundle", "type": "searchset", "link": link})]
    with pytest.raises(SettingError, match=r"elsewhere\.invalid"):
        server().find([Ref("Organization", "a")])
    assert {r.url.host for r in hapi_in_memory.requests} == {"fhir.invalid"}


def listed(sink: FhirServer, kind: str) -> list[Held]:
    return [held for page in sink.listing(kind) for held in page]


@pytest.mark.parametrize(("kind", "size"), [("Organization", "1000"), ("Bundle", "100")])
def test_everything_alive_of_a_type_is_listed_page_by_page(
    server: Make, hapi_in_memory: FakeHapi, kind: str, size: str
) -> None:
    hapi_in_memory.page = 7
    for n in range(30):
        hapi_in_memory.put(f"{kind}/o{n}", run=f"run-{n}")
    hapi_in_memory.put(f"{kind}/o3", run="run-x")
    hapi_in_memory.delete(f"{kind}/o4")
    hapi_in_memory.put("Substance/s")
    held = {h.ref.id: h for h in listed(server(), kind)}
    assert sorted(held) == sorted(f"o{n}" for n in range(30) if n != 4)
    assert (held["o3"].version, held["o3"].run, held["o3"].body) == ("2", "run-x", None)
    assert len(hapi_in_memory.requests) == 5
    assert all(r.headers["cache-control"] == "no-cache" for r in hapi_in_memory.requests)
    assert hapi_in_memory.requests[0].url.params["_count"] == size


def test_a_type_that_a_server_does_not_know_has_nothing_to_list(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.faults = [says(404, "HAPI-0302: Unknown resource type 'Ingredient'")]
    assert listed(server(), "Ingredient") == []


def test_a_listing_whose_page_is_forgotten_is_begun_once_more(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.page = 7
    for n in range(20):
        hapi_in_memory.put(f"Organization/o{n:02}")
    forgotten = says(410, "HAPI-0417: Search ID does not exist and may have expired")
    hapi_in_memory.faults = [works, works, forgotten]
    held = listed(server(), "Organization")
    assert [h.ref.id for h in held] == [f"o{n:02}" for n in range(20)]
    hapi_in_memory.faults = [works, forgotten, works, forgotten]
    with pytest.raises(TryAgain, match="forgets the pages"):
        listed(server(), "Organization")


def test_a_listing_that_leads_elsewhere_is_refused(server: Make, hapi_in_memory: FakeHapi) -> None:
    link = [{"relation": "next", "url": "http://elsewhere.invalid/?page=2"}]
    hapi_in_memory.faults = [answer(200, json={"resourceType": "Bundle", "type": "searchset", "link": link})]
    with pytest.raises(SettingError, match=r"elsewhere\.invalid"):
        listed(server(), "Organization")


def test_an_answer_too_large_to_hold_is_asked_for_in_halves(server: Make, hapi_in_memory: FakeHapi) -> None:
    refs = [Ref("Organization", f"o{n}") for n in range(4)]
    for ref in refs:
        hapi_in_memory.put(str(ref))

    def heavy(request: httpx.Request) -> httpx.Response:
        reply = hapi_in_memory.handle(request)
        if len(reply.json()["entry"]) > 2:
            raise BodyTooLarge("POST", "Organization/_search", 5)
        return reply

    assert set(server(transport=httpx.MockTransport(heavy)).find(refs, bodies=True)) == set(refs)
    assert len(hapi_in_memory.requests) == 3


def test_the_marker_is_a_device_that_says_run_and_counter(server: Make, hapi_in_memory: FakeHapi) -> None:
    moved = server().move_mark(MARK, Mark("run-1", 3), permit)
    assert moved == Mark("run-1", 3, "1")
    values = [i["value"] for i in (hapi_in_memory.live(f"Device/{MARK}") or {})["identifier"]]
    assert values == ["run-1", "3"]


def test_a_marker_whose_acknowledgement_was_lost_is_our_own(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.lose = 1
    assert server().move_mark(MARK, Mark("run-1", 1), permit) == Mark("run-1", 1, "1")


def test_a_marker_that_was_deleted_comes_back_only_where_none_is_remembered(
    server: Make, hapi_in_memory: FakeHapi
) -> None:
    sink = server()
    first = sink.move_mark(MARK, Mark("run-1", 1), permit)
    hapi_in_memory.delete(f"Device/{MARK}")
    assert sink.read_mark(MARK) is None
    with pytest.raises(Guarded):
        sink.move_mark(MARK, Mark("run-2", 2, first.version), permit)
    assert sink.move_mark(MARK, Mark("run-2", 2), permit).version == "3"


@pytest.mark.parametrize("lost", [0, 1], ids=["answered", "answer lost"])
@pytest.mark.parametrize("version", ["1", "5"])
def test_a_marker_that_is_gone_without_a_trace_is_not_made_anew(
    server: Make, hapi_in_memory: FakeHapi, version: str, lost: int
) -> None:
    hapi_in_memory.lose = lost
    sink = server()
    with pytest.raises(Guarded, match="has lost the marker"):
        sink.move_mark(MARK, Mark("run-1", 6, version), permit)
    assert sink.read_mark(MARK) is None, "the next run would take it for the one that was intended"


def test_a_marker_that_is_moved_counts_on_although_the_answer_was_lost(server: Make, hapi_in_memory: FakeHapi) -> None:
    sink = server()
    first = sink.move_mark(MARK, Mark("run-1", 1), permit)
    hapi_in_memory.lose = 1
    assert sink.move_mark(MARK, Mark("run-1", 2, first.version), permit) == Mark("run-1", 2, "2")


def test_a_marker_that_somebody_made_something_else_is_guarded(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.put(f"Device/{MARK}", identifier=[{"value": 5}])
    with pytest.raises(Guarded, match="edited"):
        server().read_mark(MARK)


def test_marker_ids_are_ids_and_stay_apart() -> None:
    long = "tsi-fetch-ab12cd34-" + "j" * 60
    made = [device(name).id for name in (MARK, "tsi_fetch", "tsi-fetch", long, long + "k")]
    assert made[0] == MARK
    assert len(set(made)) == 5
    assert all(len(i) <= 64 and i.replace("-", "").isalnum() for i in made)


@pytest.mark.parametrize(
    "url", ["ftp://host/fhir", "fhir", "http://", "http://user:pw@host/fhir", "http://host/fhir?a=b", "http://ho st"]
)
def test_a_url_that_is_no_base_is_a_mistake_that_shows_no_password(url: str) -> None:
    with pytest.raises(ValidationError) as error:
        FhirOptions(url=url)
    assert "pw" not in str(error.value)


def test_a_token_does_not_show() -> None:
    assert "hush" not in repr(FhirOptions(url=BASE + "/", token="hush"))
    assert FhirOptions(url=BASE + "/").url == BASE
