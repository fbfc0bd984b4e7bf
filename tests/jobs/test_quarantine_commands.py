"""What lies in quarantine: counted, shown, replayed, dropped, exported."""

from __future__ import annotations

import errno
import json
import os
import stat
from typing import Any

import pytest

SOME = "99001"


def report(out: str) -> Any:
    return json.loads(out.splitlines()[-1])


@pytest.fixture
def troubled(desk: Any) -> Any:
    """A product without a name cannot be used."""
    desk.name = desk.register.products[SOME].pop("nombre")
    assert desk.run("run", "cima", "--json")[0] == 65
    return desk


def entries(desk: Any, *options: str) -> Any:
    return report(desk.run("quarantine", "list", "--json", *options)[1])


def test_reasons_are_counted_before_entries_are_named(troubled: Any) -> None:
    found = entries(troubled)
    [reason] = found["reasons"]
    [entry] = found["quarantine"]
    assert (reason["entries"], reason["job"], reason["code"]) == (1, "cima", entry["code"])
    assert entry["key"] == SOME


def test_a_job_is_named_as_everywhere_and_only_one(troubled: Any) -> None:
    found = entries(troubled)
    assert entries(troubled, "cima") == entries(troubled, "--job", "cima") == entries(troubled, "cima", "--job", "cima")
    assert entries(troubled, "cima") == found
    assert troubled.run("quarantine", "list", "nobody")[0] == 2
    code, _, err = troubled.run("quarantine", "list", "cima", "--job", "other")
    assert (code, "JOB is cima, and --job is other" in err) == (2, True)
    code, out, _ = troubled.run("backfill", "list", "cima", "--json")
    assert (code, out) == troubled.run("backfill", "list", "--job", "cima", "--json")[:2]


@pytest.mark.parametrize(
    "wrong", [("nobody", "{}"), ("{}", "--job", "nobody"), ("cima", "{}", "--store", "sqlite:///x")]
)
def test_an_export_that_cannot_be_made_leaves_no_folder(troubled: Any, wrong: tuple[str, ...]) -> None:
    folder = troubled.folder / "troubles"
    assert troubled.run("quarantine", "export", *(word.format(folder) for word in wrong))[0] in (2, 78)
    assert not folder.exists()
    code, out, _ = troubled.run("quarantine", "export", "cima", str(folder), "--json")
    assert (code, report(out)["entries"]) == (0, 1)


def test_show_takes_the_number_alone_and_the_row_as_received(troubled: Any) -> None:
    [entry] = entries(troubled)["quarantine"]
    number = str(entry["number"])
    code, out, _ = troubled.run("quarantine", "show", number)
    assert code == 0
    assert entry["rule"] in out
    assert f'"nregistro": "{SOME}"' in out
    assert troubled.run("quarantine", "show", "cima", number)[1] == out
    assert troubled.run("quarantine", "show", "999")[0] == 2
    assert troubled.run("quarantine", "show", "cima", "two", "3")[0] == 2


def test_replay_asks_nobody_and_what_still_fails_stays(troubled: Any) -> None:
    calls = len(troubled.register.calls)
    code, out, err = troubled.run("quarantine", "replay", "cima", "--log", "text")
    assert code == 65
    assert "1 entry of cima goes through today's code once more; the source is not asked" in err
    assert len(troubled.register.calls) == calls
    [entry] = entries(troubled)["quarantine"]
    assert entry["attempts"] == 2
    assert troubled.run("quarantine", "replay", "cima", "--id", "999")[0] == 2
    code, out, _ = troubled.run("quarantine", "replay", "cima", "--code", "none-such", "--log", "text")
    assert (code, "nothing lies in the quarantine of cima with the code none-such" in out) == (0, True)


def test_without_a_job_each_is_replayed(troubled: Any) -> None:
    code, out, _ = troubled.run("quarantine", "replay", "--json")
    assert (code, report(out)["rows"]["read"]) == (65, 1)
    assert troubled.run("quarantine", "replay", "--id", "1")[0] == 2, "a number is of one store"


def test_where_no_run_ever_was_nothing_lies(desk: Any) -> None:
    code, out, _ = desk.run("quarantine", "replay", "cima", "--log", "text")
    assert (code, out) == (0, "nothing lies in the quarantine of cima\n")
    assert not (desk.folder / "store.db").exists()


