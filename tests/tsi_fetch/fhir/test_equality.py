"""One function says whether the sink holds what was sent."""

from __future__ import annotations

import pytest

from tsi_fetch.fhir.digest import canonical_digest
from tsi_fetch.fhir.equality import same
from tsi_fetch.fhir.tokens import NotJson

SENT = '{"resourceType":"Organization","id":"a","name":"x"}'


def organization(rest: str) -> str:
    return SENT[:-1] + "," + rest + "}"


def div(inner: str) -> str:
    narrative = f'<div xmlns=\\"http://www.w3.org/1999/xhtml\\">{inner}</div>'
    return organization(f'"text":{{"status":"additional","div":"{narrative}"}}')


def meta(rest: str) -> str:
    return organization(f'"meta":{{{rest}}}')


def entry(resource: str) -> str:
    return f'{{"resourceType":"Bundle","id":"b","type":"document","entry":[{{"resource":{resource}}}]}}'


def contained(*members: str) -> str:
    inner = ",".join(('{"resourceType":"Organization","id":"c"', *members))
    return organization(f'"contained":[{inner}}}]')


def attachment(rest: str) -> str:
    return organization(f'"extension":[{{"url":"http://x.invalid","value":{{{rest}}}}}]')


A, B = (f'{{"system":"http://t.invalid","code":"{code}"}}' for code in "ab")
INNER = '{"resourceType":"Patient","id":"p"}'
HOLDER = organization(f'"contained":[{INNER}]')
GENERATED = '"text":{"status":"generated","div":"<div xmlns=\\"http://www.w3.org/1999/xhtml\\">made</div>"}'
NARRATED = INNER[:-1] + "," + GENERATED + "}"


@pytest.mark.parametrize(
    ("sent", "held"),
    [
        pytest.param(SENT, ' { "name":"x","id":"a", "resourceType":"Organization"} ', id="key order and white space"),
        pytest.param(organization('"n":1e2'), organization('"n":100'), id="the spelling of a number"),
        pytest.param(
            SENT, organization('"meta":{"versionId":"3","lastUpdated":"2026-01-01T00:00:00Z","source":"u#r"}'),
            id="meta",
        ),
        pytest.param(
            organization('"r":{"reference":"List/1"}'), organization('"r":{"reference":"List/1/_history/2"}'),
            id="the version of a reference",
        ),
        pytest.param(meta(f'"tag":[{B},{A},{B}]'), meta(f'"tag":[{A},{B}]'), id="order and repetition of tags"),
        pytest.param(meta(f'"tag":[{A}]'), meta(f'"tag":[{A[:-1]},"display":"x"}}]'), id="a tag's display"),
        pytest.param(meta(f'"security":[{B},{A}]'), meta(f'"security":[{A},{B}]'), id="the order of labels"),
        pytest.param(
            meta('"profile":["http://z.invalid","http://a.invalid","http://z.invalid"]'),
            meta('"profile":["http://a.invalid","http://z.invalid"]'),
            id="order and repetition of profiles",
        ),
        pytest.param(
            contained('"meta":{"versionId":"9","lastUpdated":"2020-01-01T00:00:00Z"}'), contained(),
            id="version and instant of a contained resource",
        ),
        pytest.param(
            entry(contained('"meta":{"versionId":"9","source":"http://s.invalid"}')),
            entry(contained('"meta":{"source":"http://s.invalid"}')),
            id="the version of a contained resource inside a Bundle",
        ),
        pytest.param(
            entry(organization('"r":{"reference":"List/1/_history/2"}')),
            entry(organization('"r":{"reference":"List/1"}')),
            id="the version of a reference inside a Bundle",
        ),
        pytest.param(
            attachment('"contentType":"text/plain","data":"YW Jj\\r\\nZA=="'),
            attachment('"contentType":"text/plain","data":"YWJjZA=="'),
            id="white space in an attachment",
        ),
        pytest.param(
            attachment('"sigFormat":"application/jose","data":"YW Jj"'),
            attachment('"sigFormat":"application/jose","data":"YWJj"'),
            id="white space in a signature",
        ),
        pytest.param(
            organization('"extension":[{"url":"http://x.invalid","valueBase64Binary":"YW Jj"}]'),
            organization('"extension":[{"url":"http://x.invalid","valueBase64Binary":"YWJj"}]'),
            id="white space in a base64Binary",
        ),
        pytest.param(SENT, organization(GENERATED), id="a generated narrative that was not sent"),
        pytest.param(
            f'{{"resourceType":"Bundle","entry":[{{"resource":{SENT}}}]}}',
            f'{{"resourceType":"Bundle","entry":[{{"resource":{organization(GENERATED)}}}]}}',
            id="a generated narrative inside a Bundle",
        ),
        pytest.param(
            organization('"contained":[{"resourceType":"Patient"},{"resourceType":"Patient","id":"p"}]'),
            organization(f'"contained":[{{"resourceType":"Patient"}},{{"resourceType":"Patient","id":"p",{GENERATED}}}]'),
            id="a generated narrative in contained",
        ),
        pytest.param(
            f'{{"resourceType":"Bundle","entry":[{{}},{{"resource":{HOLDER}}}]}}',
            f'{{"resourceType":"Bundle","entry":[{{}},{{"resource":{HOLDER.replace(INNER, NARRATED)}}}]}}',
            id="a generated narrative in contained inside a Bundle",
        ),
        pytest.param(div("<!--c--><p>a <!-- d -->b</p>"), div("    <!-- c --><p>a     <!-- d -->b</p>"), id="comments"),
        pytest.param(div("<?x y?>a"), div("    <!-- ?x y? -->a"), id="processing instructions"),
        pytest.param(div("&#160;&aacute;"), div("\u00a0á"), id="entities"),
        pytest.param(div('<a name=\\"x\\"></a>'), div('<a name=\\"x\\"/>'), id="empty elements"),
        pytest.param(
            div('<img src=\\"s\\" alt=\\"\\"/>'), div('<img alt=\\"null\\" src=\\"s\\"/>'), id="attributes and alt"
        ),
    ],
)  # fmt: skip
def test_what_servers_change_on_their_own_does_not_count(sent: str, held: str) -> None:
    assert same(sent.encode(), held.encode())


