"""What a resource becomes when its source no longer has it."""

from __future__ import annotations

import pytest

from tsi_fetch.fhir.retire import RETIRED_STATUS, parts, retirable, retired
from tsi_fetch.fhir.tokens import dump, parse
from tsi_fetch.fhir.validation import validate
from tsi_fetch.words import Ref


def test_a_document_keeps_its_text_and_changes_its_statuses() -> None:
    body = dump({
        "resourceType": "Bundle", "id": "b", "type": "document",
        "entry": [
            {"resource": {"resourceType": "Composition", "status": "final", "section": [{"text": {"div": "<div/>"}}]}},
            {"resource": {"resourceType": "MedicinalProductDefinition", "id": "m",
                          "text": {"status": "generated", "div": "<div/>"}}},
            {"resource": {"resourceType": "Organization", "id": "o"}},
        ],
    })  # fmt: skip
    composition, product, organization = (e["resource"] for e in parse(retired(body))["entry"])
    assert composition["status"] == "deprecated"
    assert composition["section"] == [{"text": {"div": "<div/>"}}]
    assert product["status"]["coding"][0]["code"] == "retired"
    assert "text" not in product
    assert organization == {"resourceType": "Organization", "id": "o"}


def test_of_a_document_that_ends_only_what_has_ended_itself_is_retired() -> None:
    kinds = ["Composition", "MedicinalProductDefinition", "RegulatedAuthorization", "Patient"]
    entries = [{"resource": {"resourceType": kind, "id": "x", "status": "as it was"}} for kind in kinds]
    body = dump({"resourceType": "Bundle", "id": "b", "type": "document", "entry": [*entries, {"fullUrl": "urn:x"}]})
    assert parts(body) == {Ref(kind, "x") for kind in kinds}
    assert parts(dump({"resourceType": "List", "id": "l", "entry": entries})) == frozenset()
    *found, bare = parse(retired(body, frozenset({Ref("MedicinalProductDefinition", "x")})))["entry"]
    assert [entry["resource"]["status"] for entry in found[:2]] == ["deprecated", "as it was"]
    assert found[2]["resource"]["status"]["coding"][0]["code"] == "retired"
    assert (found[3], bare) == (entries[3], {"fullUrl": "urn:x"})


def test_generated_texts_go_at_every_depth_and_those_of_sections_stay() -> None:
    text = {"text": {"status": "generated", "div": "<div/>"}}
    inner = {"resourceType": "Medication", "id": "m", **text}
    composition = {"resourceType": "Composition", "id": "c", "contained": [inner], "section": [text], **text}
    entries = [{"resource": composition}, {"resource": inner}]
    document = {"resourceType": "Bundle", "id": "b", "type": "document", "entry": entries}
    plain = {"resourceType": "Medication", "id": "m"}
    first, second = (e["resource"] for e in parse(retired(dump(document)))["entry"])
    assert first == {
        "resourceType": "Composition", "id": "c", "contained": [plain], "section": [text], "status": "deprecated",
    }  # fmt: skip
    assert second == plain


def test_an_organization_is_no_longer_active() -> None:
    assert parse(retired(b'{"resourceType":"Organization","id":"o","name":"x"}'))["active"] is False


@pytest.mark.parametrize("kind", sorted(RETIRED_STATUS))
def test_the_status_has_the_type_that_the_release_asks_for(kind: str) -> None:
    body = retired(dump({"resourceType": kind, "id": "x"}))
    assert not [f for f in validate(body, Ref(kind, "x"), "R5") if f.path.startswith("status")]


def test_retiring_twice_changes_nothing_more() -> None:
    once = retired(b'{"resourceType":"List","id":"l","status":"current","n":1.00}')
    assert retired(once) == once
    assert b"1.00" in once


def test_a_type_without_such_a_state_cannot_be_retired() -> None:
    assert not retirable("Binary")
    with pytest.raises(ValueError, match="cannot be retired"):
        retired(b'{"resourceType":"Binary","id":"x"}')
