"""`tsi-fetch db backup` and `db prune` as a person uses them."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from store.handle import open_store
from store.upgrade import upgrade


def _names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def _sql(file: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(file)) as db, db:
        return db.execute(statement).fetchall()


def test_a_copy_is_a_store_of_its_own_that_only_its_owner_reads(desk: Any) -> None:
    desk.run("run", "cima", "--json")
    there = desk.folder / "copies of März"
    there.mkdir()
    code, out, _ = desk.run("db", "backup", str(there / "monday.db"))
    assert (code, "checked" in out) == (0, True)
    assert _names(there) == ["monday.db"]
    assert stat.S_IMODE((there / "monday.db").stat().st_mode) == 0o600
    _, told, _ = desk.run("status", "cima", "--json")
    _, copied, _ = desk.run("status", "cima", "--json", "--store", f"sqlite:///{there}/monday.db")
    assert _timeless(copied) == _timeless(told)
    assert json.loads(told)["jobs"][0]["outcome"] == "done"


def _timeless(told: str) -> list[Any]:
    """The rows without what goes on from one look to the next."""
    return [row | {"seconds_since_success": None, "as_of": None} for row in json.loads(told)["jobs"]]


def test_while_somebody_writes_the_copy_has_what_was_committed_and_nobody_waits(desk: Any) -> None:
    desk.run("run", "cima", "--json")
    with closing(sqlite3.connect(desk.folder / "store.db", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        db.execute("DELETE FROM holds")
        code, out, _ = desk.run("db", "backup", str(desk.folder / "copy.db"), "--json")
        db.execute("COMMIT")
    assert (code, json.loads(out)["bytes"] > 0) == (0, True)
    assert _sql(desk.folder / "store.db", "SELECT count(*) FROM holds") == [(0,)]
    assert _sql(desk.folder / "copy.db", "SELECT count(*) > 0 FROM holds") == [(1,)]


@pytest.mark.parametrize("beside", ["copy.db", "copy.db-wal", "copy.db-journal"])
def test_nothing_is_overwritten_nor_mixed_with_what_is_there(desk: Any, beside: str) -> None:
    desk.run("run", "cima", "--json")
    (desk.folder / beside).write_bytes(b"mine")
    before = _names(desk.folder)
    code, out, err = desk.run("db", "backup", str(desk.folder / "copy.db"), "--log", "text")
    assert (code, out, "is there already" in err) == (2, "", True)
    assert ((desk.folder / beside).read_bytes(), _names(desk.folder)) == (b"mine", before)


def test_a_link_to_nowhere_is_something_too(desk: Any) -> None:
    desk.run("run", "cima", "--json")
    os.symlink(desk.folder / "elsewhere.db", desk.folder / "copy.db")
    assert desk.run("db", "backup", str(desk.folder / "copy.db"))[0] == 2
    assert not (desk.folder / "elsewhere.db").exists()


def test_no_store_no_folder_and_no_sound_file_are_told_apart(desk: Any) -> None:
    copy = str(desk.folder / "copy.db")
    code, _, err = desk.run("db", "backup", copy, "--log", "text")
    assert (code, "there is no store" in err) == (78, True)
    desk.run("run", "cima", "--json")
    code, _, err = desk.run("db", "backup", str(desk.folder / "nix" / "copy.db"), "--log", "text")
    assert (code, "cannot be written" in err) == (78, True)
    file = desk.folder / "store.db"
    whole = file.read_bytes()
    file.write_bytes(whole[:8192] + b"\x55" * 40960 + whole[8192 + 40960 :])
    code, _, err = desk.run("db", "backup", copy, "--log", "text")
    assert (code, "damaged" in err) == (78, True)
    assert [name for name in _names(desk.folder) if "copy" in name] == []


def test_postgresql_is_sent_to_its_own_tool(desk: Any) -> None:
    url = "postgresql://me:hidden-secret@db.invalid/x"
    code, _, err = desk.run("db", "backup", str(desk.folder / "copy.db"), "--store", url, "--log", "text")
    assert (code, "pg_dump" in err, "hidden-secret" in err) == (2, True, False)


def test_of_several_stores_one_is_to_be_named(desk: Any) -> None:
    file = desk.folder / "jobs.yaml"
    file.write_text(file.read_text().replace("sinks:", f'  more: {{url: "sqlite:///{desk.folder}/more.db"}}\nsinks:'))
    code, _, err = desk.run("db", "backup", str(desk.folder / "copy.db"), "--log", "text")
    assert (code, "more.db" in err) == (2, True)


def test_a_store_of_an_older_version_is_copied_before_it_is_brought_up_to_date(desk: Any) -> None:
    desk.run("run", "cima", "--json")
    _sql(desk.folder / "store.db", "UPDATE tsi_fetch_schema SET version_num = '0001'")
    assert desk.run("db", "backup", str(desk.folder / "copy.db"))[0] == 0
    assert desk.run("db", "prune", "--keep", "90d")[0] == 78
    assert desk.run("watermark", "show", "cima")[0] == 78


def _old_nights(desk: Any) -> None:
    """Long ago a first load and a night that wrote nothing; last night something changed."""
    desk.run("run", "cima", "--json")
    desk.run("run", "cima", "--json")
    desk.register.products["99001"]["nombre"] = "ANOTHER NAME"
    desk.run("run", "cima", "--json", "--only", "99001")
    _sql(desk.folder / "store.db", "UPDATE runs SET started = 0, ended = 1 WHERE no < 3")


def test_prune_tells_asks_and_does_and_the_trail_has_it(desk: Any) -> None:
    _old_nights(desk)
    code, out, err = desk.run("db", "prune", "--keep", "90d", "--log", "text")
    assert (code, "--yes" in err) == (2, True)
    assert "would go" in out
    assert _sql(desk.folder / "store.db", "SELECT count(*) FROM audit") == [(0,)]
    code, out, err = desk.run("db", "prune", "--keep", "90d", "--yes", "--json", "--log", "text")
    assert "would go" in err, "also where nobody is asked"
    [gone] = json.loads(out)["stores"]
    assert (code, gone["counts"]) == (0, {"reports": 1})  # the second is the last success: one product is none
    assert json.loads(out)["done"] is True
    [entry] = json.loads(desk.run("audit", "--json")[1])["audit"]
    assert (entry["action"], entry["why"], entry["job"]) == ("db prune", "older than 90d", None)
    assert entry["detail"]["counts"] == gone["counts"]
    assert (entry["store"], "expected" in entry["detail"]) == (f"sqlite:///{desk.folder}/store.db", False)
    assert "1 report, in" in desk.run("audit")[1]
    code, out, _ = desk.run("db", "prune", "--keep", "90d", "--yes")
    assert (code, "nothing to prune" in out) == (0, True)
    assert desk.run("run", "cima", "--json")[0] == 0


def test_before_any_run_there_is_nothing_to_prune_but_a_named_store_must_be_there(desk: Any) -> None:
    code, out, _ = desk.run("db", "prune", "--keep", "90d")
    assert (code, "store.db is not there: no run has made it yet" in out) == (0, True)
    assert not (desk.folder / "store.db").exists()
    assert desk.run("db", "prune", "--keep", "90d", "--store", f"sqlite:///{desk.folder}/nix.db")[0] == 78
    assert desk.run("db", "prune", "--keep", "soon")[0] == 2


def test_upgrade_says_what_it_is_about_to_do_and_nothing_where_that_is_nothing(desk: Any) -> None:
    code, out, err = desk.run("db", "upgrade", "--log", "text")
    assert (code, f"makes the tables of sqlite:///{desk.folder}/store.db" in err, "was made" in out) == (0, True, True)
    code, out, err = desk.run("db", "upgrade", "--log", "text")
    assert (code, err, "is up to date" in out) == (0, "", True)


def test_on_postgresql_prune_is_the_same(desk: Any, make_database: Callable[[], str]) -> None:
    url = make_database()
    upgrade(url)
    desk.run("run", "cima", "--json", "--store", url, "--sink", str(desk.folder / "other"))
    code, out, _ = desk.run("db", "prune", "--keep", "90d", "--store", url, "--json")
    assert (code, json.loads(out)["stores"][0]["counts"]) == (0, {})
    with open_store(url) as stored:
        assert stored.latest() is not None
