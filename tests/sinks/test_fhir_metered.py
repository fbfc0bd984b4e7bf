"""What the report names of the FHIR sink's requests: where they went and how long, never what was in them."""

from __future__ import annotations

import httpx
import pytest

from sinks.fhir.options import FhirOptions
from sinks.fhir.server import FhirServer
from tests.sinks.fake_hapi import BASE, FakeHapi, answer
from tsi_fetch.clock import ReplayClock
from tsi_fetch.errors import TryAgain
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.http.meter import Meter
from tsi_fetch.words import Ref, Write, WriteAction


def test_the_slowest_and_the_repeated_requests_are_named_without_bodies(
    hapi_in_memory: FakeHapi, clock: ReplayClock
) -> None:
    meter = Meter()
    options = FhirOptions.model_validate({"url": BASE, "token": "s3cr3t"})
    hapi_in_memory.faults = [answer(503, json={"resourceType": "OperationOutcome", "issue": []})]
    sink = FhirServer(options, clock, "run-1", "cima", "ab12cd34", transport=hapi_in_memory.transport(), meter=meter)
    body = dump({"resourceType": "Organization", "id": "a", "name": "Molinos S.A."})
    list(sink.write([Write(Ref("Organization", "a"), WriteAction.PUT, None, body)], lambda: None))
    sink.close()
    [again] = [line for line in meter.resent() if line["method"] == "POST"]
    assert (again["host"], again["url"], again["times"]) == (httpx.URL(BASE).host, f"{BASE}/", 1)
    assert again["why"].startswith("status 503")
    assert {line["ended"] for line in meter.slowest() if line["method"] == "POST"} == {"status 503", "status 200"}
    told = str((meter.slowest(), meter.resent()))
    assert "Molinos" not in told
    assert "s3cr3t" not in told


def test_a_server_that_is_not_there_is_named_by_how_it_failed(clock: ReplayClock) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no", request=request)

    meter = Meter()
    options = FhirOptions.model_validate({"url": BASE, "attempts": 1})
    sink = FhirServer(options, clock, "run-1", "cima", "ab12cd34", transport=httpx.MockTransport(refuse), meter=meter)
    with pytest.raises(TryAgain):
        sink.open()
    sink.close()
    assert meter.by_host()[httpx.URL(BASE).host].failed == 1
    assert {line["ended"] for line in meter.slowest()} == {"ConnectError"}
