"""The FHIR sink's writes: what each answer of the server leads to."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest

from sinks.fhir.server import FhirServer
from tests.sinks.fake_hapi import FakeHapi, answer, breaks, says, works
from tsi_fetch.clock import ReplayClock
from tsi_fetch.errors import SettingError, TryAgain
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.words import Json, Outcome, Ref, Result, Write, WriteAction

Make = Callable[..., FhirServer]


def permit() -> None:
    """Always."""


def org(ident: str, version: str | None = None, **members: Json) -> Write:
    ref = Ref("Organization", ident)
    body = dump({"resourceType": "Organization", "id": ident, **members})
    return Write(ref, WriteAction.PUT, version, body)


def part_of(ident: str, whole: str, version: str | None = None) -> Write:
    return org(ident, version, partOf={"reference": f"Organization/{whole}"})


def gone(ident: str, version: str | None) -> Write:
    return Write(Ref("Organization", ident), WriteAction.DELETE, version)


def write(sink: FhirServer, *writes: Write) -> dict[str, Outcome]:
    outcomes = [o for some in sink.write(writes, permit) for o in some]
    assert sorted(o.ref for o in outcomes) == sorted(w.ref for w in writes)
    return {o.ref.id: o for o in outcomes}


def results(outcomes: dict[str, Outcome]) -> dict[str, Result]:
    return {ident: o.result for ident, o in outcomes.items()}


def test_a_transaction_says_who_writes_and_what_it_wants_back(server: Make, hapi_in_memory: FakeHapi) -> None:
    write(server(token="hush"), org("a"))
    [request] = hapi_in_memory.requests
    assert request.headers["x-request-id"] == "run-1"
    assert "job cima of store ab12cd34" in request.headers["user-agent"]
    assert request.headers["prefer"] == "return=minimal"
    assert request.headers["x-meta-snapshot-mode"] == "TAG, PROFILE, SECURITY_LABEL"
    assert request.headers["content-type"] == "application/fhir+json"
    assert request.headers["authorization"] == "Bearer hush"


def test_all_entries_are_read(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.put("Organization/b", name="old")
    hapi_in_memory.put("Organization/c", name="same")
    outcomes = write(server(), org("a"), org("b", "1", name="new"), org("c", "1", name="same"))
    assert results(outcomes) == {"a": Result.CREATED, "b": Result.UPDATED, "c": Result.UNCHANGED}
    assert [outcomes[i].version for i in "abc"] == ["1", "2", "1"]


def test_what_a_server_had_lost_is_created_whatever_version_was_believed(
    server: Make, hapi_in_memory: FakeHapi
) -> None:
    hapi_in_memory.put("Organization/b")
    outcomes = write(server(), org("a", "3"), org("b", "1", name="new"))
    assert results(outcomes) == {"a": Result.CREATED, "b": Result.UPDATED}
    assert outcomes["a"].version == "1"


@pytest.mark.parametrize(
    ("believed", "status", "version", "result"),
    [
        ("3", "200 OK", "4", Result.UPDATED),
        ("3", "201 Created", "1", Result.CREATED),
        ("3", "200 OK", "1", Result.CREATED),
        ("10", "200 OK", "9", Result.CREATED),
        ("9", "200 OK", "10", Result.UPDATED),
        ("3", "200 OK", "3", Result.UNCHANGED),
        ("3", "201 Created", "4", Result.CREATED),
        ("b7c", "200 OK", "a01", Result.UPDATED),
        (None, "201 Created", "1", Result.CREATED),
    ],
)
def test_a_version_that_does_not_follow_the_one_believed_is_no_update(
    server: Make, hapi_in_memory: FakeHapi, believed: str | None, status: str, version: str, result: Result
) -> None:
    done = {"response": {"status": status, "location": f"Organization/a/_history/{version}", "etag": version}}
    bundle = {"resourceType": "Bundle", "type": "transaction-response", "entry": [done]}
    hapi_in_memory.faults = [answer(200, json=bundle)]
    assert results(write(server(), org("a", believed))) == {"a": result}


def test_what_is_stale_is_read_and_the_rest_is_written(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.put("Organization/b", run="run-0", name="theirs")
    outcomes = write(server(), org("a"), org("b", name="ours"), org("c"))
    assert results(outcomes) == {"a": Result.CREATED, "b": Result.STALE, "c": Result.CREATED}
    held = outcomes["b"].held
    assert held is not None
    assert (held.version, held.run) == ("1", "run-0")
    assert json.loads(held.body or b"")["name"] == "theirs"


def test_all_that_is_stale_in_a_bundle_is_found_at_once(server: Make, hapi_in_memory: FakeHapi) -> None:
    for n in range(5):
        hapi_in_memory.put(f"Organization/s{n}")
    outcomes = write(server(), *(org(f"s{n}") for n in range(5)), org("new"))
    assert list(results(outcomes).values()).count(Result.STALE) == 5
    assert outcomes["new"].result is Result.CREATED
    assert len(hapi_in_memory.writes()) == 2


def test_a_resource_that_was_deleted_is_stale_with_the_version_of_its_deletion(
    server: Make, hapi_in_memory: FakeHapi
) -> None:
    hapi_in_memory.put("Organization/a")
    hapi_in_memory.delete("Organization/a")
    held = write(server(), org("a"), org("b"))["a"].held
    assert held is not None
    assert (held.version, held.deleted) == ("2", True)
    assert results(write(server(), org("a", held.version))) == {"a": Result.CREATED}


def test_several_deleted_ones_are_found_at_once(server: Make, hapi_in_memory: FakeHapi) -> None:
    for n in range(4):
        hapi_in_memory.put(f"Organization/d{n}")
        hapi_in_memory.delete(f"Organization/d{n}")
    outcomes = write(server(), *(org(f"d{n}") for n in range(4)), org("new"))
    assert [outcomes[f"d{n}"].result for n in range(4)] == [Result.STALE] * 4
    assert len(hapi_in_memory.writes()) == 2


def test_what_refers_to_a_resource_that_is_decided_anew_is_decided_anew_too(
    server: Make, hapi_in_memory: FakeHapi
) -> None:
    hapi_in_memory.put("Organization/whole")
    hapi_in_memory.delete("Organization/whole")
    outcomes = write(server(entries=1), part_of("part", "whole"), part_of("piece", "part"), org("whole"), org("other"))
    stale = {"part": Result.STALE, "piece": Result.STALE, "whole": Result.STALE}
    assert results(outcomes) == {**stale, "other": Result.CREATED}
    assert (outcomes["part"].held, outcomes["piece"].held) == (None, None)
    again = write(server(entries=1), part_of("part", "whole"), part_of("piece", "part"), org("whole", "2"))
    assert set(results(again).values()) == {Result.CREATED}


def test_an_answer_that_is_lost_is_recognised_when_the_bundle_comes_again(
    server: Make, hapi_in_memory: FakeHapi
) -> None:
    hapi_in_memory.lose = 1
    outcomes = write(server(), org("a", name="A"), org("b", name="B"))
    assert results(outcomes) == {"a": Result.STALE, "b": Result.STALE}
    held = outcomes["a"].held
    assert held is not None
    assert (held.version, held.run) == ("1", "run-1")
    assert hapi_in_memory.transactions == [["Organization/a", "Organization/b"]]


@pytest.mark.parametrize(
    "fault",
    [
        answer(429),
        answer(502, text="<html>"),
        answer(503),
        answer(504),
        answer(200, text="<html>a page</html>"),
        answer(500, text="<html>no FHIR</html>"),
        answer(400, text="<html>Tomcat</html>"),
        says(409, "HAPI-0550: HAPI-0823: The operation has failed with a version constraint failure"),
        says(409, "could not execute batch"),
        breaks(httpx.ConnectError),
        breaks(httpx.ReadTimeout),
        breaks(httpx.RemoteProtocolError),
    ],
)
def test_a_fault_of_the_moment_sends_the_same_bundle_again(
    server: Make, hapi_in_memory: FakeHapi, fault: Callable[[httpx.Request], httpx.Response]
) -> None:
    hapi_in_memory.faults = [fault, fault]
    assert results(write(server(), org("a"))) == {"a": Result.CREATED}
    sent = hapi_in_memory.writes()
    assert len(sent) == 3
    assert len({request.content for request in sent}) == 1


def test_a_server_that_stays_busy_ends_the_run_after_the_attempts(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.faults = [answer(503)] * 20
    with pytest.raises(TryAgain, match="503"):
        write(server(attempts=4), org("a"))
    assert len(hapi_in_memory.requests) == 4


def test_retry_after_in_seconds_is_waited_for(server: Make, hapi_in_memory: FakeHapi, clock: ReplayClock) -> None:
    hapi_in_memory.faults = [answer(503, headers={"retry-after": "120"})]
    start = clock.now()
    write(server(), org("a"))
    assert timedelta(seconds=120) <= clock.now() - start < timedelta(seconds=122)


def test_retry_after_as_a_date_is_waited_for(server: Make, hapi_in_memory: FakeHapi, clock: ReplayClock) -> None:
    hapi_in_memory.faults = [answer(429, headers={"retry-after": "Sat, 21 Nov 2026 09:01:00 GMT"})]
    start = clock.now()
    write(server(), org("a"))
    assert timedelta(seconds=60) <= clock.now() - start < timedelta(seconds=62)


@pytest.mark.parametrize("value", ["0", "-5", "soon", "Sat, 21 Nov 2020 09:01:00 GMT"])
def test_a_retry_after_that_says_nothing_backs_off(
    server: Make, hapi_in_memory: FakeHapi, clock: ReplayClock, value: str
) -> None:
    hapi_in_memory.faults = [answer(503, headers={"retry-after": value})]
    start = clock.now()
    assert results(write(server(), org("a"))) == {"a": Result.CREATED}
    assert clock.now() - start <= timedelta(seconds=1)


def test_more_patience_than_max_wait_ends_the_run_at_once(
    server: Make, hapi_in_memory: FakeHapi, clock: ReplayClock
) -> None:
    hapi_in_memory.faults = [answer(503, headers={"retry-after": "86400"})]
    start = clock.now()
    with pytest.raises(TryAgain) as error:
        write(server(max_wait=300), org("a"))
    assert "86400" in error.value.hint
    assert clock.now() == start


def test_one_poisoned_resource_of_three_hundred_is_refused_with_the_servers_words(
    server: Make, hapi_in_memory: FakeHapi
) -> None:
    writes = [org(f"o{n}", active="dunno" if n == 157 else True) for n in range(300)]
    outcomes = write(server(), *writes)
    assert list(results(outcomes).values()).count(Result.CREATED) == 299
    fault = outcomes["o157"].fault
    assert fault is not None
    assert (fault.code, fault.path) == ("hapi-0450", "active")
    assert "Invalid boolean" in fault.rule
    assert "dunno" not in fault.rule


def test_a_bundle_that_is_too_large_is_split_first(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.max_body = 1200
    outcomes = write(server(), *(org(f"o{n}", name="x" * 200) for n in range(6)), org("huge", name="x" * 2000))
    assert outcomes.pop("huge").fault is not None
    assert set(results(outcomes).values()) == {Result.CREATED}


@pytest.mark.parametrize("status", [401, 403, 404, 302])
def test_a_refused_credential_or_a_wrong_path_is_a_setting_and_blames_nobody(
    server: Make, hapi_in_memory: FakeHapi, status: int
) -> None:
    hapi_in_memory.faults = [answer(status, json={"error": "no"}, headers={"content-type": "application/fhir+json"})]
    with pytest.raises(SettingError) as error:
        write(server(token="hush"), org("a"))
    assert "hush" not in str(error.value) + error.value.hint


def test_ids_that_hapi_does_not_take_are_refused_before_anything_is_sent(
    server: Make, hapi_in_memory: FakeHapi
) -> None:
    outcomes = write(server(), org("12345"), org("a_b"), org("x" * 65))
    assert set(results(outcomes).values()) == {Result.REFUSED}
    assert hapi_in_memory.requests == []


def test_a_body_that_is_another_resource_is_refused_before_anything_is_sent(
    server: Make, hapi_in_memory: FakeHapi
) -> None:
    other = Write(Ref("Organization", "a"), WriteAction.PUT, None, b'{"resourceType":"Organization","id":"b"}')
    trick = b'{"resourceType":"Organization","id":"c"}},{"request":{"method":"DELETE","url":"Organization/d"}'
    smuggled = Write(Ref("Organization", "c"), WriteAction.PUT, None, trick)
    assert set(results(write(server(), other, smuggled)).values()) == {Result.REFUSED}
    assert hapi_in_memory.requests == []


def test_an_answer_with_another_number_of_entries_is_not_trusted(server: Make, hapi_in_memory: FakeHapi) -> None:
    short = {"resourceType": "Bundle", "type": "transaction-response", "entry": [{"response": {"status": "201"}}]}
    hapi_in_memory.faults = [answer(200, json=short)]
    with pytest.raises(TryAgain, match="one entry per resource"):
        write(server(), org("a"), org("b"))


@pytest.mark.parametrize(
    "response",
    [{"status": "400 Bad Request"}, {"status": "201", "location": "Organization/z/_history/1"}, {"status": "201"}, {}],
)
def test_an_entry_that_is_not_the_one_sent_or_has_no_success_is_not_trusted(
    server: Make, hapi_in_memory: FakeHapi, response: dict[str, str]
) -> None:
    bundle = {"resourceType": "Bundle", "type": "transaction-response", "entry": [{"response": response}]}
    hapi_in_memory.faults = [answer(200, json=bundle)]
    with pytest.raises(TryAgain, match="cannot be trusted"):
        write(server(), org("a"))


def test_the_permit_is_asked_before_every_attempt(server: Make, hapi_in_memory: FakeHapi) -> None:
    asked = []

    def two() -> None:
        asked.append(1)
        if len(asked) > 2:
            raise TryAgain("no longer")

    hapi_in_memory.faults = [answer(503)] * 5
    with pytest.raises(TryAgain, match="no longer"):
        list(server().write([org("a")], two))
    assert len(hapi_in_memory.requests) == 2


def test_deletions_travel_together_and_carry_their_versions_back(server: Make, hapi_in_memory: FakeHapi) -> None:
    sink = server()
    write(sink, org("whole"), part_of("part", "whole"))
    outcomes = write(sink, gone("whole", "1"), gone("part", "1"))
    assert results(outcomes) == {"whole": Result.DELETED, "part": Result.DELETED}
    assert outcomes["whole"].version == "2"


def test_what_others_still_refer_to_is_kept_and_named_and_the_rest_goes(server: Make) -> None:
    sink = server()
    write(sink, org("whole"), part_of("part", "whole"), org("free"))
    outcomes = write(sink, gone("whole", "1"), gone("free", "1"))
    assert results(outcomes) == {"whole": Result.REFERRED, "free": Result.DELETED}
    fault = outcomes["whole"].fault
    assert fault is not None
    assert "Organization/part" in fault.rule


def test_a_referrer_in_a_later_bundle_is_deleted_and_then_its_target(server: Make) -> None:
    sink = server(entries=1)
    write(sink, org("whole"), part_of("part", "whole"))
    outcomes = write(sink, gone("whole", "1"), gone("part", "1"))
    assert set(results(outcomes).values()) == {Result.DELETED}


def test_a_deletion_of_what_somebody_changed_is_stale_and_nothing_is_sent(
    server: Make, hapi_in_memory: FakeHapi
) -> None:
    hapi_in_memory.put("Organization/a", name="one")
    hapi_in_memory.put("Organization/a", name="two")
    outcomes = write(server(), gone("a", "1"))
    assert results(outcomes) == {"a": Result.STALE}
    assert hapi_in_memory.writes() == []


def test_an_update_that_drops_a_reference_goes_before_the_deletion_of_its_target(server: Make) -> None:
    sink = server()
    write(sink, org("whole"), part_of("part", "whole"))
    outcomes = write(sink, gone("whole", "1"), org("part", "1", name="alone"))
    assert results(outcomes) == {"whole": Result.DELETED, "part": Result.UPDATED}


def test_what_is_in_flight_is_yielded_before_an_error_is_raised(server: Make, hapi_in_memory: FakeHapi) -> None:
    hapi_in_memory.faults = [works, answer(401), works, works]
    seen: list[Outcome] = []
    batches = server(entries=1, writers=1).write([org("a"), org("b"), org("c")], permit)
    with pytest.raises(SettingError):
        seen.extend(o for some in batches for o in some)
    assert [o.ref.id for o in seen] == ["a"]
    assert len(hapi_in_memory.requests) == 2


def test_two_writers_write_all_and_keep_the_order_of_references(server: Make, hapi_in_memory: FakeHapi) -> None:
    chain = [part_of(f"c{n}", f"c{n + 1}") for n in range(20)] + [org("c20")] + [org(f"x{n}") for n in range(20)]
    outcomes = write(server(entries=3, writers=2), *chain)
    assert set(results(outcomes).values()) == {Result.CREATED}
    assert sum(len(refs) for refs in hapi_in_memory.transactions) == 41
