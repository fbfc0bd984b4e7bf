"""`tsi-fetch plan` names what would become of each resource, and with `--diff` what would change in it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from jobs.planning import Listing
from jobs.reporting.planned import planned_text
from tsi_fetch.words import Outcome, Ref, Result, Write, WriteAction

SOME = "99001"
LOADED = 49


def _report(out: str) -> Any:
    return json.loads(out.splitlines()[-1])


def _listed(out: str) -> list[str]:
    """The lines that name a resource, with one space between their words."""
    _, _, below = out.partition("what would become of each resource")
    return [" ".join(line.split()) for line in below.splitlines() if line and not line.startswith((" ", "…"))]


@pytest.fixture
def changed(desk: Any) -> Any:
    """A desk whose register has a new leaflet text and a new name for one product, after everything was loaded."""
    desk.run("run", "cima", "--json")
    product = desk.register.products[SOME]
    desk.register.products[SOME] = dict(product, dosis="7.50 mg")
    sections = next(key for key in desk.register.contents if key[0] == 2 and key[1] == SOME)
    desk.register.contents[sections] = [
        dict(s, contenido=s["contenido"].replace("No conduzca si bosteza.", "No conduzca \x1b[2J nunca."))
        for s in desk.register.contents[sections]
    ]
    return desk


def test_a_first_plan_lists_the_first_creates_and_says_how_many_more_there_are(desk: Any) -> None:
    code, out, _ = desk.run("plan", "cima", "--limit", "5", "--log", "text")
    assert code == 0
    listed = _listed(out)
    assert len(listed) == 5
    assert all(line.startswith("create ") for line in listed)
    assert f"… and {LOADED - 5} more; --limit 100 lists more of them" in out


def test_the_counts_are_whole_however_few_are_listed(desk: Any) -> None:
    _, out, _ = desk.run("plan", "cima", "--limit", "0", "--json")
    report = _report(out)
    total = sum(number for fates in report["counts"].values() for number in fates.values())
    assert (report["resources"], report["more"]) == ([], total)
    _, out, _ = desk.run("plan", "cima", "--limit", "1000", "--json")
    report = _report(out)
    assert (len(report["resources"]), report["more"]) == (total, 0)
    by_action = [entry["action"] for entry in report["resources"]]
    assert by_action == sorted(by_action, key=["update", "create", "unchanged"].index)


def test_a_diff_shows_paths_values_and_words_and_is_the_same_as_json(changed: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = changed.run("plan", "cima", "--only", SOME, "--diff", "--log", "text")
    assert code == 0
    below = out.partition("what would become of each resource")[2]
    assert max(map(len, below.splitlines())) <= 80
    assert '/name/0/part/1/part  "50 mg" → "7.50 mg"' in below
    assert "      - … No conduzca si bosteza.\n      + … No conduzca" in below
    assert "\x1b" not in out
    _, out, _ = changed.run("plan", "cima", "--only", SOME, "--diff", "--json")
    entries = {entry["resource"]: entry for entry in _report(out)["resources"]}
    product = entries["MedicinalProductDefinition/es-aemps-mpd-99001"]
    assert {"path": "/name/0/part/1/part", "old": "50 mg", "new": "7.50 mg"} in product["changes"]
    words = [c["words"] for e in entries.values() for c in e.get("changes", []) if "words" in c]
    assert words
    assert all(place["old"] == "si bosteza." for places in words for place in places)


def test_without_diff_no_value_is_printed(changed: Any) -> None:
    for how in (("--log", "text"), ("--json",)):
        _, out, _ = changed.run("plan", "cima", "--only", SOME, *how)
        assert "MedicinalProductDefinition/es-aemps-mpd-99001" in out
        assert "7.50 mg" not in out
        assert "conduzca" not in out


def test_what_is_written_again_without_a_difference_says_so(desk: Any) -> None:
    desk.run("run", "cima", "--json")
    _, out, _ = desk.run("plan", "cima", "--only", SOME, "--again", "--diff", "--log", "text")
    assert "the same content, written again" in out


@pytest.mark.parametrize(("removal", "action"), [("retire", "retire"), ("delete", "delete")])
def test_what_would_go_is_listed_by_what_would_become_of_it(desk: Any, removal: str, action: str) -> None:
    desk.run("run", "cima", "--json")
    del desk.register.products[SOME]
    file = desk.folder / "jobs.yaml"
    file.write_text(f"{file.read_text()}    removal: {removal}\n")
    _, out, _ = desk.run("plan", "cima", "--only", SOME, "--accept-vanish", "9", "--limit", "100", "--json")
    report = _report(out)
    assert {"resource": "List/es-aemps-list-99001", "action": action} in report["resources"]
    assert len(report["resources"]) == sum(n for fates in report["counts"].values() for n in fates.values())


def test_a_plan_with_a_diff_writes_nothing(changed: Any) -> None:
    def files() -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in Path(changed.folder).rglob("*") if p.is_file()}

    before = files()
    changed.run("plan", "cima", "--only", SOME, "--diff", "--json")
    assert files() == before


@pytest.fixture
def listings() -> Iterator[Callable[..., Listing]]:
    """Makes listings, and closes them."""
    with ExitStack() as stack:
        yield lambda most, **how: stack.enter_context(closing(Listing(most, **how)))


def _update(listing: Listing, ref: Ref, held: bytes | None, body: bytes) -> None:
    listing.would_write(Write(ref, WriteAction.PUT, "1", body), Outcome(ref, Result.UPDATED, "2"), held)
    listing.counted(ref, "updated", 1)


def _ref(number: int) -> Ref:
    return Ref("Basic", str(number))


def test_bodies_are_asked_for_as_long_as_there_is_room_to_show_them(listings: Callable[..., Listing]) -> None:
    listing = listings(2, diff=True)
    for number in range(4):
        assert listing.wants_body() is (number < 2)
        _update(listing, _ref(number), b'{"v":1.0}', b'{"v":1.00}')
    assert [entry["resource"] for entry in listing.entries()] == ["Basic/0", "Basic/1"]
    assert listing.more == 2
    assert not listings(2, diff=False).wants_body()


def test_what_waited_and_was_sent_after_all_is_listed_once(listings: Callable[..., Listing]) -> None:
    listing = listings(5, diff=False)
    missing = Outcome(_ref(1), Result.MISSING, missing=(_ref(7),))
    listing.would_write(Write(_ref(1), WriteAction.PUT, None, b"{}"), missing, None)
    listing.counted(_ref(1), "waiting", 1)
    assert list(listing.entries()) == [{"resource": "Basic/1", "action": "wait", "waits_for": ["Basic/7"]}]
    listing.counted(_ref(1), "waiting", -1)
    listing.counted(_ref(1), "created", 1)
    assert list(listing.entries()) == [{"resource": "Basic/1", "action": "create"}]
    assert listing.more == 0


def test_decimals_are_shown_as_written_and_what_cannot_be_compared_is_said(listings: Callable[..., Listing]) -> None:
    listing = listings(5, diff=True)
    _update(listing, _ref(1), b'{"v":1.0}', b'{"v":1.00}')
    _update(listing, _ref(2), b"{oops", b"{}")
    _update(listing, _ref(3), None, b"{}")
    text = "\n".join(planned_text(listing.entries(), listing.more))
    assert "/v  1.0 → 1.00" in text
    assert "cannot be compared: not JSON" in text
    assert "the sink does not hold it yet" in text


def test_long_values_are_cut_and_many_differences_counted(listings: Callable[..., Listing]) -> None:
    listing = listings(5, diff=True)
    old = {"long": "x" * 5000, **{f"m{n:02}": 0 for n in range(50)}}
    _update(listing, _ref(1), json.dumps(old).encode(), json.dumps({name: 1 for name in old}).encode())
    lines = list(planned_text(listing.entries(), 0, width=80))
    assert max(map(len, lines)) <= 80
    assert "    … and 11 more differences; --json has them all" in lines
    assert len([line for line in lines if "xxx" in line]) <= 4


def test_what_waits_names_a_few_of_what_it_waits_for() -> None:
    entry = {"resource": "Basic/1", "action": "wait", "waits_for": [f"Basic/{n}" for n in range(5)]}
    [_, _, _, line] = planned_text([entry], 0, width=120)
    assert line == "wait       Basic/1  for Basic/0, Basic/1, Basic/2 and 2 more"


def test_few_updates_and_their_differences_are_seen_beside_many_creates(listings: Callable[..., Listing]) -> None:
    listing = listings(20, diff=True)
    for number in range(100):
        listing.counted(_ref(number), "created", 1)
    for number in range(100, 103):
        _update(listing, _ref(number), b'{"v":1}', b'{"v":2}')
    for number in range(103, 203):
        listing.counted(_ref(number), "unchanged", 1)
    listing.counted(_ref(999), "deleted", 1)
    listed = list(listing.entries())
    assert [entry["action"] for entry in listed] == ["update"] * 3 + ["delete"] + ["create"] * 16
    assert all(entry["changes"] for entry in listed[:3])
    assert listing.more == 204 - 20
    assert "/v  1 → 2" in "\n".join(planned_text(listed, listing.more))


def test_actions_share_the_room_and_leave_none_of_it(listings: Callable[..., Listing]) -> None:
    for most, expected in (
        (0, {}),
        (1, {"update": 1}),
        (7, {"update": 4, "create": 3}),
        (50, {"update": 25, "create": 25}),
    ):
        listing = listings(most, diff=False)
        for number in range(60):
            listing.counted(_ref(number), "created", 1)
            listing.counted(_ref(number), "updated", 1)
            listing.counted(_ref(number), "unchanged", 1)
        assert Counter(entry["action"] for entry in listing.entries()) == expected


def test_a_plan_that_lists_nothing_says_what_would_list_them() -> None:
    assert list(planned_text([], 49)) == ["", "49 resources by name: --limit 100"]
    assert list(planned_text([], 1)) == ["", "1 resource by name: --limit 100"]