def test_what_the_sink_refused_is_written_once_it_takes_it(desk: Any) -> None:
    """Somebody else's file stands in the way; then it does not."""
    desk.run("run", "cima", "--json")
    [file] = desk.out.glob(f"MedicinalProductDefinition/*{SOME}*")
    ours = file.read_bytes()
    file.write_bytes(ours.replace(b'"active"', b'"retired"'))
    desk.register.products[SOME]["nombre"] += " NUEVO"
    desk.changed(SOME, "2099-02-09T00:00:00+01:00")
    assert desk.run("run", "cima", "--json")[0] == 65
    assert entries(desk)["quarantine"]
    file.write_bytes(ours)
    code, out, _ = desk.run("quarantine", "replay", "cima", "--json")
    assert code == 0, out
    assert b" NUEVO" in file.read_bytes()
    assert entries(desk)["quarantine"] == []
    assert {row["why"] for row in entries(desk, "--all")["quarantine"]} == {"replayed"}


def test_drop_needs_a_reason_which_stays_in_the_audit_trail(troubled: Any) -> None:
    [entry] = entries(troubled)["quarantine"]
    number = str(entry["number"])
    assert troubled.run("quarantine", "drop", number)[0] == 2
    assert troubled.run("quarantine", "drop", number, "--why", " ")[0] == 2
    code, out, err = troubled.run("quarantine", "drop", "999", "--why", "x", "--yes", "--log", "text")
    assert (code, out, "there is no open quarantine entry 999" in err) == (2, "", True)
    code, out, _ = troubled.run("quarantine", "drop", number, "--why", "test data", "--yes")
    assert (code, out.splitlines()[-1]) == (0, f"dropped {number}")
    assert entries(troubled)["quarantine"] == []
    [closed] = entries(troubled, "--all")["quarantine"]
    assert closed["why"] == "dropped: test data"
    text = troubled.run("audit")[1]
    assert "quarantine drop" in text
    assert "test data" in text
    assert troubled.run("quarantine", "drop", number, "--why", "again", "--yes")[0] == 2


def test_drop_names_what_it_would_drop_and_asks(troubled: Any) -> None:
    [entry] = entries(troubled)["quarantine"]
    number = str(entry["number"])
    code, out, err = troubled.run("quarantine", "drop", number, "--why", "test data", "--log", "text")
    assert (code, "nothing was changed" in err, "--yes" in err) == (2, True, True)
    assert "1 entry would be dropped for good" in out
    assert all(told in out for told in ("cima", SOME, entry["rule"]))
    assert "dropped 1" not in out
    assert entries(troubled)["quarantine"] == [entry]
    done = ("--why", "test data", "--yes", "--json", "--log", "text")
    code, out, err = troubled.run("quarantine", "drop", "cima", number, *done)
    assert (code, json.loads(out)) == (0, {"entries": [entry], "dropped": [entry["number"]], "done": True})
    assert "1 entry would be dropped for good" in err, "also where nobody is asked"


def test_drop_is_of_all_entries_or_of_none(troubled: Any) -> None:
    [entry] = entries(troubled)["quarantine"]
    number = str(entry["number"])
    assert troubled.run("quarantine", "drop", number, "999", "--why", "x", "--yes")[0] == 2
    assert entries(troubled)["quarantine"] == [entry]
    code, out, _ = troubled.run("quarantine", "drop", number, number, "--why", "named twice", "--yes", "--json")
    assert (code, json.loads(out)["dropped"]) == (0, [entry["number"]])


@pytest.mark.parametrize(("error", "code"), [(errno.ENOSPC, 75), (errno.EROFS, 78)])
def test_an_export_that_cannot_be_written_says_so(
    troubled: Any, monkeypatch: pytest.MonkeyPatch, error: int, code: int
) -> None:
    folder, opened = troubled.folder / "there", os.open

    def full(path: Any, *given: Any, **options: Any) -> int:
        if str(path).startswith(f"{folder}/"):
            raise OSError(error, os.strerror(error))
        return opened(path, *given, **options)

    monkeypatch.setattr(os, "open", full)
    told, _, err = troubled.run("quarantine", "export", str(folder))
    assert (told, f"{folder} cannot be written" in err.replace("\n", " ")) == (code, True)


def test_export_writes_the_answers_byte_for_byte_for_nobody_else_to_read(troubled: Any) -> None:
    folder = troubled.folder / "troubles"
    code, out, _ = troubled.run("quarantine", "export", str(folder), "--json")
    assert (code, report(out)["entries"]) == (0, 1)
    [entry] = folder.iterdir()
    told = json.loads((entry / "entry.json").read_text())
    assert (told["key"], told["job"]) == (SOME, "cima")
    first = told["answers"][0]
    assert json.loads((entry / first["file"]).read_bytes())["nregistro"] == SOME
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in entry.iterdir())
    assert stat.S_IMODE(entry.stat().st_mode) == 0o700
    assert troubled.run("quarantine", "export", str(folder))[0] == 2, "it is not empty"
