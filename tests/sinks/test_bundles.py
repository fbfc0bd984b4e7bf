"""Cutting writes into transactions."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from sinks.fhir.bundles import Bundle, cut, links, transaction, units
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.words import Ref, Write, WriteAction


def write(ident: str, *targets: str, version: str | None = None, filler: str = "") -> Write:
    ref = Ref("Basic", ident)
    parts = [{"valueReference": {"reference": f"Basic/{t}"}} for t in targets]
    body = dump({"resourceType": "Basic", "id": ident, "extension": parts, "filler": filler})
    return Write(ref, WriteAction.PUT, version, body)


def cut_all(writes: list[Write], entries: int = 100, size: int = 10_000_000) -> list[Bundle]:
    return cut(writes, links(writes), entries=entries, size=size)


def ids(bundle: Bundle) -> list[str]:
    return [w.ref.id for unit in bundle for w in unit.writes]


def test_what_refers_to_nothing_keeps_its_order() -> None:
    assert [ids(b) for b in cut_all([write("c"), write("a"), write("b")], entries=2)] == [["c", "a"], ["b"]]


def test_a_target_goes_before_what_refers_to_it() -> None:
    bundles = cut_all([write("a", "b"), write("b", "c"), write("c")], entries=1)
    assert [ids(b) for b in bundles] == [["c"], ["b"], ["a"]]


def test_a_circle_stays_together_whatever_the_limit() -> None:
    bundles = cut_all([write("a", "b"), write("b", "c"), write("c", "a"), write("d")], entries=2)
    assert [sorted(ids(b)) for b in bundles] == [["a", "b", "c"], ["d"]]


def test_two_circles_that_are_linked_are_two_units() -> None:
    writes = [write("a", "b", "x"), write("b", "a"), write("x", "y"), write("y", "x")]
    assert [sorted(w.ref.id for w in u.writes) for u in units(writes, links(writes))] == [["x", "y"], ["a", "b"]]


def test_a_bundle_ends_before_it_grows_over_the_limit_and_a_larger_resource_goes_alone() -> None:
    writes = [write("a"), write("big", filler="x" * 5000), write("b"), write("c")]
    assert [ids(b) for b in cut_all(writes, size=2000)] == [["a"], ["big"], ["b", "c"]]


def test_the_entries_of_a_document_are_not_followed() -> None:
    entry = {"resource": {"resourceType": "Composition", "subject": [{"reference": "Basic/a"}]}}
    body = dump({"resourceType": "Bundle", "id": "doc", "type": "document", "entry": [entry]})
    document = Write(Ref("Bundle", "doc"), WriteAction.PUT, None, body)
    assert links([document, write("a")])[document.ref] == frozenset()


def test_a_reference_with_a_version_is_followed() -> None:
    versioned = write("a", "b/_history/3")
    assert links([versioned, write("b")])[versioned.ref] == {Ref("Basic", "b")}


def test_a_transaction_carries_bodies_byte_for_byte_with_the_versions_believed() -> None:
    new, old = write("a"), write("b", version="3")
    sent = transaction([new, old, Write(Ref("Basic", "c"), WriteAction.DELETE, "4")])
    assert (new.body or b"") in sent
    entries = json.loads(sent)["entry"]
    assert entries[0]["request"] == {"method": "PUT", "url": "Basic/a", "ifMatch": 'W/"0"'}
    assert entries[1]["request"]["ifMatch"] == 'W/"3"'
    assert entries[2] == {"request": {"method": "DELETE", "url": "Basic/c"}}


def test_a_number_is_sent_as_it_was_written() -> None:
    body = b'{"resourceType":"Basic","id":"a","x":1.00}'
    assert b'"x":1.00}' in transaction([Write(Ref("Basic", "a"), WriteAction.PUT, None, body)])


@given(st.dictionaries(st.integers(0, 11), st.sets(st.integers(0, 11), max_size=4), max_size=12), st.integers(1, 5))
def test_every_write_is_in_one_bundle_and_refers_to_the_same_or_an_earlier_one(
    graph: dict[int, set[int]], entries: int
) -> None:
    writes = [write(f"n{n}", *(f"n{t}" for t in targets)) for n, targets in graph.items()]
    linked = links(writes)
    bundles = cut(writes, linked, entries=entries, size=10_000_000)
    home = {w.ref: n for n, bundle in enumerate(bundles) for unit in bundle for w in unit.writes}
    assert sorted(home) == sorted(w.ref for w in writes)
    assert sum(len(ids(b)) for b in bundles) == len(writes)
    for ref, targets in linked.items():
        assert all(home[target] <= home[ref] for target in targets & home.keys())


def test_references_are_found_however_they_are_written() -> None:
    spaced = (
        b'{"resourceType":"Basic","id":"a","subject":{"reference" :\n "Basic/b"},"author":{"reference":"Basic\\/c"}}'
    )
    plain = write("d", "a", "d")
    found = links([Write(Ref("Basic", "a"), WriteAction.PUT, None, spaced), plain])
    assert found == {Ref("Basic", "a"): {Ref("Basic", "b"), Ref("Basic", "c")}, plain.ref: {Ref("Basic", "a")}}


def test_what_only_looks_like_a_reference_is_none() -> None:
    texts = {"display": '"reference":"Basic/b"', "a": {"reference": "#c"}, "b": {"reference": "urn:uuid:1"}}
    body = dump({"resourceType": "Basic", "id": "a", "c": {"reference": "http://other.invalid/Basic/b"}, **texts})
    assert links([Write(Ref("Basic", "a"), WriteAction.PUT, None, body)]) == {Ref("Basic", "a"): frozenset()}


def test_a_document_refers_to_who_signed_it() -> None:
    entry = {"resource": {"resourceType": "Composition", "subject": [{"reference": "Basic/a"}]}}
    signature = {"who": {"reference": "Basic/signer"}}
    body = dump({"resourceType": "Bundle", "id": "doc", "entry": [entry], "signature": signature})
    document = Write(Ref("Bundle", "doc"), WriteAction.PUT, None, body)
    assert links([document]) == {document.ref: {Ref("Basic", "signer")}}


def test_ten_thousand_in_a_row_do_not_exhaust_the_stack() -> None:
    writes = [write(f"n{n}", f"n{n + 1}") for n in range(10_000)]
    assert ids(cut_all(writes)[0])[0] == "n9999"
