"""What a prefix rewrites, and all that it leaves alone."""

from __future__ import annotations

import re
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsi_fetch.errors import Unusable
from tsi_fetch.fhir.references import references
from tsi_fetch.fhir.tokens import dump, number, parse
from tsi_fetch.identity import KEEP, Identity, default_prefix
from tsi_fetch.words import Change, Deletion, Json, Ref, Upsert

BASE = "https://register.invalid/fhir"
IDENTITY = Identity("ch-bag", (f"{BASE}/", "https://mirror.invalid/fhir"))

IDS = st.from_regex(r"[A-Za-z0-9\-.]{1,64}", fullmatch=True)
TYPES = st.sampled_from(["Organization", "MedicinalProductDefinition", "Binary", "RegulatedAuthorization"])


def _upsert(resource: Json, ref: Ref | None = None) -> Upsert:
    own = ref or Ref(resource["resourceType"], resource["id"])
    return Upsert(own, dump(resource), "scope", 7)


def _applied(resource: Json) -> Json:
    [change] = IDENTITY.apply([_upsert(resource)])
    assert isinstance(change, Upsert)
    return parse(change.body)


def _renamed(ident: str) -> str:
    plain = f"ch-bag-{ident}"
    return plain if len(plain) <= 64 else "ch-bag-" + sha256(ident.encode()).hexdigest()[:40]


def test_keep_gives_the_very_same_changes_and_no_salt() -> None:
    changes: list[Change] = [Upsert(Ref("Organization", "1"), b"not even JSON", "s", None)]
    assert KEEP.apply(changes) is changes
    assert KEEP.ref(Ref("Organization", "1")) == Ref("Organization", "1")
    assert KEEP.salt == b""


def test_every_other_identity_has_a_salt_of_its_own() -> None:
    salts = {i.salt for i in (KEEP, IDENTITY, Identity("a"), Identity("b"), Identity("a", (BASE,)))}
    assert len(salts) == 5


def test_a_numeric_id_becomes_one_that_a_server_takes_and_scope_and_order_stay() -> None:
    [change] = IDENTITY.apply([_upsert({"resourceType": "RegulatedAuthorization", "id": "53662"})])
    assert change.ref == Ref("RegulatedAuthorization", "ch-bag-53662") == IDENTITY.ref(_ref("53662"))
    assert (change.scope, change.order) == ("scope", 7)
    assert isinstance(change, Upsert)
    assert parse(change.body) == {"resourceType": "RegulatedAuthorization", "id": "ch-bag-53662"}


def _ref(ident: str) -> Ref:
    return Ref("RegulatedAuthorization", ident)


def test_a_deletion_names_the_resource_as_the_sink_knows_it() -> None:
    assert IDENTITY.apply([Deletion(_ref("1"), "s", 3)]) == [Deletion(_ref("ch-bag-1"), "s", 3)]


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("Organization/1", "Organization/ch-bag-1"),
        ("Organization/1/_history/4", "Organization/ch-bag-1"),
        ("Organization/1#seat", "Organization/ch-bag-1#seat"),
        (f"{BASE}/Organization/1", "Organization/ch-bag-1"),
        ("https://mirror.invalid/fhir/Organization/1/_history/4", "Organization/ch-bag-1"),
        ("Organization/not_an_id", "Organization/ch-bag-not_an_id"),
        ("https://other.invalid/fhir/Organization/1", None),
        (f"{BASE}/sub/Organization/1", None),
        ("#local", None),
        ("urn:uuid:6e1b1e0c-0000-4000-8000-000000000001", None),
        ("urn:oid:2.51.1.3", None),
        ("Organization?identifier=https://x.invalid|1", None),
        ("Organization", None),
        ("", None),
    ],
)
def test_references_to_the_same_source_follow_and_others_stay(reference: str, expected: str | None) -> None:
    resource = {"resourceType": "Basic", "id": "b", "author": {"reference": reference, "type": "Organization"}}
    assert _applied(resource)["author"] == {"reference": expected or reference, "type": "Organization"}


