"""What the real servers make of narratives and of document Bundles, and that our equality sees through it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.servers.conversation import (
    NO_CHANGE,
    XHTML,
    Fhir,
    Ids,
    document,
    entry,
    narrated,
    org,
    outcomes,
    ref,
    statuses,
    verdict,
)
from tsi_fetch.fhir.equality import same
from tsi_fetch.fhir.tokens import dump

pytestmark = pytest.mark.servers

PATIENT = {"resourceType": "Patient", "id": "p", "name": [{"family": "Roe"}]}
MEDICATION = {"resourceType": "Medication", "id": "m", "code": {"text": "x"}}

RESPELT = {
    "entities": ("a&#160;b&nbsp;c &eacute;&lt;&amp;", "a\u00a0b\u00a0c é&lt;&amp;"),
    "empty element": ('<a name="x"></a>', '<a name="x"/>'),
    "empty alt": ('<img src="x" alt=""/>', '<img src="x" alt="null"/>'),
    "order of an image's attributes": ('<img alt="y" src="x"/>', '<img src="x" alt="y"/>'),
    "order of other attributes": ('<p class="b" id="a">x</p>', '<p id="a" class="b">x</p>'),
    "white space": ("<p>a  b\n c</p>", "<p>a  b\n c</p>"),
    "script and onclick": ('<script>f()</script><p onclick="f()">y</p>', '<script>f()</script><p onclick="f()">y</p>'),
}


@pytest.mark.parametrize(("sent", "held"), RESPELT.values(), ids=RESPELT)
def test_xhtml_comes_back_respelt_and_equal(fhir: Fhir, ids: Ids, sent: str, held: str) -> None:
    body = narrated(ids(), sent)
    fhir.put(body)
    read = fhir.get(ref(body))
    assert read.json()["text"] == narrated(ids(), held)["text"]
    assert same(dump(body), read.content)
    assert outcomes(fhir.transact(entry(body, "1"))) == [NO_CHANGE]


def test_a_comment_in_a_narrative_is_indented(fhir: Fhir, ids: Ids) -> None:
    sent = narrated(ids(), "<!-- c --><p>x <!--d-->y</p>")
    fhir.put(sent)
    read = fhir.get(ref(sent))
    assert read.json()["text"]["div"] == f'<div xmlns="{XHTML}">    <!-- c --><p>x     <!-- d -->y</p></div>'
    assert same(dump(sent), read.content)
    assert outcomes(fhir.transact(entry(sent, "1"))) == [NO_CHANGE]


def test_a_processing_instruction_in_a_narrative_becomes_a_comment(fhir: Fhir, ids: Ids) -> None:
    sent = narrated(ids(), "<?x y?><p>x</p>")
    fhir.put(sent)
    read = fhir.get(ref(sent))
    assert read.json()["text"]["div"] == f'<div xmlns="{XHTML}">    <!-- ?x y? --><p>x</p></div>'
    assert same(dump(sent), read.content)


def test_malformed_xhtml_is_refused_and_quoted_in_the_answer(fhir: Fhir, ids: Ids) -> None:
    answer = fhir.transact(entry(narrated(ids(), "<p>Jane Roe"), "0"))
    assert verdict(answer) == (400, "HAPI-1755")
    assert "Jane Roe" in answer.text


def test_a_narrative_whose_root_is_no_div_is_a_500_without_a_code(fhir: Fhir, ids: Ids) -> None:
    paragraph = org(ids(), text={"status": "additional", "div": f'<p xmlns="{XHTML}">x</p>'})
    assert verdict(fhir.transact(entry(paragraph, "0"))) == (500, "")


@pytest.mark.parametrize("body", [PATIENT, MEDICATION], ids=["Patient", "Medication"])
def test_the_epi_server_adds_a_text_to_some_types_when_they_are_read(
    fhir: Fhir, ids: Ids, body: dict[str, Any]
) -> None:
    sent = body | {"id": ids()}
    fhir.put(sent)
    read = fhir.get(ref(sent))
    added = read.json().get("text", {}).get("status")
    assert added == ("generated" if fhir.release == "R5" else None)
    assert same(dump(sent), read.content)
    assert outcomes(fhir.transact(entry(sent, "1"))) == [NO_CHANGE]


def test_a_text_is_added_to_no_type_without_a_template(fhir: Fhir, ids: Ids) -> None:
    fhir.put(org(ids(), name="A"))
    assert "text" not in fhir.read(ref(org(ids())))


def test_a_text_of_our_own_is_kept_though_it_says_generated(fhir: Fhir, ids: Ids) -> None:
    own = PATIENT | {"id": ids(), "text": {"status": "generated", "div": f'<div xmlns="{XHTML}">ours</div>'}}
    fhir.put(own)
    assert fhir.read(ref(own))["text"] == own["text"]


def test_a_text_is_added_to_contained_resources_too(epi: Fhir, ids: Ids) -> None:
    extension = [{"url": "http://x.invalid/e", "valueReference": {"reference": "#p"}}]
    holder = org(ids(), contained=[PATIENT], extension=extension)
    epi.put(holder)
    read = epi.get(ref(holder))
    assert read.json()["contained"][0]["text"]["status"] == "generated"
    assert same(dump(holder), read.content)


def test_texts_are_added_inside_bundles_and_our_equality_takes_them_away(fhir: Fhir, ids: Ids) -> None:
    sent = document(ids(), PATIENT, MEDICATION)
    fhir.put(sent)
    read = fhir.get(ref(sent))
    added = ["text" in e["resource"] for e in read.json()["entry"]]
    assert added == ([False, True, True] if fhir.release == "R5" else [False, False, False])
    assert same(dump(sent), read.content)


def test_the_texts_of_sections_are_left_although_they_say_generated(fhir: Fhir, ids: Ids) -> None:
    sent = document(ids(), status="generated")
    fhir.put(sent)
    read = fhir.read(ref(sent))
    texts = [s["text"]["status"] for s in read["entry"][0]["resource"]["section"]]
    assert texts == ["generated", "generated"]
    del read["entry"][0]["resource"]["section"][1]["text"]
    assert not same(dump(sent), dump(read))


def test_a_document_is_stored_whole_and_its_references_are_neither_resolved_nor_checked(fhir: Fhir, ids: Ids) -> None:
    inner = org(
        "inner", meta={"versionId": "9", "lastUpdated": "2020-01-01T00:00:00Z", "profile": ["http://p.invalid/1"]}
    )
    sent = document(ids(), inner)
    assert statuses(fhir.transact(entry(sent, "0"))) == ["201"]
    read = fhir.get(ref(sent))
    resources = [e["resource"] for e in read.json()["entry"]]
    assert resources[0]["author"] == [{"reference": "Organization/nowhere"}]
    assert resources[1]["meta"] == inner["meta"]
    assert same(dump(sent), read.content)
    assert fhir.get(f"Composition/{ids('c')}").status_code == 404


@pytest.mark.parametrize("kind", ["document", "collection", "message"])
def test_bundles_of_these_types_can_be_stored(fhir: Fhir, ids: Ids, kind: str) -> None:
    assert fhir.put(document(ids()) | {"type": kind}).status_code == 201


def test_a_bundle_of_another_type_cannot_be_stored(fhir: Fhir, ids: Ids) -> None:
    assert verdict(fhir.put(document(ids()) | {"type": "searchset"})) == (422, "HAPI-0522")
