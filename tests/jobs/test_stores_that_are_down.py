"""Where one of several stores cannot be asked, what the others know is shown all the same, and nobody says 0."""

from __future__ import annotations

import json
from typing import Any

import pytest

SOME = "99001"


@pytest.fixture
def troubled(desk: Any) -> Any:
    """One product in quarantine, one load, one entry in the audit trail; and another job whose store is broken."""
    desk.name = desk.register.products[SOME].pop("nombre")
    assert desk.run("run", "cima")[0] == 65
    assert desk.run("watermark", "reset", "cima", "--why", "a trial", "--yes")[0] == 0
    desk.add_second_job()
    return desk


@pytest.mark.parametrize(
    ("command", "member", "told"),
    [
        (("quarantine", "list"), "quarantine", SOME),
        (("backfill", "list"), "backfills", "1"),
        (("audit",), "audit", "a trial"),
        (("runs",), "runs", "UTC"),
    ],
)
def test_the_other_stores_tell_what_they_know(troubled: Any, command: tuple[str, ...], member: str, told: str) -> None:
    code, out, err = troubled.run(*command)
    assert (code, told in out, "old.db" in err) == (78, True, True)
    code, out, _ = troubled.run(*command, "--json")
    found = json.loads(out)
    assert (code, found["exit_code"], len(found[member])) == (78, 78, 1)
    code, out, err = troubled.run(*command, "cima")
    assert (code, told in out, err) == (0, True, ""), "a job whose store is well"
    code, out, _ = troubled.run(*command, "a-first")
    assert (code, out) == (78, ""), "nothing at all is known of it"


@pytest.mark.parametrize(
    ("command", "none"),
    [
        (("quarantine", "list"), "nothing lies in quarantine"),
        (("backfill", "list"), "there is no backfill"),
        (("audit",), "nothing was changed by hand"),
        (("runs",), "no run is known"),
    ],
)
def test_nothing_is_told_only_as_far_as_the_stores_could_be_asked(
    desk: Any, command: tuple[str, ...], none: str
) -> None:
    desk.add_second_job()
    code, out, _ = desk.run(*command)
    there = f"and there is no store yet at sqlite:///{desk.folder}/store.db"
    assert (code, out) == (78, f"{none}, as far as the stores could be asked, {there}\n")


@pytest.mark.parametrize("command", [("quarantine", "list"), ("backfill", "list"), ("audit",), ("runs",)])
def test_that_there_is_no_store_yet_is_told_beside_that_nothing_is_known(desk: Any, command: tuple[str, ...]) -> None:
    """Also where it is in another folder, or lost."""
    code, out, _ = desk.run(*command)
    assert (code, "and there is no store yet at sqlite:///" in " ".join(out.split()), "store.db" in out) == (
        0,
        True,
        True,
    )
    assert desk.run("run", "cima")[0] == 0
    assert "no store" not in desk.run(*command)[1]


def test_a_replay_of_all_jobs_does_those_that_it_can(troubled: Any) -> None:
    troubled.register.products[SOME]["nombre"] = troubled.name
    code, out, err = troubled.run("quarantine", "replay", "--json")
    assert (code, "old.db" in err) == (78, True)
    assert [json.loads(line)["job"] for line in out.splitlines()] == ["cima"]
