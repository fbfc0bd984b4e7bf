"""`tsi-fetch explain` as a person uses it: the essence first, over a folder and a FHIR server."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from served_fhir import ServedFhir

from dev.cima_server import Reply
from jobs.reporting.essence import essence
from jobs.reporting.explained import explained_text
from store.handle import open_store
from tests.sinks.fake_hapi import FakeHapi, answer_of
from tsi_fetch.clock import SystemClock
from tsi_fetch.words import (
    AWAITED,
    Doubt,
    Fault,
    Known,
    Quarantined,
    Ref,
    Row,
    ScopeSettled,
    Settlement,
    State,
    Waiting,
)

SOME = "99001"
LEAFLET = "Composition/es-aemps-comp-p-99001"


def _file(desk: Any, ref: str) -> Path:
    return Path(desk.out / f"{ref}.json")


def _found(desk: Any, *arguments: str) -> list[Any]:
    found = json.loads(desk.run("explain", *arguments, "--json")[1])["found"]
    assert isinstance(found, list)
    return found


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def loaded(desk: Any) -> Any:
    assert desk.run("run", "cima", "--json")[0] == 0
    return desk


def test_the_first_sentence_says_the_essence_and_nothing_is_written(loaded: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    run = json.loads(loaded.run("runs", "cima", "--json")[1])["runs"][0]["run"]
    before = _files(loaded.folder)
    code, out, err = loaded.run("explain", LEAFLET)
    assert (code, err, _files(loaded.folder)) == (0, "", before)
    first = " ".join(out.partition("\n\n")[0].split())
    assert first.startswith(f"{LEAFLET} comes from row {SOME} of cima, was last written by run {run} (20")
    assert first.endswith(" UTC), and out holds just that.")
    assert f"/medicamento?nregistro={SOME}" in out
    assert f"→ tsi-fetch plan cima --only {SOME} --diff" in out
    assert all(len(line) <= 80 or "//" in line for line in out.splitlines())


def test_json_has_every_fact(loaded: Any) -> None:
    [block] = _found(loaded, LEAFLET)
    assert block["essence"].startswith(LEAFLET)
    assert (block["kind"], block["job"], block["sink"], block["state"]) == ("resource", "cima", "out", "live")
    assert block["mapping"] == block["mapping_today"]
    assert (block["now"]["verdict"], block["now"]["same_content"]) == ("as written", True)
    assert block["now"]["version"] == block["version"]
    assert (block["rows"], block["runs_since"]) == ([SOME], 0)
    assert [event["what"] for event in block["history"]] == ["wrote what is remembered"]


@pytest.mark.parametrize(
    ("content", "verdict", "said"),
    [
        ("edited", "changed", "but somebody else has written what out holds now"),
        ("respelt", "touched", "and out holds the same content, in another version"),
        (None, "missing", "but out does not hold it any more"),
    ],
)
def test_what_somebody_did_to_it_is_the_essence(loaded: Any, content: str | None, verdict: str, said: str) -> None:
    file = _file(loaded, LEAFLET)
    body = json.loads(file.read_text())
    if content is None:
        file.unlink()
    else:
        file.write_text(json.dumps({**body, "title": "a secret"} if content == "edited" else body))
    [block] = _found(loaded, LEAFLET)
    assert (block["now"]["verdict"], said in block["essence"]) == (verdict, True)
    code, out, _ = loaded.run("explain", SOME)
    assert code == 0
    assert f"on out 22 are as written, and 1 {verdict}." in " ".join(out.split())
    assert out.index(f"  {verdict}") < out.index("  as written")
    assert "→ tsi-fetch reconcile cima" in out
    assert "a secret" not in out


def test_a_shared_resource_names_the_rows_that_hold_it(loaded: Any) -> None:
    [block] = _found(loaded, "Organization/es-aemps-org-aemps")
    assert len(block["rows"]) == 3
    assert "and 2 others of cima" in block["essence"]


def test_what_the_sink_has_lost_was_not_removed(loaded: Any) -> None:
    for name in ("es-aemps-mpd-99001", "es-aemps-ra-99001"):
        [file] = loaded.out.rglob(f"{name}.json")
        file.unlink()
    assert loaded.run("reconcile", "cima", "--fix", "--yes")[0] == 0
    said = " ".join(loaded.run("explain", "99001")[1].split())
    assert ", 2 of them lost by out and to be made again;" in said
    assert "removed;" not in said


def test_what_is_not_named_of_its_rows_and_addresses_is_counted(loaded: Any) -> None:
    out = loaded.run("explain", "Organization/es-aemps-org-aemps")[1]
    [found] = json.loads(loaded.run("explain", "Organization/es-aemps-org-aemps", "--json")[1])["found"]
    assert len(found["urls"]) > 5
    assert f"and {len(found['urls']) - 5} more addresses" in out


def test_offline_asks_no_sink_and_says_so(loaded: Any) -> None:
    _file(loaded, LEAFLET).unlink()
    code, out, _ = loaded.run("explain", LEAFLET, "--offline")
    assert (code, "and out was not asked." in " ".join(out.split())) == (0, True)
    assert "out was not asked" in loaded.run("explain", SOME, "--offline")[1]


def test_what_a_backfill_wrote_is_told_as_such(desk: Any) -> None:
    assert desk.run("backfill", "cima", "--all")[0] == 0
    name = next((desk.out / "Organization").iterdir()).stem
    out = " ".join(desk.run("explain", f"Organization/{name}")[1].split())
    assert "UTC, a worker of backfill 1)" in out
    assert "done, a worker of backfill 1" in out
    told = json.loads(desk.run("explain", f"Organization/{name}", "--json")[1])
    assert told["found"][0]["run"]["list"] == 1


def test_what_is_not_known_is_65_with_the_places_that_were_looked_in(loaded: Any) -> None:
    for unknown in ("nix", "Basic/nix", "a/b c", "Ñandú/1", ""):
        code, out, _ = loaded.run("explain", unknown)
        assert code == 65
        assert out.startswith(f"Nothing is known of {unknown}")
        assert f"sqlite:///{loaded.folder}/store.db: cima" in out
    code, out, _ = loaded.run("explain", "nix", "--json")
    assert (code, json.loads(out)["looked_in"][0]["jobs"]) == (65, ["cima"])


def test_before_the_first_run_there_is_no_store_and_none_is_made(desk: Any) -> None:
    code, out, _ = desk.run("explain", SOME)
    assert (code, "no store that could be asked" in out) == (65, True)
    assert not (desk.folder / "store.db").exists()
    code, _, err = desk.run("explain", SOME, "--store", f"sqlite:///{desk.folder}/nix.db", "--log", "text")
    assert (code, "there is no store at" in err) == (78, True)
    assert desk.run("explain", SOME, "--job", "cyma")[0] == 2


def test_a_store_that_cannot_be_asked_hides_nothing_of_the_others(loaded: Any) -> None:
    loaded.add_second_job()
    code, out, _ = loaded.run("explain", LEAFLET)
    assert (code, out.startswith(LEAFLET)) == (78, True)
    assert "✗ store sqlite:" in out
    code, out, _ = loaded.run("explain", "nix")
    assert (code, out.startswith("Nothing is known of nix, as far as the stores could be asked.")) == (78, True)
    assert loaded.run("explain", LEAFLET, "--job", "cima")[0] == 0


def test_the_url_of_a_resource_is_as_good_as_its_name(loaded: Any) -> None:
    [block] = _found(loaded, f"https://fhir.invalid/epi/api/fhir/{LEAFLET}/_history/4")
    assert block["resource"] == LEAFLET


def test_a_row_in_quarantine_is_told_with_where_to_see_it(loaded: Any) -> None:
    loaded.register.products[SOME] = dict(loaded.register.products[SOME], nombre=None)
    loaded.run("run", "cima", "--only", SOME, "--json")
    for asked in (SOME, LEAFLET):
        _, out, _ = loaded.run("explain", asked)
        assert "In quarantine: cima-" in " ".join(out.partition("\n\n")[0].split())
        assert "tsi-fetch quarantine show cima" in " ".join(out.split())
    [block] = _found(loaded, LEAFLET)
    assert block["quarantine"][0]["closed"] is None
    assert block["history"][0]["what"].startswith("quarantine 1: cima-")


def test_what_is_closed_is_not_said_to_be_so_since_it_was_opened(loaded: Any) -> None:
    name, product = loaded.register.products[SOME]["nombre"], loaded.register.products[SOME]
    product["nombre"] = None
    loaded.run("run", "cima", "--only", SOME, "--json")
    assert "; open, since 20" in " ".join(loaded.run("explain", SOME)[1].split())
    product["nombre"] = name
    loaded.run("run", "cima", "--only", SOME, "--json")
    told = " ".join(loaded.run("explain", SOME)[1].split())
    assert re.search(r"; lay there from 20.{14} UTC to 20.{14} UTC: overtaken; tsi-fetch quarantine show cima 1", told)


def _settle(desk: Any, *settlements: Settlement, doubt: Doubt | None = None) -> None:
    url = f"sqlite:///{desk.folder}/store.db"
    with (
        open_store(url, create=True) as stored,
        stored.lease("cima", "out", "260302-0930-ab12", wait=SystemClock().sleep) as store,
    ):
        for settlement in settlements:
            store.settle(settlement)
        if doubt:
            store.doubt(doubt)


def test_what_only_waits_was_never_written(desk: Any) -> None:
    ref, target = Ref("Basic", "a"), Ref("Organization", "gone")
    waiting = Waiting(ref, b'{"x":"secret"}', "1", "1", 1, 1, frozenset({target}))
    awaited = Known(ref, "cima", AWAITED, None, None, 1, State.DELETED)
    held = ScopeSettled("1", frozenset({ref}), frozenset(), None, 1, "1")
    _settle(desk, Settlement("registroCambios", known=(awaited,), scopes=(held,), waiting=(waiting,)))
    code, out, _ = desk.run("explain", "Basic/a")
    first = " ".join(out.partition("\n\n")[0].split())
    assert code == 0
    assert first.startswith("Nothing of Basic/a was ever written by cima, and out does not hold it.")
    assert "A change of it waits for Organization/gone, since 20" in first
    assert "secret" not in out


def test_a_write_that_was_cut_off_and_a_removal_are_told(loaded: Any) -> None:
    ref = Ref.parse(LEAFLET)
    gone = ScopeSettled(SOME, frozenset(), frozenset({ref}), None, 1, SOME)
    _settle(loaded, Settlement("registroCambios", scopes=(gone,)), doubt=Doubt((ref,), (), 1))
    _, out, _ = loaded.run("explain", LEAFLET)
    first = " ".join(out.partition("\n\n")[0].split())
    assert "A run began to write it and never said how that ended" in first
    assert "It is to be removed." in first
    assert f"row {SOME} of cima no longer gives it" in " ".join(out.split())
    foreign = Fault("foreign", "$", "somebody's")
    row = Row(f"removal of {LEAFLET}")
    _settle(loaded, Settlement("registroCambios", quarantined=(Quarantined(row.key, row.digest, foreign, row, ref),)))
    told = " ".join(loaded.run("explain", LEAFLET)[1].split())
    assert "It was to be removed, which was refused." in told
    assert "refused: it lies in quarantine, and a replay or --full tries it again" in told
    assert "to be removed (1 refused)." in " ".join(loaded.run("explain", SOME)[1].split())


def test_what_was_refused_to_be_removed_and_what_had_gone_before_is_told_as_it_was(loaded: Any) -> None:
    theirs, gone = LEAFLET, "List/es-aemps-list-99001"
    file = _file(loaded, theirs)
    file.write_text(json.dumps({**json.loads(file.read_text()), "title": "a secret"}))
    _file(loaded, gone).unlink()
    loaded.register.instead(f"medicamento?nregistro={SOME}", *[Reply(204, b"")] * 3)
    options = ("cima", "--only", SOME, "--accept-vanish", "99", "--json")
    planned = json.loads(loaded.run("plan", *options, "--limit", "99")[1])
    code, out, _ = loaded.run("run", *options)
    report = json.loads(out)
    assert (code, planned["counts"]) == (65, report["counts"]), "what it would do is what it does"
    told = {one["resource"]: one["action"] for one in planned["resources"]}
    assert (told[theirs], told[gone]) == ("refuse", "gone")
    assert report["counts"]["Composition"]["refused"] == report["counts"]["List"]["gone"] == 1
    runs = json.loads(loaded.run("runs", "cima", "--json")[1])["runs"]
    assert [run["run"] for run in runs] == [report["run"], runs[1]["run"]]
    [block] = _found(loaded, theirs)
    assert f"is held by no row of cima, was last written by run {runs[1]['run']}" in block["essence"]
    assert "is in doubt. In quarantine: foreign" in block["essence"]
    assert "the next run that reads its row" not in block["essence"]
    [block] = _found(loaded, gone)
    assert "is gone, removed by no run that is recorded, and out does not hold it." in block["essence"]
    assert (block["run"], block["history"]) == (None, [])
    [block] = _found(loaded, SOME)
    assert block["essence"].startswith(f"Row {SOME} of cima holds no resource. 1 resource that it no longer gives")
    [entry] = block["quarantine"]
    assert (entry["resource"], entry["number"]) == (theirs, 1)
    assert [event["run"] for event in block["history"]] == [report["run"]]
    assert "quarantine show cima 1" in " ".join(loaded.run("explain", SOME)[1].split())


def test_of_a_row_too_it_is_told_what_is_to_be_removed(loaded: Any) -> None:
    keys = loaded.folder / "keys"
    keys.write_text(SOME)
    loaded.register.instead(f"medicamento?nregistro={SOME}", Reply(204, b""))
    assert loaded.run("backfill", "cima", "--keys", str(keys), "--json")[0] == 0
    [block] = _found(loaded, SOME)
    leaving = [removal for removal in block["to_be_removed"] if removal["resource"] == LEAFLET]
    assert [(removal["key"], removal["accepted"]) for removal in leaving] == [(SOME, False)]
    told = " ".join(loaded.run("explain", SOME)[1].split())
    number = len(block["to_be_removed"])
    assert f"{number} of them are to be removed." in told.partition(" source ")[0]
    assert re.search(
        rf" removal {number} that the row no longer gives, since 20.{{14}} UTC; not yet past the guard", told
    )
    assert "to be removed" not in loaded.run("explain", "1998001001")[1]


def test_a_job_that_the_file_has_no_more_is_told_from_the_store_alone(loaded: Any) -> None:
    file = loaded.folder / "jobs.yaml"
    file.write_text(file.read_text().replace("  cima:\n", "  renamed:\n"))
    code, out, _ = loaded.run("explain", LEAFLET, "--store", f"sqlite:///{loaded.folder}/store.db")
    assert code == 78
    assert "out could not be asked" in " ".join(out.split())
    assert "there is no job 'cima'" in out
    assert loaded.run("explain", LEAFLET, "--store", f"sqlite:///{loaded.folder}/store.db", "--offline")[0] == 0


def _job_file(desk: Any, url: str) -> None:
    file = desk.folder / "jobs.yaml"
    folder = f'out: {{kind: folder, path: "{desk.folder}/out"}}'
    file.write_text(file.read_text().replace(folder, f'out: {{kind: fhir, url: "{url}", attempts: 1, max_wait: 0}}'))


def test_a_server_says_who_wrote_what_it_holds_and_one_that_is_down_is_75(desk: Any) -> None:
    with ServedFhir(FakeHapi(offers={})) as served:
        _job_file(desk, served.url)
        assert desk.run("run", "cima", "--json")[0] == 0
        [block] = _found(desk, LEAFLET)
        assert (block["now"]["verdict"], block["now"]["version"]) == ("as written", "1")
        assert (block["now"]["written_by_run"], block["now"]["written_by_us"]) == (block["run"]["run"], True)
        body = served.hapi.live(LEAFLET)
        assert body is not None
        served.hapi.put(LEAFLET, run="somebody", **{**body, "title": "x"})
        [block] = _found(desk, LEAFLET)
        assert (block["now"]["verdict"], block["now"]["written_by_us"]) == ("changed", False)
        assert "somebody else has written what out holds now" in block["essence"]
        served.hapi.delete(LEAFLET)
        [block] = _found(desk, LEAFLET)
        assert [(v["version"], v["run"], v["written_by_us"], v["deleted"]) for v in block["versions"]] == [
            ("3", None, False, True),
            ("2", "somebody", False, False),
            ("1", block["run"]["run"], True, False),
        ]
        out = desk.run("explain", LEAFLET)[1]
        assert "versions    3  deleted" in out
        assert "run somebody (none of this store's)" in " ".join(out.split())
        served.hapi.faults = [
            lambda request: answer_of({"resourceType": "Bundle"}) if "_history" in request.url.path else None
        ] * 9
        code, out, _ = desk.run("explain", LEAFLET, "--json")
        assert (code, json.loads(out)["found"][0]["versions"]) == (75, None)
    code, out, _ = desk.run("explain", LEAFLET, "--log", "text")
    assert (code, f"{LEAFLET} comes from row {SOME} of cima" in " ".join(out.split())) == (75, True)
    assert "out could not be asked" in " ".join(out.split())
    assert "--offline leaves the sink out" in " ".join(out.split())
    assert desk.run("explain", LEAFLET, "--offline")[0] == 0


def test_a_shared_resource_of_another_job_is_told_with_the_row_that_holds_it(desk: Any) -> None:
    ref = Ref("Organization", "shared")
    held = ScopeSettled("7", frozenset({ref}), frozenset(), None, 1, "7")
    of_another = Known(ref, "other", bytes(range(16)), "1", None, 1)
    _settle(desk, Settlement("registroCambios", known=(of_another,), scopes=(held,)))
    _, out, _ = desk.run("explain", str(ref), "--offline")
    assert "comes from row 7 of cima (and belongs to other)" in " ".join(out.split())


def test_the_essence_of_an_older_mapping_says_so(loaded: Any) -> None:
    [block] = _found(loaded, LEAFLET)
    today = block["mapping"] + 1
    older = f"An older mapping made it ({block['mapping']}; today's is {today})."
    assert older in essence({**block, "mapping_today": today})
    assert "by a run that is no longer recorded" in essence({**block, "run": None})
    assert ", which was lost)" in essence({**block, "run": {**block["run"], "outcome": "lost"}})
    text = explained_text({"found": [{**block, "run": None, "mapping_today": None}], "troubles": []}, width=80)
    assert "none that is recorded" in text
    assert "today's is not known here" in text
