"""Faults are counted as they are given, and which are given is decided when a night begins, whoever asks when."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import httpx
import pytest

from dev.cima_server import Register
from tests.faults.servers import Faulty, Hour, Reaper
from tests.sinks.disturbed_hapi import BROKEN, LATE, UNTRUE, DisturbedHapi
from tests.sinks.fake_hapi import BASE

CALLS = [f"/cima/rest/medicamento?nregistro={number}" for number in range(100)]


def statuses(faulty: Faulty, calls: list[str], who: str = "") -> dict[str, list[int]]:
    """Each asked twice."""
    found: dict[str, list[int]] = {}
    for call in calls * 2:
        found.setdefault(call, []).append(faulty.answer(call, "application/json", who).status)
    return found


def test_a_plan_gives_each_call_the_same_faults_in_whatever_order_they_come() -> None:
    faulty = Faulty(Register(), Reaper())
    faulty.tonight(0.3, 7)
    found = statuses(faulty, CALLS)
    faulty.tonight(0.3, 7)
    assert statuses(faulty, CALLS[::-1]) == found
    assert any(one != two for one, two in found.values()), "the second time may be another one"
    faulty.tonight(0.3, 8)
    assert statuses(faulty, CALLS) != found
    faulty.tonight(0.3, 7)
    assert statuses(faulty, CALLS, "second") != found, "each of two runners has its own"


def test_a_night_without_faults_gives_none() -> None:
    faulty = Faulty(Register(), Reaper())
    faulty.tonight(0.0, 7)
    assert {status for both in statuses(faulty, CALLS).values() for status in both} == {204}
    assert not faulty.injected


def test_a_product_that_cannot_be_had_is_counted_when_somebody_asks_for_it() -> None:
    faulty = Faulty(Register(), Reaper())
    faulty.broken = "7"
    faulty.answer("/cima/rest/registroCambios?fecha=01/03/2026&nregistro=7", "application/json")
    assert not faulty.injected
    faulty.answer("/cima/rest/medicamento?nregistro=7", "application/json")
    assert faulty.injected == Counter({"register 500, always of one product": 1})


def read() -> httpx.Request:
    return httpx.Request("GET", f"{BASE}/metadata")


def written() -> httpx.Request:
    entry = {"request": {"method": "PUT", "url": "List/a"}, "resource": {"resourceType": "List", "id": "a"}}
    return httpx.Request("POST", BASE, json={"resourceType": "Bundle", "type": "transaction", "entry": [entry]})


def test_a_server_counts_what_went_wrong_and_not_what_was_to() -> None:
    hapi = DisturbedHapi(bad_day=[BROKEN, None, "502", UNTRUE, "reset"])
    assert [hapi.handle(request).status_code for request in (read(), read(), written(), read())] == [500, 200, 502, 200]
    assert hapi.given == Counter({BROKEN: 1, "502": 1}), "reads have no entries, and the last one was never asked"


def test_what_comes_late_is_counted_once() -> None:
    hapi = DisturbedHapi(bad_day=[LATE])
    with pytest.raises(httpx.ReadTimeout):
        hapi.handle(written())
    hapi.catch_up()
    assert hapi.given == Counter({LATE: 1})
    assert hapi.version("List/a") == 1


def test_a_child_that_has_ended_by_itself_was_not_killed() -> None:
    reaper = Reaper()
    reaper.begin(Hour("asked", 1))
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
        reaper.child = child
        reaper.at("asked")
    assert not reaper.done
