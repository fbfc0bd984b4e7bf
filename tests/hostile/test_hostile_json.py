"""JSON that no register should send: at the token reader, and through the source as a whole.

Plainer cases are in tests/tsi_fetch/fhir/test_tokens.py and tests/sources/cima/mapping/test_refused_answers.py; what
all sources do with nonsense is in tests/contract/test_sources.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fake_cima import at, changed, cima, page, register, rows_of
from still_clock import StillClock

from dev.cima_server import Reply
from tests.hostile.pointing import offending, same
from tsi_fetch.errors import TryAgain, Unusable
from tsi_fetch.fhir.tokens import MAX_DEPTH, NotJson, canonical, dump, parse
from tsi_fetch.words import Batch, Quarantined, Row

DEEP = 10_000
SURROGATE = rb'"\ud800"'

REFUSED = {
    "a key twice": b'{"nregistro":"99001","nregistro":"99002"}',
    "a key twice, deep down": b'{"a":[{"b":{"c":1,"d":2,"c":1}}]}',
    "a key twice, spelled apart": rb'{"a":1,"\u0061":2}',
    "NaN": b'{"a":NaN}',
    "Infinity": b"[Infinity]",
    "minus Infinity": b"[-Infinity]",
    "a NUL in a string": b'{"a":"b\0c"}',
    "a NUL behind": b'{"a":1}\0',
    "a tab in a string": b'{"a":"b\tc"}',
    "a lone surrogate": b'{"a":' + SURROGATE + b"}",
    "a lone low surrogate": rb'["\udc00x"]',
    "surrogates in the wrong order": rb'["\udc00\ud800"]',
    "a lone surrogate in a key": b"{" + SURROGATE + b":1}",
    "a surrogate in UTF-8": b'["\xed\xa0\x80"]',
    "an overlong NUL": b'["\xc0\x80"]',
    "two byte order marks": b"\xef\xbb\xbf\xef\xbb\xbf{}",
    "UTF-16": "{}".encode("utf-16"),
    "UTF-32": "{}".encode("utf-32"),
    "10,000 lists": b"[" * DEEP + b"]" * DEEP,
    "10,000 objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "10,000 lists that never end": b"[" * DEEP,
    "both in turn": b'[{"a":' * DEEP + b"1" + b"}]" * DEEP,
    "one level too many": b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    "a number with a plus": b"[+1]",
    "a number with a zero before": b"[01]",
    "a number without its fraction": b"[1.]",
    "a number in hexadecimal": b"[0x1]",
    "digits of another script": "[٣]".encode(),
    "a comment": b"[1/* */]",
    "a comma too many": b"[1,]",
    "single quotes": b"{'a':1}",
    "a bare word": b"{a:1}",
    "nothing": b"",
    "blanks": b" \n",
    "two values": b"{}{}",
    "a no-break space": "[\u00a01]".encode(),
}

KEPT = {
    "an integer of 100 digits": b"[" + b"1234567890" * 10 + b"]",
    "a negative one": b"[-" + b"9" * 100 + b"]",
    "one of 100,000 digits": b"[1" + b"0" * 100_000 + b"]",
    "a decimal of 100 digits": b"[0." + b"1" * 100 + b"]",
    "an exponent that no machine counts to": b"[1e999999999999,1E-999999999999]",
    "zeros that say how exact": b"[1.00,0.0,-0.0,10e0]",
    "an escaped NUL": rb'["\u0000"]',
    "a pair of surrogates": b'["\xf0\x9f\x92\x8a"]',
    "the deepest": b"[" * MAX_DEPTH + b"]" * MAX_DEPTH,
    "empty keys": b'{"":{"":[]}}',
    "characters that are none": '["\ufffe\uffff\ufdd0"]'.encode(),
    "a proto": b'{"__proto__":{"a":1},"constructor":1}',
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_kept_faithfully_is_refused_in_words_without_the_value(case: str) -> None:
    with pytest.raises(NotJson) as refused:
        parse(REFUSED[case])
    assert str(refused.value)
    assert "99001" not in str(refused.value)


@pytest.mark.parametrize("case", KEPT)
def test_what_is_odd_and_json_is_kept_to_the_last_digit(case: str) -> None:
    tree = parse(KEPT[case])
    assert dump(tree) == KEPT[case]
    assert parse(canonical(tree)) == tree


def test_a_pair_of_escaped_surrogates_is_one_character() -> None:
    assert parse(rb'["\ud83d\udc8a"]') == ["💊"]


# --- through the source ----------------------------------------------------------------------------------------------

CALLS = {
    "medicamento?nregistro=99001": "medicamento",
    "presentacion/999101": "presentacion/999101",
    "docSegmentado/contenido/2?nregistro=99001": "contenido/2",
}


def fetched(call: str, body: bytes, **options: Any) -> Row:
    upstream = register()
    upstream.instead(call, *[Reply(200, body)] * 2)
    (row,) = rows_of(list(cima(upstream, **options).fetch(["99001"])))
    return row


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("case", REFUSED)
def test_a_product_with_such_an_answer_is_not_fetched_and_says_which(case: str, call: str) -> None:
    row = fetched(call, REFUSED[case])
    assert row.unfetched is not None
    assert row.unfetched.code in ("cima-not-json", "cima-unreachable")  # the latter is asked for again at once
    assert row.unfetched.path == CALLS[call]
    assert row.answers == ()


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("number", [1, 2])
def test_a_listing_with_such_a_page_is_tried_again_later(case: str, number: int) -> None:
    upstream = register(page_size=2)
    upstream.instead(f"medicamentos?pagina={number}", *[Reply(200, REFUSED[case])] * 2)
    with pytest.raises(TryAgain) as refused:
        list(cima(upstream).keys())
    assert "99001" not in f"{refused.value.message} {refused.value.hint}"


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("number", [1, 2])
def test_a_feed_with_such_a_page_is_tried_again_later_and_asks_for_no_product(case: str, number: int) -> None:
    """Nor does it give a batch: what it read before cannot count as the whole feed."""
    rows = [changed(n, "2026-03-02T08:00:00+00:00", "ft") for n in ("99001", "1998001001", "99 003-95-96")]
    upstream = register(feed=rows, page_size=2)
    call = f"registroCambios?fecha=27/02/2026&pagina={number}"
    upstream.instead(call, *[Reply(200, REFUSED[case])] * 2)
    given: list[Batch] = []
    with pytest.raises(TryAgain) as refused:
        given.extend(cima(upstream).pull(at("2026-03-01"), StillClock().now()))
    assert given == []
    assert call in upstream.calls
    assert all(made.startswith("registroCambios") for made in upstream.calls)
    assert "99001" not in f"{refused.value.message} {refused.value.hint}"


@pytest.mark.parametrize(
    "value", [b"1" * 19, b"1" * 100, b"-" + b"1" * 100, b"1.0", b"1e3", b"1466978400000.0", b"9" * 5_000]
)
@pytest.mark.parametrize("member", ["aut", "tipo", "nivel"])
def test_a_number_that_is_no_number_of_ours_is_refused_by_its_place(member: str, value: bytes) -> None:
    product = json.dumps(register().products["99001"]).encode()
    at = product.index(f'"{member}": '.encode()) + len(member) + 4
    end = min(found for stop in (b",", b"}") if (found := product.find(stop, at)) > 0)
    row = fetched("medicamento?nregistro=99001", product[:at] + value + product[end:])
    with pytest.raises(Unusable) as refused:
        cima(register()).to_changes(row)
    entry = Quarantined(row.key, row.digest, refused.value.fault, row)
    assert entry.fault.code == "cima-type"
    assert entry.fault.path.endswith(f".{member}")
    assert same(offending(entry), parse(value))
    assert value.decode() not in str(refused.value)


@pytest.mark.parametrize("max_body", [8 * 1024, 64 * 1024])
@pytest.mark.parametrize("call", CALLS)
def test_a_body_beyond_max_body_is_one_unfetched_row_and_one_of_that_size_is_read(call: str, max_body: int) -> None:
    row = fetched(call, b'["' + b"x" * (max_body - 4) + b'"]', max_body=max_body)
    assert row.unfetched is None or row.unfetched.code == "cima-type"

    row = fetched(call, b'["' + b"x" * (max_body - 3) + b'"]', max_body=max_body)
    assert row.unfetched is not None
    assert (row.unfetched.code, row.unfetched.path) == ("cima-too-large", CALLS[call])


def test_a_body_without_end_is_given_up_at_max_body() -> None:
    given = 0

    def endless(request: httpx.Request) -> httpx.Response:
        def body() -> Iterator[bytes]:
            nonlocal given
            while True:
                given += 1
                yield b"[" * 1024

        return httpx.Response(200, content=body())

    (row,) = rows_of(list(cima(httpx.MockTransport(endless), max_body=64 * 1024).fetch(["99001"])))
    assert row.unfetched is not None
    assert row.unfetched.code == "cima-too-large"
    assert given <= 66


NUMBERS = ["a\0b", "\x1b[2J", "9" * 101, "x" * 70_000, "a\nb", "\x7f", "\x85", " ", ""]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_that_no_store_keeps_is_unreadable_and_the_others_are_read(number: str) -> None:
    rows = [{"nregistro": number}, {"nregistro": "99001"}]
    upstream = register()
    upstream.instead("medicamentos?pagina=1", page(rows))
    (found,) = cima(upstream).keys()
    assert (found.keys, found.unreadable) == (("99001",), 1)
