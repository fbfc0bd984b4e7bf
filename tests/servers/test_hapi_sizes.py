"""The largest things that the sink may send, on the real servers."""

from __future__ import annotations

import pytest

from tests.servers.conversation import XHTML, Crowd, Fhir, Ids, document, entry, org, ref, statuses
from tsi_fetch.fhir.equality import same
from tsi_fetch.fhir.tokens import dump

pytestmark = pytest.mark.servers


def test_a_document_of_twenty_megabytes_is_taken_and_given_back(fhir: Fhir, ids: Ids) -> None:
    sent = document(ids())
    paragraphs = f"<p>{'dosage ' * 100}</p>" * 28_500
    sent["entry"][0]["resource"]["section"][0]["text"]["div"] = f'<div xmlns="{XHTML}">{paragraphs}</div>'
    assert len(dump(sent)) > 20_000_000
    assert statuses(fhir.transact(entry(sent, "0"), Prefer="return=minimal")) == ["201"]
    assert same(dump(sent), fhir.get(ref(sent)).content)


def test_a_document_with_two_thousand_entries_is_taken_and_given_back(fhir: Fhir, ids: Ids) -> None:
    sent = document(ids(), *(org(f"o{n}", name=f"O{n}") for n in range(1999)))
    assert len(sent["entry"]) == 2000
    assert statuses(fhir.transact(entry(sent, "0"), Prefer="return=minimal")) == ["201"]
    assert same(dump(sent), fhir.get(ref(sent)).content)


def test_a_transaction_of_two_thousand_entries_is_taken_whole(crowd: Crowd) -> None:
    assert len(crowd.names) == 2000
    assert statuses(crowd.answer) == ["201"] * 2000
