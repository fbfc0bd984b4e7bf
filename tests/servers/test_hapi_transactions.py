"""What the real servers promise for a transaction, and what they answer."""

from __future__ import annotations

import gzip

import pytest

from tests.servers.conversation import (
    FHIR_JSON,
    NO_CHANGE,
    Fhir,
    Ids,
    entry,
    org,
    outcomes,
    part_of,
    ref,
    responses,
    statuses,
    verdict,
    words,
)
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.words import Json

pytestmark = pytest.mark.servers


@pytest.mark.parametrize(
    ("bad", "refused"),
    [
        ({"active": "dunno"}, (400, "HAPI-1821")),
        ({"name": "a\0b"}, (500, "HAPI-0389")),
        ({"partOf": {"reference": "Patient/x"}}, (422, "HAPI-0931")),
    ],
    ids=["does not parse", "cannot be stored", "refers to a wrong type"],
)
def test_one_bad_entry_and_nothing_is_written_and_the_culprit_is_not_named(
    fhir: Fhir, ids: Ids, bad: dict[str, Json], refused: tuple[int, str]
) -> None:
    answer = fhir.transact(entry(org(ids("good")), "0"), entry(org(ids("culprit"), **bad), "0"))
    assert verdict(answer) == refused
    assert ids("culprit") not in answer.text
    assert fhir.get(f"Organization/{ids('good')}").status_code == 404


def test_the_same_id_twice_is_refused(fhir: Fhir, ids: Ids) -> None:
    answer = fhir.transact(entry(org(ids())), entry(org(ids(), name="B")))
    assert verdict(answer) == (400, "HAPI-0535")


def test_a_batch_writes_what_it_can_unless_something_in_it_does_not_parse(fhir: Fhir, ids: Ids) -> None:
    some = fhir.bundle("batch", [entry(org(ids("a"))), entry(part_of(ids("b"), ids("nowhere")))])
    assert statuses(some) == ["201", "400"]
    none = fhir.bundle("batch", [entry(org(ids("c"))), entry(org(ids("d"), active="dunno"))])
    assert verdict(none) == (400, "HAPI-1821")
    assert fhir.get(f"Organization/{ids('c')}").status_code == 404


def test_the_entries_are_answered_in_the_order_they_were_sent(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids("c")))
    sent = [part_of(ids("b"), ids("z")), org(ids("z")), org(ids("c"), name="C"), org(ids("a"))]
    answered = responses(fhir.transact(*(entry(r) for r in sent)))
    assert [r["location"].split("/_history/")[0] for r in answered] == [str(ref(r)) for r in sent]


def test_prefer_minimal_leaves_out_the_resources_and_keeps_the_outcomes(fhir: Fhir, ids: Ids) -> None:
    sent = entry(org(ids(), name="A"))
    full = fhir.transact(sent, Prefer="return=representation")
    assert full.json()["entry"][0]["resource"]["name"] == "A"
    minimal = fhir.transact(sent, Prefer="return=minimal")
    assert minimal.json()["entry"][0].keys() == {"response"}
    assert outcomes(minimal) == [NO_CHANGE]
    [response] = responses(minimal)
    assert (response["status"], response["location"]) == ("200 OK", f"Organization/{ids()}/_history/1")
    assert response["etag"] == "1", "bare, where a header has W/ and quotes"


def test_a_single_put_with_prefer_minimal_has_no_body(fhir: Fhir, ids: Ids) -> None:
    answer = fhir.put(org(ids()), Prefer="return=minimal")
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (201, b"", 'W/"1"')


def test_bodies_may_be_gzipped_both_ways(fhir: Fhir, ids: Ids) -> None:
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry(org(ids("a")), "0")]}
    packed = {"Content-Type": FHIR_JSON, "Content-Encoding": "gzip"}
    answer = fhir.http.post("", content=gzip.compress(dump(bundle)), headers=packed)
    assert (statuses(answer), answer.headers["content-encoding"]) == (["201"], "gzip")
    single = fhir.http.put(f"Organization/{ids('b')}", content=gzip.compress(dump(org(ids("b")))), headers=packed)
    assert single.status_code == 201
    plain = fhir.http.get(f"Organization/{ids('b')}", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers


def test_a_broken_gzip_body_is_not_blamed_on_a_resource(fhir: Fhir, ids: Ids) -> None:
    packed = {"Content-Type": FHIR_JSON, "Content-Encoding": "gzip"}
    answer = fhir.http.put(f"Organization/{ids()}", content=b"no gzip", headers=packed)
    assert answer.status_code >= 400
    assert fhir.get(f"Organization/{ids()}").status_code == 404


def test_one_instant_stamps_all_entries(fhir: Fhir, ids: Ids) -> None:
    fhir.transact(*(entry(org(ids(n)), "0") for n in range(20)))
    found = fhir.search("Organization", _id=",".join(ids(n) for n in range(20)), _elements="id", _count="20")
    assert len({e["resource"]["meta"]["lastUpdated"] for e in found["entry"]}) == 1


def test_a_transaction_to_a_wrong_path_is_not_answered_in_fhir(fhir: Fhir, ids: Ids) -> None:
    bundle = dump({"resourceType": "Bundle", "type": "transaction", "entry": [entry(org(ids()))]})
    wrong = fhir.url.removesuffix("/fhir") + "/nowhere"
    answer = fhir.http.post(wrong, content=bundle, headers={"Content-Type": FHIR_JSON})
    assert (answer.status_code, words(answer)) == (404, "")
    assert "resourceType" not in answer.json()
