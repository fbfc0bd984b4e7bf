"""`tsi-fetch reconcile` as a person uses it, over a folder; and what it prints."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from jobs.reporting.reconciled import MEANING, figures, reconciled_text
from tsi_fetch.differences import UNKNOWN, Kind
from tsi_fetch.reconcile import Comparison, Marking, Mended
from tsi_fetch.words import Mark, WorkList

LOADED = 49


def _audit(folder: Path) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(folder / "store.db")) as db:
        return db.execute("SELECT actor, action, detail FROM audit").fetchall()


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _empty(out: Path) -> None:
    shutil.rmtree(out)


def test_before_any_run_nothing_is_remembered_and_no_store_is_made(desk: Any) -> None:
    (desk.out / "Bundle").mkdir(parents=True)
    (desk.out / "Bundle" / "x.json").write_text("{}")
    code, out, _ = desk.run("reconcile", "cima")
    assert (code, "Nothing is remembered; 1 unknown on the sink." in out) == (0, True)
    assert "  Bundle/x" in out
    assert not (desk.folder / "store.db").exists()


def test_that_the_store_beside_a_folder_was_put_back_is_noticed_by_reconcile_alone(desk: Any) -> None:
    desk.run("run", "cima", "--json")
    assert desk.run("db", "backup", str(desk.folder / "monday.db"))[0] == 0
    desk.register.products["99001"]["nombre"] = "FANTASINA"
    assert desk.run("run", "cima", "--full", "--json")[0] == 0
    shutil.copy(desk.folder / "monday.db", desk.folder / "store.db")
    for beside in ("store.db-wal", "store.db-shm"):
        (desk.folder / beside).unlink(missing_ok=True)
    assert desk.run("run", "cima", "--json")[0] == 0  # docs/operating.md says so
    assert desk.run("reconcile", "cima", "--fix", "--yes")[0] == 0
    assert desk.run("run", "cima", "--json")[0] == 0
    assert desk.run("reconcile", "cima")[0] == 0


def test_what_nobody_remembers_cannot_be_mended(desk: Any) -> None:
    code, out, err = desk.run("reconcile", "cima", "--fix", "--log", "text")
    assert (code, out) == (78, "")
    assert "there is no store at" in err


def test_a_store_that_was_named_and_is_not_there_is_a_mistake(desk: Any) -> None:
    store = f"sqlite:///{desk.folder}/nix.db"
    code, out, err = desk.run("reconcile", "cima", "--store", store, "--sink", str(desk.out), "--log", "text")
    assert (code, out) == (78, "")
    assert "nix.db" in err


def test_what_to_do_next_names_the_places_that_were_named(desk: Any) -> None:
    store, there = f"sqlite:///{desk.folder}/other.db", str(desk.folder / "other")
    desk.run("run", "cima", "--json", "--store", store, "--sink", there)
    _empty(Path(there))
    _, out, _ = desk.run("reconcile", "cima", "--store", store, "--sink", there, "--log", "text")
    assert f"--store {store} --sink {there} cima --fix" in " ".join(out.split())


def test_a_loaded_folder_is_in_step_and_looking_writes_nothing(desk: Any) -> None:
    desk.run("run", "cima", "--json")
    before = _files(desk.folder)
    code, out, _ = desk.run("reconcile", "cima")
    assert code == 0
    assert out.startswith(f"cima: in step\n{LOADED} remembered, all in step.\n")
    assert _files(desk.folder) == before


def test_a_wiped_folder_is_told_mended_and_filled_again(desk: Any) -> None:
    desk.run("run", "cima", "--json")
    whole = {name: body for name, body in _files(desk.out).items() if not name.startswith(".")}
    _empty(desk.out)
    assert desk.run("run", "cima", "--json")[0] == 77
    code, out, _ = desk.run("reconcile", "cima", "--log", "text")
    assert code == 65
    assert f"{LOADED} remembered: {LOADED} missing." in out
    assert "✗ the sink has lost this store's marker" in out
    assert out.endswith("  → tsi-fetch reconcile cima --fix\n")
    assert max(map(len, out.splitlines())) <= 100
    code, out, _ = desk.run("reconcile", "cima", "--fix", "--yes", "--json")
    found = json.loads(out)
    assert (code, found["result"], found["mended"]["work"]["kind"]) == (0, "mended", "reconcile")
    [(actor, action, detail)] = _audit(desk.folder)
    assert ("@" in actor, action) == (True, "reconcile")
    assert json.loads(detail)["counts"]["Bundle"] == {"missing": 4}
    code, out, _ = desk.run("run", "cima", "--json")
    assert (code, json.loads(out.splitlines()[-1])["outcome"]) == (0, "done")
    assert {name: body for name, body in _files(desk.out).items() if not name.startswith(".")} == whole
    assert desk.run("reconcile", "cima")[0] == 0


class _Answers:
    """A terminal at which a person thinks, and says yes."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self._meanwhile = meanwhile

    def isatty(self) -> bool:
        return True

    def readline(self, *_: object) -> str:
        self._meanwhile()
        return "y\n"


