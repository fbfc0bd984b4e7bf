"""The FHIR sink, where an answer has not the shape that was expected: it is no success, and no reason to give up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from sinks.fhir.options import FhirOptions
from sinks.fhir.server import FhirServer
from tests.sinks.fake_hapi import BASE, FakeHapi, answer
from tsi_fetch.clock import StopSignal, SystemClock
from tsi_fetch.errors import Guarded, SettingError, Stopped, TryAgain
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.http.failures import BodyTooLarge
from tsi_fetch.words import Mark, Outcome, Ref, Result, Write, WriteAction

Make = Callable[..., FhirServer]
A = Ref("Organization", "a")
MARK = "tsi-fetch-ab12cd34-cima"
DONE = {"status": "201 Created", "location": "Organization/a/_history/7", "etag": "7"}


def permit() -> None:
    """Always."""


def write(sink: FhirServer, action: WriteAction = WriteAction.PUT, version: str | None = None) -> list[Outcome]:
    body = dump({"resourceType": "Organization", "id": "a"}) if action is WriteAction.PUT else None
    return [o for some in sink.write([Write(A, action, version, body)], permit) for o in some]


def answered(kind: str | None = "transaction-response", **response: Any) -> Callable[[httpx.Request], httpx.Response]:
    named = {"type": kind} if kind is not None else {}
    return answer(200, json={"resourceType": "Bundle", **named, "entry": [{"response": response}]})


@pytest.mark.parametrize("kind", ["searchset", "batch-response", "document", "", None])
def test_a_bundle_of_another_type_acknowledges_nothing(
    server: Make, hapi_in_memory: FakeHapi, kind: str | None
) -> None:
    hapi_in_memory.faults = [answered(kind, **DONE)]
    with pytest.raises(TryAgain, match="no response to a transaction"):
        write(server())


@pytest.mark.parametrize(
    "status", ["2", "20", "2xx", "2000", "201Created", "OK 201", " 201", "304 Not Modified", "1201"]
)
def test_a_status_that_is_not_a_success_acknowledges_nothing(
    server: Make, hapi_in_memory: FakeHapi, status: str
) -> None:
    hapi_in_memory.faults = [answered(**{**DONE, "status": status})]
    with pytest.raises(TryAgain, match="Organization/a has no status of success"):
        write(server())


@pytest.mark.parametrize("status", ["200", "201", "200 OK", "201 Created", "299 whatever it is"])
def test_three_digits_with_or_without_words_are_a_status(server: Make, hapi_in_memory: FakeHapi, status: str) -> None:
    hapi_in_memory.faults = [answered(**{**DONE, "status": status})]
    assert [o.version for o in write(server())] == ["7"]


@pytest.mark.parametrize("etag", ['W/"0"', "0", "00", 'W/" "', "a b", "ü", "-1", "x" * 65, "7;8", "8"])
@pytest.mark.parametrize("action", list(WriteAction))
def test_a_version_that_is_none_or_another_than_the_location_names_is_not_believed(
    server: Make, hapi_in_memory: FakeHapi, etag: str, action: WriteAction
) -> None:
    hapi_in_memory.put(str(A))
    sink = server()
    faults = [answered(**{**DONE, "etag": etag})]
    hapi_in_memory.faults = [*([lambda r: None] if action is WriteAction.DELETE else []), *faults]
    with pytest.raises(TryAgain, match="a version that is none, or two"):
        write(sink, action, "1")


@pytest.mark.parametrize("location", ["Organization/a/_history/0", "Organization/a/_history/7/8"])
def test_a_location_without_a_version_is_not_believed(server: Make, hapi_in_memory: FakeHapi, location: str) -> None:
    hapi_in_memory.faults = [answered(status="201", location=location)]
    with pytest.raises(TryAgain, match="a version that is none"):
        write(server())


@pytest.mark.parametrize("location", ["XOrganization/a/_history/7", "Organization/a", "a/_history/7"])
def test_a_location_of_another_resource_is_not_believed(server: Make, hapi_in_memory: FakeHapi, location: str) -> None:
    hapi_in_memory.faults = [answered(**{**DONE, "location": location})]
    with pytest.raises(TryAgain, match="answered by another resource"):
        write(server())


@pytest.mark.parametrize("etag", ["7", '"7"', 'W/"7"'])
@pytest.mark.parametrize("location", ["Organization/a/_history/7", f"{BASE}/Organization/a/_history/7"])
def test_a_version_is_believed_however_it_is_written(
    server: Make, hapi_in_memory: FakeHapi, etag: str, location: str
) -> None:
    hapi_in_memory.faults = [answered(status="201 Created", etag=etag, location=location)]
    assert [(o.result, o.version) for o in write(server())] == [(Result.CREATED, "7")]


def test_a_marker_that_somebody_gave_a_type_is_still_the_marker(server: Make, hapi_in_memory: FakeHapi) -> None:
    sink = server()
    sink.move_mark(MARK, Mark("run-1", 3), permit)
    hapi_in_memory.put(f"Device/{MARK}", **{**marker(hapi_in_memory), "type": [{"text": "x"}]})
    assert sink.read_mark(MARK) == Mark("run-1", 3, "2")


def marker(hapi: FakeHapi) -> dict[str, Any]:
    held = hapi.live(f"Device/{MARK}") or {}
    return {k: v for k, v in held.items() if k not in ("resourceType", "id")}


@pytest.mark.parametrize(
    "members",
    [{"type": [{"text": "x"}]}, {"entry": "x"}, {"link": {"a": 1}}, {"issue": 5}, {"rest": [1]}, {"fhirVersion": {}}],
)
def test_a_marker_that_somebody_made_another_device_is_guarded_whatever_its_elements_are(
    server: Make, hapi_in_memory: FakeHapi, members: dict[str, Any]
) -> None:
    hapi_in_memory.put(f"Device/{MARK}", **members)
    with pytest.raises(Guarded, match="was edited"):
        server().read_mark(MARK)


@pytest.mark.parametrize("kind", ["Bundle", "OperationOutcome", "CapabilityStatement"])
def test_an_answer_of_a_kind_that_we_read_and_of_another_shape_is_no_fhir(
    server: Make, hapi_in_memory: FakeHapi, kind: str
) -> None:
    hapi_in_memory.faults = [answer(200, json={"resourceType": kind, "entry": 1, "issue": 1, "rest": 1})] * 50
    with pytest.raises(SettingError, match="not a FHIR server"):
        write(server())


def endless(urls: Callable[[int], str], on: Callable[[int], None] = lambda n: None) -> httpx.MockTransport:
    """A server whose pages always have a next one."""
    asked = [0]

    def handle(request: httpx.Request) -> httpx.Response:
        asked[0] += 1
        assert asked[0] < 200, "it never ends"
        on(asked[0])
        link = [{"relation": "next", "url": urls(asked[0])}]
        return httpx.Response(200, json={"resourceType": "Bundle", "type": "searchset", "link": link})

    return httpx.MockTransport(handle)


@pytest.mark.parametrize("pages", [1, 2, 5])
def test_pages_that_lead_in_a_circle_end_the_run_and_the_link_is_named(server: Make, pages: int) -> None:
    sink = server(transport=endless(lambda n: f"{BASE}/Organization?_page={n % pages}"))
    with pytest.raises(TryAgain, match=r"Organization have no end: .*Organization\?_page=\d"):
        list(sink.listing("Organization"))
    with pytest.raises(TryAgain, match="have no end"):
        sink.find([A])


def test_a_signal_to_stop_is_heard_between_pages() -> None:
    stop = StopSignal()
    pages = endless(lambda n: f"{BASE}/Organization?_page={n}", lambda n: stop.set(15) if n == 10 else None)
    with FhirServer(FhirOptions(url=BASE), SystemClock(stop), "run-1", "cima", "s", transport=pages) as sink:
        listing = sink.listing("Organization")
        with pytest.raises(Stopped):
            list(listing)


def test_an_answer_that_is_too_large_is_named_with_what_can_be_done(server: Make) -> None:
    def heavy(request: httpx.Request) -> httpx.Response:
        raise BodyTooLarge("GET", "x", 5)

    with pytest.raises(SettingError) as error:
        server(transport=httpx.MockTransport(heavy)).read_mark(MARK)
    assert "Device/" in error.value.message
    assert "256 MB" in error.value.message
    assert "max_body" not in error.value.message + error.value.hint
