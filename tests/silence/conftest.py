"""One world for all of these tests: everything is run once, then every outlet is searched."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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


@contextmanager
def surroundings(values: Mapping[str, str | None]) -> Iterator[None]:
    """The environment (None: without), the extra source, and loggers, for as long as the `with` block lasts."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(catalogue.SOURCES, "patients", ENTRY)
        for name, value in values.items():
            if value is None:
                patch.delenv(name, raising=False)
            else:
                patch.setenv(name, value)
        patch.setattr("tempfile.tempdir", values["TMPDIR"])
        try:
            yield
        finally:
            structlog.reset_defaults()
            root.handlers[:] = handlers
            root.setLevel(level)


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory, make_database: Callable[[], str]) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("silence")
    town = Town(People(), errands.register(), fhir_server())
    server = proxy(town)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    url = f"{make_database()}&password={SECRETS['query store']}"
    file = folder / "jobs.yaml"
    file.write_text(errands.job_file(folder, url))
    through = f"http://clerk:{quote(SECRETS['proxy'])}@127.0.0.1:{server.server_address[1]}"
    values: dict[str, str | None] = dict.fromkeys(("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"))
    values |= {"HTTP_PROXY": through, "http_proxy": through, "TSI_FETCH_CONFIG": str(file), "TMPDIR": str(folder)}
    values |= {"EPI_ACCESS": SECRETS["env token"], "REGISTER_KEY": SECRETS["source key"]}
    yield Desk(folder, town, Heard(), url, values)
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _there(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test at the desk does is done in its surroundings; those of the tests after it are their own."""
    if "desk" not in request.fixturenames:
        yield
        return
    with surroundings(request.getfixturevalue("desk").surroundings):
        yield


@pytest.fixture(scope="session")
def heard(desk: Desk) -> Heard:
    """Everything that came out of everything."""
    with surroundings(desk.surroundings), debugging(desk.heard):
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
    for folder in sorted([*desk.folder.glob("*export-of-*"), *desk.folder.glob("*troubles-of-*")]):
        hear_folder(desk.heard, "exported", folder)
    for text in desk.town.heard + desk.town.told:
        desk.heard.add("wire", "the proxy", text)
