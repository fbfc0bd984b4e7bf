from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from sinks.fhir.options import FhirOptions
from sinks.fhir.server import FhirServer
from tests.sinks.fake_hapi import BASE, FakeHapi
from tsi_fetch.clock import ReplayClock

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


@pytest.fixture
def clock() -> ReplayClock:
    """Its waits move it and take no time."""
    return ReplayClock(NOW)


@pytest.fixture
def hapi_in_memory() -> FakeHapi:
    return FakeHapi()


@pytest.fixture
def server(hapi_in_memory: FakeHapi, clock: ReplayClock) -> Iterator[Callable[..., FhirServer]]:
    """Makes sinks that talk to `hapi_in_memory`."""
    made: list[FhirServer] = []

    def make(transport: httpx.BaseTransport | None = None, **options: Any) -> FhirServer:
        wire = transport or hapi_in_memory.transport()
        chosen = FhirOptions(**{"url": BASE, **options})
        made.append(FhirServer(chosen, clock, "run-1", "cima", "ab12cd34", transport=wire))
        return made[-1]

    yield make
    for sink in made:
        sink.close()
