"""Make the recording that ships with the project: `make demo` and the tests run the CIMA job from it.

    python dev/make_recording.py            # writes jobs/recordings/cima anew

A first run of the real job, over real HTTP against `cima_server.py` on this machine, with the three invented products
of tests/recorded/cima, into a folder that is thrown away: one on the market, one suspended, and one withdrawn the day
before, with its texts.  The clock stands still but for waits, and there is one connection, so that the result is the
same, byte for byte, whenever and wherever it is made.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import tomllib
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from dev.cima_server import MADRID, Register, Reply, Server  # noqa: E402
from sinks.folder import Folder, FolderOptions  # noqa: E402
from sources.cima.options import CimaOptions  # noqa: E402
from sources.cima.source import Cima  # noqa: E402
from store.handle import open_scratch  # noqa: E402
from store.recorded_state import export_state  # noqa: E402
from tsi_fetch.clock import ReplayClock  # noqa: E402
from tsi_fetch.http.record import Recorder  # noqa: E402
from tsi_fetch.http.wire import Wire  # noqa: E402
from tsi_fetch.report import Report  # noqa: E402
from tsi_fetch.run import Ports, Settings, run_job  # noqa: E402

TARGET = ROOT / "jobs" / "recordings" / "cima"
MATERIAL = ROOT / "tests" / "recorded" / "cima"
STARTED = datetime(2026, 3, 10, 8, 30, tzinfo=UTC)
WITHDRAWN, WITHDRAWN_AT = "1998001001", datetime(2026, 3, 9, tzinfo=MADRID)
NOTE = "Invented products in the shape of CIMA's answers: nothing here is data of the AEMPS."


class OnThisMachine(httpx.BaseTransport):
    """Asks the server here what is meant for the register: the recording then fits the stock job's base_url."""

    def __init__(self, port: int) -> None:
        self._wire, self._port = Wire(connections=1), port

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        here = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        headers = request.headers.copy()
        headers["Host"] = f"127.0.0.1:{self._port}"
        return self._wire.handle_request(
            httpx.Request(request.method, here, headers=headers, stream=request.stream, extensions=request.extensions)
        )

    def close(self) -> None:
        self._wire.close()


def make(folder: Path) -> Report:
    """Record a first run into a new folder."""
    register = Register.of_folder(MATERIAL / "bodies", date=STARTED)
    register.feed = json.loads((MATERIAL / "registroCambios.json").read_bytes())
    _withdraw(register)
    register.instead("presentacion/999102", Reply(503, headers={"Retry-After": "1"}))  # a hiccup, as they happen
    clock, job = ReplayClock(STARTED), "cima"
    with Server(register) as server, open_scratch() as stored, tempfile.TemporaryDirectory() as away:
        sink = Folder(FolderOptions(path=Path(away), release="R5"), clock)
        with stored.lease(job, away, "recording", wait=clock.sleep) as store:
            state = export_state(store, Cima.stream)
            recorder = Recorder(folder, job, clock, state=state, attribution=NOTE, writer=_version())
            wire = OnThisMachine(server.port)
            source = Cima(CimaOptions(connections=1), clock, recorder=recorder, wire=wire, rng=random.Random(1))
            with closing(source):
                report = run_job(Ports(source, sink, store, clock), Settings(job, "recording"))
            recorder.close()
    return report


def _withdraw(register: Register) -> None:
    """As the register tells it: on the product and its packs, and by a row of the feed in the batch of that day."""
    midnight = round(WITHDRAWN_AT.timestamp() * 1000)
    product = register.products[WITHDRAWN]
    packs = [pack for pack in register.presentations.values() if pack["nregistro"] == WITHDRAWN]
    for one in (product, *product["presentaciones"], *packs):
        one["estado"]["rev"], one["comerc"] = midnight, False
    batch = midnight + 8 * 3_600_000 + 55 * 60_000
    row = {"nregistro": WITHDRAWN, "fecha": batch, "tipoCambio": 2, "cambio": [], "nombre": product["nombre"]}
    register.feed.append({**row, "labtitular": product["labtitular"]})


def _version() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=TARGET)
    folder: Path = parser.parse_args().folder
    kept = folder / "expected"  # what `verify --accept` wrote
    with tempfile.TemporaryDirectory() as away:
        new = Path(away) / "cima"
        report = make(new)
        if report.exit_code:
            sys.exit(f"the run ended with {report.exit_code}: {report.reasons}")
        if kept.exists():
            shutil.copytree(kept, new / "expected")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(new, folder)
    print(f"{folder}: {len(list(folder.glob('answers/*')))} answers")


if __name__ == "__main__":
    main()
