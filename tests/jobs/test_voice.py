"""What reaches a terminal: no secret, also not a broken one, and nothing that moves its cursor."""

from __future__ import annotations

import io
import json

import pytest
import structlog

from jobs.cli.voice import Voice
from jobs.config.secret import Secrets
from jobs.reporting.logs import configure
from jobs.reporting.table import table_text
from jobs.reporting.visible import visible

HOSTILE = "70001\x1b[2J\x1b[1;1Hnothing lies in quarantine\r\x9b\u202e"


@pytest.fixture
def voice(monkeypatch: pytest.MonkeyPatch) -> Voice:
    monkeypatch.setenv("COLUMNS", "60")
    return Voice()


def test_a_secret_that_a_narrow_column_would_break_is_struck_out_before(voice: Voice) -> None:
    secret = "k" * 30 + "s" * 30
    voice.secrets.add(secret)
    text = table_text(voice.clean([{"key": "1", "rule": f"the server said {secret} and ended"}]))
    assert "kkkk" not in text
    assert "ssss" not in text


@pytest.mark.usefixtures("logs_as_before")
def test_what_a_source_says_does_not_move_the_cursor_of_whoever_reads_it(
    voice: Voice, capsys: pytest.CaptureFixture[str]
) -> None:
    voice.speak(log="text")
    voice.show(None, table_text(voice.clean([{"key": HOSTILE}])))
    voice.show(None, HOSTILE)
    voice.error(HOSTILE, HOSTILE, 75)
    out, err = capsys.readouterr()
    for text in (out, err):
        assert "70001\\x1b[2J" in text
        assert text == visible(text), "and nothing else that is not seen"


@pytest.mark.usefixtures("logs_as_before")
def test_nor_does_what_is_logged() -> None:
    stream = io.StringIO()
    configure("text", Secrets(), stream)
    structlog.get_logger().warning(HOSTILE, key=HOSTILE)
    assert stream.getvalue() == visible(stream.getvalue())


def test_lines_and_tabs_stay_and_all_else_that_is_not_seen_is_named() -> None:
    assert visible("a\tb\nc é €") == "a\tb\nc é €"
    assert visible("\0\x7f\x85\u2066") == "\\x00\\x7f\\x85\\u2066"


@pytest.mark.usefixtures("logs_as_before")
def test_half_a_surrogate_pair_is_shown_and_no_bug(voice: Voice, capsys: pytest.CaptureFixture[str]) -> None:
    voice.speak(log="text")
    voice.show({"body": "\ud800"}, "\ud800")
    voice.speak(log="text", as_json=True)
    voice.show({"body": "\ud800"}, "\ud800")
    text, line = capsys.readouterr().out.splitlines()
    assert (text, json.loads(line)) == ("\\ud800", {"body": "\ud800"})
