"""A worker that lives, and one that was killed, as each command shows them: in the same words everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from store.handle import Stored, open_store
from store.upgrade import upgrade
from store.workers import WorkerStore
from tsi_fetch.words import RunRecord


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, desk: Any) -> str:
    """The job's store, with a list that is made and not begun."""
    found = f"sqlite:///{desk.folder}/store.db"
    if request.param == "postgresql":
        make: Callable[[], str] = request.getfixturevalue("make_database")
        file, other = desk.folder / "jobs.yaml", make()
        file.write_text(file.read_text().replace(found, other))
        upgrade(found := other)
    assert desk.run("backfill", "cima", "--all", "--later")[0] == 0
    return found


def begun(stored: Stored, name: str, *, expiry: float = 60) -> WorkerStore:
    worker = stored.worker("cima", "out", name, 1, expiry=expiry)
    worker.begin_run(RunRecord(name, "cima", stored.now(), whole=False))
    return worker


def shown(desk: Any, name: str) -> list[tuple[str, bool]]:
    """Outcome and silence of a worker, as `--json` of each command has them."""
    runs = json.loads(desk.run("runs", "--json")[1])["runs"]
    workers = json.loads(desk.run("backfill", "show", "1", "--json")[1])["workers"]
    found = [row for row in (*runs, *workers) if row["run"] == name]
    found.append(json.loads(desk.run("runs", "show", name, "--json")[1]))
    return [(row["outcome"], row["silent"]) for row in found]


def test_a_worker_that_lives_is_running_whether_it_has_claimed_anything_or_not(desk: Any, url: str) -> None:
    with open_store(url) as stored:
        worker = begun(stored, "worker-1")
        for act in (worker.claims.mine, lambda: worker.claims.claim(1), worker.claims.release):
            act()
            assert shown(desk, "worker-1") == [("running", False)] * 3
            for command in (("runs",), ("runs", "show", "worker-1"), ("backfill", "show", "1")):
                text = desk.run(*command)[1]
                assert ("running" in text, "no sign of life" in text) == (True, False)
        assert "it has not ended yet" in desk.run("runs", "show", "worker-1")[1]


def test_a_worker_that_was_killed_gives_no_sign_of_life_and_others_take_over(desk: Any, url: str) -> None:
    with open_store(url) as stored:
        begun(stored, "worker-1", expiry=0).claims.claim(1)
    assert shown(desk, "worker-1") == [("running", True)] * 3
    for command in (("runs",), ("runs", "show", "worker-1"), ("backfill", "show", "1")):
        assert "no sign of life" in desk.run(*command)[1]
    told = desk.run("runs", "show", "worker-1")[1]
    assert "other workers take over what it had, or: tsi-fetch backfill resume 1" in told
    assert "the next run goes on" not in told


def test_a_cancelled_list_has_workers_that_run_until_they_end(desk: Any, url: str) -> None:
    with open_store(url) as stored:
        begun(stored, "worker-1").claims.claim(1)
        begun(stored, "worker-2", expiry=0)
        assert desk.run("backfill", "cancel", "1", "--yes")[0] == 0
        assert shown(desk, "worker-1") == [("running", False)] * 3
        assert shown(desk, "worker-2") == [("lost", False)] * 3
        assert "the next run" not in desk.run("runs", "show", "worker-2")[1]