@pytest.mark.parametrize(
    ("sent", "held"),
    [
        pytest.param(organization('"n":1.0'), organization('"n":1.00'), id="digits"),
        pytest.param(organization('"a":[1,2]'), organization('"a":[2,1]'), id="array order"),
        pytest.param(SENT, organization('"active":true'), id="a member more"),
        pytest.param(organization('"n":1'), organization('"n":"1"'), id="type"),
        pytest.param(
            SENT, organization(GENERATED.replace("generated", "additional")), id="a narrative that is not generated"
        ),
        pytest.param(organization(GENERATED), SENT, id="a sent narrative that is missing"),
        pytest.param(organization('"meta":{"tag":[{"code":"t"}]}'), SENT, id="tags"),
        pytest.param(meta(f'"tag":[{A},{B}]'), meta(f'"tag":[{A}]'), id="a tag less"),
        *(
            pytest.param(entry(meta(f'"{k}":"2"')), entry(meta(f'"{k}":"1"')), id=f"{k} inside a Bundle")
            for k in ("versionId", "lastUpdated", "source")
        ),
        pytest.param(
            entry(meta(f'"tag":[{A},{B}]')), entry(meta(f'"tag":[{B},{A}]')), id="the order of tags inside a Bundle"
        ),
        pytest.param(
            contained('"meta":{"source":"http://a.invalid"}'), contained('"meta":{"source":"http://b.invalid"}'),
            id="the source of a contained resource",
        ),
        pytest.param(meta(f'"tag":[{A}]'), meta(f'"security":[{A}]'), id="a label in place of a tag"),
        pytest.param(meta(f'"tag":[{A}]'), meta(f'"tag":[{A[:-1]},"version":"1"}}]'), id="a tag's version"),
        pytest.param(meta('"profile":["http://a.invalid"]'), meta('"profile":["http://b.invalid"]'), id="profiles"),
        pytest.param(
            organization('"valueSampledData":{"dimensions":1,"data":"1 23"}'),
            organization('"valueSampledData":{"dimensions":1,"data":"12 3"}'),
            id="white space between samples",
        ),
        pytest.param(
            attachment('"contentType":"text/plain","data":"YWJj"'),
            attachment('"contentType":"text/plain","data":"YWJk"'),
            id="an attachment's data",
        ),
        pytest.param(
            attachment('"contentType":"text/plain","title":"a b"'),
            attachment('"contentType":"text/plain","title":"ab"'),
            id="white space in an attachment's title",
        ),
        pytest.param(
            HOLDER.replace(INNER, NARRATED), HOLDER, id="a sent narrative that is missing in contained"
        ),
        pytest.param(HOLDER, organization(f'"contained":[{INNER},{INNER}]'), id="a contained resource more"),
        pytest.param(HOLDER, organization('"contained":[]'), id="a contained resource less"),
        pytest.param(
            organization('"contained":[{"resourceType":"Composition","section":[{}]}]'),
            organization(f'"contained":[{{"resourceType":"Composition","section":[{{{GENERATED}}}]}}]'),
            id="a section's text in contained",
        ),
        pytest.param(div("a<!--c-->b"), div("a\\n<!--c-->b"), id="a line's end before a comment"),
        pytest.param(div("a<!--c--> b"), div("a<!--c-->b"), id="a space behind a comment"),
        pytest.param(div("a b"), div("ab"), id="white space in the text"),
        pytest.param(div("a"), div("b"), id="the text"),
        pytest.param(
            organization('"section":[{"text":{"status":"generated","div":"<div/>"}}]'), organization('"section":[{}]'),
            id="a section's text",
        ),
    ],
)  # fmt: skip
def test_everything_else_counts(sent: str, held: str) -> None:
    assert not same(sent.encode(), held.encode())


