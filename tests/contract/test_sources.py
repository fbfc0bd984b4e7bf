"""What every source promises.  To add one: write its `Upstream` (a file in tests/models) and list it in `UPSTREAMS`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta

import httpx
import pytest
from cima_upstream import CimaUpstream
from still_clock import StillClock
from upstream import Upstream

from tsi_fetch.errors import SettingError, TryAgain, TsiFetchError, Unusable
from tsi_fetch.ports import Source
from tsi_fetch.words import Batch, Change, Cursor, CursorKind, Position, Row, Upsert

UPSTREAMS: list[type[Upstream]] = [CimaUpstream]


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture(params=UPSTREAMS, ids=lambda kind: kind.name)
def upstream(request: pytest.FixtureRequest, clock: StillClock) -> Upstream:
    made: Upstream = request.param(clock)
    return made


@pytest.fixture
def source(upstream: Upstream) -> Source:
    return upstream.source()


def pulled(source: Source, position: Position, clock: StillClock) -> list[Batch]:
    return list(source.pull(position, clock.now()))


def rows(batches: Sequence[Batch]) -> list[Row]:
    return [row for batch in batches for row in batch.rows]


def settled(batches: Sequence[Batch]) -> list[str]:
    return [key for row in rows(batches) for key in row.settles]


def changes(source: Source, row: Row) -> Sequence[Change] | str:
    """What a row is mapped to, or the code it is refused with."""
    try:
        return source.to_changes(row)
    except Unusable as e:
        return e.fault.code


def failing(status: int, body: bytes = b"", **headers: str) -> httpx.MockTransport:
    return httpx.MockTransport(lambda request: httpx.Response(status, headers=headers, content=body))


def broken(error: Exception) -> httpx.MockTransport:
    def send(request: httpx.Request) -> httpx.Response:
        raise error

    return httpx.MockTransport(send)


# --- a pass over what changed ---------------------------------------------------------------------------------------


def test_a_pass_gives_every_changed_row_and_its_cursor_last(
    upstream: Upstream, source: Source, clock: StillClock
) -> None:
    upstream.change()
    batches = pulled(source, upstream.start(), clock)
    assert rows(batches)
    assert all(batch.stream == source.stream for batch in batches)
    assert [batch.cursor is not None for batch in batches] == [False] * (len(batches) - 1) + [True]


def test_row_keys_are_unique_within_a_pass(upstream: Upstream, source: Source, clock: StillClock) -> None:
    upstream.change()
    batches = pulled(source, upstream.start(), clock)
    keys = [row.key for row in rows(batches)]
    assert len(keys) == len(set(keys))
    assert len(settled(batches)) == len(set(settled(batches)))


def test_refs_are_unique_within_a_row_and_mean_the_same_within_a_batch(
    upstream: Upstream, source: Source, clock: StillClock
) -> None:
    upstream.change()
    for batch in pulled(source, upstream.start(), clock):
        bodies: dict[object, bytes] = {}
        for row in batch.rows:
            mapped = source.to_changes(row)
            assert len({change.ref for change in mapped}) == len(mapped)
            for change in mapped:
                if isinstance(change, Upsert):
                    assert bodies.setdefault(change.ref, change.body) == change.body


def test_an_empty_feed_succeeds_with_one_empty_batch_and_the_watermark_where_it_was(
    upstream: Upstream, source: Source, clock: StillClock
) -> None:
    (batch,) = pulled(source, upstream.start(), clock)
    assert (batch.rows, batch.cursor) == ((), upstream.start().cursor)


def test_the_watermark_only_goes_forward_and_never_past_the_start(
    upstream: Upstream, source: Source, clock: StillClock
) -> None:
    position = upstream.start()
    for _ in range(4):
        upstream.change()
        cursor = pulled(source, position, clock)[-1].cursor
        assert cursor is not None
        assert position.cursor is None or not cursor.precedes(position.cursor)
        assert not _later(cursor, upstream.latest(clock.now()))
        position = Position(cursor)
        clock.move(timedelta(days=1))


def _later(cursor: Cursor, limit: Cursor) -> bool:
    return cursor.kind in (CursorKind.DATE, CursorKind.INSTANT) and limit.precedes(cursor)


def test_two_passes_from_the_returned_cursor_give_no_row_twice(
    upstream: Upstream, source: Source, clock: StillClock
) -> None:
    upstream.change()
    first = pulled(source, upstream.start(), clock)
    again = pulled(source, Position(first[-1].cursor), clock)
    assert rows(again) == []
    upstream.change()
    more = pulled(source, Position(again[-1].cursor), clock)
    assert rows(more)
    assert not set(settled(first)) & set(settled(more))


def test_what_an_unfinished_pass_has_settled_is_left_out_of_the_next_one(upstream: Upstream, clock: StillClock) -> None:
    upstream.change()
    source, start = upstream.source(small=True), upstream.start()
    every = pulled(source, start, clock)
    assert len(every) > 1
    done = settled(every[:1])
    rest = pulled(upstream.source(small=True), Position(start.cursor, frozenset(done)), clock)
    assert sorted(done + settled(rest)) == sorted(settled(every))


def test_a_pass_that_is_not_read_to_its_end_gives_no_cursor(upstream: Upstream, clock: StillClock) -> None:
    upstream.change()
    first = next(upstream.source(small=True).pull(upstream.start(), clock.now()))
    assert first.cursor is None


# --- rows and changes -----------------------------------------------------------------------------------------------


def test_rows_name_scopes_by_their_own_key_and_times_by_their_answers(
    upstream: Upstream, source: Source, clock: StillClock
) -> None:
    upstream.change()
    for row in rows(pulled(source, upstream.start(), clock)):
        assert all(claim.key == row.key or claim.key.startswith(f"{row.key}#") for claim in row.scopes)
        assert all(answer.requested_at.utcoffset() == timedelta(0) for answer in row.answers)
        claimed = {claim.key for claim in row.scopes}
        for change in source.to_changes(row):
            assert change.scope in claimed
            assert change.order == row.order


def test_mapping_is_pure(upstream: Upstream, source: Source, clock: StillClock) -> None:
    upstream.change()
    for row in rows(pulled(source, upstream.start(), clock)):
        before = row.digest
        first = changes(source, row)
        clock.move(timedelta(days=400))
        elsewhere = upstream.source(failing(500))
        assert changes(elsewhere, row) == changes(source, row) == first
        assert row.digest == before


def test_the_same_answers_have_the_same_digest_and_bodies_whenever_they_were_fetched(
    upstream: Upstream, clock: StillClock
) -> None:
    keys = upstream.keys()
    early = rows(list(upstream.source().fetch(keys)))
    clock.move(timedelta(days=1))
    late = rows(list(upstream.source().fetch(keys)))
    assert [row.digest for row in early] == [row.digest for row in late]
    for one, other in zip(early, late, strict=True):
        assert [_body(change) for change in upstream.source().to_changes(one)] == [
            _body(change) for change in upstream.source().to_changes(other)
        ]


def _body(change: Change) -> tuple[object, bytes | None]:
    return change.ref, change.body if isinstance(change, Upsert) else None


def test_bodies_are_resources_under_their_own_ref(upstream: Upstream, source: Source) -> None:
    for row in rows(list(source.fetch(upstream.keys()))):
        for change in source.to_changes(row):
            assert isinstance(change, Upsert)
            body = json.loads(change.body)
            assert (body["resourceType"], body["id"]) == (change.ref.type, change.ref.id)


def test_a_row_that_could_not_be_fetched_is_not_mapped(upstream: Upstream) -> None:
    (row,) = rows(list(upstream.source(failing(503)).fetch(upstream.keys()[:1])))
    assert row.unfetched is not None
    assert changes(upstream.source(), row) == row.unfetched.code


# --- keys -----------------------------------------------------------------------------------------------------------


def test_two_passes_over_an_unchanged_listing_agree_and_the_first_page_has_the_cursor(
    upstream: Upstream, source: Source
) -> None:
    first, second = list(source.keys()), list(source.keys())
    assert [page.keys for page in first] == [page.keys for page in second]
    assert sorted(key for page in first for key in page.keys) == sorted(upstream.keys())
    assert first[0].cursor is not None
    assert sum(page.unreadable for page in first) == 0


def test_keys_are_fetched_in_the_order_given_without_a_cursor(upstream: Upstream, source: Source) -> None:
    keys = list(reversed(upstream.keys()))
    batches = list(source.fetch(keys))
    assert [row.key for row in rows(batches)] == keys
    assert all(batch.cursor is None for batch in batches)


def test_a_key_that_the_source_does_not_know_does_not_end_the_run(upstream: Upstream, source: Source) -> None:
    found = rows(list(source.fetch(["nobody-knows-this", *upstream.keys()])))
    assert found[0].key == "nobody-knows-this"
    assert len(found) == 1 + len(upstream.keys())


# --- a source in trouble --------------------------------------------------------------------------------------------

DOWN = [
    failing(503),
    failing(500),
    failing(429, b"", **{"Retry-After": "99999"}),
    broken(httpx.ConnectError("refused")),
    broken(httpx.ReadTimeout("slow")),
    broken(httpx.RemoteProtocolError("reset")),
]


@pytest.mark.parametrize("wire", DOWN, ids=["503", "500", "429", "refused", "timeout", "reset"])
def test_a_source_that_is_down_is_tried_again_later(
    upstream: Upstream, clock: StillClock, wire: httpx.MockTransport
) -> None:
    with pytest.raises(TryAgain):
        pulled(upstream.source(wire), upstream.start(), clock)
    with pytest.raises(TryAgain):
        list(upstream.source(wire).keys())


@pytest.mark.parametrize("status", [401, 403])
def test_where_we_are_not_let_in_a_setting_is_wrong(upstream: Upstream, clock: StillClock, status: int) -> None:
    with pytest.raises(SettingError):
        pulled(upstream.source(failing(status)), upstream.start(), clock)
    with pytest.raises(SettingError):
        list(upstream.source(failing(status)).keys())
    with pytest.raises(SettingError):
        list(upstream.source(failing(status)).fetch(upstream.keys()))


NONSENSE = [
    b"<!DOCTYPE html><html><body>Login</body></html>",
    b"",
    b"{",
    b"null",
    b"[]",
    b"{}",
    b'"text"',
    b'{"a": NaN}',
    b"\xff\xfe",
    b"[" * 5000,
]


@pytest.mark.parametrize("body", NONSENSE, ids=[repr(body[:12]) for body in NONSENSE])
def test_nonsense_with_status_200_is_an_error_we_know(upstream: Upstream, clock: StillClock, body: bytes) -> None:
    wire = failing(200, body)
    with pytest.raises(TsiFetchError):
        pulled(upstream.source(wire), upstream.start(), clock)
    with pytest.raises(TsiFetchError):
        list(upstream.source(wire).keys())
    assert all(row.unfetched for row in rows(list(upstream.source(wire).fetch(upstream.keys()))))


def test_one_key_that_cannot_be_fetched_does_not_keep_the_others(upstream: Upstream) -> None:
    keys = upstream.keys()
    found = rows(list(upstream.source(upstream.refusing(keys[0])).fetch(keys)))
    assert [row.unfetched is not None for row in found] == [True] + [False] * (len(keys) - 1)


def test_an_error_never_holds_a_body(upstream: Upstream, clock: StillClock) -> None:
    wire = failing(200, b'{"error": "hush-hush", "rows": ["hush-hush"]}')
    with pytest.raises(TsiFetchError) as failed:
        pulled(upstream.source(wire), upstream.start(), clock)
    assert "hush" not in f"{failed.value.message} {failed.value.hint} {failed.value!r}"
