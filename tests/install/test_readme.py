"""The README's output is real, and its words are the code's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_readme_shows_what_a_first_run_prints(tmp_path: Path) -> None:
    shown = re.search(r"<!-- checked by .*? -->\n```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert shown is not None
    printed = subprocess.run(
        [
            *(sys.executable, "-m", "jobs", "run", "cima", "--replay", "jobs/recordings/cima", "--log", "text"),
            *("--store", f"sqlite:///{tmp_path / 'store.db'}", "--sink", str(tmp_path / "epi")),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "90", "PATH": "/usr/bin:/bin"},
    ).stdout
    lines = [re.sub(r"  run \S+$", "", line).rstrip() for line in printed.splitlines()]
    assert "\n".join(lines).startswith("\n".join(line.rstrip() for line in shown[1].splitlines()))


def test_every_word_of_the_vocabulary_is_explained() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    rows = dict(re.findall(r"^\| ([a-z ]+) \| (.+) \|$", page.split("## Who lives where")[0], re.MULTILINE))
    words = (
        "source row change ref digest watermark run quarantine scope order checkpoint settled pending waiting marker "
        "plan lease"
    )
    assert {*words.split(), "work list"} <= rows.keys()


def test_the_rooms_of_the_map_are_there() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = re.findall(r"`([a-z0-9_-]+)/`", page.split("## The way of one record")[0])
    assert rooms
    assert [room for room in rooms if not (ROOT / room).is_dir() and not (ROOT / "tsi_fetch" / room).is_dir()] == []