@pytest.mark.parametrize(
    ("sent", "held"),
    [
        ("1e40", "1" + "0" * 40),
        ("1e400", "1" + "0" * 400),
        ("1.0e3", "1000"),
        ("120E+1", "1200"),
        ("1.50E-3", "0.00150"),
        ("1e-9", "0.000000001"),
        ("-12.5e1", "-125"),
        ("-0.0", "0.0"),
        ("-0", "0"),
        ("0e5", "0"),
        ("0.00e1", "0.0"),
        ("1e" + "0" * 5000 + "2", "100"),
        ("1e999999999", "10e999999998"),
        ("1e-999999999", "0.1e-999999998"),
        ("1e9999999999999999999", "1e9999999999999999999"),
    ],
)
def test_numbers_of_one_value_and_precision_are_the_same(sent: str, held: str) -> None:
    assert same(organization(f'"n":{sent}').encode(), organization(f'"n":{held}').encode())


@pytest.mark.parametrize(
    ("sent", "held"),
    [
        ("1e2", "1e3"),
        ("1e2", "100.0"),
        ("0", "0.0"),
        ("1e-2", "0.010"),
        ("1", "-1"),
        ("1e9999999999999999999", "1"),
        ("1e9999999999999999999", "1e9999999999999999998"),
        ("1e-9999999999999999999", "0"),
        ("1e999999999", "1e999999998"),
        ("1e" + "9" * 5000, "1"),
        ("1" * 5000, "1" * 4999 + "2"),
    ],
)
def test_numbers_of_another_value_or_precision_are_not(sent: str, held: str) -> None:
    assert not same(organization(f'"n":{sent}').encode(), organization(f'"n":{held}').encode())


def test_the_digest_ignores_key_order_and_what_the_server_owns() -> None:
    held = b'{"meta":{"versionId":"3","source":"x"},"name":"x","id":"a","resourceType":"Organization"}'
    assert canonical_digest(SENT.encode()) == canonical_digest(held)


def test_the_digest_keeps_decimals_as_written() -> None:
    assert canonical_digest(b'{"n":1.0}') != canonical_digest(b'{"n":1.00}')
    assert canonical_digest(b'{"n":1e2}') != canonical_digest(b'{"n":100}')


def test_the_digest_keeps_array_order_and_profiles() -> None:
    assert canonical_digest(b'{"a":[1,2]}') != canonical_digest(b'{"a":[2,1]}')
    assert canonical_digest(b'{"meta":{"profile":["p"]}}') != canonical_digest(b"{}")


def test_what_is_not_json_has_no_digest() -> None:
    with pytest.raises(NotJson):
        canonical_digest(b"<html>")
