"""`tsi-fetch watermark` and `audit` as a person uses them: told first, done under the lease, remembered for good."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from jobs.steering import Wish, aim
from store.handle import open_store
from tsi_fetch.errors import Usage
from tsi_fetch.words import Cursor, CursorKind

WHY = ("--why", "an example")
NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)
DAY = Cursor(CursorKind.DATE, "2026-03-10", frozenset({"a"}))
INSTANT = Cursor(CursorKind.INSTANT, "2026-03-10T08:30:00+00:00")
OPAQUE = Cursor(CursorKind.OPAQUE, "c0ffee")


def _streams(desk: Any) -> list[dict[str, Any]]:
    _, out, _ = desk.run("watermark", "show", "cima", "--json")
    found: list[dict[str, Any]] = json.loads(out)["streams"]
    return found


def _trail(desk: Any, *more: str) -> list[dict[str, Any]]:
    _, out, _ = desk.run("audit", "--json", *more)
    found: list[dict[str, Any]] = json.loads(out)["audit"]
    return found


def _report(out: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def _sql(folder: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "store.db")) as db, db:
        return db.execute(statement).fetchall()


def test_before_any_run_every_stream_is_named_and_nothing_can_be_moved(desk: Any) -> None:
    [row] = _streams(desk)
    assert (row["stream"], row["watermark"], row["work"]) == ("registroCambios", None, [])
    assert not (desk.folder / "store.db").exists()
    code, out, err = desk.run("watermark", "rewind", "cima", "7d", *WHY, "--yes", "--log", "text")
    assert (code, out, "there is no store" in err) == (78, "", True)


def test_show_says_what_a_row_says_and_where_it_stands(desk: Any) -> None:
    desk.run("run", "cima", "--json")
    code, out, _ = desk.run("watermark", "show", "cima")
    assert code == 0
    assert all(word in out for word in ("registroCambios", "watermark", "moved", "checkpoint", "work"))
    [row] = _streams(desk)
    assert (row["kind"], row["checkpoint"], row["sink"]) == ("date", 0, "out")
    assert row["watermark"][:2] == "20"
    assert row["moved"] is not None


def test_it_moves_with_its_value_alone(desk: Any) -> None:
    desk.run("run", "cima", "--json")
    moved = _sql(desk.folder, "UPDATE watermarks SET moved = moved - 86400000000 RETURNING moved")
    [before] = _streams(desk)
    _, out, _ = desk.run("run", "cima", "--full", "--json")
    assert _report(out)["watermark"]["before"] == _report(out)["watermark"]["after"]
    assert _sql(desk.folder, "SELECT moved FROM watermarks") == moved
    assert _streams(desk) == [before]
    desk.run("watermark", "rewind", "cima", "7d", *WHY, "--yes")
    assert _streams(desk)[0]["moved"] > before["moved"]


def test_without_yes_and_without_a_terminal_it_is_told_and_refused(desk: Any) -> None:
    desk.run("run", "cima", "--json")
    before = _streams(desk)
    code, out, err = desk.run("watermark", "rewind", "cima", "7d", *WHY, "--log", "text")
    assert code == 2
    assert "(rewind)" in out
    assert "Nothing is deleted by it" in out
    assert "nothing was changed" in err
    assert "--yes" in err
    assert max(map(len, out.splitlines())) <= 80
    assert _streams(desk) == before
    assert _trail(desk) == []


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2)])
def test_on_a_terminal_a_person_is_asked(desk: Any, monkeypatch: pytest.MonkeyPatch, answer: str, code: int) -> None:
    import io

    desk.run("run", "cima", "--json")
    answers = io.StringIO(answer)
    answers.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdin", answers)
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: True, raising=False)
    got, _, err = desk.run("watermark", "rewind", "cima", "7d", *WHY, "--log", "text")
    assert (got, "Do it?" in err) == (code, True)
    assert len(_trail(desk)) == (1 if code == 0 else 0)


def test_what_is_rewound_is_read_again_and_nothing_that_is_unchanged_is_written(desk: Any) -> None:
    desk.changed("99001", f"{datetime.now(ZoneInfo('Europe/Madrid')):%Y-%m-%d}T08:00:00+01:00")
    desk.run("run", "cima", "--json")
    [before] = _streams(desk)
    assert _report(desk.run("run", "cima", "--json")[1])["rows"].get("read", 0) == 0
    code, out, _ = desk.run("watermark", "rewind", "cima", "1d", *WHY, "--yes", "--json")
    told = json.loads(out)
    assert (code, told["done"], told["how"], told["from"]) == (0, True, "rewind", before["watermark"])
    assert told["read_since"]["runs"] == 2
    [now] = _streams(desk)
    assert (now["watermark"], now["overlap"], now["checkpoint"]) == (told["to"], 0, 0)
    report = _report(desk.run("run", "cima", "--json")[1])
    assert report["rows"]["read"] > 0
    assert {action for counts in report["counts"].values() for action in counts} == {"unchanged"}
    assert _streams(desk)[0]["watermark"] == before["watermark"]


def test_after_a_reset_the_next_run_is_a_first_load_that_asks_for_every_key(desk: Any) -> None:
    desk.run("run", "cima", "--json")
    desk.register.calls.clear()
    assert desk.run("run", "cima", "--json")[0] == 0
    assert not [call for call in desk.register.calls if call.startswith("medicamento?")]
    code, out, _ = desk.run("watermark", "reset", "cima", *WHY, "--yes", "--log", "text")
    assert code == 0
    assert "first load" in out
    assert "49 resources are alive" in out
    assert _streams(desk)[0]["watermark"] is None
    assert _sql(desk.folder, "SELECT count(*) FROM scopes WHERE validators IS NOT NULL") == [(0,)]
    desk.register.calls.clear()
    code, out, _ = desk.run("run", "cima", "--json")
    report = _report(out)
    asked = {call for call in desk.register.calls if call.startswith("medicamento?")}
    assert (code, len(asked), report["outcome"]) == (0, 3, "done")
    assert report["watermark"]["before"] is None
    assert {action for counts in report["counts"].values() for action in counts} == {"unchanged"}
    assert _streams(desk)[0]["watermark"] is not None
    code, _, err = desk.run("watermark", "reset", "cima", "nix", *WHY, "--yes", "--log", "text")
    assert (code, "name registroCambios" in err) == (2, True)


def test_a_reset_in_the_middle_of_a_load_cancels_its_list_and_lists_anew(desk: Any) -> None:
    desk.run("run", "cima", "--json")
    _sql(desk.folder, "UPDATE lists SET state = 'open', closed = NULL")
    _sql(desk.folder, "UPDATE work SET state = 0 WHERE key = '99001'")
    code, out, _ = desk.run("watermark", "rewind", "cima", "1d", *WHY, "--yes", "--log", "text")
    assert "The first list in progress goes on as it is: 1 of 3 keys is left." in " ".join(out.split())
    code, out, _ = desk.run("watermark", "reset", "cima", *WHY, "--yes", "--log", "text")
    assert code == 0
    assert "first list in progress (1 of 3 keys is left) is cancelled" in " ".join(out.split())
    assert _sql(desk.folder, "SELECT state FROM lists") == [("cancelled",)]
    desk.register.calls.clear()
    desk.run("run", "cima", "--json")
    assert len({call for call in desk.register.calls if call.startswith("medicamento?")}) == 3
    assert _sql(desk.folder, "SELECT state FROM lists ORDER BY id") == [("cancelled",), ("closed",)]


def test_forward_is_refused_unless_it_is_called_by_its_name_and_then_recorded_as_what_it_is(desk: Any) -> None:
    desk.run("run", "cima", "--json")
    desk.run("watermark", "rewind", "cima", "30d", *WHY, "--yes")
    there = datetime.fromisoformat(_streams(desk)[0]["watermark"]).date()
    later = (there + timedelta(days=10)).isoformat()
    code, out, err = desk.run("watermark", "set", "cima", later, *WHY, "--yes", "--log", "text")
    assert (code, out) == (2, "")
    assert "--skip" in err
    code, out, _ = desk.run("watermark", "set", "cima", "registroCambios", later, *WHY, "--skip", "--yes")
    assert (code, "SKIP: what the source changed between" in out) == (0, True)
    newest = _trail(desk)[0]
    assert (newest["action"], newest["detail"]["to"], newest["why"]) == ("watermark skip", later, "an example")
    assert "@" in newest["who"]


def test_a_job_that_another_runner_holds_is_75_and_stays_as_it_is(desk: Any) -> None:
    desk.run("run", "cima", "--json")
    file = desk.folder / "jobs.yaml"
    file.write_text(file.read_text().replace("    timezone:", "    lease_expiry: 1s\n    timezone:"))
    before = _streams(desk)

    def never(seconds: float) -> None:
        raise AssertionError("nobody else holds the lease")

    with (
        open_store(f"sqlite:///{desk.folder}/store.db") as stored,
        stored.lease("cima", "out", "another", expiry=60.0, wait=never),
    ):
        code, _, err = desk.run("watermark", "rewind", "cima", "7d", *WHY, "--yes", "--log", "text")
    assert (code, "another runner holds the lease" in err) == (75, True)
    assert _streams(desk) == before


def test_the_trail_is_newest_first_of_one_job_or_all_and_hides_no_reason(desk: Any) -> None:
    there = f"and there is no store yet at sqlite:///{desk.folder}/store.db"
    assert desk.run("audit")[:2] == (0, f"nothing was changed by hand, {there}\n")
    desk.run("run", "cima", "--json")
    desk.run("watermark", "rewind", "cima", "1d", "--why", "el martes salió mal", "--yes")
    desk.run("watermark", "rewind", "cima", "2d", "--why", "and a day more\x1b[2J", "--yes")
    assert [row["why"] for row in _trail(desk)] == ["and a day more\x1b[2J", "el martes salió mal"]
    assert len(_trail(desk, "--limit", "1")) == 1
    assert desk.run("audit", "nix")[0] == 2
    code, out, _ = desk.run("audit", "cima")
    assert code == 0
    assert "el martes salió mal" in out
    assert "\x1b" not in out
    store = f"sqlite:///{desk.folder}/nix.db"
    assert desk.run("audit", "--store", store)[0] == 78


def test_of_two_sinks_each_has_its_own_watermark(desk: Any) -> None:
    desk.run("run", "cima", "--json")
    store, other = f"sqlite:///{desk.folder}/store.db", str(desk.folder / "an other")
    desk.run("run", "cima", "--json", "--store", store, "--sink", other)
    code, _, _ = desk.run("watermark", "reset", "cima", *WHY, "--yes", "--store", store, "--sink", other)
    assert code == 0
    marks = {row["sink"]: row["watermark"] for row in _streams(desk)}
    assert marks.keys() == {"out", other}
    assert (marks[other], marks["out"] is None) == (None, False)
    assert [row["sink"] for row in _trail(desk)] == [other]


@pytest.mark.parametrize(
    ("before", "wish", "expected"),
    [
        (DAY, Wish("rewind", to="7d"), ("rewind", "2026-03-03")),
        (DAY, Wish("rewind", to="2026-02-28"), ("rewind", "2026-02-28")),
        (DAY, Wish("set", to="20260301"), ("set", "2026-03-01")),
        (DAY, Wish("set", to="2026-03-20", skip=True), ("skip", "2026-03-20")),
        (INSTANT, Wish("rewind", to="90m"), ("rewind", "2026-03-10T07:00:00+00:00")),
        (INSTANT, Wish("set", to="2026-03-10T08:00:00+01:00"), ("set", "2026-03-10T07:00:00+00:00")),
        (OPAQUE, Wish("set", to="beef", skip=True), ("skip", "beef")),
    ],
)
def test_where_a_watermark_goes(before: Cursor, wish: Wish, expected: tuple[str, str]) -> None:
    how, after = aim(before, wish, NOW)
    assert after is not None
    assert (how, after.value, after.kind) == (*expected, before.kind)
    assert after.seen == (before.seen if how == "skip" else frozenset())


@pytest.mark.parametrize(
    ("before", "wish", "expected"),
    [
        (DAY, Wish("rewind", to="12h"), "whole days"),
        (DAY, Wish("rewind", to="99999d"), "before 1900"),
        (Cursor(CursorKind.DATE, "0200-01-01"), Wish("rewind", to="99999d"), "before 1900"),
        (INSTANT, Wish("set", to="0001-01-01T00:00:00+14:00"), "is no value"),
        (DAY, Wish("set", to="0001-01-01"), "before 1900"),
        (DAY, Wish("rewind", to="2026-03-11"), "is not before"),
        (DAY, Wish("set", to="2026-03-10"), "stands at"),
        (DAY, Wish("set", to="tuesday"), "is no value"),
        (DAY, Wish("set", to="2026-03-12"), "never read"),
        (DAY, Wish("set", to="2026-03-21", skip=True), "not over yet"),
        (INSTANT, Wish("set", to="2026-03-10T08:00:00"), "is no value"),
        (OPAQUE, Wish("rewind", to="7d"), "cannot be rewound"),
        (OPAQUE, Wish("set", to="beef"), "never read"),
        (OPAQUE, Wish("set", to=" ", skip=True), "empty"),
        (OPAQUE, Wish("set", to="\udcff", skip=True), "is no value"),
    ],
)
def test_where_it_may_not_go(before: Cursor, wish: Wish, expected: str) -> None:
    with pytest.raises(Usage, match=expected):
        aim(before, wish, NOW)


@pytest.mark.parametrize(
    ("before", "wish", "what", "accepted"),
    [
        (
            DAY,
            Wish("rewind", to="7x"),
            "'7x' is neither a span of time, like 7d, nor a day like 2026-03-02",
            "days are d",
        ),
        (DAY, Wish("rewind", to="0d"), "'0d' is neither a span of time, like 7d", "not zero"),
        (INSTANT, Wish("rewind", to="7x"), "nor an instant with its zone, like 2026-03-02T08:30:00Z", "days are d"),
        (DAY, Wish("rewind", to="2026-03-11"), "2026-03-11 is not before 2026-03-10, where the watermark", "like 7d"),
        (DAY, Wish("set", to="7d"), "which is a day like 2026-03-02", "a span, like 7d, is for rewind"),
    ],
)
def test_a_mistake_says_what_was_wrong_and_what_is_accepted(
    before: Cursor, wish: Wish, what: str, accepted: str
) -> None:
    with pytest.raises(Usage) as raised:
        aim(before, wish, NOW)
    assert what in raised.value.message
    assert accepted in raised.value.hint