def test_extensions_contained_resources_and_attachments_are_rewritten() -> None:
    inner = {"extension": [{"url": "http://x.invalid/e", "valueReference": {"reference": "Organization/1"}}]}
    given_ = {
        "resourceType": "Basic", "id": "b", "_language": inner,
        "contained": [{"resourceType": "Basic", "id": "local", "subject": {"reference": "Organization/1"}}],
        "subject": {"concept": {"reference": {"reference": "Organization/1"}}},
        "photo": [{"url": "Binary/7"}, {"url": "Binary/7?x=1"}, {"url": "https://x.invalid/Binary/7"}],
        "content": [{"attachment": {"url": f"{BASE}/Binary/7"}}, {"attachment": {"url": "Binary/7/_history/1"}}],
    }  # fmt: skip
    found = _applied(given_)
    assert found["_language"]["extension"][0]["valueReference"]["reference"] == "Organization/ch-bag-1"
    assert found["_language"]["extension"][0]["url"] == "http://x.invalid/e"
    assert found["contained"] == [
        {"resourceType": "Basic", "id": "local", "subject": {"reference": "Organization/ch-bag-1"}}
    ]
    assert found["subject"]["concept"]["reference"]["reference"] == "Organization/ch-bag-1"
    assert [photo["url"] for photo in found["photo"]] == [
        "Binary/ch-bag-7", "Binary/7?x=1", "https://x.invalid/Binary/7",
    ]  # fmt: skip
    assert [content["attachment"]["url"] for content in found["content"]] == ["Binary/ch-bag-7", "Binary/ch-bag-7"]


EXTENSION = {"url": "Binary/1", "extension": [{"url": "Binary/2", "valueCode": "x"}]}


def test_the_url_of_an_extension_is_its_name_and_stays() -> None:
    given_ = {
        "resourceType": "Basic", "id": "b", "extension": [EXTENSION], "modifierExtension": [EXTENSION],
        "_language": {"extension": [EXTENSION]}, "contained": [{"resourceType": "Basic", "extension": [EXTENSION]}],
    }  # fmt: skip
    assert _applied(given_) == given_ | {"id": "ch-bag-b"}


def test_a_binary_named_inside_an_extension_is_rewritten() -> None:
    attachment = {"url": "http://x.invalid/e", "valueAttachment": {"url": f"{BASE}/Binary/7"}}
    found = _applied({"resourceType": "Basic", "id": "b", "extension": [attachment]})
    assert found["extension"] == [{"url": "http://x.invalid/e", "valueAttachment": {"url": "Binary/ch-bag-7"}}]


def test_a_url_of_another_type_than_a_binary_is_no_reference() -> None:
    given_ = {"resourceType": "Basic", "id": "b", "photo": [{"url": "Organization/1"}, {"url": f"{BASE}/Basic/7"}]}
    assert _applied(given_)["photo"] == given_["photo"]


def test_the_entries_of_a_document_and_narratives_stay_as_they_are() -> None:
    div = '<div xmlns="http://www.w3.org/1999/xhtml"><a href="Binary/7">"reference":"Organization/1"</a></div>'
    composition = {
        "resourceType": "Composition", "id": "c", "author": [{"reference": "Organization/1"}],
        "text": {"status": "generated", "div": div},
    }  # fmt: skip
    document = {
        "resourceType": "Bundle", "id": "d", "type": "document",
        "entry": [{"fullUrl": f"{BASE}/Composition/c", "resource": composition}],
        "signature": {"who": {"reference": "Organization/1"}},
    }  # fmt: skip
    found = _applied(document)
    assert found["entry"] == document["entry"]
    assert (found["id"], found["signature"]["who"]["reference"]) == ("ch-bag-d", "Organization/ch-bag-1")
    assert _applied(composition)["text"] == composition["text"]


def test_numbers_keep_their_digits_and_members_their_order() -> None:
    body = b'{"id":"1","resourceType":"Basic","a":[1.00,1e2,-0.0,12345678901234567890123,3],"b":{"z":1.50,"a":2}}'
    [change] = IDENTITY.apply([Upsert(Ref("Basic", "1"), body, "s", None)])
    assert isinstance(change, Upsert)
    assert change.body == body.replace(b'"id":"1"', b'"id":"ch-bag-1"')


@pytest.mark.parametrize("body", [b"<html>secret</html>", b"[1]", b'"x"', b'{"id":"1","id":"2"}', b"\xff", b""])
def test_a_body_that_is_no_json_object_is_unusable_without_its_content(body: bytes) -> None:
    with pytest.raises(Unusable) as caught:
        IDENTITY.apply([Upsert(Ref("Basic", "1"), body, "s", None)])
    assert (caught.value.fault.code, caught.value.fault.path) == ("not-json", "$")
    assert "secret" not in repr(caught.value.fault)


