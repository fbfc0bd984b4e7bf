"""Reports and logs: what happened first, nothing left out, nothing secret let out."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest
import structlog

from jobs.config.secret import Secrets
from jobs.reporting.entry import entry_text
from jobs.reporting.line import report_line
from jobs.reporting.logs import configure
from jobs.reporting.progress import Drawn, Logged
from jobs.reporting.table import table_text
from jobs.reporting.text import headline, report_text


def _report(**changes: Any) -> dict[str, Any]:
    return {
        "job": "cima",
        "run": "260302-0930-ab12",
        "plan": False,
        "outcome": "done",
        "exit_code": 0,
        "started": "2026-03-02T09:30:00+00:00",
        "ended": "2026-03-02T09:31:05+00:00",
        "counts": {"Bundle": {"created": 1200, "unchanged": 3}, "Organization": {"updated": 1}},
        "rows": {"read": 700, "refused": 0},
        "phases": {"read": 60.0},
        "watermark": {"before": "2026-03-01", "after": "2026-03-02"},
        "remainder": 0,
        "quarantined": [],
        "troubles": 0,
        "reasons": [],
        "notes": [],
        "requests": {"cima.invalid": {"requests": 2100, "seconds": 59.5}},
        **changes,
    }


def test_a_report_begins_with_what_happened_and_has_every_figure() -> None:
    lines = report_text(_report()).splitlines()
    assert lines[0] == "cima: done  run 260302-0930-ab12"
    assert lines[1] == "1,200 created, 1 updated, 3 unchanged."
    whole = "\n".join(lines)
    for expected in ("Bundle", "1,200", "2026-03-01 → 2026-03-02", "700 read", "1m5s", "cima.invalid", "2,100"):
        assert expected in whole
    assert "refused" not in whole


def test_every_failure_is_told_in_words_with_what_to_do() -> None:
    troubles = [{"key": "99[1]", "code": "cima-missing", "path": "$.nombre", "rule": "a product has a name"}]
    reasons = [{"code": 77, "what": "the vanish guard tripped", "hint": "--accept-vanish 12, if that is so"}]
    text = report_text(
        _report(
            outcome="failed",
            exit_code=77,
            quarantined=troubles,
            troubles=60,
            reasons=reasons,
            remainder=9,
            notes=["mind [this]"],
        )
    )
    for expected in (
        "✗ the vanish guard tripped (exit code 77)\n  → --accept-vanish 12, if that is so",
        "Into quarantine: 60, the first of them",
        "99[1]: cima-missing at $.nombre: a product has a name",
        "→ tsi-fetch quarantine list --job cima",
        "! mind [this]",
        "9 keys; the next run goes on",
    ):
        assert expected in text


def test_what_a_full_load_calls_unchanged_was_not_looked_up_and_the_report_says_who_looks() -> None:
    hint = "unchanged  as remembered; whether the sink still holds it: tsi-fetch reconcile cima"
    assert hint in report_text(_report(asked={"full": True}))
    assert hint not in report_text(_report())
    assert hint not in report_text(_report(asked={"full": True}, counts={"Bundle": {"created": 1}}))


def test_a_plan_puts_nothing_into_quarantine_and_sends_nobody_there() -> None:
    troubles = [{"key": "99", "code": "cima-missing", "path": "$.nombre", "rule": "a product has a name"}]
    text = report_text(_report(plan=True, quarantined=troubles, troubles=1))
    assert "Would go into quarantine: 1" in text
    assert "quarantine list" not in text


def test_a_fate_that_nobody_thought_of_is_told_all_the_same() -> None:
    assert headline(_report(counts={"Bundle": {"unchanged": 2, "invalid": 1}})) == (
        "Nothing was written: 2 unchanged, 1 invalid."
    )
    assert headline(_report(counts={})) == "Nothing was written: there was nothing new."
    assert headline(_report(counts={}, outcome="failed")) == "Nothing was written."
    assert headline(_report(plan=True)).endswith("Nothing was written.")


def test_a_report_on_a_terminal_has_colours_and_elsewhere_none() -> None:
    assert "\x1b[" in report_text(_report(), colour=True, width=80)
    assert "\x1b[" not in report_text(_report())


def test_the_line_is_one_line_with_the_whole_report() -> None:
    line = report_line(_report(notes=["two\nlines"]))
    assert "\n" not in line
    value = json.loads(line)
    assert (value["event"], value["level"], value["counts"]["Bundle"]["created"]) == ("report", "info", 1200)
    assert json.loads(report_line(_report(exit_code=75)))["level"] == "error"


def test_log_lines_are_json_without_secrets_whoever_logs(logs_as_before: None) -> None:
    stream = io.StringIO()
    configure("json", Secrets(["s3cr3t-token"]), stream)
    structlog.get_logger().info("said s3cr3t-token", url="http://u:pa55@h.invalid/", deep={"a": ["s3cr3t-token"]})
    logging.getLogger("httpx").info("never shown")
    logging.getLogger("somewhere").warning("with %s", "s3cr3t-token")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["said ***", "with ***"]
    assert "s3cr3t" not in stream.getvalue()
    assert "pa55" not in stream.getvalue()
    assert lines[0]["deep"] == {"a": ["***"]}


def test_an_exception_in_a_log_line_brings_no_values_along(logs_as_before: None) -> None:
    for mode in ("json", "text"):
        stream = io.StringIO()
        configure(mode, Secrets(), stream)
        try:
            raise ValueError("a patient's body")
        except ValueError:
            structlog.get_logger().error("failed", exc_info=True)
            logging.getLogger("somewhere").exception("failed, too")
        assert "failed" in stream.getvalue()
        assert "patient" not in stream.getvalue()


def test_progress_is_logged_sparsely(logs_as_before: None) -> None:
    stream = io.StringIO()
    configure("json", Secrets(), stream)
    with Logged() as progress:
        for done in range(100):
            progress("rows", done, 100)
        progress("load", 0, None)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["phase"], line["done"]) for line in lines] == [("rows", 0), ("load", 0)]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_drawn_for_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = _Terminal()
    with Drawn(stream) as progress:
        progress("rows", 1, None)
        progress("rows", 3, 4)
    assert "rows" in stream.getvalue()


def test_tables_do_not_break_what_is_copied_from_them() -> None:
    wordy = {f"prose {i}": "many words that may well be broken " * 3 for i in range(6)}
    text = table_text([{"run": "261121-1006-2su9", "code": "cima-missing", **wordy}])
    assert "261121-1006-2su9" in text
    assert "cima-missing" in text


def test_tables_show_people_minutes_and_dots() -> None:
    text = table_text([{"last_run": "2026-03-02T09:30:00+00:00", "watermark": {"feed": "x"}, "none": None, "n": 1234}])
    assert "last run" in text
    assert "2026-03-02 09:30 " in text
    assert "1,234" in text
    assert "·" in text
    assert table_text([], "nothing here") == "nothing here\n"


def test_an_entry_shows_the_row_as_received_with_its_numbers_as_written() -> None:
    answer = {"part": "medicamento", "url": "http://h.invalid/", "status": 200, "requested_at": "t"}
    entry = {"job": "cima", "number": 3, "key": "1", "code": "c", "path": "", "rule": "r", "opened": "o", "attempts": 2}
    entry |= {"last": "l", "run": "x", "closed": None, "resource": "Bundle/b", "body": '{"v": 1.00, "n": 5}'}
    text = entry_text({**entry, "answers": [{**answer, "body": "<html>"}, {**answer, "body": '{"a":[1e2]}'}]})
    assert '"v": 1.00' in text
    assert "1e2" in text
    assert "<html>" in text
    assert "c at $: r" in text


def test_a_row_that_does_not_fit_on_a_line_becomes_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{f"member{n}": "value-of-it" for n in range(12)}, {f"member{n}": None for n in range(11)} | {"last": "x"}]
    monkeypatch.setenv("COLUMNS", "60")
    lines = table_text(rows).splitlines()
    assert max(len(line) for line in lines) <= 60
    assert lines[0].split() == ["member0", "value-of-it"]
    monkeypatch.setenv("COLUMNS", "300")
    assert table_text(rows).splitlines()[1].split()[:2] == ["member0", "member1"]


@pytest.mark.parametrize("length", [8, 28, 70])
@pytest.mark.parametrize("width", range(60, 190, 7))
def test_no_column_is_dropped_and_no_cell_cut_however_wide_the_terminal_is(
    monkeypatch: pytest.MonkeyPatch, length: int, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    row = {
        "job": "cima",
        "sink": "/" + "x" * length,
        "last_run": None,
        "outcome": None,
        "oldest_quarantine": "2026-03-02",
    }
    counts = {"quarantined": 2, "waiting": 3, "pending": 4, "older_mapping": 5, "left_to_do": 7, "left_of_backfill": 0}
    text = table_text([{**row, **counts}])
    assert max(map(len, text.splitlines())) <= width
    assert text.count("x") >= length
    assert [n for n in "23457" if n not in text] == []
    assert "quarantined" in text
