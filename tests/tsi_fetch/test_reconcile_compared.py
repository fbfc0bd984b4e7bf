"""What differs, of what kind, and what is done about it: without a store or a sink."""

from __future__ import annotations

import pytest

from tsi_fetch.differences import Action, Counts, Difference, Entry, Kind, difference, has_digest, repair
from tsi_fetch.fhir.digest import canonical_digest
from tsi_fetch.fhir.retire import retired
from tsi_fetch.fhir.tokens import dump, parse
from tsi_fetch.words import DOUBTED, FORGOTTEN, Held, Known, Ref, State

A = Ref("Organization", "a")
BODY = b'{"resourceType":"Organization","id":"a","name":"A"}'
OTHER = b'{"resourceType":"Organization","id":"a","name":"B"}'
OURS = canonical_digest(BODY)


def entry(state: State = State.LIVE, digest: bytes = OURS, version: str | None = "3", *, held: bool = True) -> Entry:
    return Entry(7, Known(A, "job", digest, version, 1, 1, state), held)


def there(version: str = "3", body: bytes | None = None) -> Held:
    return Held(A, version, body)


GONE = Held(A, "4", deleted=True)


@pytest.mark.parametrize(
    ("known", "held", "ours", "expected"),
    [
        (entry(), there(), False, None),
        (entry(State.RETIRED, held=False), there(), False, None),
        (entry(digest=DOUBTED), there(), False, None),
        (entry(), None, False, Difference(Kind.MISSING)),
        (entry(), GONE, False, Difference(Kind.MISSING)),
        (entry(State.RETIRED), None, False, Difference(Kind.MISSING)),
        (entry(), there("4", BODY), False, Difference(Kind.TOUCHED, True, "4")),
        (entry(), there("4", BODY), True, Difference(Kind.TOUCHED, True, "4")),
        (entry(), there("4", OTHER), False, Difference(Kind.CHANGED, False, "4")),
        (entry(), there("4", b"oops"), False, Difference(Kind.CHANGED, False, "4")),
        (entry(), there("2", OTHER), True, Difference(Kind.OURS, True, "2")),
        (entry(digest=DOUBTED, version=None), there("1", BODY), False, Difference(Kind.CHANGED, False, "1")),
        (entry(State.DELETED), None, False, None),
        (entry(State.DELETED), GONE, False, None),
        (entry(State.DELETED), there("5", OTHER), False, Difference(Kind.BACK, False, "5")),
        (entry(State.DELETED), there("5", BODY), False, Difference(Kind.BACK, True, "5")),
        (entry(State.DELETED), there("5", OTHER), True, Difference(Kind.BACK, True, "5")),
        (entry(State.DELETED, FORGOTTEN, None), None, False, Difference(Kind.MISSING)),
        (entry(State.DELETED, FORGOTTEN, None, held=False), None, False, None),
        (entry(State.DELETED, DOUBTED, None), None, False, None),
    ],
)
def test_what_differs(known: Entry, held: Held | None, ours: bool, expected: Difference | None) -> None:
    assert difference(known, held, ours=ours) == expected


def test_a_version_that_bears_our_number_and_is_not_ours_differs_where_its_body_was_looked_at() -> None:
    assert difference(entry(), there("3", OTHER), ours=False) == Difference(Kind.CHANGED, False, "3")
    assert difference(entry(), there("3", BODY), ours=False) is None


@pytest.mark.parametrize(
    ("held", "found", "action", "version"),
    [
        (True, Difference(Kind.MISSING), Action.BURY, None),
        (False, Difference(Kind.MISSING), Action.BURY, None),
        (True, Difference(Kind.TOUCHED, True, "4"), Action.TAKE, "4"),
        (False, Difference(Kind.TOUCHED, True, "4"), Action.TAKE, "4"),
        (True, Difference(Kind.CHANGED, False, "4"), Action.FORGET, None),
        (True, Difference(Kind.OURS, True, "4"), Action.FORGET, None),
        (True, Difference(Kind.BACK, True, "4"), Action.FORGET, None),
        (False, Difference(Kind.OURS, True, "4"), Action.REMOVE, "4"),
        (False, Difference(Kind.BACK, True, "4"), Action.REMOVE, "4"),
        (False, Difference(Kind.BACK, False, "4"), Action.RELEASE, None),
        (False, Difference(Kind.CHANGED, False, "4"), Action.RELEASE, None),
    ],
)
def test_what_is_done_about_it(held: bool, found: Difference, action: Action, version: str | None) -> None:
    repaired = repair(entry(held=held), found)
    assert (repaired.number, repaired.action, repaired.version) == (7, action, version)


def test_narratives_that_the_server_added_are_no_change_and_a_name_is() -> None:
    text = {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">A</div>'}
    inner = {"resourceType": "Composition", "id": "c", "title": "T"}
    bundle = {"resourceType": "Bundle", "id": "b", "type": "document", "entry": [{"resource": inner}]}
    told = {**bundle, "text": text, "entry": [{"resource": {**inner, "text": text}}]}
    meta = {"meta": {"versionId": "9", "lastUpdated": "2026-03-02T09:30:00Z", "source": "#run-9"}}
    assert has_digest(dump({**told, **meta}), canonical_digest(dump(bundle)))
    assert has_digest(dump(told), canonical_digest(dump(told)))
    renamed = {**bundle, "entry": [{"resource": {**inner, "title": "U"}}]}
    assert not has_digest(dump(renamed), canonical_digest(dump(bundle)))


def test_a_retired_document_has_its_digest_whatever_narratives_the_server_adds() -> None:
    text = {"text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">x</div>'}}
    inner = {"resourceType": "Medication", "id": "m", **text}
    composition = {"resourceType": "Composition", "id": "c", "contained": [inner]}
    entries = [{"resource": composition}, {"resource": inner}]
    sent = retired(dump({"resourceType": "Bundle", "id": "b", "type": "document", "entry": entries}))
    read = parse(sent)
    first, second = (e["resource"] for e in read["entry"])
    first["contained"][0] |= text
    second |= text
    retired_entry = entry(State.RETIRED, canonical_digest(sent), held=False)
    assert difference(retired_entry, there("4", dump(read)), ours=False) == Difference(Kind.TOUCHED, True, "4")


def test_nothing_has_the_digests_of_what_is_doubted_or_forgotten() -> None:
    assert len({DOUBTED, FORGOTTEN, OURS}) == 3
    assert len(FORGOTTEN) == len(OURS)
    assert not has_digest(BODY, FORGOTTEN)


def test_counts_name_the_first_of_each_kind_and_count_all_but_tombstones_in_step() -> None:
    counts = Counts(2)
    for ident in ("c", "b", "a"):
        counts.add(Ref("Organization", ident), Kind.MISSING, gone=False)
        counts.unknown(Ref("Ingredient", ident))
    counts.add(A, None, gone=False)
    counts.add(A, None, gone=True)
    assert counts.by_type() == {"Ingredient": {"unknown": 3}, "Organization": {"in step": 1, "missing": 3}}
    assert counts.named() == {
        "missing": ("Organization/b", "Organization/c"),
        "unknown": ("Ingredient/b", "Ingredient/c"),
    }
