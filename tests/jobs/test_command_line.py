"""What every command owes: help without heavy imports, exit codes, one place for errors, no values in a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from jobs import __main__ as entry
from jobs.__main__ import main
from jobs.cli.group import COMMANDS, cli
from jobs.wiring import new_run_id
from tsi_fetch.clock import SystemClock

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "commands.md"
HEAVY = ("sqlalchemy", "alembic", "fhir", "pydantic", "httpx", "structlog", "rich", "lxml", "msgspec", "yaml")


def _all() -> list[tuple[str, ...]]:
    """Every command and subcommand."""
    context = click.Context(cli)
    found: list[tuple[str, ...]] = []
    for name in COMMANDS:
        command = cli.get_command(context, name)
        found.append((name,))
        if isinstance(command, click.Group):
            found += [(name, inner) for inner in command.list_commands(context)]
    return found


@pytest.mark.parametrize("words", [(), *_all()], ids=" ".join)
def test_help_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    code = (
        "import sys; from jobs.__main__ import main; code = main(sys.argv[1:]); "
        f"heavy = [m for m in {HEAVY} if m in sys.modules]; "
        "print(heavy, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *words, "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr.strip()) == (0, "[]")
    assert "Usage: tsi-fetch" in done.stdout


def _command(words: tuple[str, ...]) -> click.Command:
    command = cli.get_command(click.Context(cli), words[0]) if words else cli
    if len(words) > 1:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), words[1])
    assert command is not None
    return command


@pytest.mark.parametrize("words", [(), *_all()], ids=" ".join)
def test_a_help_page_begins_with_the_common_case_and_fits_a_terminal(words: tuple[str, ...]) -> None:
    command = _command(words)
    for width in (80, 100):
        context = click.Context(command, info_name=" ".join(("tsi-fetch", *words)), terminal_width=width)
        assert max(map(len, command.get_help(context).splitlines())) <= width
    _, _, after = (command.help or "").partition("\b\n")
    assert " ".join(("tsi-fetch", *words)) in after.splitlines()[0]
    assert (command.help or "").index("\b") < 420  # a sentence or two, no more


@pytest.mark.parametrize("words", _all(), ids=" ".join)
def test_every_command_has_an_example_in_its_help_and_a_place_in_the_docs(words: tuple[str, ...]) -> None:
    command = cli.get_command(click.Context(cli), words[0])
    if len(words) > 1:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), words[1])
    assert command is not None
    assert f"tsi-fetch {' '.join(words)}" in (command.help or "")
    assert command.get_short_help_str()
    assert f"tsi-fetch {' '.join(words)}" in DOCS.read_text()


def test_the_docs_name_every_option() -> None:
    text = DOCS.read_text()
    for words in _all():
        command = cli.get_command(click.Context(cli), words[0])
        if isinstance(command, click.Group) and len(words) > 1:
            command = command.get_command(click.Context(command), words[1])
        assert command is not None
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert f"`{parameter.opts[0]}" in text, f"{' '.join(words)} {parameter.opts[0]}"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["runn"], "did you mean run?"),
        (["run"], "Missing argument 'JOB'"),
        (["run", "cima", "--nope"], "No such option"),
        (["quarantine", "show", "cima", "x"], "name an entry by its number"),
    ],
)
def test_a_wrong_command_line_is_2_and_says_where_help_is(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert expected in captured.err
    assert "--help" in captured.err


@pytest.mark.parametrize("arguments", [[], ["quarantine"], ["db"]], ids=" ".join)
def test_without_a_command_the_help_is_shown_as_it_is(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Usage: tsi-fetch")
    assert "what to do" not in captured.err


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("tsi-fetch ")


def test_a_bug_is_70_and_its_traceback_shows_where_and_never_what(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        try:
            raise KeyError("a patient's name")
        except KeyError as e:
            raise RuntimeError("a whole body") from e

    monkeypatch.setitem(entry.cli.commands, "broken", click.Command("broken", callback=broken))
    monkeypatch.setattr("jobs.cli.group.COMMANDS", {"broken": "tests"})
    monkeypatch.setattr(type(entry.cli), "get_command", lambda self, ctx, name: self.commands.get(name))
    assert main(["broken"]) == 70
    err = capsys.readouterr().err
    assert "builtins.RuntimeError" in err
    assert "builtins.KeyError" in err
    assert f"{__file__}:" in err
    assert "in test_a_bug_is_70" in err
    assert "patient" not in err
    assert "body" not in err


def test_jobs_lists_the_stock_jobs_whatever_is_unset(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, logs_as_before: None
) -> None:
    monkeypatch.delenv("TSI_FETCH_CONFIG", raising=False)
    assert main(["jobs"]) == 0
    out = capsys.readouterr().out
    assert "cima" in out
    assert "30 9 * * *" in out


def test_python_m_jobs_is_the_same_command() -> None:
    done = subprocess.run([sys.executable, "-m", "jobs", "jobs", "--json"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, '"job": "cima"' in done.stdout) == (0, True)


def test_a_reader_who_goes_away_does_not_change_the_exit_code() -> None:
    line = f"{sys.executable} -m jobs jobs | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_run_ids_fit_into_what_hapi_keeps_and_differ() -> None:
    now = SystemClock().now()
    ids = {new_run_id(now) for _ in range(50)}
    assert len(ids) > 45
    assert all(len(i) == 16 and set(i) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for i in ids)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("quarantine", "liste"), "list"),
        (("db", "upgarde"), "upgrade"),
        (("watermark", "shwo", "cima"), "show"),
        (("backfill", "liste"), "list"),
        (("backfill", "resmue", "7"), "resume"),
        (("runs", "shwo"), "show"),
        (("runs", "shwo", "17"), "show"),
        (("statsu",), "status"),
    ],
    ids=" ".join,
)
def test_a_command_that_is_written_wrongly_is_answered_with_the_one_that_was_meant(
    words: tuple[str, ...], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "did you mean" in said.lower()
    assert meant in said.lower().partition("did you mean")[2].split("?")[0]
    assert f"tsi-fetch{''.join(f' {word}' for word in words[:1] if len(words) > 1)} --help" in said


def test_a_job_is_never_taken_for_a_command_that_it_is_spelt_like(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "jobs.yaml"
    file.write_text("jobs: {lists: {}, cima: {}}\n")
    for words in (["runs", "lists", "--config", str(file)], ["runs", "lists", f"--config={file}"]):
        main(words)
        assert "no command" not in capsys.readouterr().err
    monkeypatch.setenv("TSI_FETCH_CONFIG", str(file))
    main(["runs", "lits"])  # as close to the job
    assert "lists" in capsys.readouterr().err
    file.write_text("jobs: [")  # what is wrong is the file
    main(["runs", "liste"])
    assert "no command" not in capsys.readouterr().err
