"""A number is a store's own: where several stores have it, or may have it, nobody chooses for the person."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

SOME = "99001"


@pytest.fixture
def both(desk: Any) -> Any:
    """Job cima has entry 1 in quarantine; other, whose store is another one, has 1, 2 and 3."""
    desk.add_other_job(f"sqlite:///{desk.folder}/beside.db")
    desk.register.products[SOME].pop("nombre")
    assert desk.run("run", "cima")[0] == 65
    for product in desk.register.products.values():
        product.pop("nombre", None)
    assert desk.run("run", "other")[0] == 65
    assert [numbers(desk, job) for job in ("cima", "other")] == [[1], [1, 2, 3]]
    return desk


def numbers(desk: Any, job: str) -> list[int]:
    rows = json.loads(desk.run("quarantine", "list", job, "--json")[1])["quarantine"]
    return sorted(row["number"] for row in rows)


def test_an_entry_that_several_stores_have_is_dropped_only_by_its_jobs_name(both: Any) -> None:
    for some in (["1"], ["1", "2"]):
        code, _, err = both.run("quarantine", "drop", *some, "--why", "a trial", "--yes", "--log", "text")
        assert (code, "cima and other each have an open entry 1" in err) == (2, True)
    code, _, err = both.run("quarantine", "drop", "9999", "--why", "a trial", "--yes", "--log", "text")
    assert (code, "there is no open quarantine entry 9999" in err) == (2, True)
    assert (numbers(both, "cima"), numbers(both, "other")) == ([1], [1, 2, 3])
    assert both.run("quarantine", "drop", "other", "1", "2", "--why", "a trial", "--yes")[0] == 0
    assert (numbers(both, "cima"), numbers(both, "other")) == ([1], [3])
    code, _, err = both.run("quarantine", "drop", "1", "3", "--why", "a trial", "--yes", "--log", "text")
    assert (code, "these entries lie in stores of cima and other" in err) == (2, True)


def test_a_number_of_a_run_may_be_that_of_a_store_that_cannot_be_asked(both: Any) -> None:
    [run] = json.loads(both.run("runs", "list", "cima", "--json")[1])["runs"]
    assert both.run("runs", "show", "1")[0] == 2
    (both.folder / "beside.db").write_text("no database at all, but long enough to look like something")
    for wanted in ("1", run["run"][:8]):
        code, out, err = both.run("runs", "show", wanted)
        assert (code, out, "the whole id" in err, run["run"] in err) == (78, "", True, True), err
    code, out, _ = both.run("runs", "show", run["run"], "--json")
    assert (code, json.loads(out)["run"]) == (0, run["run"])


def test_a_store_that_is_down_keeps_no_other_from_being_looked_after(both: Any) -> None:
    (both.folder / "store.db").write_text("no database at all, but long enough to look like something")
    code, out, err = both.run("db", "upgrade", "--log", "text")
    assert (code, "beside.db is up to date" in out, "store.db" in err) == (78, True, True)
    code, out, err = both.run("db", "prune", "--keep", "90d", "--yes", "--log", "text")
    assert (code, "beside.db: nothing to prune" in out, "store.db" in err) == (78, True, True)


def test_a_prune_that_one_store_breaks_off_says_so_and_what_went_of_the_other(both: Any) -> None:
    for job, name in (("cima", "store.db"), ("other", "beside.db")):
        assert both.run("quarantine", "drop", job, "1", "--why", "a trial", "--yes")[0] == 0
        with closing(sqlite3.connect(both.folder / name)) as store, store:
            store.execute("UPDATE quarantine SET closed = 1 WHERE closed IS NOT NULL")
            if job == "cima":
                store.execute("CREATE TRIGGER dies BEFORE DELETE ON quarantine BEGIN DELETE FROM nowhere; END")
    code, out, err = both.run("db", "prune", "--keep", "90d", "--yes", "--json", "--log", "text")
    [went] = json.loads(out)["stores"]
    assert (code != 0, json.loads(out)["done"], went["counts"]) == (True, False, {"quarantine": 1}), err
    rows = [row for row in json.loads(both.run("audit", "--json")[1])["audit"] if row["action"] == "db prune"]
    ended = {Path(row["store"]).name: row["detail"].keys() & {"counts", "expected"} for row in rows}
    assert ended == {"beside.db": {"counts"}, "store.db": {"expected"}}
    assert "not ended; to go were 1 closed entry" in " ".join(both.run("audit")[1].split())


def test_a_marker_is_not_called_well_where_the_store_cannot_be_read(both: Any) -> None:
    (both.folder / "store.db").write_text("no database at all, but long enough to look like something")
    code, out, _ = both.run("check", "--json")
    found = {finding["what"]: finding for finding in json.loads(out)["findings"]}
    assert (code, found["cima: marker on out"]["code"]) == (78, 78)
    assert "not be compared" in found["cima: marker on out"]["wrong"]
    assert "other: marker on out" not in found, "what is well says what it found"
