"""One real HAPI 7.6 (R5) on PostgreSQL for the session, started by the project's own files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from dev.hapi.server import Server


@pytest.fixture(scope="session")
def hapi_server() -> Iterator[Server]:
    """The running server: `url`, `stop_java()`, `start_java()`, `postgres`.

    Skips with the reason where Java or Maven is missing, unless TSI_FETCH_SERVERS=required.
    """
    from dev.hapi.classpath import NotAvailable
    from dev.hapi.server import start

    try:
        server = start("R5", "postgres")
    except NotAvailable as e:
        if os.environ.get("TSI_FETCH_SERVERS") == "required":
            raise
        pytest.skip(f"no HAPI on this machine: {e}")
    with server:
        yield server


@pytest.fixture(scope="session")
def hapi(hapi_server: Server) -> str:
    """The FHIR base of the real server."""
    return hapi_server.url
