"""Several writers at once on the real servers, on PostgreSQL: one wins, the others are told, nothing is damaged."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.servers.conversation import Fhir, Ids, entry, org, part_of, ref, statuses, words

pytestmark = pytest.mark.servers

RACE = re.compile(r"HAPI-0823|HAPI-0825|could not execute batch|HAPI-0989", re.IGNORECASE)


def at_once(send: Callable[[int], httpx.Response], numbers: Iterable[int], writers: int = 6) -> list[httpx.Response]:
    with ThreadPoolExecutor(writers) as pool:
        return list(pool.map(send, numbers))


def won(answers: list[httpx.Response]) -> int:
    """How many were written; all others must have been told of a race, in FHIR's words."""
    lost = [a for a in answers if a.status_code != 200]
    assert {a.status_code for a in lost} <= {409}
    assert all(RACE.search(words(a)) for a in lost), [words(a)[:120] for a in lost]
    return len(answers) - len(lost)


def test_writers_of_one_resource_win_or_are_told_409(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids(), name="0"))
    answers = at_once(lambda n: fhir.transact(entry(org(ids(), name=str(n + 1)))), range(24))
    written = won(answers)
    assert written >= 1
    history = fhir.get(f"Organization/{ids()}/_history?_count=100").json()["entry"]
    assert [e["resource"]["meta"]["versionId"] for e in history] == [str(v) for v in range(written + 1, 0, -1)]
    assert fhir.put(org(ids(), name="end")).status_code == 200


def test_of_writers_that_expect_one_version_one_wins(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids(), name="0"))
    answers = at_once(lambda n: fhir.transact(entry(org(ids(), name=f"by {n}"), "1")), range(6))
    assert won(answers) == 1
    winner = next(n for n, a in enumerate(answers) if a.status_code == 200)
    held = fhir.read(ref(org(ids())))
    assert (held["name"], held["meta"]["versionId"]) == (f"by {winner}", "2")


def test_of_writers_that_create_one_resource_one_wins_and_the_others_leave_nothing(fhir: Fhir, ids: Ids) -> None:
    answers = at_once(
        lambda n: fhir.transact(entry(org(ids("new"), name=f"by {n}"), "0"), entry(org(ids(n)), "0")), range(6)
    )
    assert won(answers) == 1
    for n, answer in enumerate(answers):
        assert fhir.get(f"Organization/{ids(n)}").status_code == (200 if answer.status_code == 200 else 404)


def test_overlapping_transactions_in_opposite_orders_leave_all_resources_whole(fhir: Fhir, ids: Ids) -> None:
    numbers = range(20)

    def send(n: int) -> httpx.Response:
        order = numbers if n % 2 else reversed(numbers)
        return fhir.transact(*(entry(org(ids(k), name=f"by {n}")) for k in order))

    assert won(at_once(send, range(8), writers=4)) >= 1
    held = fhir.search("Organization", _id=",".join(ids(k) for k in numbers), _count="20")
    assert len(held["entry"]) == 20
    assert len({e["resource"]["name"] for e in held["entry"]}) == 1, "one transaction's, whole"
    assert set(statuses(fhir.transact(*(entry(org(ids(k), name="end")) for k in numbers)))) == {"200"}


def test_disjoint_transactions_that_refer_to_one_target_do_not_collide(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids("target")))
    answers = at_once(
        lambda n: fhir.transact(*(entry(part_of(ids(f"{n}-{k}"), ids("target")), "0") for k in range(10))),
        range(8),
        writers=4,
    )
    assert won(answers) == 8
