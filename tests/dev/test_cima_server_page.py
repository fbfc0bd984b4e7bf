"""The page on the project's own CIMA and its command line say the same."""

from __future__ import annotations

import re
from pathlib import Path

from dev.cima.generated import FULL_SIZE, Settings
from dev.cima_server import options

PAGE = Path(__file__).parents[2] / "docs" / "cima-server.md"


def test_the_page_lists_every_option_and_no_other() -> None:
    listed = re.findall(r"^\| `(--[a-z-]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    known = [flag for action in options()._actions for flag in action.option_strings if flag.startswith("--")]
    assert sorted(listed) == sorted(set(known) - {"--help"})


def test_the_command_lines_defaults_are_the_registers() -> None:
    given, settings = options().parse_args(["--seed", "1"]), Settings()
    assert (given.products, given.day, given.text_bytes) == (FULL_SIZE, settings.first_day, settings.text_bytes)
    assert (given.page_size, given.changes, given.night_every) == (settings.page_size, settings.changes, 0)
    assert not given.etag
    assert not given.rate
    assert not given.latency
    assert given.workers == 1
