"""`runs` lists the runs of all jobs or of one, and shows one with all that its report says."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dev.cima_server import Reply
from store.handle import open_store
from tsi_fetch.clock import SystemClock
from tsi_fetch.words import RunRecord

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def recorded(desk: Any, run_id: str, job: str = "cima", outcome: str = "done", **report: Any) -> None:
    with (
        open_store(f"sqlite:///{desk.folder}/store.db", create=True) as stored,
        stored.lease(job, "out", run_id, wait=SystemClock().sleep) as book,
    ):
        book.begin_run(RunRecord(run_id, job, AT))
        if outcome not in ("running", "lost"):
            book.end_run(RunRecord(run_id, job, AT, AT + timedelta(seconds=90), outcome, 0, True, report))


def test_the_runs_of_all_jobs_or_of_one_with_or_without_the_word_list(desk: Any) -> None:
    there = f"and there is no store yet at sqlite:///{desk.folder}/store.db"
    assert desk.run("runs")[:2] == (0, f"no job has run yet, {there}\n")
    desk.run("run", "cima", "--json")
    recorded(desk, "260302-0930-zzzz", "retired-job")
    _, out, _ = desk.run("runs", "--json")
    listed = json.loads(out)
    assert [(row["job"], row["number"]) for row in listed["runs"]] == [("cima", 1), ("retired-job", 2)]
    assert (listed["job"], listed["exit_code"]) == (None, 0)
    assert set(listed["runs"][0]) == {
        *("run", "number", "job", "sink", "store", "started", "ended", "outcome", "silent", "exit_code", "seconds"),
        *("replay", "whole", "kind", "asked", "list", "host", "report"),
    }
    assert listed["runs"][0]["store"] == "main"
    assert desk.run("runs", "list", "--json")[1] == out
    _, one, _ = desk.run("runs", "cima", "--limit", "5", "--json")
    assert [row["job"] for row in json.loads(one)["runs"]] == ["cima"]
    assert desk.run("runs", "--limit", "5", "cima", "--json")[1] == one
    assert len(json.loads(desk.run("runs", "--limit", "1", "--json")[1])["runs"]) == 1
    assert "retired-job" in desk.run("runs")[1]
    assert desk.run("runs", "cyma")[0] == 2


def test_where_a_store_cannot_be_asked_nobody_says_that_no_job_has_run(desk: Any) -> None:
    (desk.folder / "store.db").write_text("this is no database, and never was one")
    code, out, _ = desk.run("runs")
    assert (code, out) == (78, "no run is known, as far as the stores could be asked\n")


def test_a_run_is_shown_whole_by_its_id_its_beginning_or_its_number(desk: Any) -> None:
    desk.run("run", "cima", "--json")
    _, out, _ = desk.run("runs", "--json")
    run_id = json.loads(out)["runs"][0]["run"]
    code, text, _ = desk.run("runs", "show", run_id)
    assert code == 0
    for expected in (
        f"cima: done  run {run_id}",
        "MedicinalProductDefinition",
        "of which",
        "127.0.0.1",
        "the slowest requests of each host",
        "GET http://127.0.0.1:",
        "status 200",
        "run number 1 of store main, to sink out, on ",
    ):
        assert expected in text, expected
    assert "sent again" not in text
    for wanted in ("1", run_id[:9]):
        assert desk.run("runs", "show", wanted)[1] == text
    shown = json.loads(desk.run("runs", "show", "1", "--json")[1])
    assert (shown["run"], len(shown["report"]["slowest"]), shown["report"]["retried"]) == (run_id, 5, [])
    seconds = [line["seconds"] for line in shown["report"]["slowest"]]
    assert seconds == sorted(seconds, reverse=True)


def test_a_run_took_as_long_in_the_list_as_where_it_is_shown(desk: Any) -> None:
    times = {name: AT.isoformat() for name in ("started", "ended")}
    recorded(desk, "260302-0930-ab12", **times, counts={})
    assert "1m30s" in desk.run("runs", "cima")[1]
    assert "1m30s, from 2026-03-02 09:30:00 UTC" in " ".join(desk.run("runs", "show", "1")[1].split())


def test_what_was_sent_again_is_named_with_the_reason(desk: Any) -> None:
    file = desk.folder / "jobs.yaml"
    file.write_text(file.read_text().replace("attempts: 1", "attempts: 3"))
    desk.run("check")
    listing = next(call for call in desk.register.calls if "medicamentos" in call)
    desk.register.instead(listing.partition("rest/")[2] or listing, Reply(503, b"", {}))
    assert desk.run("run", "cima", "--json")[0] == 0
    text = desk.run("runs", "show", "1")[1]
    section = text.partition("sent again (1 in all)")[2]
    assert "status 503" in section
    assert "medicamentos" in section


@pytest.mark.parametrize(
    ("outcome", "report", "told"),
    [
        ("done", {}, "it was pruned; only this line was kept"),
        ("failed", {"error": "builtins.ZeroDivisionError"}, "It broke off with builtins.ZeroDivisionError"),
        ("running", {}, "it was killed, or is paused"),
        ("done", {"counts": {"Bundle": {"created": 3}}}, "3 created."),  # of a version whose reports had less
    ],
)
def test_a_run_without_a_report_is_told_all_the_same(desk: Any, outcome: str, report: Any, told: str) -> None:
    recorded(desk, "260302-0930-ab12", outcome=outcome, **report)
    code, text, _ = desk.run("runs", "show", "260302")
    assert code == 0
    assert told in text
    assert "2026-03-02" in text
    assert desk.run("runs", "cima")[0] == 0


def test_a_run_that_was_killed_says_that_nobody_knows_how_it_ended(desk: Any) -> None:
    recorded(desk, "260302-0930-ab12", outcome="lost")
    recorded(desk, "260303-0930-cd34")
    assert "it never said how it ended" in desk.run("runs", "show", "260302-0930-ab12")[1]


def test_what_names_no_run_or_several_is_a_usage_error_that_says_so(desk: Any) -> None:
    for number in range(7):
        recorded(desk, f"260302-0930-{number}")
    code, _, err = desk.run("runs", "show", "260302")
    assert (code, "write more of its id" in err, "260302-0930-6" in err, "…" in err) == (2, True, True, True)
    for wanted in ("99", "%", "a b", "é", "x" * 80):
        code, out, err = desk.run("runs", "show", wanted)
        assert (code, out) == (2, ""), wanted
    assert "tsi-fetch runs list" in err


def test_a_hint_names_the_store_that_was_given(desk: Any) -> None:
    url = f"sqlite:///{desk.folder}/store.db"
    recorded(desk, "260302-0930-ab12")
    code, _, err = desk.run("runs", "show", "99", "--store", url)
    assert (code, f"tsi-fetch runs list --store {url}" in err) == (2, True)
    assert desk.run("runs", "show", "1", "--store", url)[0] == 0


def test_the_list_is_a_table_on_a_narrow_screen_too(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    recorded(desk, "260302-0930-ab12", counts={"Bundle": {"unchanged": 12345}})
    text = desk.run("runs")[1]
    assert max(map(len, text.splitlines())) <= 80
    assert len([line for line in text.splitlines() if line.startswith(" cima ")]) == 1
    assert "260302-0930-ab12" in text


@pytest.mark.parametrize("words", [("runs",), ("runs", "cima")], ids=" ".join)
def test_a_long_reason_costs_a_narrow_screen_no_column_that_a_person_goes_on_with(
    desk: Any, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    reason = {"code": 77, "what": "too much would vanish: " + "12 of 40 Bundle, " * 12, "hint": ""}
    counts = {"Bundle": {"unchanged": 12}}
    recorded(desk, "260302-0930-ab12", outcome="quarantined", counts=counts, reasons=[reason])
    recorded(desk, "260303-0930-cd34", counts=counts)
    lines = desk.run(*words)[1].splitlines()
    assert max(map(len, lines)) <= 80
    head = next(line for line in lines if " outcome " in line)
    assert {"no", "run", "outcome", "exit"} <= set(head.split())
    first = next(number for number, line in enumerate(lines) if "260302-0930-ab12" in line)
    assert ("1" in lines[first].split(), lines[first].endswith("0"), "quarantined" in lines[first]) == (True,) * 3
    assert lines[first + 1].startswith("    too much would vanish: 12 of 40 Bundle, ")
    assert (lines[first + 1][-1], len(lines[first + 1])) == ("…", 80)
    assert lines[first - 1] == "    Nothing was written: 12 unchanged."


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 140, 200])
def test_number_outcome_and_exit_code_are_whole_on_every_screen(
    desk: Any, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    recorded(desk, "260302-0930-ab12", outcome="quarantined", error="builtins." + "ZeroDivisionError" * 9)
    text = desk.run("runs", "cima")[1]
    assert max(map(len, text.splitlines())) <= columns
    for expected in ("no", "260302-0930-ab12", "quarantined", "exit"):
        assert expected in text.split()


def test_a_run_that_was_not_a_whole_one_says_what_it_was(desk: Any) -> None:
    desk.run("run", "cima", "--json")
    product = desk.register.products["99001"]
    name, product["nombre"] = product["nombre"], None
    desk.run("run", "cima", "--json", "--only", "99001")
    product["nombre"] = name
    desk.run("quarantine", "replay", "cima", "--json")
    keys = desk.folder / "keys"
    keys.write_text("99001\n")
    _, made, _ = desk.run("backfill", "start", "cima", "--keys", str(keys), "--json")
    number = json.loads(made.splitlines()[-1])["backfill"]["id"]
    _, full, _ = desk.run("run", "cima", "--json", "--full", "--again")
    assert json.loads(full.splitlines()[-1])["asked"] == {"full": True, "again": True}
    runs = json.loads(desk.run("runs", "--json")[1])["runs"]
    assert [run["kind"] for run in runs] == ["run", "backfill", "quarantine replay", "only", "run"]
    assert [run["whole"] for run in runs] == [True, False, False, False, True]
    assert [run["list"] for run in runs] == [None, number, None, None, None]
    assert [run["asked"] for run in runs] == [
        {"full": True, "again": True},
        {},
        {"quarantine": {"numbers": [], "code": None}},
        {"only": ["99001"]},
        {},
    ]
    text = " ".join(desk.run("runs")[1].split())
    told = ["--full, --again", f"backfill {number}", "quarantine replay", "--only 99001"]
    for how in told:
        assert f"{how}: " in text
    for no, how in enumerate(reversed(told), 2):
        expected = f"asked for with {how}" if how.startswith("--full") else f"not a whole run ({how})"
        assert expected in desk.run("runs", "show", str(no))[1]
    assert "whole run" not in desk.run("runs", "show", "1")[1]


def test_a_worker_is_not_said_to_have_found_no_watermark(desk: Any) -> None:
    desk.run("run", "cima", "--json")
    desk.run("backfill", "cima", "--all", "--json")
    assert "\nwatermark " in desk.run("runs", "show", "1")[1]
    assert "\nwatermark " not in desk.run("runs", "show", "2")[1]  # it neither read nor moved one


def test_a_red_run_says_in_its_line_how_many_went_into_quarantine(desk: Any) -> None:
    desk.register.products["99001"]["nombre"] = None
    desk.run("run", "cima", "--json")
    desk.register.products["99001"]["nombre"] = "x"
    desk.run("run", "cima", "--only", "99001", "--json")
    told = " ".join(desk.run("runs")[1].split())
    assert " created; 1 into quarantine" in told
    assert told.count("into quarantine") == 1


def test_what_a_run_was_asked_for_is_known_while_it_runs_and_after_it_was_killed(desk: Any) -> None:
    url = f"sqlite:///{desk.folder}/store.db"
    for asked in (("only", ["1", "2", "3", "4", "5"]), ("whole", None)):
        with (
            open_store(url, create=True) as stored,
            stored.lease("cima", "out", f"260302-0930-{asked[0]}", wait=SystemClock().sleep) as book,
        ):
            report = {"asked": {"only": asked[1]}} if asked[1] else {}
            book.begin_run(RunRecord(f"260302-0930-{asked[0]}", "cima", AT, whole=False, report=report))
    text = desk.run("runs")[1]
    assert "--only 1, 2, 3 and 2 more" in text
    assert "not whole" in text  # of a version that did not note why
    assert [run["report"] for run in json.loads(desk.run("runs", "--json")[1])["runs"]] == [{}, {}]


def test_a_run_that_no_runner_holds_any_more_is_not_called_running(desk: Any) -> None:
    url = f"sqlite:///{desk.folder}/store.db"
    with (
        open_store(url, create=True) as stored,
        stored.lease("cima", "out", "260302-0930-ab12", wait=SystemClock().sleep) as book,
    ):
        book.begin_run(RunRecord("260302-0930-ab12", "cima", AT))
        for command in (["status"], ["runs"]):
            [row] = json.loads(desk.run(*command, "--json")[1])["jobs" if command == ["status"] else "runs"]
            assert (row["outcome"], row["silent"]) == ("running", False)
        assert "it has not ended yet" in desk.run("runs", "show", "1")[1]
    [row] = json.loads(desk.run("status", "--json")[1])["jobs"]
    assert (row["outcome"], row["silent"]) == ("running", True)
    text = desk.run("status")[1]
    assert "✗ cima: the run of 2026-03-02 09:30 UTC gives no sign of life" in text
    assert "cima: no sign of life  run 260302-0930-ab12" in desk.run("runs", "show", "1")[1]
    assert json.loads(desk.run("runs", "--json")[1])["runs"][0]["silent"] is True
