"""JSON that keeps number tokens, and refuses what cannot be kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsi_fetch.fhir.tokens import NotJson, canonical, dump, number, parse


@pytest.mark.parametrize("token", ["1.00", "1e2", "-0.0", "123456789012345678901234567890", "0.10E-7", "7"])
def test_number_tokens_survive(token: str) -> None:
    assert dump(parse(f'{{"n":{token}}}'.encode())) == f'{{"n":{token}}}'.encode()
    assert dump({"n": number(token)}) == f'{{"n":{token}}}'.encode()


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":2}', b"[NaN]", b"[Infinity]", b'["\\ud800"]', b"[" * 300 + b"]" * 300, b"[" * 100_000, b"<html>",
        b"", b"\xff", b'{"a":1}x',
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused(body: bytes) -> None:
    with pytest.raises(NotJson):
        parse(body)


@pytest.mark.parametrize("token", ["", "abc", "1_0", ".5", "NaN", "+1", "true", "1,5", "0x1", "１"])
def test_what_is_no_json_number_is_refused(token: str) -> None:
    with pytest.raises(NotJson):
        number(token)


def test_a_byte_order_mark_is_dropped() -> None:
    assert parse(b'\xef\xbb\xbf{"a":"\xc3\xb1"}') == {"a": "ñ"}


trees = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**16), 10**16) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)


@given(trees)
def test_what_is_dumped_parses_to_the_same(tree: object) -> None:
    assert parse(dump(tree)) == tree
    assert parse(canonical(tree)) == tree
