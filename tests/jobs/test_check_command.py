"""`check` looks at marker, clocks, lease and disk of each job, says what is wrong by cause, and writes nothing."""

from __future__ import annotations

import json
import shutil
import threading
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from store.handle import open_store
from tsi_fetch.clock import SystemClock

Usage = namedtuple("Usage", "total used free")

HEAD = ["job file", "store main", "store main: disk", "cima: sink out", "cima: marker on out", "cima: disk of sink out"]
LINES = [*HEAD, "cima: source cima", "cima: source cima: clock of 127.0.0.1"]


def findings(desk: Any, *options: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code, and each finding by what its line begins with."""
    code, out, _ = desk.run("check", *options, "--json")
    told = json.loads(out)
    assert told["exit_code"] == code
    names = [*reversed(LINES), "cima: lease"]
    found: dict[str, dict[str, Any]] = {}
    for finding in told["findings"]:
        name = next((n for n in sorted(names, key=len, reverse=True) if finding["what"].startswith(n)), finding["what"])
        found[name] = finding
    return code, found


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def test_before_the_first_run_all_is_well_and_nothing_is_made(desk: Any) -> None:
    before = files(desk.folder)
    code, found = findings(desk)
    assert (code, list(found)) == (0, LINES)
    assert "there is no store yet that remembers one" in found["cima: marker on out"]["what"]
    assert "agrees" in found["cima: source cima: clock of 127.0.0.1"]["what"]
    assert files(desk.folder) == before


def test_a_store_whose_folder_is_not_there_is_wrong_before_the_first_run_says_so(desk: Any) -> None:
    file = desk.folder / "jobs.yaml"
    file.write_text(file.read_text().replace("store.db", "lost-mount/store.db"))
    code, found = findings(desk)
    wrong = found["store main"]
    assert (code, wrong["code"], "lost-mount is not there" in wrong["wrong"]) == (78, 78, True)
    ended, _, err = desk.run("run", "cima", "--log", "text")
    assert (ended, wrong["wrong"] in err, wrong["fix"] in err) == (78, True, True)


def test_after_a_run_marker_and_lease_are_told_and_nothing_is_written(desk: Any) -> None:
    desk.run("run", "cima", "--json")
    before = files(desk.folder)
    code, found = findings(desk, "cima")
    assert (code, list(found)) == (0, [*LINES, "cima: lease"])
    run_id = json.loads(desk.run("runs", "--json")[1])["runs"][0]["run"]
    assert f"as run {run_id} left it" in found["cima: marker on out"]["what"]
    assert found["cima: lease"]["what"] == "cima: lease: free"
    assert files(desk.folder).keys() == before.keys()
    assert [line[:7] for line in desk.run("check")[1].splitlines()] == ["ok     "] * 9


def test_a_sink_that_lost_the_marker_is_wrong_and_the_way_out_is_named(desk: Any) -> None:
    desk.run("run", "cima", "--json")
    shutil.rmtree(desk.out)
    code, found = findings(desk)
    wrong = found["cima: marker on out"]
    assert (code, wrong["code"], wrong["wrong"]) == (78, 78, "the sink has lost this store's marker")
    assert "tsi-fetch reconcile cima" in wrong["fix"]
    file = desk.folder / "jobs.yaml"
    text = desk.run("check", "--config", str(file))[1]
    assert f"tsi-fetch reconcile --config {file} cima" in text


@pytest.mark.parametrize(("off", "code"), [(40, 0), (-40, 0), (90, 78), (-7200, 78)])
def test_a_source_whose_clock_is_off_is_told_and_more_than_a_minute_is_wrong(desk: Any, off: int, code: int) -> None:
    desk.register.date = datetime.now(UTC) + timedelta(seconds=off)
    told, found = findings(desk)
    line = found["cima: source cima: clock of 127.0.0.1"]
    assert (told, line["code"]) == (code, code)
    assert ("ahead" if off > 0 else "behind") in line["what"] + line["wrong"]
    assert bool(line["fix"]) == bool(code)


def test_who_holds_the_job_is_told_and_is_nothing_wrong(desk: Any) -> None:
    url = f"sqlite:///{desk.folder}/store.db"
    with (
        open_store(url, create=True) as stored,
        stored.lease("cima", "out", "260302-0930-ab12", expiry=600, wait=SystemClock().sleep),
    ):
        code, found = findings(desk)
    assert code == 0
    assert "cima: lease: held by run 260302-0930-ab12 on " in found["cima: lease"]["what"]
    with open_store(url) as stored, stored.database.write() as conn:
        conn.exec_driver_sql("UPDATE leases SET holder = '260302-0930-ab12', expires = 1")
    code, found = findings(desk)
    assert (code, "has given no sign of life since" in found["cima: lease"]["what"]) == (0, True)


def test_a_disk_that_is_full_is_75(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(10**12, 10**12, 5 * 10**6))
    code, found = findings(desk)
    assert (code, found["store main: disk"]["wrong"]) == (75, "only 5.0 MB free of 1.0 TB")
    assert found["cima: disk of sink out"]["code"] == 75


def test_only_what_the_job_needs_must_be_set(desk: Any) -> None:
    file = desk.folder / "jobs.yaml"
    text = file.read_text()
    job = text[text.index("  cima:") :].replace("  cima:", "  other:").replace("sink: out", "sink: far")
    far = '  far: {kind: fhir, url: "${NEVER_SET}"}\n'
    file.write_text(text.replace("sinks:\n", f"sinks:\n{far}") + job)
    assert desk.run("check")[0] == 78
    code, found = findings(desk, "cima")
    assert (code, list(found)) == (0, LINES)
    code, out, err = desk.run("check", "cyma")
    assert (code, out, "did you mean cima?" in err) == (2, "", True)


@pytest.mark.parametrize(
    ("own", "other", "wrong"),
    [
        ("[Organization]", "[Organization]", ""),
        ("[]", "[Organization]", "other shares Organization, and cima, which writes it too, does not"),
        ("[Organization]", "[]", "cima shares Organization, and other, which writes it too, does not"),
        ("[]", "[]", ""),
    ],
)
def test_a_type_that_only_one_of_two_jobs_shares_is_wrong(desk: Any, own: str, other: str, wrong: str) -> None:
    """What the other job settled meanwhile, the one that does not share it would overwrite unseen."""
    file = desk.folder / "jobs.yaml"
    text = file.read_text()
    job = text[text.index("  cima:") :].rstrip("\n") + "\n"
    file.write_text(
        text.replace(job, job + f"    shared: {own}\n") + job.replace("  cima:", "  other:") + f"    shared: {other}\n"
    )
    code, found = findings(desk, "cima")
    line = next(one for name, one in found.items() if "types shared on out" in name)
    assert (code, line["wrong"]) == (78 if wrong else 0, wrong)
    file.write_text(file.read_text().replace("  other:", "  other:\n    identity: prefix"))
    code, found = findings(desk, "cima")
    assert (code, [name for name in found if "types shared" in name]) == (0, []), "theirs have ids of their own"


@contextmanager
def fhir_server(device: int) -> Iterator[tuple[str, list[str]]]:
    """What answers `metadata` to anybody, and a Device with this status."""
    asked: list[str] = []
    interaction = [{"code": code} for code in ("read", "search-type", "update", "delete")]
    kinds = (
        "AdministrableProductDefinition Bundle Composition Device DocumentReference Ingredient List"
        " ManufacturedItemDefinition MedicinalProductDefinition Organization PackagedProductDefinition"
        " RegulatedAuthorization"
    ).split()
    rest = {
        "mode": "server",
        "interaction": [{"code": "transaction"}],
        "resource": [{"type": kind, "interaction": interaction} for kind in kinds],
    }
    statement = {"resourceType": "CapabilityStatement", "fhirVersion": "5.0.0", "rest": [rest]}
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "login"}]}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path}")
            known = "metadata" in self.path
            body = json.dumps(statement if known else outcome).encode()
            self.send_response(200 if known else device)  # with its own Date
            self.send_header("Content-Type", "application/fhir+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/fhir", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(("status", "code"), [(404, 0), (401, 78), (503, 75)])
def test_a_fhir_server_is_asked_for_its_release_its_clock_and_whether_the_credential_may_read(
    desk: Any, status: int, code: int
) -> None:
    with fhir_server(status) as (url, asked):
        file = desk.folder / "jobs.yaml"
        text = file.read_text()
        sink = text[text.index("  out:") : text.index("jobs:")]
        file.write_text(text.replace(sink, f'  out: {{kind: fhir, url: "{url}", attempts: 1, max_wait: 1}}\n'))
        told, out, _ = desk.run("check")
    assert told == code, out
    assert "FHIR R5, takes what the job writes" in out
    assert "cima: sink out: clock of 127.0.0.1: agrees" in out
    assert out.count("WRONG") == (0 if code == 0 else 1)
    assert all(line.startswith("GET ") for line in asked)


def test_the_same_is_seen_in_postgresql(desk: Any, make_database: Callable[[], str]) -> None:
    url = make_database()
    file = desk.folder / "jobs.yaml"
    file.write_text(file.read_text().replace(f"sqlite:///{desk.folder}/store.db", url))
    code, found = findings(desk)
    assert (code, found["store main"]["fix"], "cima: lease" in found) == (78, "tsi-fetch db upgrade", False)
    assert desk.run("status", "--fail-if-overdue")[0] == 78
    assert desk.run("db", "upgrade")[0] == 0
    assert desk.run("run", "cima", "--json")[0] == 0
    code, found = findings(desk)
    assert (code, found["cima: lease"]["what"], "store main: disk" in found) == (0, "cima: lease: free", False)
    code, out, _ = desk.run("status", "--fail-if-overdue", "--json")
    [row] = json.loads(out)["jobs"]
    assert (code, row["overdue"], row["unchanged_nights"]) == (0, False, 0)
    desk.run("run", "cima", "--json")
    [row] = json.loads(desk.run("status", "--json")[1])["jobs"]
    assert row["unchanged_nights"] == 1
    _, out, _ = desk.run("runs", "--json")
    latest, first = json.loads(out)["runs"]
    assert desk.run("runs", "show", "1")[1] == desk.run("runs", "show", first["run"])[1]
    assert desk.run("runs", "show", "9" * 20)[0] == 2
    assert latest["number"] == 2
