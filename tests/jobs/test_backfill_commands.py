"""`tsi-fetch backfill` as an operator uses it, against a small register over real HTTP."""

from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from dev.cima_server import Reply
from store.handle import open_store
from store.rates import SharedPace
from store.upgrade import upgrade
from tsi_fetch.clock import ReplayClock
from tsi_fetch.http.limit import PaceBeside, SteadyPace

SOME, ALL = "99001", 3


def report(out: str) -> Any:
    return json.loads(out.splitlines()[-1])


def shown(desk: Any, number: int = 1) -> Any:
    code, out, _ = desk.run("backfill", "show", str(number), "--json")
    assert code == 0
    return report(out)


def on_postgres(desk: Any, url: str) -> None:
    file = desk.folder / "jobs.yaml"
    file.write_text(file.read_text().replace(f"sqlite:///{desk.folder}/store.db", url))
    upgrade(url)


def test_everything_is_loaded_by_one_command_and_the_night_finds_nothing_new(desk: Any) -> None:
    code, out, err = desk.run("backfill", "cima", "--all", "--log", "text")
    assert code == 0
    assert "49 created" in out
    assert "backfill 1: 3 of 3 items are done" in out
    says = "makes a list of everything that is listed of cima, to be loaded into out; deletes nothing"
    assert err.index(says) < err.index("backfill 1: loads everything that is listed of cima into out; deletes nothing")
    code, out, _ = desk.run("run", "cima", "--json")
    assert code == 0
    assert {action for counts in report(out)["counts"].values() for action in counts} == {"unchanged"}


def test_again_sends_everything_writes_nothing_that_is_there_just_so_and_says_that(desk: Any) -> None:
    desk.run("run", "cima", "--json")
    files = {file: file.stat().st_mtime_ns for file in desk.out.rglob("*.json")}
    code, out, _ = desk.run("backfill", "cima", "--all", "--again", "--json")
    done = report(out)
    assert (code, done["rows"].get("skipped", 0)) == (0, 0)
    assert {action for counts in done["counts"].values() for action in counts} == {"unchanged"}
    assert {file: file.stat().st_mtime_ns for file in desk.out.rglob("*.json")} == files
    for command in (["backfill", "start"], ["run"], ["plan"]):
        told = " ".join(desk.run(*command, "--help")[1].split())
        assert "what the sink holds just so is not written, and counts as unchanged" in told


