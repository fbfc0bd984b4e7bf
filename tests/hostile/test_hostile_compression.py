"""Compressed answers: no more memory than `max_body` asks for, nothing cut short taken as whole, nothing whole refused.

Bombs, garbage and members in a row over the real network are in tests/tsi_fetch/http/test_http_wire.py.
"""

from __future__ import annotations

import gzip
import random
import tracemalloc
import zlib
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from still_clock import StillClock

from tsi_fetch.http.chain import ChainOptions, build_client
from tsi_fetch.http.failures import BodyTooLarge, Unreachable
from tsi_fetch.http.inflate import STEP, inflated
from tsi_fetch.http.retry import RetryPolicy

URL = "https://register.invalid/api"
MEGABYTE = 1024 * 1024
TEXT = b"a medicine's text " * 40 + random.Random(5).randbytes(300)


def ask(coding: str, pieces: Iterator[bytes], clock: StillClock | None = None, max_body: int = MEGABYTE) -> bytes:
    """What the chain gives of an answer that arrives in these pieces."""
    answer = httpx.Response(200, headers={"Content-Encoding": coding}, content=pieces)
    options = ChainOptions(origins=(URL,), rate=1000, max_body=max_body, retry=RetryPolicy(attempts=1))
    wire = httpx.MockTransport(lambda request: answer)
    return build_client(options, clock or StillClock(), wire=wire).get(URL).content


def pieces_of(body: bytes, size: int = 64 * 1024) -> Iterator[bytes]:
    return (body[at : at + size] for at in range(0, len(body), size))


@pytest.mark.parametrize("size", [STEP - 1, STEP, STEP + 1, 2 * STEP, 4 * STEP])
@pytest.mark.parametrize("level", [0, 9])
def test_a_body_of_any_size_is_whole_however_it_arrives(size: int, level: int) -> None:
    body = bytes(size)
    sent = gzip.compress(body, level)
    ends = {*range(1, 30), *range(len(sent) - 30, len(sent) + 1)}

    assert all(b"".join(inflated([sent[:end], sent[end:]])) == body for end in ends)


def test_a_body_that_is_cut_anywhere_is_never_taken_as_whole() -> None:
    sent = gzip.compress(TEXT)
    for end in range(1, len(sent)):
        with pytest.raises(Unreachable, match="DecodingError"):
            ask("gzip", iter([sent[:end]]))


def test_a_body_with_a_flipped_byte_is_refused_or_unharmed() -> None:
    sent = gzip.compress(TEXT)
    refused = 0
    for at in range(len(sent)):
        flipped = sent[:at] + bytes([sent[at] ^ 0xFF]) + sent[at + 1 :]
        try:
            assert ask("gzip", iter([flipped])) == TEXT, at  # time and system in the header change nothing
        except Unreachable:
            refused += 1
    assert refused > len(sent) - 10


@pytest.mark.parametrize("rest", [b"\0" * 8, b"garbage", b"\x1f\x8b\x08"])
def test_what_follows_the_end_of_a_body_is_not_left_out_in_silence(rest: bytes) -> None:
    with pytest.raises(Unreachable, match="DecodingError"):
        ask("gzip", iter([gzip.compress(TEXT) + rest]))


BOMB = gzip.compress(bytes(64 * MEGABYTE))


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", BOMB),
        ("gzip", gzip.compress(bytes(MEGABYTE // 2)) * 60),
        ("gzip, gzip", gzip.compress(BOMB)),
        ("x-gzip,gzip", gzip.compress(BOMB)),
        ("deflate", zlib.compress(bytes(64 * MEGABYTE))),
        ("gzip, deflate", zlib.compress(BOMB)),
    ],
    ids=["one member", "many members", "twice", "twice by another name", "deflate", "two ways"],
)
def test_a_bomb_takes_no_more_memory_than_a_few_bodies(coding: str, body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises((BodyTooLarge, Unreachable)):
            ask(coding, pieces_of(body))
        assert tracemalloc.get_traced_memory()[1] < 8 * MEGABYTE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("coding", ["gzip, gzip", "deflate", "br", "zstd", "compress", "identity, br", "x"])
def test_a_coding_that_was_not_asked_for_is_refused_and_never_taken_for_a_body(coding: str) -> None:
    with pytest.raises(Unreachable, match="DecodingError"):
        ask(coding, iter([b"{}"]))


@pytest.mark.parametrize("coding", ["", " ", "identity", ","])
def test_a_body_that_is_not_compressed_arrives_as_it_is(coding: str) -> None:
    assert ask(coding, iter([TEXT])) == TEXT


@pytest.mark.parametrize("coding", ["gzip", "GZIP", " x-gzip ", "gzip,", "identity, gzip"])
def test_gzip_is_read_in_every_spelling(coding: str) -> None:
    assert ask(coding, pieces_of(gzip.compress(TEXT), 7)) == TEXT


def test_members_without_content_come_to_an_end_at_the_deadline() -> None:
    clock = StillClock()

    def endless() -> Iterator[bytes]:
        while True:
            clock.move(timedelta(seconds=1))
            yield gzip.compress(b"") * 100

    with pytest.raises(Unreachable, match="ReadTimeout"):
        ask("gzip", endless(), clock)


@pytest.mark.parametrize("coding", ["", "gzip"])
@pytest.mark.parametrize(("size", "fits"), [(MEGABYTE, True), (MEGABYTE + 1, False)])
def test_the_bound_counts_what_is_unpacked_to_the_byte(coding: str, size: int, *, fits: bool) -> None:
    body = bytes(size)
    sent = gzip.compress(body) if coding else body
    if fits:
        assert ask(coding, pieces_of(sent)) == body
        return
    with pytest.raises(BodyTooLarge):
        ask(coding, pieces_of(sent))
