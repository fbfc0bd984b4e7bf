"""One world for all of these tests: everything is run once, then every outlet is searched."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest
import structlog

from jobs import catalogue
from tests.silence import errands
from tests.silence.child import ENTRY
from tests.silence.errands import Desk
from tests.silence.listening import Heard, debugging, hear_folder, hear_postgres, hear_sqlite
from tests.silence.markers import SECRETS
from tests.silence.town import People, Town, fhir_server, proxy


@pytest.fixture(scope="session")
def surroundings() -> Iterator[pytest.MonkeyPatch]:
    """The environment and the loggers, as they were before once all is done."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    with pytest.MonkeyPatch.context() as patch:
        yield patch
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def desk(
    tmp_path_factory: pytest.TempPathFactory, surroundings: pytest.MonkeyPatch, make_database: Callable[[], str]
) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("silence")
    town = Town(People(), errands.register(), fhir_server())
    server = proxy(town)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    url = f"{make_database()}&password={SECRETS['query store']}"
    file = folder / "jobs.yaml"
    file.write_text(errands.job_file(folder, url))
    surroundings.setitem(catalogue.SOURCES, "patients", ENTRY)
    through = f"http://clerk:{quote(SECRETS['proxy'])}@127.0.0.1:{server.server_address[1]}"
    for name in ("HTTP_PROXY", "http_proxy"):
        surroundings.setenv(name, through)
    for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
        surroundings.delenv(name, raising=False)
    surroundings.setenv("TSI_FETCH_CONFIG", str(file))
    surroundings.setenv("EPI_ACCESS", SECRETS["env token"])
    surroundings.setenv("REGISTER_KEY", SECRETS["source key"])
    surroundings.setattr("tempfile.tempdir", str(folder))
    yield Desk(folder, town, Heard(), url)
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def heard(desk: Desk) -> Heard:
    """Everything that came out of everything."""
    with debugging(desk.heard):
        errands.good_days(desk)
        errands.looking_back(desk)
        _sinks(desk)
        errands.bad_days(desk)
        errands.mistakes(desk)
    _files(desk)
    return desk.heard


def _sinks(desk: Desk) -> None:
    for ref, versions in desk.town.fhir.resources.items():
        for version in versions:
            if version.run != "someone":
                desk.heard.add("sink", ref, version.resource)
    hear_folder(desk.heard, "sink", desk.folder / "out")


def _files(desk: Desk) -> None:
    for file in sorted(desk.folder.rglob("*.db")):
        hear_sqlite(desk.heard, file)
    hear_postgres(desk.heard, desk.postgres)
    for tape in sorted(desk.folder.glob("tape*")):
        hear_folder(desk.heard, "tape", tape)
    for text in desk.town.heard + desk.town.told:
        desk.heard.add("wire", "the proxy", text)
