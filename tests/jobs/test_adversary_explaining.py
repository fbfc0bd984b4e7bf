"""`explain` before servers that give less than HAPI does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from served_fhir import ServedFhir

from tests.sinks.fake_hapi import FakeHapi, outcome

LEAFLET = "Composition/es-aemps-comp-p-99001"


@pytest.mark.parametrize("status", [403, 405, 501])
def test_a_server_that_gives_no_history_is_no_trouble(desk: Any, status: int) -> None:
    """Nothing else of this project asks for one, and FHIR lets servers be without; what is there now was told."""
    with ServedFhir(FakeHapi(offers={})) as served:
        file = desk.folder / "jobs.yaml"
        folder = f'out: {{kind: folder, path: "{desk.folder}/out"}}'
        file.write_text(file.read_text().replace(folder, f'out: {{kind: fhir, url: "{served.url}", attempts: 1}}'))
        assert desk.run("run", "cima", "--json")[0] == 0
        served.hapi.faults = [
            lambda request: outcome(status, "not here") if "_history" in request.url.path else None
        ] * 99
        code, out, _ = desk.run("explain", LEAFLET, "--json")
        found = json.loads(out)
        assert (code, found["troubles"]) == (0, [])
        assert (found["found"][0]["now"]["verdict"], found["found"][0]["versions"]) == ("as written", None)
