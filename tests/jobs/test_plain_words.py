"""Numbers of things and instants are told in one way everywhere: `1 item`, `2 items`, and always in UTC."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.config.duration import parse_duration, show_duration
from jobs.reporting.entry import entry_text
from jobs.reporting.instants import minute, second
from jobs.reporting.pruned import pruned_text
from jobs.reporting.table import table_text
from tsi_fetch.counting import are, count

ROOT = Path(__file__).parents[2]
ROOMS = ("jobs", "sinks", "sources", "store", "tsi_fetch")
AT = "2026-03-02T09:30:05+00:00"

THINGS = (
    "attempts|changes|differences|entries|files|items|keys|mistakes|nights|others|pages|places|products|refs|resources"
    "|rows|runs|versions|windows"
)
_BY_HAND = re.compile(rf"\}} (?:more )?(?:{THINGS})\b|'s' if |else 's'")
"""A figure in braces with a plural behind it, or an `s` that is put there by a condition."""

ALWAYS_SEVERAL = ("entries: --limit shows more",)
"""What is said of two and more alone."""


def _code(file: Path) -> list[str]:
    """Its lines, without docstrings of one line."""
    return [line for line in file.read_text().splitlines() if '"""' not in line]


def test_no_sentence_makes_its_plurals_by_hand() -> None:
    found = [
        f"{file.relative_to(ROOT)}: {line.strip()}"
        for room in ROOMS
        for file in sorted((ROOT / room).rglob("*.py"))
        for line in _code(file)
        if _BY_HAND.search(line) and not any(said in line for said in ALWAYS_SEVERAL)
    ]
    assert found == []


def test_one_is_one_and_two_are_two() -> None:
    assert [count(n, "item") for n in (0, 1, 2, 1200)] == ["0 items", "1 item", "2 items", "1,200 items"]
    assert [count(n, "entry", "entries") for n in (1, 2)] == ["1 entry", "2 entries"]
    assert [are(n) for n in (0, 1, 2)] == ["are", "is", "are"]


@pytest.mark.parametrize(
    ("seconds", "told"), [(0, "0s"), (0.04, "0s"), (1, "1s"), (1.04, "1s"), (1.5, "1.5s"), (9.96, "10s"), (60, "1m")]
)
def test_whole_seconds_have_no_tenths(seconds: float, told: str) -> None:
    assert show_duration(timedelta(seconds=seconds)) == told


def test_a_span_is_read_as_it_is_shown() -> None:
    for span in ("1s", "9s", "10s", "1h30m"):
        assert show_duration(parse_duration(span)) == span


def test_what_is_pruned_is_counted_in_words() -> None:
    old = {"store": "s", "before": AT, "counts": {"audit": 2, "reports": 1, "quarantine": 1}, "there": True}
    lines = pruned_text(old, done=True).splitlines()
    assert lines[0] == "s: gone, older than 2026-03-02 09:30 UTC:"
    assert [" ".join(line.split()[:3]) for line in lines[1:]] == ["1 report of", "1 closed entry", "2 entries of"]


def test_an_entry_tells_one_attempt_and_its_times_in_utc() -> None:
    entry: dict[str, Any] = {
        "job": "cima",
        "number": 3,
        "key": "1",
        "code": "c",
        "path": "",
        "rule": "r",
        "attempts": 1,
    }
    entry |= {"opened": AT, "last": AT, "run": "x", "closed": None, "resource": None, "body": None}
    answer = {"part": "p", "url": "u", "status": 200, "requested_at": AT, "body": ""}
    text = entry_text({**entry, "answers": [answer]})
    assert "since     2026-03-02 09:30 UTC, 1 attempt, last 2026-03-02 09:30 UTC (run x)" in text
    assert "asked 2026-03-02 09:30:05 UTC" in text


def test_instants_of_every_zone_are_told_in_utc() -> None:
    assert minute(AT) == "2026-03-02 09:30 UTC"
    assert minute("2026-03-02T11:30:05.123+02:00") == "2026-03-02 09:30 UTC"
    assert second("2026-03-02T09:30:05Z") == "2026-03-02 09:30:05 UTC"
    assert [minute(None), minute("yesterday"), second("2026-03-02")] == ["?", "yesterday", "2026-03-02"]


@pytest.mark.parametrize("columns", ["120", "30"])
def test_a_column_of_instants_says_that_they_are_in_utc(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    row = {"job": "cima", "last_run": AT, "watermark": {"feed": AT}, "none": None, "day": "2026-03-02"}
    monkeypatch.setenv("COLUMNS", columns)
    text = table_text([{**row, "last_run": None}, row])
    assert text.count("(UTC)") == (2 if columns == "120" else 3)  # of a block for each row, where it says anything
    assert "day (UTC)" not in text
    assert "+00:00" not in text
