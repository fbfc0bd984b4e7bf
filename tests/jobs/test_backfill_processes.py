"""Eight worker processes on PostgreSQL, two of them killed, and a nightly run in between."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.cima_server import Register, Server
from jobs.__main__ import main
from store.handle import open_store
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


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_workers_end_by_themselves_when_whoever_began_them_is_gone(
    place: Any, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    """Killed; or the session in which it was begun has ended.  They let go of what they had claimed."""
    file = place[0] / "jobs.yaml"
    file.write_text(file.read_text().replace("rate: 50", "rate: 5"))
    command = [sys.executable, "-m", "jobs", "backfill", "cima", "--all", "--workers", "2", "--log", "text"]
    parent = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    try:
        while len(_at_work(capsys)) < 2:
            assert parent.poll() is None
        parent.send_signal(number)
        parent.communicate(timeout=60)  # the workers hold its stderr, too: it ends with the last of them
    finally:
        parent.kill()
        parent.wait()
    assert parent.returncode == {signal.SIGKILL: -signal.SIGKILL, signal.SIGHUP: 143}[number]
    shown = _told(capsys, "backfill", "show", "1")[1]
    assert [worker["outcome"] for worker in shown["workers"]] == ["stopped"] * 2
    assert shown["left"] > 0
    with open_store(re.findall(r'url: "(.*)"', file.read_text())[0]) as stored, stored.database.read() as conn:
        assert conn.exec_driver_sql("SELECT count(*) FROM work WHERE holder IS NOT NULL").scalar() == 0


def _at_work(capsys: pytest.CaptureFixture[str]) -> list[Any]:
    """Workers of the first backfill that are on its list, once there is one and something of it is done."""
    code, shown = _shown(capsys)
    return [one for one in shown["workers"] if one["outcome"] == "running"] if code == 0 and shown["done"] else []


def _shown(capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    capsys.readouterr()
    code = main(["backfill", "show", "1", "--json"])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1]) if code == 0 else None


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
