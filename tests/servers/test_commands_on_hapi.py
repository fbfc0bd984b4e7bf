"""The command line, as a user has it: the job from a register over HTTP into a real HAPI."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dev.cima_server import Register, Server

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[2]
JOB_FILE = """
stores: {{main: {{url: "{store}"}}}}
sinks: {{epi: {{kind: fhir, url: "{hapi}", writers: {writers}}}}}
jobs:
  cima:
    source: {{kind: cima, base_url: "{register}", rate: 50}}
    sink: epi
    store: main
    schedule: "30 9 * * *"
    timezone: Europe/Madrid
    on_existing: adopt
"""


@pytest.mark.parametrize("writers", [1, 2])
def test_plan_run_and_run_again(
    tmp_path: Path, hapi: str, recreate: Callable[[str, str | None], str], writers: int
) -> None:
    register = Register.of_folder(ROOT / "tests" / "recorded" / "cima" / "bodies")
    store = recreate("commands", None)
    with Server(register) as server:
        file = tmp_path / "jobs.yaml"
        file.write_text(JOB_FILE.format(store=store, hapi=hapi, register=server.base_url, writers=writers))

        def tsi_fetch(*arguments: str) -> tuple[int, Any]:
            command = [sys.executable, "-m", "jobs", *arguments, "--config", str(file), "--json"]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
            return done.returncode, json.loads(done.stdout)

        upgrade = [sys.executable, "-m", "jobs", "db", "upgrade", "--config", str(file)]
        assert subprocess.run(upgrade, cwd=ROOT).returncode == 0
        assert tsi_fetch("check")[0] == 0
        code, plan = tsi_fetch("plan", "cima")
        assert code == 0
        code, run = tsi_fetch("run", "cima")
        assert code == 0
        assert plan["counts"] == run["counts"]
        assert run["requests"]["127.0.0.1"]["failed"] == 0
        code, again = tsi_fetch("run", "cima")
        assert (code, again["counts"], again["outcome"]) == (0, {}, "done")
        code, status = tsi_fetch("status")
        assert code == 0
        assert "cima" in json.dumps(status)
