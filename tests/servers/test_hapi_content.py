"""What the real servers make of a resource's id and content."""

from __future__ import annotations

import msgspec
import pytest

from sinks.fhir.answers import refusal
from sinks.fhir.documents import Reply
from tests.servers.conversation import (
    NO_CHANGE,
    Fhir,
    Ids,
    entry,
    narrated,
    observed,
    org,
    outcomes,
    part_of,
    ref,
    verdict,
)
from tsi_fetch.fhir.equality import same
from tsi_fetch.fhir.tokens import dump, number
from tsi_fetch.words import Json

pytestmark = pytest.mark.servers

NOTES = [{"text": "p"}, {"text": "q"}]


def test_a_put_creates_under_the_id_that_we_choose(fhir: Fhir, ids: Ids) -> None:
    assert fhir.put(org(ids())).status_code == 201
    assert fhir.put(org(ids(), name="A")).status_code == 200
    assert fhir.read(ref(org(ids())))["meta"]["versionId"] == "2"


@pytest.mark.parametrize(
    ("ident", "code"),
    [("20260101", "HAPI-0960"), ("a_b", "HAPI-0521"), ("a" * 65, "HAPI-0521"), ("añb", "HAPI-0521")],
    ids=["digits only", "underscore", "65 characters", "not ASCII"],
)
def test_an_id_that_the_server_does_not_take_is_refused(fhir: Fhir, ident: str, code: str) -> None:
    assert verdict(fhir.put(org(ident))) == (400, code)
    assert verdict(fhir.transact(entry(org(ident), "0"))) == (400, code)


def test_an_id_of_sixty_four_characters_with_dots_is_taken(fhir: Fhir, ids: Ids) -> None:
    ident = ids("A.b-").ljust(64, "9")
    assert fhir.put(org(ident)).status_code == 201


def test_the_entrys_url_wins_over_the_id_in_the_body(fhir: Fhir, ids: Ids) -> None:
    meant = entry(org(ids("body"))) | {"request": {"method": "PUT", "url": f"Organization/{ids('url')}"}}
    assert outcomes(fhir.transact(meant)) == ["SUCCESSFUL_UPDATE_AS_CREATE"]
    assert fhir.read(f"Organization/{ids('url')}")["id"] == ids("url")
    assert fhir.get(f"Organization/{ids('body')}").status_code == 404


def test_the_same_content_in_another_spelling_makes_no_version(fhir: Fhir, ids: Ids) -> None:
    first = observed(ids(), number("1e2"), note=NOTES)
    fhir.put(first)
    spellings = [first, dict(reversed(first.items())), observed(ids(), number("100"), note=NOTES)]
    for spelling in spellings:
        assert outcomes(fhir.transact(entry(spelling, "1"))) == [NO_CHANGE]
    assert fhir.put(first).status_code == 200
    assert fhir.read(ref(first))["meta"]["versionId"] == "1"


@pytest.mark.parametrize(
    "changed",
    [{"note": NOTES[::-1]}, {"value": number("1.0")}],
    ids=["order of an array", "precision of a decimal"],
)
def test_order_in_an_array_and_precision_count_as_change(fhir: Fhir, ids: Ids, changed: dict[str, Json]) -> None:
    sent = {"value": number("1.00"), "note": NOTES}
    fhir.put(observed(ids(), **sent))
    assert outcomes(fhir.transact(entry(observed(ids(), **(sent | changed)), "1"))) == ["SUCCESSFUL_UPDATE"]


@pytest.mark.parametrize(
    ("sent", "held"), [("1.00", b"1.00"), ("0.10", b"0.10"), ("1e2", b"100"), ("1.5E-3", b"0.0015")]
)
def test_a_decimal_keeps_its_digits_and_loses_its_exponent(fhir: Fhir, ids: Ids, sent: str, held: bytes) -> None:
    body = observed(ids(), number(sent))
    fhir.put(body)
    read = fhir.get(ref(body)).content
    assert b'"value":%b,' % held in read
    assert same(dump(body), read)


def test_unknown_elements_and_objects_in_place_of_strings_are_silently_dropped(fhir: Fhir, ids: Ids) -> None:
    assert fhir.put(org(ids(), colour="red", name={"first": "A"}, active=True)).status_code == 201
    held = fhir.read(ref(org(ids())))
    assert held["active"] is True
    assert not {"colour", "name"} & held.keys()


def test_a_missing_required_element_is_accepted(fhir: Fhir, ids: Ids) -> None:
    assert fhir.put({"resourceType": "Observation", "id": ids()}).status_code == 201


@pytest.mark.parametrize(
    ("members", "path"),
    [({"status": "dunno"}, "status"), ({"effectiveDateTime": "2026-13-45"}, "effectiveDateTime")],
    ids=["code", "date"],
)
def test_a_wrong_code_or_date_is_refused_with_its_element(
    fhir: Fhir, ids: Ids, members: dict[str, Json], path: str
) -> None:
    answer = fhir.transact(entry(observed(ids(), **members), "0"))
    assert verdict(answer) == (400, "HAPI-1821")
    assert f'[element="{path}"]' in answer.json()["issue"][0]["diagnostics"]


