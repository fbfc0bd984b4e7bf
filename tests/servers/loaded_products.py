"""The chosen products on a real server, written by the real job from a register over HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.cima_server import Server
from tests.servers import hard_leaflet
from tests.servers.chosen_products import Chosen, chosen

ROOT = Path(__file__).parents[2]
HARD = "27 944-95-96"
"""The product whose leaflet is `hard_leaflet`'s."""

JOB_FILE = """
stores: {{main: {{url: "sqlite:///{folder}/store.db"}}}}
sinks: {{epi: {{kind: fhir, url: "{hapi}"}}}}
jobs:
  cima:
    source: {{kind: cima, base_url: "{register}", rate: 50}}
    sink: epi
    store: main
    schedule: "30 9 * * *"
    timezone: Europe/Madrid
    on_existing: adopt
"""


@dataclass(frozen=True)
class Loaded:
    """`run`: what the job reported."""

    chosen: Chosen
    run: Any


def load(hapi: str, folder: Path) -> Loaded:
    made = chosen()
    made.register.contents[2, HARD] = hard_leaflet.contents()
    with Server(made.register) as server:
        file = folder / "jobs.yaml"
        file.write_text(JOB_FILE.format(folder=folder, hapi=hapi, register=server.base_url))
        tsi_fetch(file, "db", "upgrade")
        return Loaded(made, json.loads(tsi_fetch(file, "run", "cima", "--json")))


def tsi_fetch(file: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "jobs", *arguments, "--config", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout
