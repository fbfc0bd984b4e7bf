"""The platform's two FHIR servers, real ones, on PostgreSQL: each is started when the first test asks for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import pytest

from sinks.fhir.options import FhirOptions
from sinks.fhir.server import FhirServer
from tests.servers.conversation import Crowd, Fhir, Ids
from tests.servers.loaded_products import Loaded, load
from tests.servers.sink_writes import Make
from tsi_fetch.clock import SystemClock

if TYPE_CHECKING:
    from dev.hapi.server import Server


def _started(release: Literal["R5", "R4"]) -> Iterator[Server]:
    """Skips with the reason where Java or Maven is missing, unless TSI_FETCH_SERVERS=required."""
    from dev.hapi.classpath import NotAvailable
    from dev.hapi.server import start

    try:
        server = start(release, "postgres")
    except NotAvailable as e:
        if os.environ.get("TSI_FETCH_SERVERS") == "required":
            raise
        pytest.skip(f"no HAPI on this machine: {e}")
    with server:
        yield server


@pytest.fixture(scope="session")
def hapi_server() -> Iterator[Server]:
    """HAPI 7.6 (R5), as the platform's ePI server: `url`, `stop_java()`, `start_java()`, `postgres`."""
    yield from _started("R5")


@pytest.fixture(scope="session")
def hapi_r4_server() -> Iterator[Server]:
    """HAPI 7.4 (R4), as the platform's IPS server."""
    yield from _started("R4")


@pytest.fixture(scope="session")
def hapi(request: pytest.FixtureRequest) -> str:
    """The FHIR base of the R5 server: a running one where TSI_FETCH_HAPI_R5 names its URL."""
    return _base("R5", request)


@pytest.fixture(scope="session")
def hapi_r4(request: pytest.FixtureRequest) -> str:
    """The FHIR base of the R4 server: a running one where TSI_FETCH_HAPI_R4 names its URL."""
    return _base("R4", request)


def _base(release: str, request: pytest.FixtureRequest) -> str:
    running = os.environ.get(f"TSI_FETCH_HAPI_{release}")
    if running:
        return running
    server: Server = request.getfixturevalue("hapi_server" if release == "R5" else "hapi_r4_server")
    return server.url


@pytest.fixture(scope="session", params=["R5", "R4"])
def fhir(request: pytest.FixtureRequest) -> Iterator[Fhir]:
    """Each of the two servers in turn."""
    url = request.getfixturevalue("hapi" if request.param == "R5" else "hapi_r4")
    with Fhir(url, request.param) as server:
        yield server


@pytest.fixture(scope="session")
def crowd(fhir: Fhir) -> Crowd:
    """Two thousand Organizations at this server, made once."""
    return Crowd.at(fhir)


@pytest.fixture(scope="session")
def epi(hapi: str) -> Iterator[Fhir]:
    """The R5 server, which generates narratives."""
    with Fhir(hapi, "R5") as server:
        yield server


@pytest.fixture(scope="session")
def loaded(hapi: str, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A dozen made-up products on the R5 server, each of another kind."""
    return load(hapi, tmp_path_factory.mktemp("loaded"))


@pytest.fixture
def make(fhir: Fhir) -> Iterator[Make]:
    """Connect our sink to this server."""
    made: list[FhirServer] = []

    def connect(run: str = "run-1", **options: Any) -> FhirServer:
        chosen = FhirOptions(**({"url": fhir.url, "release": fhir.release} | options))
        made.append(FhirServer(chosen, SystemClock(), run, "cima", "ab12cd34"))
        return made[-1]

    yield connect
    for sink in made:
        sink.close()


@pytest.fixture
def sink(make: Make) -> FhirServer:
    return make()


@pytest.fixture
def ids() -> Ids:
    """Ids of this test."""
    return Ids()
