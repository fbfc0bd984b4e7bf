"""What a shell is given to complete: commands, options, and the jobs of the job file, without importing much."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from jobs.__main__ import main
from jobs.cli.group import COMMANDS, cli
from jobs.cli.job_names import JobName, job_names
from jobs.config.load import STOCK, load_configuration

ROOT = Path(__file__).parents[2]
HEAVY = ("sqlalchemy", "fhir", "pydantic", "httpx", "structlog", "rich", "lxml", "msgspec")
FILE = """\
stores: {main: {url: "sqlite:///${NOT_SET}/x.db"}}
jobs:
  cima: {}
  "cima again": {}
  états: {}
"""


def _completed(words: str, number: int, **environ: str) -> list[str]:
    """What bash would be offered in place of that word."""
    code = (
        "import sys; sys.argv[0] = 'tsi-fetch'; from jobs.__main__ import main\n"
        "try:\n    main()\nfinally:\n"
        f"    print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    )
    asked = {"_TSI_FETCH_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number)}
    own = {name: value for name, value in os.environ.items() if name != "TSI_FETCH_CONFIG"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env={**own, **asked, **environ}
    )
    assert (done.returncode, done.stderr) == (0, "[]\n")
    return [line.removeprefix("plain,") for line in done.stdout.splitlines()]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_names_the_program_and_its_variable(
    shell: str, capsys: pytest.CaptureFixture[str], logs_as_before: None
) -> None:
    assert main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert "_TSI_FETCH_COMPLETE" in out
    assert "tsi-fetch" in out


def test_bash_takes_the_script(tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("there is no bash")
    made = subprocess.run(
        [sys.executable, "-m", "jobs", "completion", "bash"], cwd=ROOT, capture_output=True, text=True
    )
    script = tmp_path / "completion.sh"
    script.write_text(made.stdout)
    asked = f"source {script} && complete -p tsi-fetch"
    done = subprocess.run(["bash", "--norc", "-c", asked], capture_output=True, text=True)
    assert (done.returncode, "_tsi_fetch_completion" in done.stdout, done.stderr) == (0, True, "")


def test_another_shell_is_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "csh"]) == 2
    assert "'bash', 'zsh', 'fish'" in capsys.readouterr().err


def test_commands_and_the_jobs_of_the_job_file_are_completed_without_heavy_imports(tmp_path: Path) -> None:
    file = tmp_path / "jobs.yaml"
    file.write_text(FILE)
    assert _completed("tsi-fetch w", 1) == ["watermark"]
    assert _completed("tsi-fetch run ", 2) == ["cima"]
    assert _completed("tsi-fetch run ", 2, TSI_FETCH_CONFIG=str(file)) == ["cima", "cima again", "états"]
    assert _completed(f"tsi-fetch run --config {file} é", 4) == ["états"]
    assert _completed("tsi-fetch watermark rewind c", 3) == ["cima"]
    assert "--full" in _completed("tsi-fetch run --f", 2)


def test_a_job_is_completed_where_it_may_stand_in_place_of_a_command(tmp_path: Path) -> None:
    file = tmp_path / "jobs.yaml"
    file.write_text(FILE)
    for group in ("backfill", "runs"):
        offered = _completed(f"tsi-fetch {group} ", 2, TSI_FETCH_CONFIG=str(file))
        assert {"cima", "cima again", "états"} <= set(offered)
        assert {"show", "list"} <= set(offered)
        assert _completed(f"tsi-fetch {group} é", 2, TSI_FETCH_CONFIG=str(file)) == ["états"]
    assert "--all" in _completed("tsi-fetch backfill cima --a", 3)


def test_the_names_are_those_that_the_job_file_has() -> None:
    assert job_names(STOCK) == list(load_configuration(environ={}).settings.jobs)


@pytest.mark.parametrize("text", ["", "jobs: [", "- jobs", "jobs: {[1]: 2}", "jobs: cima", "\ufeffjobs:", "a: &b [*c]"])
def test_a_file_that_cannot_be_read_completes_nothing(tmp_path: Path, text: str) -> None:
    file = tmp_path / "jobs.yaml"
    file.write_text(text)
    assert job_names(file) == []
    assert job_names(tmp_path / "nix.yaml") == []
    file.write_bytes(b"jobs: \xff")
    assert job_names(file) == []


def _parameters(command: click.Command) -> list[click.Parameter]:
    if not isinstance(command, click.Group):
        return list(command.params)
    context = click.Context(command)
    inner = [command.get_command(context, name) for name in command.list_commands(context)]
    return [parameter for one in inner if one is not None for parameter in _parameters(one)]


def test_every_job_that_is_asked_for_is_completed() -> None:
    asked = [
        (name, parameter)
        for name in COMMANDS
        for parameter in _parameters(cli.get_command(click.Context(cli), name) or cli)
        if parameter.name == "job"
    ]
    assert asked
    assert [name for name, parameter in asked if not isinstance(parameter.type, JobName)] == []
