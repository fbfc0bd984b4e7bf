"""A server of these tests' own is restarted, wiped, restored and edited under a job: how the job comes through.

Each test has a job and resources of its own, and leaves a server that answers.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from document_source import DocumentSource
from fhir_trial import Look, Trial, own_prefix
from leaflet_guide import Guide

from tsi_fetch.fhir.tokens import dump, parse
from tsi_fetch.reconcile import Comparison
from tsi_fetch.report import Report
from tsi_fetch.words import Json, Ref

if TYPE_CHECKING:
    from dev.hapi.server import Server

pytestmark = pytest.mark.servers

PATIENT = {"attempts": 100, "max_wait": 300}
HASTY = {"attempts": 2, "max_wait": 2}
FIRST_BUNDLE = 2  # transactions before it: the marker is moved


class Own:
    """The server, and what may happen to it."""

    def __init__(self, server: Server, folder: Path) -> None:
        assert server.postgres is not None
        self.server, self.postgres, self._folder = server, server.postgres, folder
        self.url = server.url
        self.look = Look(server.url)
        self._bin: Path = server.postgres._wheel.bin_path
        self._empty = self.copy("empty")

    def copy(self, name: str) -> Path:
        """The database as it is, copied while the server runs."""
        path = self._folder / f"{name}.dump"
        self._tool("pg_dump", "--format=custom", f"--file={path}", "postgres")
        return path

    def restore(self, copy: Path) -> None:
        """The database is as it was when the copy was made; the server is started on it anew."""
        self.server.stop_java()
        url = f"postgresql://postgres@127.0.0.1:{self.postgres.port}/template1"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP DATABASE postgres WITH (FORCE)")
            connection.execute("CREATE DATABASE postgres")
        self._tool("pg_restore", "--dbname=postgres", "--exit-on-error", str(copy))
        self.server.start_java()

    def wipe(self) -> None:
        """Nothing is there any more but the tables."""
        self.restore(self._empty)

    def _tool(self, tool: str, *arguments: str) -> None:
        where = ("--host=127.0.0.1", f"--port={self.postgres.port}", "--username=postgres")
        subprocess.run([self._bin / tool, *where, *arguments], check=True, timeout=60)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    """Skips with the reason where Java or Maven is missing, unless TSI_FETCH_SERVERS=required."""
    from dev.hapi.classpath import NotAvailable
    from dev.hapi.server import start

    try:
        server = start("R5", "postgres")
    except NotAvailable as e:
        if os.environ.get("TSI_FETCH_SERVERS") == "required":
            raise
        pytest.skip(f"no HAPI on this machine: {e}")
    with server:
        yield Own(server, tmp_path_factory.mktemp("copies"))


@pytest.fixture
def prefix() -> str:
    return own_prefix()


def observation(ident: str, value: int = 1) -> bytes:
    made = {"resourceType": "Observation", "id": ident, "status": "final", "code": {"text": "dose"}}
    return dump({**made, "valueInteger": value})


def three_hundred(prefix: str) -> DocumentSource:
    """Six bundles of fifty."""
    source = DocumentSource(batch=100)
    source.give_each(observation(f"{prefix}-{n:03}") for n in range(300))
    return source


def guide(prefix: str) -> DocumentSource:
    source = DocumentSource(batch=10)
    source.give_each(Guide(prefix).resources())
    return source


def said(report: Report) -> str:
    return f"{report.reasons} {report.quarantined}"


def kinds(found: Comparison) -> dict[str, int]:
    """How many differ, by how."""
    return {kind: found.total(kind) for kind in ("missing", "changed", "ours", "back", "touched") if found.total(kind)}


class Once:
    """A hook that does something, in a thread of its own or at once, when a certain transaction is about to be sent."""

    def __init__(self, number: int, what: Callable[[], None], *, aside: bool) -> None:
        self._number, self._what, self._aside = number, what, aside
        self._thread = threading.Thread(target=what)

    def __call__(self, number: int) -> None:
        if number != self._number:
            return
        if self._aside:
            self._thread.start()
        else:
            self._what()

    def join(self) -> None:
        """Wait until it is done, where it was begun aside."""
        self._thread.join()


# -- restarted


def test_a_run_rides_out_a_server_that_is_restarted(own: Own, tmp_path: Path, prefix: str) -> None:
    source = three_hundred(prefix)
    trial = Trial(tmp_path, own.url, source, entries=50, **PATIENT)

    def restart() -> None:
        own.server.stop_java()
        own.server.start_java()

    meanwhile = Once(FIRST_BUNDLE + 2, restart, aside=True)
    report = trial.run(hook=meanwhile)
    meanwhile.join()
    assert (report.outcome, report.exit_code) == ("done", 0), said(report)
    assert sum(report.counts["Observation"].values()) == 300
    assert own.look.differs(source.resources()) == []


def test_a_run_that_loses_its_server_ends_with_75_and_the_next_completes(own: Own, tmp_path: Path, prefix: str) -> None:
    source = three_hundred(prefix)
    trial = Trial(tmp_path, own.url, source, entries=50, **HASTY)
    hook = Once(FIRST_BUNDLE + 2, own.server.stop_java, aside=True)
    report = trial.run(hook=hook)
    hook.join()
    own.server.start_java()
    assert (report.outcome, report.exit_code, report.troubles) == ("failed", 75, 0), said(report)
    assert len(own.look.held(source.resources())) < 300
    report = trial.run()
    assert (report.outcome, report.exit_code) == ("done", 0), said(report)
    assert own.look.differs(source.resources()) == []


def test_a_database_that_is_restarted_under_the_server_blames_no_resource(
    own: Own, tmp_path: Path, prefix: str
) -> None:
    source = three_hundred(prefix)
    trial = Trial(tmp_path, own.url, source, entries=50, writers=1, **PATIENT)

    def database(number: int) -> None:
        if number == FIRST_BUNDLE + 2:
            own.postgres.stop()
        elif number == FIRST_BUNDLE + 3:  # it was answered 500, and comes again
            own.postgres.start()

    report = trial.run(hook=database)
    assert (report.outcome, report.exit_code) == ("done", 0), said(report)
    assert own.look.differs(source.resources()) == []
    assert own.look.versions(source.resources()) == {"1"}


# -- wiped, restored, edited


def test_a_wiped_server_is_refused_and_filled_again_once_it_is_reconciled(
    own: Own, tmp_path: Path, prefix: str
) -> None:
    source = guide(prefix)
    trial = Trial(tmp_path, own.url, source)
    assert trial.run().exit_code == 0
    own.wipe()
    source.give(f"List/{prefix}-list-5")  # meanwhile
    changed(source, f"Organization/{prefix}-company", name="Laboratorios Nuevos")
    report = trial.run()
    assert (report.outcome, report.exit_code, trial.sent.transactions) == ("failed", 77, 0), said(report)
    assert own.look.held(source.resources()) == {}
    found = trial.reconcile()
    assert (found.exit_code, kinds(found)) == (65, {"missing": 54})
    assert trial.reconcile(fix=True).exit_code == 0
    report = trial.run()
    assert (report.outcome, report.exit_code) == ("done", 0), said(report)
    assert own.look.differs(source.resources()) == []
    assert own.look.versions(source.resources()) == {"1"}
    in_step(trial)


def test_a_server_restored_from_yesterday_is_brought_to_today(own: Own, tmp_path: Path, prefix: str) -> None:
    source = guide(prefix)
    trial = Trial(tmp_path, own.url, source)
    assert trial.run().exit_code == 0
    yesterday = own.copy(prefix)
    source.give_each([observation(f"{prefix}-new")])
    for n in (1, 2, 3):
        changed(source, f"MedicinalProductDefinition/{prefix}-product-{n}", description=f"described {n}")
    source.give(f"List/{prefix}-list-5")
    report = trial.run(removal="delete")
    assert (report.outcome, report.exit_code) == ("done", 0), said(report)
    assert report.counts["List"] == {"deleted": 1}
    own.restore(yesterday)
    report = trial.run(removal="delete")
    assert (report.outcome, report.exit_code, trial.sent.transactions) == ("failed", 77, 0), said(report)
    found = trial.reconcile()
    assert (found.exit_code, kinds(found)) == (65, {"missing": 1, "ours": 3, "back": 1})
    assert trial.reconcile(fix=True).exit_code == 0
    report = trial.run(removal="delete")
    assert (report.outcome, report.exit_code) == ("done", 0), said(report)
    assert own.look.differs(source.resources()) == []
    assert own.look.held([Ref("List", f"{prefix}-list-5")]) == {}
    in_step(trial)


@pytest.mark.parametrize("on_existing", ["refuse", "adopt"])
def test_what_somebody_edited_is_foreign_or_written_over_as_the_job_says(
    own: Own, tmp_path: Path, prefix: str, on_existing: str
) -> None:
    source = guide(prefix)
    trial = Trial(tmp_path, own.url, source)
    assert trial.run().exit_code == 0
    company = Ref("Organization", f"{prefix}-company")
    edited = {**parse(source.resources()[company]), "name": "Somebody's"}
    own.look.put(dump(edited))
    own.look.delete(Ref("RegulatedAuthorization", f"{prefix}-authorisation-1"))
    assert trial.run().exit_code == 0  # its marker is in its place, and the source has nothing new
    found = trial.reconcile()
    assert (found.exit_code, kinds(found)) == (65, {"missing": 1, "changed": 1})
    assert trial.reconcile(fix=True).exit_code == 0
    report = trial.run(on_existing=on_existing)
    wanted = source.resources()
    if on_existing == "refuse":
        assert (report.exit_code, [t.code for t in report.quarantined]) == (65, ["foreign"]), said(report)
        wanted[company] = dump(edited)
    else:
        assert (report.outcome, report.exit_code) == ("done", 0), said(report)
        in_step(trial)
    assert own.look.differs(wanted) == []


def changed(source: DocumentSource, key: str, **members: Json) -> None:
    """The source has something new to say of a resource."""
    source.give(key, dump({**parse(source.resources()[Ref.parse(key)]), **members}))


def in_step(trial: Trial) -> None:
    found = trial.reconcile()
    assert (found.exit_code, kinds(found), found.marking.trouble) == (0, {}, "")
