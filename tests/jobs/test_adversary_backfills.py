"""Backfills of several stores, and what a command says of them when it is not so."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from store.handle import open_store
from store.upgrade import upgrade
from tsi_fetch.words import RunRecord


def report(out: str) -> Any:
    return json.loads(out.splitlines()[-1])


def two_stores(desk: Any, main: str, beside: str) -> None:
    """Each store counts its backfills from 1."""
    file = desk.folder / "jobs.yaml"
    file.write_text(file.read_text().replace(f"sqlite:///{desk.folder}/store.db", main))
    desk.add_other_job(beside)


def test_a_crew_works_on_its_own_backfill_where_another_store_has_one_of_that_number(
    desk: Any, make_database: Callable[[], str]
) -> None:
    main, beside = make_database(), make_database()
    upgrade(main)
    upgrade(beside)
    two_stores(desk, main, beside)
    assert desk.run("backfill", "other", "--all", "--later")[0] == 0
    _, out, _ = desk.run("backfill", "cima", "--all", "--workers", "2", "--json")
    assert report(out)["backfill"]["state"] == "closed"


def test_a_crew_whose_workers_all_refuse_to_begin_is_not_green(desk: Any, make_database: Callable[[], str]) -> None:
    """Each ends with 2, here since two stores have a backfill of that number: nothing was loaded."""
    main, beside = make_database(), make_database()
    upgrade(main)
    upgrade(beside)
    two_stores(desk, main, beside)
    assert desk.run("backfill", "other", "--all", "--later")[0] == 0
    code, out, _ = desk.run("backfill", "cima", "--all", "--workers", "2", "--json")
    done = report(out)
    assert done["backfill"]["left"] == 0 or code != 0


def test_a_worker_needs_no_other_store_than_its_own(desk: Any) -> None:
    """Another team's store is down, or its password is not set here."""
    url = f"sqlite:///{desk.folder}/store.db"
    two_stores(desk, url, "postgresql://nobody@nowhere.invalid/store")
    assert desk.run("backfill", "cima", "--all", "--later")[0] == 0
    assert desk.run("backfill", "work", "1", "--job", "cima")[0] == 0


def test_a_worker_that_died_is_not_shown_as_one_that_runs(desk: Any) -> None:
    """Its claim has expired, and nobody has come since: nothing is being done, and nothing will be."""
    assert desk.run("backfill", "cima", "--all", "--later")[0] == 0
    with open_store(f"sqlite:///{desk.folder}/store.db") as stored:
        dead = stored.worker("cima", "out", "dead", 1, expiry=0)
        dead.begin_run(RunRecord("dead", "cima", stored.now(), whole=False))
        assert len(dead.claims.claim(1)) == 1
    _, out, _ = desk.run("backfill", "show", "1", "--json")
    assert [worker["silent"] for worker in report(out)["workers"]] == [True]
    assert "no sign of life" in desk.run("backfill", "show", "1")[1]
