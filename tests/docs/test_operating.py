"""docs/operating.md: its commands are run, each section in a world of its own, and end and say what the page says."""

from __future__ import annotations

import copy
import re
import shlex
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest

from dev.cima_server import Register
from jobs.__main__ import main
from jobs.cli.group import cli
from sources.cima.source import TYPES
from tests.faults.servers import Faulty, Reaper, World
from tests.sinks.fake_hapi import INTERACTIONS, FakeHapi

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operating.md"
BODIES = ROOT / "tests" / "recorded" / "cima" / "bodies"
PRODUCT = "MedicinalProductDefinition/es-aemps-mpd-99001"
SECTIONS = (
    "Last night was red",
    "Load everything",
    "The source changed its format",
    "Someone edited the server",
    "The server was restored",
    "The store was restored",
    "Undo a bad mapping",
    "Every month",
)
JOB_FILE = """\
stores: {{main: {{url: "sqlite:///store.db"}}}}
sinks: {{epi: {{kind: fhir, url: "{fhir}"}}}}
jobs:
  cima:
    source: {{kind: cima, base_url: "{register}", rate: 50, attempts: 1}}
    sink: epi
    store: main
    schedule: "30 9 * * *"
    timezone: Europe/Madrid
"""


@dataclass
class Operator:
    """A job that was loaded once, from a register into a FHIR server, and who looks after it."""

    register: Register
    hapi: FakeHapi
    folder: Path
    kept: list[object] = field(default_factory=list)

    def changed(self, nregistro: str) -> None:
        """A row of today in the register's feed."""
        stamp = int(datetime.now(UTC).timestamp() * 1000)
        row = {"nregistro": nregistro, "fecha": stamp, "tipoCambio": 3, "cambio": ["estado"]}
        self.register.feed.insert(0, row)

    def sql(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.folder / "store.db")) as db, db:
            for statement in statements:
                db.execute(statement)


def unreadable(op: Operator) -> None:
    product = op.register.products["99001"]
    op.kept.append(product["nombre"])
    product["nombre"] = None
    op.changed("99001")


def readable(op: Operator) -> None:
    op.register.products["99001"]["nombre"] = op.kept.pop()


def new_name(op: Operator) -> None:
    op.register.products["99001"]["nombre"] = "ANOTHER NAME"
    op.changed("99001")


def edited(op: Operator) -> None:
    op.hapi.put(PRODUCT, description="somebody's words")


def adopting(op: Operator) -> None:
    file = op.folder / "jobs.yaml"
    file.write_text(file.read_text() + "    on_existing: adopt\n")


def saved(op: Operator) -> None:
    op.kept.append(copy.deepcopy(op.hapi.resources))


def restored(op: Operator) -> None:
    op.hapi.resources = op.kept.pop()  # type: ignore[assignment]


def badly_mapped(op: Operator) -> None:
    """All of it by an older mapping, which gave one resource other words."""
    kind, ident = PRODUCT.split("/")
    version = op.hapi.resources[PRODUCT][-1]
    version.resource = {**(version.resource or {}), "description": "wrong words"}
    bad = f"type = (SELECT id FROM types WHERE name = '{kind}') AND ident = '{ident}'"
    op.sql(
        "UPDATE known SET mapping = 0",
        "UPDATE scopes SET mapping = 0",
        f"UPDATE known SET digest = zeroblob(16) WHERE {bad}",
    )


def months_ago(op: Operator) -> None:
    op.sql("UPDATE runs SET started = 0, ended = 1 WHERE no = 1")
    new_name(op)
    assert main(["run", "cima", "--only", "99001", "--json"]) == 0
    assert main(["run", "cima", "--json"]) == 0


SCENES: dict[str, Callable[[Operator], None]] = {
    "a product without a name": unreadable,
    "the product has its name again": readable,
    "a product gets another name": new_name,
    "somebody edits a resource": edited,
    "the job file says on_existing: adopt": adopting,
    "the server is backed up": saved,
    "the server is put back": restored,
    "a bad mapping was at work": badly_mapped,
    "months pass": months_ago,
}

Step = tuple[str, int, list[str]]
"""A command, its exit code, and the lines it is shown with."""


def sections() -> dict[str, str]:
    _, *parts = re.split(r"^## (.+)$", PAGE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def acts(text: str) -> Iterator[str | Step]:
    """Scenes and commands, in the order of the page."""
    for scene, block in re.findall(r"<!-- scene: (.+?) -->|^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if scene:
            yield scene
            continue
        step: Step | None = None
        for line in block.splitlines():
            if line.startswith("$ "):
                if step:
                    yield step
                command, _, said = line.removeprefix("$ ").partition("  #")
                code = re.search(r"exit code (\d+)", said)
                step = (command.strip(), int(code[1]) if code else 0, [])
            elif line.strip():
                assert step, line
                step[2].append(line)
        if step:
            yield step


@pytest.fixture
def operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], logs_as_before: None
) -> Iterator[Operator]:
    register, reaper = Register.of_folder(BODIES), Reaper()
    hapi = FakeHapi(offers=dict.fromkeys((*sorted(TYPES), "Device"), INTERACTIONS))
    with World(Faulty(register, reaper), hapi, reaper) as world:  # type: ignore[arg-type]
        (tmp_path / "jobs.yaml").write_text(JOB_FILE.format(fhir=world.fhir_url, register=world.register_url))
        monkeypatch.setenv("TSI_FETCH_CONFIG", str(tmp_path / "jobs.yaml"))
        monkeypatch.setenv("COLUMNS", "100")
        monkeypatch.chdir(tmp_path)
        assert main(["run", "cima", "--json"]) == 0
        yield Operator(register, hapi, tmp_path)


def test_every_hour_of_an_operator_has_a_section() -> None:
    assert list(sections()) == list(SECTIONS)


@pytest.mark.parametrize("title", SECTIONS)
def test_what_the_page_says_is_so(title: str, operator: Operator, capsys: pytest.CaptureFixture[str]) -> None:
    commands = 0
    for act in acts(sections()[title]):
        if isinstance(act, str):
            SCENES[act](operator)
            continue
        command, code, shown = act
        commands += 1
        capsys.readouterr()
        got, said = run(command, capsys)
        assert got == code, f"{command} ended with {got}:\n{said}"
        look_for(shown, said, command)
    assert commands


def run(command: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code, and all that was said, as on a terminal."""
    words = shlex.split(command)
    if words[0] != "tsi-fetch":
        assert shutil.which(words[0])
        return subprocess.run(command, shell=True, check=False).returncode, ""
    if logs(words[1:]):
        words += ["--log", "text"]
    got = main(words[1:])
    captured = capsys.readouterr()
    return got, captured.out + captured.err


def logs(words: list[str]) -> bool:
    """Whether the command has an option of how to log."""
    command: click.Command | None = cli
    for word in words:
        if isinstance(command, click.Group):
            command = command.get_command(click.Context(command), word)
    return command is not None and any(option.name == "log" for option in command.params)


def look_for(shown: list[str], said: str, command: str) -> None:
    """The fragments of the shown lines, in this order; `…` stands for anything."""
    rest = " ".join(said.split())
    for fragment in (part for line in shown for part in line.split("…")):
        wanted = " ".join(fragment.split())
        _, found, rest = rest.partition(wanted)
        assert found == wanted, f"{command} does not say {wanted!r} after the rest:\n{said}"