def test_a_body_without_its_id_or_with_another_is_left_for_validation_to_refuse() -> None:
    changes = [_upsert({"resourceType": "Basic"}, Ref("Basic", "1"))]
    changes.append(_upsert({"resourceType": "Basic", "id": "2"}, Ref("Basic", "1")))
    bodies = [parse(change.body) for change in IDENTITY.apply(changes) if isinstance(change, Upsert)]
    assert bodies == [{"resourceType": "Basic"}, {"resourceType": "Basic", "id": "ch-bag-2"}]


@pytest.mark.parametrize(
    ("job", "prefix"),
    [("cima", "cima"), ("sixteen-letters-", "sixteen-letters-"), ("a-job-of-a-long-name", "786455e2")],
)
def test_the_default_prefix_is_the_jobs_name_or_a_short_hash_of_it(job: str, prefix: str) -> None:
    assert default_prefix(job) == prefix


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=40))
def test_every_default_prefix_is_stable_and_may_stand_in_an_id(job: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9.-]{1,16}", default_prefix(job))
    assert default_prefix(job) == default_prefix(job)


@given(st.sets(IDS, min_size=2), st.from_regex(r"[A-Za-z0-9.\-]{1,16}", fullmatch=True))
def test_ids_stay_ids_and_stay_apart(ids: set[str], prefix: str) -> None:
    renamed = {Identity(prefix).ref(Ref("Basic", ident)).id for ident in ids}
    assert len(renamed) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9\-.]{1,64}", ident) and ident.startswith(f"{prefix}-") for ident in renamed)


@st.composite
def _reference(draw: st.DrawFn) -> tuple[Json, Json]:
    """A reference as the source writes it, and as the sink is to have it."""
    kind, ident, elsewhere = draw(TYPES), draw(IDS), draw(st.booleans())
    version = draw(st.sampled_from(["", "/_history/1", "/_history/9f"]))
    if elsewhere:
        base = draw(st.sampled_from(["https://other.invalid/fhir/", "urn:uuid:", "#", "/", "x/"]))
        text = f"{base}{kind}/{ident}{version}"
        return {"reference": text}, {"reference": text}
    base = draw(st.sampled_from(["", f"{BASE}/", "https://mirror.invalid/fhir/"]))
    return {"reference": f"{base}{kind}/{ident}{version}"}, {"reference": f"{kind}/{_renamed(ident)}"}


def _pairs(children: st.SearchStrategy[tuple[Json, Json]]) -> st.SearchStrategy[tuple[Json, Json]]:
    names = st.sampled_from(["extension", "contained", "valueReference", "author", "reference", "url", "text", "entry"])
    objects = st.dictionaries(names, children, max_size=4).map(
        lambda found: ({k: v[0] for k, v in found.items()}, {k: v[1] for k, v in found.items()})
    )
    lists = st.lists(children, max_size=3).map(lambda found: ([a for a, _ in found], [b for _, b in found]))
    bundles = children.map(
        lambda pair: (
            {"resourceType": "Bundle", "id": "x", "entry": [pair[0]], "signature": pair[0]},
            {"resourceType": "Bundle", "id": "x", "entry": [pair[0]], "signature": pair[1]},
        )
    )
    return objects | lists | bundles


_PLAIN = st.sampled_from([number("1.00"), number("1e2"), 7, True, None, "a text", "<div>Organization/1</div>"])
_TREES = st.recursive(_PLAIN.map(lambda value: (value, value)) | _reference(), _pairs, max_leaves=12)


@given(IDS, _TREES)
def test_only_references_change_whatever_the_resource(ident: str, tree: tuple[Json, Json]) -> None:
    before = {"resourceType": "Basic", "id": ident, "extension": tree[0]}
    after = {"resourceType": "Basic", "id": _renamed(ident), "extension": tree[1]}
    [change] = IDENTITY.apply([_upsert(before)])
    assert isinstance(change, Upsert)
    assert change.body == dump(after)
    assert change.ref == Ref("Basic", _renamed(ident))


@given(IDS, _TREES)
def test_who_refers_to_whom_is_the_same_before_and_after(ident: str, tree: tuple[Json, Json]) -> None:
    near = Identity("p")
    before = _upsert({"resourceType": "Basic", "id": ident, "extension": tree[0]})
    [after] = near.apply([before])
    assert isinstance(after, Upsert)
    assert references(after.body) == {near.ref(ref) for ref in references(before.body)}
    assert near.apply([before]) == [after]
