"""The commands as a person uses them, against a small register over real HTTP."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from dev.cima_server import Reply

SOME = "99001"


def _files(folder: Path) -> dict[str, tuple[bytes, int]]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def _report(out: str) -> Any:
    return json.loads(out.splitlines()[-1])


def test_a_first_run_loads_everything_and_a_second_touches_no_file(desk: Any) -> None:
    code, out, _ = desk.run("run", "cima", "--log", "text")
    assert code == 0
    assert out.startswith("cima: done  run ")
    assert "49 created." in out
    assert "watermark  none → " in out
    written = _files(desk.out)
    code, out, _ = desk.run("run", "cima", "--log", "text")
    assert code == 0
    assert "Nothing was written: there was nothing new." in out
    assert _files(desk.out) == written


def test_a_plan_says_what_the_next_run_does_and_writes_nothing(desk: Any) -> None:
    before = _files(desk.folder)
    code, out, _ = desk.run("plan", "cima", "--json")
    planned = _report(out)
    assert (code, planned["plan"], _files(desk.folder)) == (0, True, before)
    _, out, _ = desk.run("run", "cima", "--json")
    done = _report(out)
    assert planned["counts"] == done["counts"] != {}
    assert planned["rows"] == done["rows"]
    written = _files(desk.folder)
    _, out, _ = desk.run("plan", "cima", "--again", "--only", SOME, "--json")
    assert _report(out)["counts"]
    assert _files(desk.folder) == written


def test_a_recording_replays_to_the_same_resources_without_the_register(desk: Any) -> None:
    tape = desk.folder / "tape"
    assert desk.run("run", "cima", "--record", str(tape), "--json")[0] == 0
    calls = len(desk.register.calls)
    store, folder = f"sqlite:///{desk.folder}/other.db", desk.folder / "replayed"
    code, out, _ = desk.run(
        "run", "cima", "--replay", str(tape), "--store", store, "--sink", str(folder), "--log", "text"
    )
    assert (code, len(desk.register.calls)) == (0, calls)
    assert f"folder {folder}" in out
    live = {name: body for name, (body, _) in _files(desk.out).items() if not name.startswith(".")}
    assert {name: body for name, (body, _) in _files(folder).items() if not name.startswith(".")} == live


def test_a_replay_without_a_target_writes_to_a_temporary_one_that_the_report_names(
    desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = desk.folder / "tape"
    desk.run("run", "cima", "--record", str(tape), "--json")
    room = desk.folder / "temporary"
    room.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(room))
    store = (desk.folder / "store.db").read_bytes()
    code, out, _ = desk.run("run", "cima", "--replay", str(tape), "--json")
    places = _report(out)["places"]
    assert code == 0
    assert all(str(room) in place for place in places)
    assert len(list(room.glob("*/resources/*/*.json"))) == 49
    assert (desk.folder / "store.db").read_bytes() == store
    before = _files(desk.folder)
    code, out, _ = desk.run("plan", "cima", "--replay", str(tape), "--json")
    assert _files(desk.folder) == before
    assert (code, sum(_report(out)["counts"]["Bundle"].values())) == (0, 4)


@pytest.mark.parametrize("options", [("--only", SOME), ("--full",)])
def test_a_recording_knows_what_its_run_was_asked_for(desk: Any, options: tuple[str, ...]) -> None:
    """Else its replay asks for the feed: for what was not recorded, or for nothing at all, which looks like success."""
    desk.run("run", "cima", "--json")
    tape = desk.folder / "tape"
    _, out, _ = desk.run("run", "cima", *options, "--record", str(tape), "--json")
    read = _report(out)["rows"]["read"]
    assert read
    code, out, _ = desk.run("run", "cima", "--replay", str(tape), "--json")
    assert (code, _report(out)["rows"]["read"]) == (0, read)
    code, out, _ = desk.run("plan", "cima", "--replay", str(tape), "--json")
    assert (code, _report(out)["rows"]["read"]) == (0, read)
    assert desk.run("verify", str(tape), "--accept")[0] == 0
    assert len(list((tape / "expected" / "resources" / "MedicinalProductDefinition").iterdir())) == read
    assert desk.run("verify", str(tape))[0] == 0


def test_a_replay_that_is_asked_for_something_reads_that_alone(desk: Any) -> None:
    tape = desk.folder / "tape"
    desk.run("run", "cima", "--full", "--record", str(tape), "--json")
    code, out, _ = desk.run("run", "cima", "--replay", str(tape), "--only", SOME, "--json")
    assert (code, _report(out)["rows"]["read"]) == (0, 1)


def test_a_replay_never_sets_back_a_store_that_is_in_use(desk: Any) -> None:
    tape = desk.folder / "tape"
    desk.run("run", "cima", "--record", str(tape), "--json")
    store = f"sqlite:///{desk.folder}/store.db"
    code, _, err = desk.run("run", "cima", "--replay", str(tape), "--store", store, "--sink", "out", "--log", "text")
    assert code == 2
    assert "would set its watermark back" in err


def test_verify_tells_what_changed_and_accept_makes_it_the_expectation(desk: Any) -> None:
    tape = desk.folder / "tape"
    desk.run("run", "cima", "--record", str(tape), "--json")
    code, _, err = desk.run("verify", str(tape), "--log", "text")
    assert (code, "--accept" in err) == (78, True)
    code, _, err = desk.run("verify", str(tape), "--accept", "--log", "text")
    assert (code, f"writes {tape}/expected anew, of which 51 files differ" in err) == (0, True)
    code, out, _ = desk.run("verify", str(tape))
    assert (code, out) == (0, f"{tape}: as expected\n")
    [file] = (tape / "expected" / "resources" / "MedicinalProductDefinition").glob("*99001.json")
    body = json.loads(file.read_bytes())
    body["status"]["coding"][0]["code"] = "changed"
    file.write_text(json.dumps(body))
    (tape / "expected" / "resources" / "Bundle" / "es-aemps-bundle-ft-99001.json").unlink()
    code, out, _ = desk.run("verify", str(tape), "--json")
    differences = _report(out)["differences"]
    assert code == 65
    (of_mapping,) = differences.pop("mapping.json")
    assert of_mapping.endswith("as when this was accepted: other results of the same answers need a higher one")
    assert differences == {
        "resources/Bundle/es-aemps-bundle-ft-99001.json": ["there, and not expected"],
        f"resources/MedicinalProductDefinition/{file.name}": ["$.status.coding[0].code"],
    }
    assert desk.run("verify", str(tape), "--accept")[0] == 0
    assert desk.run("verify", str(tape))[0] == 0


def test_another_mapping_that_gives_the_same_is_as_expected_and_named_beside_a_difference(desk: Any) -> None:
    tape = desk.folder / "tape"
    desk.run("run", "cima", "--record", str(tape), "--json")
    desk.run("verify", str(tape), "--accept")
    version = tape / "expected" / "mapping.json"
    today = json.loads(version.read_bytes())["mapping"]
    version.write_text('{"mapping": 1}')
    assert desk.run("verify", str(tape))[0] == 0
    bundle = tape / "expected" / "resources" / "Bundle" / "es-aemps-bundle-ft-99001.json"
    body = bundle.read_bytes()
    bundle.write_bytes(body.replace(b"final", b"amended"))
    code, out, _ = desk.run("verify", str(tape), "--json")
    said = f"the mapping's version is {today}, and was 1 when this was accepted"
    assert (code, _report(out)["differences"]["mapping.json"]) == (65, [said])
    bundle.write_bytes(body)
    assert desk.run("verify", str(tape), "--accept")[0] == 0
    assert json.loads(version.read_bytes()) == {"mapping": today}
    version.write_text("[")
    assert desk.run("verify", str(tape), "--log", "text")[0] == 78
    version.unlink()
    assert desk.run("verify", str(tape))[0] == 0


def test_what_lay_in_quarantine_when_it_was_accepted_is_expected_on_any_other_day(desk: Any) -> None:
    tape = desk.folder / "tape"
    desk.register.products[SOME] = dict(desk.register.products[SOME], nombre=None)
    assert desk.run("run", "cima", "--record", str(tape), "--json")[0] == 65
    assert desk.run("verify", str(tape), "--accept")[0] == 0
    expected = (tape / "expected" / "report.json").read_text()
    assert "something lies in quarantine since that day" in expected
    assert re.search(r"since \d", expected) is None
    assert desk.run("verify", str(tape))[0] == 0


def test_a_row_that_cannot_be_used_is_told_listed_and_shown(desk: Any) -> None:
    broken = dict(desk.register.products[SOME], nombre=None)
    desk.register.products[SOME] = broken
    code, out, _ = desk.run("run", "cima", "--log", "text")
    assert code == 65
    assert "cima: quarantined" in out
    assert f"  {SOME}: cima-" in out
    assert "→ tsi-fetch quarantine list --job cima" in out
    code, out, _ = desk.run("quarantine", "list", "--json")
    [row] = _report(out)["quarantine"]
    assert (code, row["job"], row["key"], row["attempts"]) == (0, "cima", SOME, 1)
    text = " ".join(desk.run("quarantine", "list")[1].split())
    assert f" {SOME} · {row['code']} at {row['path']}: " in text
    code, out, _ = desk.run("quarantine", "show", "cima", str(row["number"]))
    assert code == 0
    assert f'"nregistro": "{SOME}"' in out
    assert row["rule"] in out
    assert desk.run("quarantine", "show", "cima", "999")[0] == 2
    _, out, _ = desk.run("status", "--json")
    assert _report(out)["jobs"][0]["quarantined"] == 1


def test_status_and_runs_know_what_has_run_and_what_has_not(desk: Any) -> None:
    _, out, _ = desk.run("status", "--json")
    [row] = _report(out)["jobs"]
    assert (row["job"], row["last_run"], row["outcome"]) == ("cima", None, None)
    assert desk.run("runs", "cima")[1].startswith("cima has not run yet, and there is no store yet at sqlite:///")
    desk.run("run", "cima", "--json")
    _, out, _ = desk.run("status", "cima", "--json")
    [row] = _report(out)["jobs"]
    assert (row["outcome"], row["left_to_do"], list(row["watermark"])) == ("done", 0, ["registroCambios"])
    _, out, _ = desk.run("runs", "cima", "--json")
    [run] = _report(out)["runs"]
    assert (run["outcome"], run["exit_code"], run["report"]["outcome"]) == ("done", 0, "done")
    assert run["report"]["requests"]["127.0.0.1"]["requests"] == len(desk.register.calls)
    began, ended = (datetime.fromisoformat(run["report"][name]) for name in ("started", "ended"))
    assert 0 < (ended - began).total_seconds() - 0.001 <= run["seconds"] < 60
    assert "49 created." in desk.run("runs", "cima")[1]
    assert "done" in desk.run("status")[1]
    assert desk.run("status", "cyma")[0] == 2


def test_a_register_that_is_down_is_75_reported_and_remembered(desk: Any) -> None:
    desk.run("run", "cima", "--json")
    desk.register.replies.clear()
    feed = next(call for call in reversed(desk.register.calls) if "registroCambios" in call)
    desk.register.instead(feed.partition("rest/")[2] or feed, *[Reply(503, b"", {})] * 3)
    code, out, _ = desk.run("run", "cima", "--log", "text")
    assert code == 75
    assert "cima: failed" in out
    assert "(exit code 75)" in out
    _, out, _ = desk.run("runs", "cima", "--limit", "1", "--json")
    [run] = _report(out)["runs"]
    assert (run["outcome"], run["exit_code"]) == ("failed", 75)


def test_options_that_do_not_go_together_are_usage_errors(desk: Any) -> None:
    for arguments in (
        ["--store", "sqlite:///x.db"],
        ["--sink", "out"],
        ["--record", "a", "--replay", "b"],
        ["--only", SOME, "--full"],
        ["--max-duration", "soon"],
        ["--accept-vanish", "-1"],
    ):
        code, out, err = desk.run("run", "cima", *arguments)
        assert (code, out) == (2, "")
        assert "what to do" in err or "hint" in err
    code, _, err = desk.run("run", "cima", "--store", "sqlite:///x.db", "--sink", "ouT", "--log", "text")
    assert (code, "did you mean out?" in err) == (2, True)
    assert desk.register.calls == []


def test_check_says_what_is_well_and_by_its_exit_code_what_is_not(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = desk.run("check")
    assert code == 0
    assert [line[:7] for line in out.splitlines()] == ["ok     "] * 8
    assert not (desk.folder / "store.db").exists()
    listing = next(call for call in desk.register.calls if "medicamentos" in call)
    desk.register.instead(listing.partition("rest/")[2] or listing, *[Reply(503, b"", {})] * 3)
    assert desk.run("check")[0] == 75
    desk.register.replies.clear()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    code, out, _ = desk.run("check")
    assert code == 78
    assert "is gone when the pod ends" in out
    assert "→ use PostgreSQL" in out


def test_db_upgrade_makes_the_stores_and_a_second_one_leaves_them(desk: Any) -> None:
    code, out, _ = desk.run("db", "upgrade")
    assert (code, out) == (0, f"sqlite:///{desk.folder}/store.db was made\n")
    before = _files(desk.folder)
    code, out, _ = desk.run("db", "upgrade")
    assert (code, out) == (0, f"sqlite:///{desk.folder}/store.db is up to date\n")
    assert _files(desk.folder).keys() == before.keys()


def test_a_password_in_the_store_url_is_in_no_output(desk: Any) -> None:
    url = "postgresql://fetcher:pa55w0rd@127.0.0.1:1/none?connect_timeout=2"
    for arguments in (["run", "cima", "--store", url, "--sink", "out"], ["db", "upgrade", "--store", url]):
        for log in ("text", "json"):
            code, out, err = desk.run(*arguments, "--log", log)
            assert code == 75
            assert "pa55w0rd" not in out + err
            assert "127.0.0.1" in err


def test_a_recording_of_a_planned_stop_replays_to_the_same_stop(desk: Any) -> None:
    tape = desk.folder / "tape"
    code, out, _ = desk.run("run", "cima", "--max-duration", "1s", "--record", str(tape), "--json")
    stopped = _report(out)
    code, out, _ = desk.run("run", "cima", "--replay", str(tape), "--json")
    replayed = _report(out)
    assert code == 0
    for member in ("outcome", "counts", "rows", "remainder"):
        assert replayed[member] == stopped[member], member


def test_a_run_of_one_product_is_no_last_success(desk: Any) -> None:
    desk.run("run", "cima", "--only", SOME, "--json")
    assert _report(desk.run("status", "--json")[1])["jobs"][0]["last_success"] is None
    desk.run("run", "cima", "--json")
    assert _report(desk.run("status", "--json")[1])["jobs"][0]["last_success"] is not None
