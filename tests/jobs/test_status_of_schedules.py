"""`status` says what is overdue, when each job runs next, and how long nothing has changed; no store hides another."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from freezegun import freeze_time

from jobs.reporting.status import rough
from store.handle import open_store
from tsi_fetch.clock import SystemClock, microseconds
from tsi_fetch.words import RunRecord

CHANGED: Mapping[str, Any] = {"counts": {"Bundle": {"updated": 1, "unchanged": 4}}}
SAME: Mapping[str, Any] = {"counts": {"Bundle": {"unchanged": 5}}}


@pytest.fixture(autouse=True)
def noon() -> Iterator[None]:
    """Monday noon, three and a half hours after the job was due."""
    with freeze_time("2026-03-02 12:00:00", tick=True):
        yield


def ran(desk: Any, ago: timedelta, outcome: str = "done", report: Mapping[str, Any] = SAME, **more: Any) -> None:
    """A run of the job that began so long ago and took ten minutes."""
    clock = SystemClock()
    began = clock.now() - ago
    run_id = f"run-{microseconds(began) % 10**9}"
    with (
        open_store(f"sqlite:///{desk.folder}/store.db", create=True) as stored,
        stored.lease(
            "cima", more.pop("sink", "out"), run_id, wait=clock.sleep, replay=more.pop("replay", False)
        ) as book,
    ):
        record = RunRecord(run_id, "cima", began, whole=more.pop("whole", True))
        book.begin_run(record)
        if outcome != "running":
            ended = began + timedelta(minutes=10)
            book.end_run(RunRecord(run_id, "cima", began, ended, outcome, 0, record.whole, report))


def made(desk: Any, ago: timedelta) -> None:
    """The store is so old."""
    at = microseconds(SystemClock().now() - ago)
    with sqlite3.connect(desk.folder / "store.db") as conn:
        conn.execute("UPDATE store SET created = ?", (at,))


def status(desk: Any, *options: str) -> tuple[int, Any]:
    code, out, _ = desk.run("status", *options, "--json")
    return code, json.loads(out)["jobs"]


DAY = timedelta(days=1)


def test_a_job_that_succeeded_since_it_was_due_is_not_overdue(desk: Any) -> None:
    ran(desk, timedelta(minutes=11))
    code, [row] = status(desk, "--fail-if-overdue")
    assert (code, row["overdue"], row["missed_run"]) == (0, False, None)
    assert 60 <= row["seconds_since_success"] < 600
    assert row["grace_seconds"] == 3600 + 600
    assert row["next_run"] > row["as_of"]
    assert (row["schedule"], row["timezone"], row["store"]) == ("30 9 * * *", "Europe/Madrid", "main")
    assert "m ago" in desk.run("status")[1] or "s ago" in desk.run("status")[1]


def test_a_job_that_has_not_succeeded_since_is_overdue_and_a_probe_hears_it(desk: Any) -> None:
    ran(desk, 3 * DAY)
    for ago, outcome in ((2 * DAY, "failed"), (DAY, "partial"), (timedelta(hours=1), "quarantined")):
        ran(desk, ago, outcome)
    ran(desk, timedelta(minutes=30), whole=False)
    ran(desk, timedelta(minutes=29), replay=True)
    code, [row] = status(desk)
    assert (code, row["overdue"], row["outcome"]) == (0, True, "quarantined"), (
        "the night's; not what a person did since"
    )
    assert status(desk, "--fail-if-overdue")[0] == 65
    code, text, _ = desk.run("status", "cima", "--fail-if-overdue")
    assert code == 65
    assert "OVERDUE" in text
    assert " 2d " in text
    assert "cima is overdue: nothing has succeeded since" in text
    assert "→ tsi-fetch runs cima" in text


def test_a_job_that_never_succeeded_is_due_from_when_its_store_was_made(desk: Any) -> None:
    desk.run("db", "upgrade")
    code, [row] = status(desk, "--fail-if-overdue")
    assert (code, row["overdue"], row["last_success"]) == (0, False, None)
    made(desk, 2 * DAY)
    code, [row] = status(desk, "--fail-if-overdue")
    assert (code, row["overdue"]) == (65, True)
    ran(desk, timedelta(minutes=12), "failed")
    assert status(desk, "--fail-if-overdue")[0] == 65


def test_without_a_store_nobody_knows_and_a_probe_is_not_told_that_all_is_well(desk: Any) -> None:
    code, [row] = status(desk)
    assert (code, row["overdue"], row["readable"]) == (0, None, True)
    assert status(desk, "--fail-if-overdue")[0] == 65
    assert "it has no store yet" in desk.run("status")[1]
    assert not (desk.folder / "store.db").exists()


def test_nights_without_a_change_are_counted_back_to_the_last_run_that_wrote(desk: Any) -> None:
    ran(desk, 9 * DAY, report=SAME)
    ran(desk, 8 * DAY, "quarantined", CHANGED)
    ran(desk, 7 * DAY)
    ran(desk, 6 * DAY, "failed", {"counts": {}})
    ran(desk, 5 * DAY)
    ran(desk, 4 * DAY, whole=False)
    assert status(desk)[1][0]["unchanged_nights"] == 2
    assert "unchanged 2 nights" not in desk.run("status")[1], "on a wide screen it has a column of its own"


@pytest.mark.parametrize("report", [{}, {"error": "builtins.ZeroDivisionError"}, CHANGED])
def test_a_run_of_which_nobody_knows_what_it_wrote_ends_the_count(desk: Any, report: Mapping[str, Any]) -> None:
    ran(desk, 3 * DAY)
    ran(desk, 2 * DAY, "done", report)
    ran(desk, DAY)
    assert status(desk)[1][0]["unchanged_nights"] == 1


def test_a_run_that_goes_on_is_told_and_its_predecessors_are_counted(desk: Any) -> None:
    ran(desk, 2 * DAY)
    clock = SystemClock()
    with (
        open_store(f"sqlite:///{desk.folder}/store.db") as stored,
        stored.lease("cima", "out", "run-now", wait=clock.sleep) as book,
    ):
        book.begin_run(RunRecord("run-now", "cima", clock.now()))
        [row] = status(desk)[1]
    assert (row["outcome"], row["silent"], row["unchanged_nights"]) == ("running", False, 1)
    [row] = status(desk)[1]
    assert (row["silent"], row["unchanged_nights"]) == (True, 0), "what a killed run wrote, nobody knows"


def test_a_job_that_changed_its_sink_is_due_at_the_new_one_alone(desk: Any) -> None:
    ran(desk, 9 * DAY, sink="old")
    made(desk, 9 * DAY)
    _, rows = status(desk)
    assert [(row["sink"], row["overdue"], row["next_run"] is None) for row in rows] == [
        ("old", False, True),
        ("out", True, False),
    ]
    text = desk.run("status")[1]
    assert " old " in text
    ran(desk, timedelta(minutes=11))
    assert status(desk, "--fail-if-overdue")[0] == 0


def _second_store(desk: Any, url: str) -> None:
    """Another job, with a store of its own, before the one there is."""
    file = desk.folder / "jobs.yaml"
    text = file.read_text()
    job = text[text.index("  cima:") :].replace("  cima:", "  ahead:").replace("store: main", "store: other")
    file.write_text(
        text.replace("stores:\n", f'stores:\n  other: {{url: "{url}"}}\n').replace("jobs:\n", f"jobs:\n{job}")
    )


def test_a_store_that_is_down_hides_no_other_job_and_the_exit_code_says_so(desk: Any) -> None:
    ran(desk, timedelta(minutes=11))
    _second_store(desk, "postgresql://fetcher:pa55w0rd@127.0.0.1:1/none?connect_timeout=2")
    code, [ahead, cima] = status(desk)
    assert (code, ahead["readable"], ahead["quarantined"], cima["outcome"]) == (75, False, None, "done")
    code, text, err = desk.run("status")
    assert code == 75
    assert " unreadable " in text
    assert "✗ ahead: the store postgresql://fetcher:***@127.0.0.1:1/none" in text
    assert "pa55w0rd" not in text + err
    assert desk.run("status", "cima", "--fail-if-overdue")[0] == 0, "a probe of one job asks its store alone"
    code, out, err = desk.run("runs", "--json")
    assert (code, len(json.loads(out)["runs"])) == (75, 1)
    assert "did not answer" in err


def test_a_store_that_must_be_upgraded_first_is_a_setting_and_says_so(desk: Any) -> None:
    ran(desk, timedelta(minutes=11))
    with sqlite3.connect(desk.folder / "behind.db") as conn:
        conn.execute("CREATE TABLE tsi_fetch_schema (version_num TEXT)")
    _second_store(desk, f"sqlite:///{desk.folder}/behind.db")
    code, rows = status(desk, "--fail-if-overdue")
    assert (code, [row["readable"] for row in rows]) == (78, [False, True])
    assert "tsi-fetch db upgrade" in desk.run("status")[1]


@pytest.mark.parametrize("columns", [80, 140])
def test_the_table_fits_the_screen(desk: Any, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    ran(desk, 3 * DAY)
    ran(desk, 2 * DAY, "quarantined")
    text = desk.run("status")[1]
    table = text.partition("✗")[0].splitlines()
    assert max(map(len, table)) <= columns
    assert len([line for line in table if line.startswith(" cima ")]) == 1, "one line a job"
    assert ("unchanged 1 night" in text) == (columns == 80)


def test_a_span_is_told_in_its_largest_unit() -> None:
    assert [rough(s) for s in (0, 119, 120, 7199, 7200, 172799, 172800)] == [
        "0s",
        "119s",
        "2m",
        "119m",
        "2h",
        "47h",
        "2d",
    ]


@pytest.mark.parametrize("options", [(), ("cima",)])
def test_a_probe_needs_nothing_but_job_file_and_store(desk: Any, options: tuple[str, ...]) -> None:
    ran(desk, timedelta(minutes=11))
    file = desk.folder / "jobs.yaml"
    text = file.read_text()
    file.write_text(
        text.replace("attempts: 1", 'attempts: 1, user_agent: "${NEVER_SET}"').replace('/out"', '/${UNSET}"')
    )
    assert desk.run("run", "cima")[0] == 78
    assert desk.run("status", "--fail-if-overdue", *options)[0] == 0
    assert desk.run("runs", *options)[0] == 0