def test_start_is_the_long_way_to_say_it_and_helps(desk: Any) -> None:
    code, out, _ = desk.run("backfill", "start", "cima", "--all", "--json")
    assert (code, report(out)["backfill"]["state"]) == (0, "closed")
    [asked] = report(out)["requests"].values()
    assert asked["requests"] == len(desk.register.calls), "those that made the list are among them"
    code, out, _ = desk.run("backfill", "--help")
    assert code == 0
    assert out.index("--all") < out.index("resume")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["cima"], "one of them"),
        (["cima", "--all", "--from", "2026-01-01"], "one of them"),
        (["cima", "--to", "2026-01-01"], "one of them"),
        (["cima", "--all", "--to", "2026-01-01"], "needs --from"),
        (["cima", "--from", "yesterday"], "--from 'yesterday' is neither a day nor an instant"),
        (["cima", "--from", "yesterday"], "write it like --from 2026-03-01"),
        (["cima", "--from", "2026-02-01", "--to", ""], "--to '' is neither a day nor an instant"),
        (["cima", "--from", "2999-01-01"], "--from 2999-01-01 is in the future"),
        (["cima", "--from", "2999-01-01"], "name a day that has begun, like --from 20"),
        (["cima", "--from", "2026-02-01", "--to", "2026-02-01"], "--to 2026-02-01 is the same as --from 2026-02-01"),
        (["cima", "--from", "2026-02-01", "--to", "2026-02-01"], "--from 2026-02-01 --to 2026-02-02 is one day"),
        (["cima", "--from", "2026-02-01", "--to", "2026-01-01"], "--to 2026-01-01 is before --from 2026-02-01"),
        (["cima", "--keys", "nowhere.txt"], "cannot be read"),
        (["nobody", "--all"], "nobody"),
        (["show", "7"], "there is no backfill 7"),
        (["resume", "7"], "there is no backfill 7"),
        (["cancel", "7", "--yes"], "there is no backfill 7"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_told_and_nothing_is_made(desk: Any, arguments: list[str], told: str) -> None:
    how = ["--log", "text"] if "cima" in arguments or "nobody" in arguments else []
    code, _, err = desk.run("backfill", *arguments, *how)
    assert code == 2
    assert told in err
    assert report(desk.run("backfill", "list", "--json")[1]) == {"backfills": [], "exit_code": 0}


def test_several_workers_on_an_embedded_store_are_a_setting_error(desk: Any) -> None:
    code, _, err = desk.run("backfill", "cima", "--all", "--workers", "2", "--log", "text")
    assert code == 78
    assert "PostgreSQL" in err
    assert not (desk.folder / "store.db").exists()


def test_keys_come_from_a_file_and_a_span_from_the_feed(desk: Any) -> None:
    keys = desk.folder / "keys.txt"
    keys.write_text(f"# of Tuesday\n{SOME}\n\n {SOME} \n{SOME} # the second\n  # 42177\n{SOME}\t#\n")
    code, out, _ = desk.run("backfill", "cima", "--keys", str(keys), "--json")
    done = report(out)
    assert (code, done["backfill"]["items"], done["rows"]["read"]) == (0, 1, 1)
    desk.register.feed.clear()
    desk.changed("99001", "2026-02-09T00:00:00+01:00")
    desk.changed("99002", "2026-02-10T00:00:00+01:00")
    desk.changed("99003", "2026-02-11T00:00:00+01:00")
    code, out, _ = desk.run("backfill", "cima", "--from", "2026-02-10", "--to", "2026-02-11", "--json")
    done = report(out)
    asked = {"from": "2026-02-10", "to": "2026-02-11", "again": False, "attempts": 3}
    assert (code, done["backfill"]["asked"]) == (0, asked)
    assert done["rows"]["read"] == 1, "the feed knows no end: what it gives beyond the span is left out"
    calls = [call for call in desk.register.calls if call.startswith("medicamento?")]
    assert calls[-1] == "medicamento?nregistro=99002"


def test_a_key_of_a_file_may_have_blanks_and_a_hash_inside(desk: Any) -> None:
    keys = desk.folder / "keys.txt"
    keys.write_text("\ufeff99 003-95-96 # has blanks\n99003#notes\n#\n")
    desk.run("backfill", "cima", "--keys", str(keys), "--later")
    with closing(sqlite3.connect(desk.folder / "store.db")) as db:
        assert db.execute("SELECT key FROM work ORDER BY id").fetchall() == [("99 003-95-96",), ("99003#notes",)]


def test_a_span_of_days_is_no_item_to_whoever_reads_how_far_it_is(desk: Any) -> None:
    desk.register.feed.clear()
    for nregistro in ("99001", "99002"):
        desk.changed(nregistro, "2026-02-10T00:00:00+01:00")
    code, out, _ = desk.run("backfill", "cima", "--from", "2026-02-10", "--later", "--log", "text")
    assert (code, "backfill 1 of cima: 1 span of days; work on it" in out) == (0, True)
    assert "0 of 0 so far" in desk.run("backfill", "list")[1]
    so_far = "open: 0 of 0 items found so far are done; 1 span of days is still to be looked through\n"
    assert so_far in desk.run("backfill", "show", "1")[1]
    code, out, err = desk.run("backfill", "resume", "1", "--log", "text")
    assert code == 0
    assert "backfill 1: 2 of 2 items found in 1 span of days are done" in " ".join(out.split())
    assert "total=3" not in err  # what is logged, or drawn, counts products, too
    assert " 2 of 2 " in desk.run("backfill", "list")[1]
    assert "closed: 2 of 2 items found in 1 span of days are done\n" in desk.run("backfill", "show", "1")[1]
    found = shown(desk)
    assert (found["items"], found["done"], found["windows"]) == (3, 3, {"left": 0, "done": 1, "aside": 0})


def test_a_list_made_for_later_is_worked_on_by_whoever_comes(desk: Any) -> None:
    code, out, _ = desk.run("backfill", "cima", "--all", "--later", "--log", "text")
    assert code == 0
    assert "backfill 1 of cima: 3 items; work on it: tsi-fetch backfill work 1" in out
    assert not desk.out.exists()
    assert desk.run("backfill", "work", "1", "--json")[0] == 0
    assert shown(desk)["state"] == "closed"
    assert desk.run("backfill", "work", "1", "--json")[0] == 0, "nothing is left: that is well"


def test_what_cannot_be_fetched_is_set_aside_and_resumed(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    call = f"medicamento?nregistro={SOME}"
    desk.register.instead(call, *[Reply(500, b"")] * 2)
    code, out, _ = desk.run("backfill", "cima", "--all", "--attempts", "1", "--log", "text")
    assert code == 65
    assert "1 is set aside: tsi-fetch backfill show 1" in out
    found = shown(desk)
    assert (found["state"], found["done"], found["aside"]) == ("closed", 2, 1)
    assert [(item["key"], item["attempts"]) for item in found["set_aside"]] == [(SOME, 1)]
    text = desk.run("backfill", "show", "1")[1]
    assert "tries them anew" in text
    code, out, _ = desk.run("explain", SOME)
    told = " ".join(out.split())
    assert (code, "Backfill 1 could not read it, and set it aside." in told) == (0, True)
    assert "after 1 try: " in told
    [command] = re.findall("; tsi-fetch (backfill resume 1 .*?--job cima)", told)
    code, _, err = desk.run(*shlex.split(command), "--log", "text")
    assert code == 65, "and again"
    assert "goes on with list 1 of cima into out (all): 2 of 3 done, 0 left, 1 set aside, which are tried anew" in err
    code, out, _ = desk.run("backfill", "resume", "1", "--json")
    assert (code, report(out)["backfill"]["aside"]) == (0, 0)
    assert "set aside" not in desk.run("explain", SOME)[1]


def test_what_a_backfill_could_not_read_again_is_told_of_its_resources(desk: Any) -> None:
    leaflet = f"Composition/es-aemps-comp-p-{SOME}"
    assert desk.run("run", "cima", "--json")[0] == 0
    desk.register.instead(f"medicamento?nregistro={SOME}", Reply(500, b""))
    assert desk.run("backfill", "cima", "--all", "--attempts", "1", "--json")[0] == 65
    [block] = json.loads(desk.run("explain", leaflet, "--json")[1])["found"]
    [aside] = block["set_aside"]
    assert (aside["key"], aside["attempts"]) == (SOME, 1)
    assert block["essence"].endswith(f"Backfill {aside['backfill']} could not read its row again, and set that aside.")


def test_one_at_a_time_and_a_cancelled_one_is_over(desk: Any) -> None:
    desk.run("backfill", "cima", "--all", "--later")
    [row] = report(desk.run("status", "--json")[1])["jobs"]
    assert row["left_of_backfill"] == 3
    code, _, err = desk.run("backfill", "cima", "--all", "--log", "text")
    assert code == 2
    assert "backfill 1 of cima is not over" in err
    assert "makes a list" not in err
    code, out, _ = desk.run("backfill", "cancel", "1", "--yes")
    assert (code, "is cancelled; 0 of 3 items" in out) == (0, True)
    assert "backfill cancel" in desk.run("audit")[1]
    code, out, _ = desk.run("backfill", "cancel", "1", "--yes")
    assert (code, "is cancelled already" in out) == (0, True)
    assert desk.run("backfill", "resume", "1")[0] == 2
    assert desk.run("backfill", "cima", "--all", "--json")[0] == 0
    [second, first] = report(desk.run("backfill", "list", "--json")[1])["backfills"]
    assert (second["id"], second["state"], first["state"]) == (2, "closed", "cancelled")


def test_cancel_says_what_it_would_end_and_asks(desk: Any) -> None:
    desk.run("backfill", "cima", "--all", "--later")
    code, out, err = desk.run("backfill", "cancel", "1", "--log", "text")
    assert (code, "nothing was changed" in err, "--yes" in err) == (2, True, True)
    assert "backfill 1 of cima into out: all" in out
    assert "0 of 3 done, 3 left" in out
    assert "for good" in out
    assert shown(desk)["state"] == "open"
    assert json.loads(desk.run("audit", "--json")[1])["audit"] == []
    code, out, _ = desk.run("backfill", "cancel", "1", "--yes", "--json")
    assert (code, json.loads(out)["state"]) == (0, "cancelled")


def test_an_incomplete_listing_is_red_and_what_it_gave_is_kept_for_later(desk: Any) -> None:
    desk.register.edit = lambda name, number, rows: ((*rows, {"nregistro": 5}), 4)
    code, _, err = desk.run("backfill", "cima", "--all", "--log", "text")
    assert code == 75
    assert "the listing was incomplete: backfill 1 has the 3 keys that it gave" in err
    desk.register.edit = None
    assert desk.run("backfill", "resume", "1", "--json")[0] == 0


def test_workers_of_a_store_share_one_pace(desk: Any) -> None:
    """Kept in the store: two processes never ask more often than one may."""
    desk.run("backfill", "cima", "--all", "--later")
    url = f"sqlite:///{desk.folder}/store.db"
    with open_store(url) as one, open_store(url) as other:
        start = one.now()
        clocks = [ReplayClock(start), ReplayClock(start)]
        host = "https://register.invalid"
        paces = [SharedPace(one.database, host, 0.1, clocks[0]), SharedPace(other.database, host, 0.1, clocks[1])]
        for n in range(6):
            paces[n % 2].wait()
        waited = [(clock.now() - start).total_seconds() for clock in clocks]
    assert sum(waited) > 10 + 20 + 30 + 40 + 50 - 6, "each waits for the ones before it, whoever they are"


def test_a_run_that_began_before_the_workers_keeps_their_pace_within_two_seconds(desk: Any) -> None:
    """The polite rate is of the sum; nothing of the store is asked for each of its requests while it is alone."""
    desk.run("backfill", "cima", "--all", "--later")
    host = "https://register.invalid"
    with open_store(f"sqlite:///{desk.folder}/store.db") as stored:
        start = stored.now()
        clock, looks = ReplayClock(start), list[bool]()
        shared = SharedPace(stored.database, host, 10, clock)

        def in_use() -> bool:
            looks.append(shared.in_use())
            return looks[-1]

        run = PaceBeside(clock, SteadyPace(clock, 10), shared, in_use)
        for _ in range(10):
            run.wait()
        assert (looks, clock.now() - start) == ([False], timedelta(seconds=0.9))
        worker = SharedPace(stored.database, host, 10, ReplayClock(start))
        for _ in range(100):
            worker.wait()
        for _ in range(12):
            run.wait()
        assert looks == [False, True]
        assert clock.now() - start > timedelta(seconds=2 + 9), "it stands behind the worker's hundred"


def test_a_crew_of_processes_works_together(desk: Any, make_database: Callable[[], str]) -> None:
    on_postgres(desk, make_database())
    code, out, err = desk.run("backfill", "cima", "--all", "--workers", "2", "--json")
    done = report(out)
    assert (code, err.count("Traceback")) == (0, 0)
    assert (done["backfill"]["state"], done["backfill"]["done"], len(done["backfill"]["workers"])) == ("closed", 3, 2)
    assert sum(counts.get("created", 0) for counts in done["counts"].values()) == 49
    rows = shown(desk)["workers"]
    assert [row["outcome"] for row in rows] == ["done", "done"]


def test_ctrl_c_ends_a_crew_and_resume_goes_on(desk: Any, make_database: Callable[[], str]) -> None:
    on_postgres(desk, make_database())
    file = desk.folder / "jobs.yaml"
    file.write_text(file.read_text().replace("rate: 50", "rate: 2"))
    command = [sys.executable, "-m", "jobs", "backfill", "cima", "--all", "--workers", "2", "--log", "json"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ}, text=True)
    assert child.stderr is not None
    for line in child.stderr:
        if '"phase": "backfill"' in line:
            break
    child.send_signal(2)
    out, _ = child.communicate(timeout=60)
    assert child.returncode == 130
    assert report(out)["outcome"] == "stopped"
    assert shown(desk)["left"] == 3
    file.write_text(file.read_text().replace("rate: 2", "rate: 50"))
    assert desk.run("backfill", "resume", "1", "--json")[0] == 0
    assert shown(desk)["left"] == 0


def test_workers_go_on_with_a_first_load_which_is_listed_and_not_cancelled(desk: Any) -> None:
    file = desk.folder / "jobs.yaml"
    file.write_text(file.read_text().replace("rate: 50", "rate: 2"))
    code, out, _ = desk.run("run", "cima", "--max-duration", "1s", "--json")
    assert (code, report(out)["remainder"]) == (0, ALL)
    file.write_text(file.read_text().replace("rate: 2", "rate: 50"))
    told = desk.run("backfill", "list")[1]
    assert "first load" in told
    assert "0 of 3" in told
    [listed] = report(desk.run("backfill", "list", "--json")[1])["backfills"]
    assert (listed["kind"], listed["state"], listed["asked"]) == ("first", "open", {})
    code, _, err = desk.run("backfill", "cancel", "1")
    assert code == 2
    assert "tsi-fetch watermark reset cima" in err
    assert "for good" not in err
    code, out, _ = desk.run("backfill", "resume", "1", "--json")
    assert (code, report(out)["counts"]["Bundle"]) == (0, {"created": 4})
    assert shown(desk)["state"] == "closed"
    code, out, _ = desk.run("run", "cima", "--json")
    assert (code, report(out)["outcome"], report(out)["remainder"]) == (0, "done", 0)


def test_a_crew_ends_a_first_load_on_postgres(desk: Any, make_database: Callable[[], str]) -> None:
    on_postgres(desk, make_database())
    file = desk.folder / "jobs.yaml"
    file.write_text(file.read_text().replace("rate: 50", "rate: 2"))
    assert desk.run("run", "cima", "--max-duration", "1s")[0] == 0
    file.write_text(file.read_text().replace("rate: 2", "rate: 50"))
    code, out, _ = desk.run("backfill", "resume", "1", "--workers", "2", "--json")
    assert (code, report(out)["backfill"]["state"], report(out)["backfill"]["done"]) == (0, "closed", ALL)
    code, out, _ = desk.run("run", "cima", "--json")
    assert (code, report(out)["outcome"]) == (0, "done")
