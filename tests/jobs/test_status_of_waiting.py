"""What waits is shown by `status`: what, for what, since when; however much of it there is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from jobs.reporting.text import headline
from jobs.reporting.waiting import waiting_text
from store.handle import open_store
from tsi_fetch.clock import SystemClock
from tsi_fetch.words import Ref, ScopeSettled, Settlement, Waiting

CIRCLE = (Ref("Basic", "a"), Ref("Basic", "b"))


def _wait(url: str, waits: Sequence[tuple[Ref, Sequence[Ref]]]) -> None:
    """A run of the job leaves these waiting in its store."""
    with (
        open_store(url, create=True) as stored,
        stored.lease("cima", "out", "260302-0930-ab12", wait=SystemClock().sleep) as store,
    ):
        changes = tuple(Waiting(ref, b'{"x":"secret"}', "1", "1", 1, 1, frozenset(missing)) for ref, missing in waits)
        scope = ScopeSettled("1", frozenset(ref for ref, _ in waits), frozenset(), None, 1, "1")
        store.settle(Settlement("registroCambios", scopes=(scope,), waiting=changes))


def test_status_names_what_waits_and_for_what_and_since_when(desk: Any) -> None:
    url = f"sqlite:///{desk.folder}/store.db"
    _wait(url, [(CIRCLE[0], [CIRCLE[1], Ref("Organization", "gone")]), (CIRCLE[1], [CIRCLE[0]])])
    code, out, _ = desk.run("status", "--json")
    status = json.loads(out)
    assert (code, status["jobs"][0]["waiting"]) == (0, 2)
    first, second = status["waits"]
    assert (first["job"], first["resource"]) == ("cima", "Basic/a")
    assert first["waits_for"] == ["Basic/b", "Organization/gone"]
    assert (second["resource"], second["waits_for"], second["key"]) == ("Basic/b", ["Basic/a"], "1")
    assert first["since"].endswith("+00:00")
    _, text, _ = desk.run("status")
    section = text.partition("waiting for what is not there yet")[2]
    assert "Organization/gone" in section
    assert first["since"][:10] in section
    assert "more" not in section
    assert "secret" not in out + text


def test_status_shows_the_oldest_of_much_that_waits_and_counts_the_rest(desk: Any) -> None:
    waits = [(Ref("Basic", f"b{n:02}"), [Ref("Organization", f"o{m}") for m in range(9)]) for n in range(31)]
    _wait(f"sqlite:///{desk.folder}/store.db", waits)
    _, text, _ = desk.run("status", "cima")
    assert "… and 11 more; --json lists them all" in text
    assert "… and 4 more" in text
    assert text.count("Basic/") == 20
    _, out, _ = desk.run("status", "cima", "--json")
    assert len(json.loads(out)["waits"]) == 31


def test_where_nothing_waits_status_does_not_speak_of_it(desk: Any) -> None:
    _, text, _ = desk.run("status")
    assert "waiting for what is not there" not in text
    assert json.loads(desk.run("status", "--json")[1])["waits"] == []
    assert waiting_text([], 0) == ""


def test_the_commands_that_look_can_look_into_another_store(desk: Any) -> None:
    url = f"sqlite:///{desk.folder}/other.db"
    _wait(url, [(CIRCLE[0], [CIRCLE[1]])])
    assert json.loads(desk.run("status", "--json")[1])["waits"] == []
    assert json.loads(desk.run("status", "--store", url, "--json")[1])["waits"][0]["resource"] == "Basic/a"
    for command in (["runs", "cima"], ["quarantine", "list"]):
        assert desk.run(*command, "--store", url)[0] == 0
    assert desk.run("quarantine", "show", "cima", "1", "--store", url)[0] == 2


def test_a_named_store_that_is_not_there_is_no_job_that_never_ran(desk: Any) -> None:
    for command in (["status"], ["runs", "cima"], ["quarantine", "list"]):
        code, out, err = desk.run(*command, "--store", f"sqlite:///{desk.folder}/typo.db")
        assert (code, out) == (78, "")
        assert "there is no store" in err


def test_the_password_of_a_named_store_is_never_shown(desk: Any) -> None:
    url = "postgresql://fetcher:pa55w0rd@127.0.0.1:1/none?connect_timeout=2"
    code, out, err = desk.run("status", "--store", url)
    assert code == 75
    assert "pa55w0rd" not in out + err


def test_a_report_counts_what_waits() -> None:
    report = {"plan": False, "outcome": "done", "counts": {"Basic": {"waiting": 3, "created": 2, "unchanged": 1}}}
    assert headline(report) == "2 created, 1 unchanged, 3 waiting."
    assert headline({**report, "counts": {"Basic": {"waiting": 3}}}) == "Nothing was written: 3 waiting."
