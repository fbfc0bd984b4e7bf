"""What an operator is told of backfills: counts without spans of days, what was cancelled, halted, or is not known."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from dev.cima_server import Reply
from jobs.crews import Worked, done_text, merged
from store.backfills import Backfill
from store.handle import open_store
from tsi_fetch.errors import Exit
from tsi_fetch.words import Counted, Progressed

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
SOME = "99001"


def words(text: str) -> str:
    return " ".join(text.split())


def set_aside(desk: Any) -> None:
    """Backfill 1 is closed, with an item aside."""
    desk.register.instead(f"medicamento?nregistro={SOME}", Reply(500, b""))
    assert desk.run("backfill", "cima", "--all", "--attempts", "1")[0] == 65


def halted(desk: Any, number: int = 1) -> None:
    with open_store(f"sqlite:///{desk.folder}/store.db") as stored:
        stored.worker("cima", "out", "guarded", number).claims.halt()


def test_one_with_items_aside_is_not_resumed_beside_another_that_is_not_over(desk: Any) -> None:
    set_aside(desk)
    assert desk.run("backfill", "cima", "--all", "--later")[0] == 0
    code, _, err = desk.run("backfill", "resume", "1", "--log", "text")
    assert (code, "backfill 2 of cima is not over" in err, "cancel 2" in err) == (2, True, True)
    listed = json.loads(desk.run("backfill", "list", "--json")[1])["backfills"]
    assert [row["state"] for row in listed] == ["open", "closed"]
    assert desk.run("backfill", "cancel", "2", "--yes")[0] == 0
    assert desk.run("backfill", "resume", "1")[0] == 0


def of(state: str, *, done: int = 0, left: int = 0) -> Backfill:
    there = Progressed(state, left, done, 0, AT, None, Counted(0, 0, 0))
    return Backfill(7, "backfill", "cima", "out", "changes", AT, None, done + left, {"all": True}, there)


def worker_report(code: int, what: str) -> dict[str, Any]:
    reason = {"code": code, "what": what, "hint": "tsi-fetch backfill resume 7"}
    none: dict[str, Any] = {name: {} for name in ("counts", "rows", "phases", "requests")}
    ends = {"started": AT.isoformat(), "ended": AT.isoformat()}
    return {**none, **ends, "run": "w", "quarantined": [], "troubles": 0, "notes": [], "reasons": [reason]}


def test_a_crew_that_was_stopped_tells_the_signal_that_it_got_and_not_those_it_sent() -> None:
    stop = {"code": 130, "what": "stopped by a signal", "hint": "tsi-fetch backfill resume 7"}
    reports = [worker_report(143, "stopped by a signal"), worker_report(65, "an item is set aside")]
    told = merged(Worked(of("open", left=3), reports, frozenset({Exit.INTERRUPTED}), [stop]))
    assert [reason["code"] for reason in told["reasons"]] == [130, 65]
    assert told["exit_code"] == 130


def test_what_a_cancelled_one_leaves_undone_is_told() -> None:
    told = merged(Worked(of("cancelled", done=1, left=3), [], frozenset({Exit.DONE})))
    assert "backfill 7 was cancelled: 3 items were left, and stay undone" in told["notes"]
    told = merged(Worked(of("cancelled", done=1, left=1), [], frozenset({Exit.DONE})))
    assert "backfill 7 was cancelled: 1 item was left, and stays undone" in told["notes"]


@pytest.mark.parametrize(
    ("done", "total", "told"),
    [(0, 1, "0 of 1 item is done"), (0, 3, "0 of 3 items are done"), (1, 3, "1 of 3 items is done")],
)
def test_so_many_are_done_and_one_is(done: int, total: int, told: str) -> None:
    counts = {"done": done, "left": total - done, "aside": 0}
    assert done_text({**counts, "windows": Counted(0, 0, 0)._asdict()}) == told


def test_a_span_of_days_is_no_item_to_whoever_ends_or_resumes_it(desk: Any) -> None:
    desk.register.feed.clear()
    for nregistro in ("99001", "99002"):
        desk.changed(nregistro, "2026-02-10T00:00:00+01:00")
    desk.run("backfill", "cima", "--from", "2026-02-10", "--later")
    before = "0 of 0 done, 0 left; 1 span of days is still to be looked through"
    assert before in words(desk.run("backfill", "cancel", "1", "--log", "text")[1])
    with open_store(f"sqlite:///{desk.folder}/store.db") as stored:
        claims = stored.worker("cima", "out", "one", 1).claims
        [window] = claims.claim(1)
        claims.expand(window, ["99001", "99002"], last=True)
    assert "open: 0 of 2 done, 2 left\n" in desk.run("backfill", "cancel", "1", "--log", "text")[1]
    assert ": 0 of 2 done, 2 left\n" in desk.run("backfill", "resume", "1", "--log", "text")[2]


def test_a_halted_one_is_seen_where_a_morning_begins(desk: Any) -> None:
    desk.run("backfill", "cima", "--all", "--later")
    assert json.loads(desk.run("status", "--json")[1])["jobs"][0]["halted_backfill"] is None
    halted(desk)
    code, out, _ = desk.run("status")
    assert (code, json.loads(desk.run("status", "--json")[1])["jobs"][0]["halted_backfill"]) == (0, 1)
    assert "✗ cima: a guard has halted backfill 1, and 3 items are left of it" in out
    assert "tsi-fetch backfill show 1" in out
    code, out, _ = desk.run("backfill", "work", "1", "--log", "text")
    assert (code, "backfill list" in out) == (77, False)
    assert "tsi-fetch backfill show 1 says why; then: tsi-fetch backfill resume 1" in words(out)


def test_keys_that_the_source_does_not_know_are_told_at_the_end_and_in_show(desk: Any) -> None:
    keys = desk.folder / "keys.txt"
    keys.write_text("99001\n99OO2\n9900\n")
    code, out, _ = desk.run("backfill", "cima", "--keys", str(keys), "--log", "text")
    assert (code, "backfill 1: 3 of 3 items are done" in words(out)) == (0, True)
    assert "the source does not know 2 of them: tsi-fetch backfill show 1" in words(out)
    found = json.loads(desk.run("backfill", "show", "1", "--json")[1])
    assert (found["unknown"], found["not_known"]) == (2, ["9900", "99OO2"])
    text = desk.run("backfill", "show", "1")[1]
    assert "2 are not known to the source, and no resource belongs to them: 9900, 99OO2" in words(text)


def test_a_key_with_a_hash_inside_is_no_comment_to_the_help_either(desk: Any) -> None:
    told = words(desk.run("backfill", "start", "--help")[1])
    assert "# at the beginning or after a blank begins a comment" in told


def test_what_is_changed_without_a_question_is_said_before_also_beside_one_object_of_json(desk: Any) -> None:
    desk.run("backfill", "cima", "--all", "--later")
    code, out, err = desk.run("backfill", "cancel", "1", "--yes", "--json", "--log", "text")
    assert (code, json.loads(out)["state"]) == (0, "cancelled")
    assert "backfill 1 of cima into out: all\n  open: 0 of 3 done, 3 left" in err
    desk.run("run", "cima", "--json")
    code, out, err = desk.run("watermark", "rewind", "cima", "7d", "--why", "x", "--yes", "--json", "--log", "text")
    assert (code, json.loads(out)["done"], "The next run reads again" in err) == (0, True, True)
    _, _, err = desk.run("watermark", "reset", "cima", "--why", "x", "--yes", "--json", "--log", "json")
    assert "The next run is a first load" in json.loads(err.splitlines()[0])["what"]


def test_what_was_asked_beside_the_keys_is_told_wherever_a_list_is_named(desk: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("99001\n"))
    _, _, err = desk.run("backfill", "cima", "--keys", "-", "--again", "--later", "--log", "text")
    assert "makes a list of the keys of stdin of cima" in err
    what = "keys of stdin, --again"
    assert what in words(desk.run("backfill", "list")[1])
    assert f"into out: {what}\n" in desk.run("backfill", "show", "1")[1]
    assert f"into out ({what}): " in desk.run("backfill", "resume", "1", "--log", "text")[2]
    desk.run("run", "cima", "--full", "--again", "--json")
    assert "first load, --again" in words(desk.run("backfill", "list")[1])


def test_show_says_how_one_goes_on_that_nobody_works_on(desk: Any) -> None:
    desk.run("backfill", "cima", "--all", "--later")
    hint = "tsi-fetch backfill resume 1"
    assert f"nobody works on it: {hint}\n" in desk.run("backfill", "show", "1")[1]
    halted(desk)
    assert (
        f"a guard has halted it, and its worker says below why; then: {hint}\n" in desk.run("backfill", "show", "1")[1]
    )
    desk.run("backfill", "resume", "1")
    assert hint not in desk.run("backfill", "show", "1")[1]


def test_show_leaves_to_the_next_run_what_runs_go_on_with(desk: Any) -> None:
    for key in desk.register.products:
        desk.register.instead(f"medicamento?nregistro={key}", Reply(500, b""))
    assert desk.run("run", "cima", "--json")[0] == 75
    told = desk.run("backfill", "show", "1")[1]
    assert "runs of cima go on with it, and so would: tsi-fetch backfill resume 1\n" in told


def test_what_is_to_leave_is_told_though_a_backfill_removes_nothing(desk: Any) -> None:
    desk.run("run", "cima", "--json")
    desk.register.instead(f"medicamento?nregistro={SOME}", Reply(204, b""))
    keys = desk.folder / "keys.txt"
    keys.write_text(SOME)
    told = words(desk.run("backfill", "cima", "--keys", str(keys), "--log", "text")[1])
    found = json.loads(desk.run("backfill", "show", "2", "--json")[1])
    assert found["to_be_removed"] > 1
    leaves = f"{found['to_be_removed']} resources that the source no longer gives are left to the next run"
    assert f"{leaves}: tsi-fetch plan cima" in told
    assert f"{leaves}: tsi-fetch plan cima" in words(desk.run("backfill", "show", "2")[1])
    desk.run("run", "cima", "--json", "--accept-vanish", "50")
    assert "left to the next run" not in words(desk.run("backfill", "show", "2")[1])


def two_stores(desk: Any) -> None:
    """A second job, with a store and a sink of its own, that has a backfill 1 as well."""
    file = desk.folder / "jobs.yaml"
    text = file.read_text()
    job = text.partition("jobs:\n")[2]
    text = text.replace("sinks:\n", f'  other: {{url: "sqlite:///{desk.folder}/other.db"}}\nsinks:\n')
    text = text.replace("jobs:\n", f'  away: {{kind: folder, path: "{desk.folder}/away"}}\njobs:\n')
    other = job.replace("cima:", "dima:", 1).replace("sink: out", "sink: away").replace("store: main", "store: other")
    file.write_text(text + other)
    assert desk.run("backfill", "dima", "--all", "--later", "--json")[0] == 0


def recommended(text: str) -> list[list[str]]:
    """The commands about a backfill in it, by the words after `tsi-fetch`."""
    found = re.findall(r"tsi-fetch (backfill (?:show|resume|work|cancel)[^:;,\n]* 1\b(?: --job \w+)?)", text)
    return [words.split() for words in found]


def test_what_is_recommended_names_the_job_where_several_stores_have_the_number(desk: Any) -> None:
    two_stores(desk)
    told = [desk.run("backfill", "cima", "--all", "--later", "--log", "text")[1]]
    told.append(desk.run("backfill", "cima", "--all", "--log", "text")[2])
    told.append(desk.run("backfill", "show", "1", "--job", "cima")[1])
    halted(desk)
    told += [desk.run("status")[1], desk.run("status", "cima")[1]]
    told.append(desk.run("backfill", "work", "1", "--job", "cima", "--log", "text")[1])
    told.append(desk.run("runs", "show", "1")[1])
    for text in told:
        assert recommended(text), text
        assert all("--job cima" in " ".join(words) for words in recommended(text)), text
    for words in recommended("\n".join(told)):
        assert desk.run(*words, "--help")[0] == 0
    assert recommended(desk.run("backfill", "show", "1", "--job", "dima")[1]) == [
        ["backfill", "resume", "--job", "dima", "1"]
    ]
