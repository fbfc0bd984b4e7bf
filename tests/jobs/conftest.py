"""A small register over real HTTP, and a job file that reads it into a folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from dev.cima_server import Register, Server
from jobs.__main__ import main

BODIES = Path(__file__).parents[1] / "recorded" / "cima" / "bodies"


@dataclass
class Desk:
    """A folder with a job file, the register it reads, and the command line in this process."""

    folder: Path
    register: Register
    capture: pytest.CaptureFixture[str]

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of one command."""
        self.capture.readouterr()
        code = main(arguments)
        captured = self.capture.readouterr()
        return code, captured.out, captured.err

    def changed(self, nregistro: str, when: str, *flags: str) -> None:
        """A row of the register's feed."""
        fecha = int(datetime.fromisoformat(when).timestamp() * 1000)
        self.register.feed.insert(0, {"nregistro": nregistro, "fecha": fecha, "tipoCambio": 3, "cambio": list(flags)})

    def add_second_job(self) -> None:
        """A job named `a-first`, told before the other one, whose store cannot be asked."""
        (self.folder / "old.db").write_text("no database at all, but long enough to look like something")
        file = self.folder / "jobs.yaml"
        old = f'stores:\n  old: {{url: "sqlite:///{self.folder}/old.db"}}\n'
        file.write_text(file.read_text().replace("stores:\n", old).replace("jobs:\n", _SECOND))

    def add_other_job(self, url: str) -> None:
        """A job named `other` of the same register and sink, whose store, `beside`, is the one at this URL."""
        file = self.folder / "jobs.yaml"
        text = file.read_text()
        base = text.partition('base_url: "')[2].partition('"')[0]
        text = text.replace("sinks:\n", f'  beside: {{url: "{url}"}}\nsinks:\n')
        file.write_text(text + _job("other", base, "beside"))


_SECOND = """\
jobs:
  a-first:
    source: {kind: cima, base_url: "http://127.0.0.1:9/cima/rest"}
    sink: out
    store: old
    schedule: "0 1 * * *"
"""


@pytest.fixture
def desk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], logs_as_before: None
) -> Iterator[Desk]:
    register = Register.of_folder(BODIES)
    with Server(register) as server:
        file = tmp_path / "jobs.yaml"
        file.write_text(_job_file(tmp_path, server.base_url))
        monkeypatch.setenv("TSI_FETCH_CONFIG", str(file))
        monkeypatch.setenv("COLUMNS", "140")
        yield Desk(tmp_path, register, capsys)


def _job_file(folder: Path, base_url: str) -> str:
    return f"""\
stores:
  main: {{url: "sqlite:///{folder}/store.db"}}
sinks:
  out: {{kind: folder, path: "{folder}/out"}}
jobs:
{_job("cima", base_url, "main")}"""


def _job(name: str, base_url: str, store: str) -> str:
    return f"""\
  {name}:
    source: {{kind: cima, base_url: "{base_url}", rate: 50, attempts: 1}}
    sink: out
    store: {store}
    schedule: "30 9 * * *"
    timezone: Europe/Madrid
"""


@pytest.fixture
def logs_as_before() -> Iterator[None]:
    """A command configures logging for its process; the tests after it get theirs back."""
    import logging

    import structlog

    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = before
    root.setLevel(level)