def test_a_type_that_the_release_does_not_know_is_refused(fhir: Fhir, ids: Ids) -> None:
    assert verdict(fhir.transact(entry({"resourceType": "Nonsense", "id": ids()}, "0"))) == (400, "HAPI-1684")


QUOTED = {
    "narrative": narrated("a", '<p>jane roe: "said" (aloud): it\'s roe'),
    "entity": narrated("a", "roe &roe; x"),
    "root": org("a", text={"status": "additional", "div": '<roe xmlns="http://www.w3.org/1999/xhtml">roe</roe>'}),
    "code": observed("a", status='jane "roe" x'),
    "date": observed("a", effectiveDateTime="jane \"roe\" 'y roe"),
    "boolean": org("a", active="it's roe"),
    "decimal": observed("a", "roe"),
    "integer": org("a", extension=[{"url": "http://x.invalid/e", "valueInteger": "roe"}]),
    "Base64": org("a", extension=[{"url": "http://x.invalid/e", "valueBase64Binary": "jane roe é"}]),
    "reference": part_of("a", "jane roe/x y"),
    "urn": part_of("a", "urn:uuid:roe/roe"),
    "type": org("a", contained=[{"resourceType": "roe"}]),
    "NUL": org("a", name="jane roe\0"),
    "surrogate": org("a", name=msgspec.Raw(b'"jane roe\\ud800b"')),
    "canonical": {"resourceType": "Library", "id": "a", "status": "active", "url": "http://x.invalid/roe" + "x" * 900},
    "concept": {
        "resourceType": "CodeSystem", "id": "a", "url": "http://x.invalid/c", "status": "active", "content": "complete",
        "concept": [{"code": "roe"}, {"code": "roe"}],
    },
}  # fmt: skip


@pytest.mark.parametrize("body", QUOTED.values(), ids=QUOTED)
def test_what_is_kept_of_a_refusal_holds_no_value(fhir: Fhir, ids: Ids, body: Json) -> None:
    answer = fhir.transact(entry(body | {"id": ids()}, "0"))
    assert answer.status_code >= 400
    fault = refusal(Reply.of(answer))
    assert "roe" not in f"{fault.code} {fault.path} {fault.rule}"
    assert len(fault.rule.split()) > 3, "an operator learns what it is"


DETERMINISTIC = {
    "tag of 300 characters": ("HAPI-2023", {"meta": {"tag": [{"system": "http://t.invalid", "code": "x" * 300}]}}),
    "profile of 300 characters": ("HAPI-2023", {"meta": {"profile": ["http://p.invalid/" + "x" * 300]}}),
    "NUL in an indexed string": ("HAPI-0389", {"name": "Jane Roe\0"}),
    "lone surrogate in an indexed string": ("HAPI-2223", {"name": msgspec.Raw(b'"a\\ud800b"')}),
}


@pytest.mark.parametrize(("code", "members"), DETERMINISTIC.values(), ids=DETERMINISTIC)
def test_some_content_is_a_500_every_time_and_fails_its_whole_bundle(
    fhir: Fhir, ids: Ids, code: str, members: dict[str, Json]
) -> None:
    for _ in range(2):
        answer = fhir.transact(entry(org(ids("good")), "0"), entry(org(ids("bad"), **members), "0"))
        assert verdict(answer) == (500, code)
        assert answer.json()["resourceType"] == "OperationOutcome"
    assert fhir.get(f"Organization/{ids('good')}").status_code == 404


def test_a_number_beyond_a_double_is_a_500_where_it_is_indexed_and_else_all_its_digits(fhir: Fhir, ids: Ids) -> None:
    huge = msgspec.Raw(b"1e400")
    assert verdict(fhir.transact(entry(observed(ids(), huge), "0"))) == (500, "HAPI-2223")
    kept = org(ids(), extension=[{"url": "http://x.invalid/e", "valueDecimal": huge}])
    assert fhir.put(kept).status_code == 201
    assert b'"valueDecimal":1%b}' % (b"0" * 400) in fhir.get(ref(kept)).content


def test_nul_is_kept_and_a_lone_surrogate_is_lost_where_nothing_indexes_them(fhir: Fhir, ids: Ids) -> None:
    notes = [{"text": "a\0b"}, {"text": msgspec.Raw(b'"a\\ud800b"')}]
    assert fhir.put(observed(ids(), note=notes)).status_code == 201
    assert fhir.read(f"Observation/{ids()}")["note"] == [{"text": "a\0b"}, {"text": "a?b"}]


def test_a_canonical_url_of_nine_hundred_characters_is_a_500(fhir: Fhir, ids: Ids) -> None:
    library = {"resourceType": "Library", "id": ids(), "status": "active", "type": {"text": "x"}}
    answer = fhir.transact(entry(library | {"url": "http://x.invalid/" + "x" * 900}, "0"))
    assert verdict(answer) == (500, "HAPI-0389")


def test_the_words_of_a_500_hold_the_statement_and_its_values(fhir: Fhir, ids: Ids) -> None:
    answer = fhir.transact(entry(org(ids(), name="Jane Roe\0"), "0"))
    assert "Jane Roe" in answer.json()["issue"][0]["diagnostics"]
