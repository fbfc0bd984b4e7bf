"""docs/hapi.md and the suites on real servers name each other; needs no server."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_line_of_the_page_on_hapi_has_its_test() -> None:
    page = (ROOT / "docs" / "hapi.md").read_text("utf-8")
    named = re.findall(r"`(test_\w+)` \|$", page, re.MULTILINE)
    lines = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| topic ")]
    sources = "".join(p.read_text("utf-8") for p in sorted(Path(__file__).parent.glob("test_hapi_*.py")))
    tests = set(re.findall(r"^def (test_\w+)", sources, re.MULTILINE))
    assert len(named) == len(lines) > 60
    assert set(named) <= tests
