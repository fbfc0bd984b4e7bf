"""Eight worker processes on PostgreSQL, two of them killed, and a nightly run in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.cima_server import Register, Server
from jobs.__main__ import main
from store.upgrade import upgrade

BODIES = Path(__file__).parents[1] / "recorded" / "cima" / "bodies"
PRODUCTS = 120
WORKERS = 8


def _register() -> Register:
    """Those that are there, and many more of the plainest kind."""
    register = Register.of_folder(BODIES)
    plain = {**register.products["99001"], "presentaciones": []}
    for number in range(PRODUCTS - len(register.products)):
        key = str(70_000 + number)
        register.products[key] = {**plain, "nregistro": key, "nombre": f"PRODUCTO {number}", "docs": []}
    return register


@pytest.fixture
def place(tmp_path: Path, make_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    url = make_database()
    upgrade(url)
    register = _register()
    with Server(register) as server:
        file = tmp_path / "jobs.yaml"
        file.write_text(f"""\
stores:
  main: {{url: "{url}"}}
sinks:
  out: {{kind: folder, path: "{tmp_path}/out"}}
jobs:
  cima:
    source: {{kind: cima, base_url: "{server.base_url}", rate: 50, attempts: 1}}
    sink: out
    store: main
    schedule: "30 9 * * *"
    lease_expiry: 12s
""")
        monkeypatch.setenv("TSI_FETCH_CONFIG", str(file))
        yield tmp_path, register


def _told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    capsys.readouterr()
    code = main([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


def _worker() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "jobs", "backfill", "work", "1", "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=dict(os.environ))


def test_all_is_loaded_once_whoever_dies_and_the_night_goes_first(
    place: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, register = place
    assert _told(capsys, "backfill", "start", "cima", "--all", "--later")[0] == 0
    workers = [_worker() for _ in range(WORKERS)]
    try:
        while _told(capsys, "backfill", "show", "1")[1]["done"] < PRODUCTS // 8:
            assert any(worker.poll() is None for worker in workers)
        for worker in workers[:2]:
            worker.send_signal(signal.SIGKILL)
        changed = register.products["99001"]
        changed["nombre"] += " NUEVO"
        register.feed.insert(
            0, {"nregistro": "99001", "fecha": 4_070_908_800_000, "tipoCambio": 3, "cambio": ["estado"]}
        )
        code, night = _told(capsys, "run", "cima")
        assert (code, night["outcome"]) == (0, "done"), "it waited for a batch, not for the backfill"
        said = [worker.communicate(timeout=120)[0] for worker in workers[2:]]
    finally:
        for worker in workers:
            worker.kill()
            if not worker.stdout.closed:
                worker.communicate()
    assert [worker.returncode for worker in workers[2:]] == [0] * (WORKERS - 2)
    _, shown = _told(capsys, "backfill", "show", "1")
    assert (shown["state"], shown["done"], shown["left"], shown["aside"]) == ("closed", PRODUCTS, 0, 0)
    outcomes = [worker["outcome"] for worker in shown["workers"]]
    assert outcomes.count("done") == WORKERS - 2
    assert set(outcomes) <= {"done", "lost", "running"}, "one killed between two slices had claimed nothing"
    _complete(folder / "out", register)
    created = _created([night, *(json.loads(out.splitlines()[-1]) for out in said)])
    assert created["MedicinalProductDefinition"] <= PRODUCTS, "none twice; what a killed one had made it does not tell"
    code, after = _told(capsys, "run", "cima", "--full")
    assert code == 0
    assert {action for counts in after["counts"].values() for action in counts} == {"unchanged"}
    assert _told(capsys, "reconcile", "cima")[0] == 0


def _complete(out: Path, register: Register) -> None:
    """Every product, as the register says it is now."""
    bodies = [json.loads(file.read_bytes()) for file in (out / "MedicinalProductDefinition").iterdir()]
    names = {name["productName"] for body in bodies for name in body["name"]}
    assert len(bodies) == PRODUCTS
    assert names == {product["nombre"] for product in register.products.values()}


def _created(reports: list[Any]) -> dict[str, int]:
    total: dict[str, int] = {}
    for report in reports:
        for kind, counts in report["counts"].items():
            total[kind] = total.get(kind, 0) + counts.get("created", 0)
    return total