def _asked(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object] = lambda: None) -> None:
    monkeypatch.setattr(sys, "stdin", _Answers(meanwhile))
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: True, raising=False)


def _loaded_and_one_missing(desk: Any) -> Path:
    desk.run("run", "cima", "--json")
    one, other = sorted((desk.out / "MedicinalProductDefinition").iterdir())[:2]
    one.unlink()
    return other


def test_a_fix_says_what_it_would_do_and_changes_nothing_where_nobody_agrees(desk: Any) -> None:
    _loaded_and_one_missing(desk)
    before = _files(desk.folder)
    code, out, err = desk.run("reconcile", "cima", "--fix", "--log", "text")
    assert (code, "nothing was changed" in err, "--yes" in err) == (2, True, True)
    assert "--fix forgets what it remembers of what differs" in out
    assert "  1 missing: created again when its product is read again" in out
    assert _files(desk.folder) == before


def test_a_fix_that_a_person_agrees_to_is_done_and_told_in_short(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _loaded_and_one_missing(desk)
    _asked(monkeypatch)
    code, out, err = desk.run("reconcile", "cima", "--fix", "--log", "text")
    assert (code, "Do it?" in err) == (0, True)
    assert out.count("missing: remembered, and not on the sink") == 1
    assert "cima: mended\nMemory is mended" in out
    assert [action for _, action, _ in _audit(desk.folder)] == ["reconcile"]


def test_what_changed_while_a_person_thought_is_not_mended(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    other = _loaded_and_one_missing(desk)
    _asked(monkeypatch, other.unlink)
    code, _, err = desk.run("reconcile", "cima", "--fix", "--log", "text")
    assert (code, "what differs is not what was shown any more: nothing was changed" in err) == (75, True)
    assert _audit(desk.folder) == []


def test_with_yes_it_is_said_before_it_is_done_and_where_nothing_differs_nobody_is_asked(desk: Any) -> None:
    _loaded_and_one_missing(desk)
    code, out, err = desk.run("reconcile", "cima", "--fix", "--yes", "--log", "text")
    assert (code, out.splitlines()[0]) == (0, "cima: mended")
    assert "forgets what it remembers of what differs (1 missing), and takes the sink's marker over" in err
    assert desk.run("run", "cima", "--json")[0] == 0
    code, out, _ = desk.run("reconcile", "cima", "--fix", "--log", "text")
    assert (code, out.splitlines()[0]) == (0, "cima: in step")
    assert desk.run("reconcile", "cima", "--yes")[0] == 2


def test_a_file_that_somebody_edited_or_touched_is_told_with_every_figure_as_json(desk: Any) -> None:
    desk.run("run", "cima", "--json")
    edited, touched = sorted((desk.out / "MedicinalProductDefinition").iterdir())[:2]
    edited.write_text(json.dumps({**json.loads(edited.read_text()), "description": "somebody's"}))
    touched.write_text(json.dumps(json.loads(touched.read_text())))
    code, out, _ = desk.run("reconcile", "cima", "--json")
    found = json.loads(out)
    assert (code, found["differences"], found["exit_code"]) == (65, 2, 65)
    names = {kind: [name.partition("/")[2] for name in refs] for kind, refs in found["named"].items()}
    assert names == {"changed": [edited.stem], "touched": [touched.stem]}
    assert found["marker"]["trouble"] is None
    assert "somebody" not in out


def test_another_store_and_sink_belong_together(desk: Any) -> None:
    code, _, err = desk.run("reconcile", "cima", "--sink", "out", "--log", "text")
    assert (code, "belong together" in err) == (2, True)
    store = f"sqlite:///{desk.folder}/other.db"
    desk.run("db", "upgrade", "--store", store)
    code, out, _ = desk.run("reconcile", "cima", "--store", store, "--sink", "out")
    assert (code, "Nothing is remembered." in out) == (0, True)


def _found(**changes: Any) -> Comparison:
    values: dict[str, Any] = {
        "job": "cima",
        "marking": Marking("tsi-fetch-x-cima", None, None),
        "counts": {
            "Bundle": {"in step": 1200, **{kind.value: 12345 for kind in Kind}},
            "MedicinalProductDefinition": {UNKNOWN: 30, "in step": 2},
        },
        "named": {**{kind.value: (f"Bundle/{kind}",) for kind in Kind}, UNKNOWN: tuple(f"Bundle/{n}" for n in "ab")},
    }
    return Comparison(**values | changes)


@pytest.mark.parametrize("width", [80, 140])
def test_everything_is_told_on_narrow_terminals(width: int) -> None:
    mark = Mark("260302-0930-ab12", 4, "7")
    trouble = Marking("tsi-fetch-x-cima", mark, None, "the sink's marker exists, but this store does not know it")
    text = reconciled_text(figures(_found(marking=trouble)), width=width)
    assert max(map(len, text.splitlines())) <= width
    for expected in (*MEANING, "12,345", "Bundle/missing", "and 28 more", "and 12,344 more", "(exit code 65)", "none"):
        assert expected in text
    assert "run 260302-0930-ab12, count 4, version 7" in text


def test_a_list_under_way_is_gone_on_with_first_and_what_was_mended_says_what_comes_next() -> None:
    work = WorkList(3, "reconcile", "changes", complete=False, total=12, left=5)
    text = reconciled_text(figures(_found(under_way=work)))
    assert text.index("5 of 12 keys") < text.index("tsi-fetch run cima") < text.index("reconcile cima --fix")
    text = reconciled_text(figures(_found(mended=Mended(work, ("other",)))))
    assert text.startswith("cima: mended\n")
    assert "5 of 12 keys are to be read again; until then runs are partial." in text
    assert "tsi-fetch run other --full" in text
    assert "exit code" not in text


def test_after_fix_nobody_is_sent_to_fix_again(desk: Any) -> None:
    desk.run("run", "cima", "--json")
    edited = min((desk.out / "MedicinalProductDefinition").iterdir())
    edited.write_text(json.dumps({**json.loads(edited.read_text()), "description": "somebody's"}))
    _, before, _ = desk.run("reconcile", "cima")
    assert before.endswith("  → tsi-fetch reconcile cima --fix\n")
    desk.run("reconcile", "cima", "--fix", "--yes")
    code, fixed, _ = desk.run("reconcile", "cima")
    assert (code, "--fix" in fixed) == (65, False)
    assert "1 of 1 key of a work list is still to be read:\n  → tsi-fetch run cima\n" in fixed
    assert desk.run("run", "cima", "--json")[0] == 65  # foreign
    code, left, _ = desk.run("reconcile", "cima")
    assert (code, "--fix" in left) == (65, False)
    assert "on_existing: adopt" in left
    assert "→ tsi-fetch quarantine list --job cima" in left
    assert json.loads(desk.run("reconcile", "cima", "--json")[1])["fixed"] == 1
    missing = min((desk.out / "Bundle").iterdir())
    missing.unlink()  # what --fix has not seen
    assert desk.run("reconcile", "cima")[1].endswith("  → tsi-fetch reconcile cima --fix\n")
