"""The change feed: paging, days in Madrid, what a row means, what is remembered of it."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fake_cima import BUSY, HTML, at, changed, cima, cursor_of, keys_of, page, poll, register, rows_of, stamp, wire
from freezegun import freeze_time

from dev.cima_server import Register, Reply
from sources.cima.options import CimaOptions
from sources.cima.source import Cima
from tsi_fetch.clock import SystemClock
from tsi_fetch.errors import SettingError, TryAgain, Unusable
from tsi_fetch.words import CursorKind, Position

A, B, C = "99001", "1998001001", "99 003-95-96"
NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
FIRST_PAGE = "registroCambios?fecha=08/03/2026&pagina=1"


def with_feed(*rows: Any, **settings: Any) -> Register:
    return register(feed=list(rows), **settings)


def of_day(day: int, nregistro: str = A, *flags: str, kind: int = 3) -> dict[str, Any]:
    return changed(nregistro, f"2026-03-{day:02d}T08:55:00+01:00", *(flags or ("ft",)), kind=kind)


def many(count: int) -> list[dict[str, Any]]:
    """Rows of products that the register does not know: one call each."""
    return [changed(f"7{n:05d}", f"2026-03-09T08:{n // 60:02d}:{n % 60:02d}+01:00", "ft") for n in range(count)]


def test_the_poll_asks_for_the_overlap_before_the_watermark() -> None:
    upstream = with_feed()
    poll(cima(upstream), at("2026-03-10"), NOON)
    assert upstream.calls == [FIRST_PAGE]


@pytest.mark.parametrize("overlap", [0, 1, 7])
def test_the_overlap_is_an_option(overlap: int) -> None:
    upstream = with_feed()
    poll(cima(upstream, overlap_days=overlap), at("2026-03-10"), NOON)
    assert upstream.calls == [f"registroCambios?fecha={10 - overlap:02d}/03/2026&pagina=1"]


@pytest.mark.parametrize("size", [1, 7, 25, 30, 200])
def test_the_feed_is_read_whole_whatever_the_page_size(size: int) -> None:
    batches = poll(cima(with_feed(*many(30), page_size=size)), at("2026-03-10"), NOON)
    assert keys_of(batches) == [f"7{n:05d}" for n in range(30)]


def test_products_come_oldest_change_first_in_batches_and_only_the_last_has_the_cursor() -> None:
    batches = poll(cima(with_feed(*many(20)), batch=8), at("2026-03-08"), NOON)
    assert [len(batch.rows) for batch in batches] == [8, 8, 4]
    cursor = cursor_of(batches)
    assert cursor is not None
    assert (cursor.kind, cursor.value) == (CursorKind.DATE, "2026-03-09")


def test_a_feed_that_does_not_count_its_rows_is_read_until_an_empty_page() -> None:
    upstream = with_feed()
    for number, rows in [*enumerate((many(2), many(3)[2:], []), 1)] * 2:
        body = {"pagina": number, "resultados": rows}
        upstream.instead(
            f"registroCambios?fecha=08/03/2026&pagina={number}", Reply(200, httpx.Response(200, json=body).content)
        )
    assert len(rows_of(poll(cima(upstream), at("2026-03-10"), NOON))) == 3


@pytest.mark.parametrize("nothing", [page([]), Reply(204, headers={}), Reply(200, b'{"totalFilas":0}')])
def test_an_empty_feed_is_one_empty_batch_and_the_watermark_stays(nothing: Reply) -> None:
    upstream = with_feed()
    upstream.instead(FIRST_PAGE, nothing)
    position = at("2026-03-10", "something")
    (batch,) = poll(cima(upstream), position, NOON)
    assert (batch.rows, batch.cursor) == ((), position.cursor)


def test_without_a_watermark_an_empty_feed_gives_none() -> None:
    (batch,) = poll(cima(with_feed()), Position(), NOON)
    assert (batch.rows, batch.cursor) == ((), None)


# --- pages that do not fit together ---------------------------------------------------------------------------------


def test_a_total_that_changes_between_pages_has_the_feed_read_again() -> None:
    upstream = with_feed(*many(4), page_size=2)
    upstream.instead(FIRST_PAGE, page(many(2), total=3))
    assert len(rows_of(poll(cima(upstream), at("2026-03-10"), NOON))) == 4
    assert upstream.calls.count(FIRST_PAGE) == 3, "once in vain, and two that agree"


def test_a_feed_that_loses_one_row_and_gains_another_while_it_is_read_lacks_none() -> None:
    """The totals are the same, and no row comes twice: one is in neither page."""
    old = sorted(many(5), key=lambda row: -row["fecha"])
    upstream = with_feed(*many(5), page_size=3)
    upstream.instead(FIRST_PAGE, page(old[:2], total=4))
    upstream.instead("registroCambios?fecha=08/03/2026&pagina=2", page(old[3:], total=4, number=2))
    assert keys_of(poll(cima(upstream), at("2026-03-10"), NOON)) == [f"7{n:05d}" for n in range(5)]


def test_a_feed_that_does_not_count_its_rows_is_no_page_alone_once_two_were_asked_for() -> None:
    """A row of the first page goes while they are read: the last row moves to the page that was read already."""
    rows = many(3)
    upstream = with_feed()
    for first in ([rows[2], rows[1]], [rows[2], rows[0]], [rows[2], rows[0]]):
        for number, some in enumerate((first, []), 1):
            body = {"pagina": number, "resultados": some}
            call = f"registroCambios?fecha=08/03/2026&pagina={number}"
            upstream.instead(call, Reply(200, httpx.Response(200, json=body).content))
    assert set(keys_of(poll(cima(upstream), at("2026-03-10"), NOON))) == {"700000", "700002"}


def test_rows_of_one_moment_may_come_in_any_order() -> None:
    rows = [row | {"fecha": many(1)[0]["fecha"]} for row in many(4)]
    upstream = with_feed()
    for turn in (1, -1):
        upstream.instead(FIRST_PAGE, page(rows[:2][::turn], total=4))
        upstream.instead("registroCambios?fecha=08/03/2026&pagina=2", page(rows[2:][::turn], total=4, number=2))
    assert len(keys_of(poll(cima(upstream), at("2026-03-10"), NOON))) == 4


def test_a_feed_of_one_page_is_asked_for_once() -> None:
    upstream = with_feed(*many(4))
    assert len(rows_of(poll(cima(upstream), at("2026-03-10"), NOON))) == 4
    assert upstream.calls.count(FIRST_PAGE) == 1


def test_a_row_that_moves_to_the_next_page_has_the_feed_read_again() -> None:
    """One row came in front and one went at the end: the total is the same, and a row was pushed over the edge."""
    old = sorted(many(5), key=lambda row: -row["fecha"])
    upstream = with_feed(*many(4), page_size=2)
    upstream.instead(FIRST_PAGE, page(old[1:3], total=4))
    upstream.instead("registroCambios?fecha=08/03/2026&pagina=2", page(old[2:4], total=4, number=2))
    assert keys_of(poll(cima(upstream), at("2026-03-10"), NOON)) == [f"7{n:05d}" for n in range(4)]


@pytest.mark.parametrize(
    "pages",
    [
        [page(many(2), total=3), page([], total=3, number=2)],  # an empty page before all rows came
        [page(many(2), total=3), page(many(2), total=3, number=2)],  # the page number is not heeded
        [page(many(2), total=4), page(many(2), total=4, number=2)],
        [page(many(2), total=3), page(many(4)[2:], total=3, number=2)],  # more than was announced
    ],
    ids=["short", "repeated", "repeated and enough", "long"],
)
def test_a_feed_that_never_fits_together_is_tried_again_later(pages: list[Reply]) -> None:
    upstream = with_feed()
    for number, reply in enumerate(pages, 1):
        upstream.instead(f"registroCambios?fecha=08/03/2026&pagina={number}", *[reply] * 9)
    with pytest.raises(TryAgain, match="5 readings"):
        poll(cima(upstream), at("2026-03-10"), NOON)
    assert upstream.calls.count(FIRST_PAGE) == 5


def test_a_row_that_the_register_itself_says_twice_is_one_row() -> None:
    upstream = with_feed(of_day(9), of_day(9), of_day(9, B))
    batches = poll(cima(upstream), at("2026-03-10"), NOON)
    assert sorted(keys_of(batches)) == sorted([A, B])
    assert upstream.calls.count(FIRST_PAGE) == 2


# --- what a row means -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["estado", "comerc", "prosp", "ft", "otros", "fotos", "algo-nuevo", ""])
def test_any_flag_that_is_not_a_side_flag_means_the_whole_product(flag: str) -> None:
    (row,) = rows_of(poll(cima(with_feed(of_day(9, A, "psum", flag))), at("2026-03-10"), NOON))
    assert row.key == A
    assert [(claim.key, claim.whole) for claim in row.scopes] == [
        (key, True) for key in (A, f"{A}#matinf", f"{A}#notasSeguridad", f"{A}#psum")
    ]
    assert row.answers[0].part == "medicamento"


@pytest.mark.parametrize("kind", [1, 2, 4, 99])
def test_any_other_kind_of_change_means_the_whole_product(kind: int) -> None:
    (row,) = rows_of(poll(cima(with_feed(of_day(9, A, "psum", kind=kind))), at("2026-03-10"), NOON))
    assert row.answers


SIDES = {
    "psum": [f"medicamento?nregistro={A}", "psuministro/v2/cn/999101", "psuministro/v2/cn/999102"],
    "notasSeguridad": [f"medicamento?nregistro={A}", f"notas?nregistro={A}"],
    "matinf": [f"medicamento?nregistro={A}", f"materiales?nregistro={A}"],
}
MADE = {"psum": 1, "notasSeguridad": 1, "matinf": 3}


@pytest.mark.parametrize("flags", [("psum",), ("notasSeguridad",), ("matinf",), ("matinf", "notasSeguridad", "psum")])
def test_side_flags_alone_ask_for_what_they_name_and_touch_only_what_comes_of_it(flags: tuple[str, ...]) -> None:
    upstream = with_feed(of_day(9, A, *flags))
    source = cima(upstream)
    (row,) = rows_of(poll(source, at("2026-03-10"), NOON))
    assert row.key == f"{A}#{'+'.join(flags)}"  # it must not speak for the whole product, whose quarantine may be open
    assert [(claim.key, claim.whole) for claim in row.scopes] == [(f"{A}#{flag}", True) for flag in flags]
    assert (len(row.settles), row.unfetched) == (1, None)
    changes = source.to_changes(row)
    assert {change.ref.type for change in changes} == {"DocumentReference"}
    assert Counter(change.scope for change in changes) == {f"{A}#{flag}": MADE[flag] for flag in flags}
    assert sorted(upstream.calls) == sorted({FIRST_PAGE, *(call for flag in flags for call in SIDES[flag])})


def test_what_some_flags_ask_for_can_be_fetched_by_its_key() -> None:
    upstream = with_feed()
    (row,) = rows_of(cima(upstream).fetch([f"{A}#matinf+psum"]))
    assert [answer.part for answer in row.answers] == [
        "medicamento", "materiales", "psuministro/999101", "psuministro/999102"
    ]  # fmt: skip
    assert [claim.key for claim in row.scopes] == [f"{A}#matinf", f"{A}#psum"]


def test_of_a_product_that_is_gone_nothing_is_left_of_its_flags_either() -> None:
    source = cima(with_feed(of_day(9, "404404", "psum")))
    (row,) = rows_of(poll(source, at("2026-03-10"), NOON))
    assert [(answer.part, answer.status) for answer in row.answers] == [("medicamento", 204)]
    assert [claim.key for claim in row.scopes] == ["404404#psum"]
    assert source.to_changes(row) == []


def test_the_rows_of_a_product_are_one_piece_of_work_with_all_their_flags() -> None:
    upstream = with_feed(of_day(8, A, "psum"), of_day(9, A, "ft"), of_day(9, B, "psum"), of_day(10, A, "matinf"))
    batches = poll(cima(upstream), at("2026-03-10"), NOON)
    assert keys_of(batches) == [f"{B}#psum", A]
    assert len(rows_of(batches)[1].settles) == 3
    assert upstream.calls.count(f"medicamento?nregistro={A}") == 1
    assert upstream.calls.count(f"medicamento?nregistro={B}") == 1


def test_side_flags_of_several_rows_are_united() -> None:
    upstream = with_feed(of_day(8, A, "psum"), of_day(9, A, "matinf"))
    (row,) = rows_of(poll(cima(upstream), at("2026-03-10"), NOON))
    assert (row.key, len(row.settles)) == (f"{A}#matinf+psum", 2)


@pytest.mark.parametrize(
    ("given", "whole"),
    [
        ({"cambio": ["psum"]}, False),
        ({"cambios": ["psum"]}, False),  # the official document's spelling
        ({"cambios": ["ft"]}, True),
        ({"cambio": []}, True),
        ({"cambio": None}, True),
        ({}, True),
        ({"cambio": "psum"}, False),
        ({"cambio": [7]}, True),
        ({"cambio": {"ft": True}}, True),
    ],
)
def test_flags_are_read_in_every_spelling(given: dict[str, Any], whole: bool) -> None:
    raw = {"nregistro": A, "fecha": stamp("2026-03-09T08:55:00+01:00"), "tipoCambio": 3} | given
    (row,) = rows_of(poll(cima(with_feed(raw)), at("2026-03-10"), NOON))
    assert (row.key == A) is whole


@pytest.mark.parametrize("kind", [1, 2, 4, 0, None, "3", 3.5])
def test_any_kind_of_change_but_a_modification_means_the_whole_product(kind: object) -> None:
    """Whatever the flags beside it: a product that is new, or gone, is more than its supply problem."""
    raw = of_day(9, A, "psum") | {"tipoCambio": kind}
    (row,) = rows_of(poll(cima(with_feed(raw)), at("2026-03-10"), NOON))
    assert row.key == A
    assert A in {claim.key for claim in row.scopes}


@pytest.mark.parametrize(
    "raw",
    [
        {"fecha": 1773042900000, "tipoCambio": 3, "cambio": ["ft"]},
        {"nregistro": 99001, "fecha": 1773042900000},
        {"nregistro": " ", "fecha": 1773042900000},
        {"nregistro": A},
        {"nregistro": A, "fecha": "09/03/2026"},
        {"nregistro": A, "fecha": True},
        {"nregistro": A, "fecha": 10**17},
        {"nregistro": A, "fecha": 10**40},
        {"nregistro": A, "fecha": 1773042900000.5},
        "99001",
        None,
        [],
    ],
)
def test_a_row_that_cannot_be_read_is_kept_whole_and_unusable(raw: Any) -> None:
    upstream = with_feed()
    upstream.instead(FIRST_PAGE, page([raw, of_day(9, C)]))
    source = cima(upstream)
    batches = poll(source, at("2026-03-10"), NOON)
    bad, good = rows_of(batches)
    assert good.key == C
    assert bad.settles == (bad.key,)
    assert bad.answers[0].part == "fila"
    with pytest.raises(Unusable) as refused:
        source.to_changes(bad)
    assert refused.value.fault.code == "cima-feed-row"
    cursor = cursor_of(batches)
    assert cursor is not None
    assert bad.key in cursor.seen


def test_an_unreadable_row_comes_once() -> None:
    upstream = with_feed()
    upstream.instead(FIRST_PAGE, page([{"x": 1}]), page([{"x": 1}]))
    source = cima(upstream)
    first = poll(source, at("2026-03-10"), NOON)
    assert keys_of(poll(source, Position(cursor_of(first)), NOON)) == []


# --- the watermark --------------------------------------------------------------------------------------------------


def test_a_second_poll_from_the_returned_cursor_fetches_nothing() -> None:
    upstream = with_feed(of_day(8), of_day(9, B, "psum"), of_day(10, C))
    source = cima(upstream)
    first = poll(source, at("2026-03-09"), NOON)
    upstream.calls.clear()
    again = poll(source, Position(cursor_of(first)), NOON + timedelta(days=1))
    assert keys_of(again) == []
    assert cursor_of(again) == cursor_of(first)
    assert len(upstream.calls) == 1


def test_a_row_that_arrives_late_inside_the_overlap_is_read() -> None:
    upstream = with_feed(of_day(10, A))
    source = cima(upstream)
    first = poll(source, at("2026-03-10"), NOON)
    upstream.feed.append(of_day(8, B))
    assert keys_of(poll(source, Position(cursor_of(first)), NOON)) == [B]


def test_a_product_that_changes_again_comes_again_with_its_new_row_alone() -> None:
    upstream = with_feed(of_day(9, A, "ft"))
    source = cima(upstream)
    first = poll(source, at("2026-03-10"), NOON)
    upstream.feed.append(of_day(10, A, "psum"))
    (row,) = rows_of(poll(source, Position(cursor_of(first)), NOON))
    assert row.key == f"{A}#psum"


def test_rows_of_the_checkpoint_are_left_out_and_stay_seen() -> None:
    upstream = with_feed(*many(10))
    source = cima(upstream, batch=4)
    done = poll(source, at("2026-03-08"), NOON)[0]
    settled = frozenset(key for row in done.rows for key in row.settles)
    rest = poll(source, Position(at("2026-03-08").cursor, settled), NOON)
    assert keys_of(rest) == [f"7{n:05d}" for n in range(4, 10)]
    cursor = cursor_of(rest)
    assert cursor is not None
    assert settled <= cursor.seen


def test_the_watermark_is_never_later_than_the_start_of_the_run() -> None:
    upstream = with_feed(changed(A, "2026-04-01T08:55:00+02:00", "ft"))
    cursor = cursor_of(poll(cima(upstream), at("2026-03-08"), NOON))
    assert cursor is not None
    assert cursor.value == "2026-03-10"
    assert len(cursor.seen) == 1


def test_the_watermark_never_goes_back() -> None:
    cursor = cursor_of(poll(cima(with_feed(of_day(8))), at("2026-03-10"), NOON))
    assert cursor is not None
    assert cursor.value == "2026-03-10"


def test_what_lies_before_the_overlap_is_forgotten_and_what_is_missing_for_once_is_not() -> None:
    upstream = with_feed(*(of_day(day, A) for day in range(1, 6)))
    source = cima(upstream)
    first = cursor_of(poll(source, at("2026-03-01"), NOON))
    assert first is not None
    assert len(first.seen) == 3  # 3, 4 and 5 March
    hidden = upstream.feed.pop()
    second = cursor_of(poll(source, Position(first), NOON))
    assert second is not None
    upstream.feed.append(hidden)
    assert keys_of(poll(source, Position(second), NOON)) == []


NIGHTS = [
    # one minute on either side of midnight in Madrid, in summer, in winter, and in the nights the clocks change
    ("2026-07-01T21:59:00+00:00", "2026-07-01"),
    ("2026-07-01T22:00:00+00:00", "2026-07-02"),
    ("2026-01-15T22:59:00+00:00", "2026-01-15"),
    ("2026-01-15T23:00:00+00:00", "2026-01-16"),
    ("2026-03-28T23:00:00+00:00", "2026-03-29"),  # 02:00 becomes 03:00 in this night
    ("2026-03-29T21:59:00+00:00", "2026-03-29"),  # the day has 23 hours
    ("2026-03-29T22:00:00+00:00", "2026-03-30"),
    ("2026-10-24T21:59:00+00:00", "2026-10-24"),
    ("2026-10-25T00:30:00+00:00", "2026-10-25"),  # half past two, for the first time
    ("2026-10-25T01:30:00+00:00", "2026-10-25"),  # half past two, again
    ("2026-10-25T22:59:00+00:00", "2026-10-25"),  # the day has 25 hours
    ("2026-10-25T23:00:00+00:00", "2026-10-26"),
]


@pytest.mark.parametrize(("instant", "day"), NIGHTS)
def test_the_watermark_is_the_day_in_madrid_of_the_newest_row(instant: str, day: str) -> None:
    started = datetime.fromisoformat(instant) + timedelta(days=2)
    cursor = cursor_of(poll(cima(with_feed(changed(A, instant, "ft"))), at("2026-01-01"), started))
    assert cursor is not None
    assert cursor.value == day


@pytest.mark.parametrize(("instant", "day"), NIGHTS)
def test_without_a_watermark_the_poll_starts_from_the_day_in_madrid(instant: str, day: str) -> None:
    upstream = with_feed()

    class NoPace:
        def wait(self) -> None:
            """Nobody waits under a frozen clock."""

    with freeze_time(instant):
        clock = SystemClock()
        options = CimaOptions(base_url="https://cima.invalid/cima/rest")
        source = Cima(options, clock, wire=wire(upstream), pace=NoPace(), rng=random.Random(1))
        poll(source, Position(), clock.now())
    asked = datetime.fromisoformat(day) - timedelta(days=2)
    assert upstream.calls == [f"registroCambios?fecha={asked:%d/%m/%Y}&pagina=1"]


def test_a_stamp_before_1970_is_a_day_like_any_other() -> None:
    upstream = with_feed()
    upstream.instead("registroCambios?fecha=30/12/1961&pagina=1", page([{"nregistro": A, "fecha": -249786000000}]))
    cursor = cursor_of(poll(cima(upstream), at("1962-01-01"), NOON))
    assert cursor is not None
    assert cursor.value == "1962-02-01"


# --- a feed in trouble ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        (BUSY, TryAgain),
        (HTML, TryAgain),
        (Reply(200, b'{"error":"No se ha podido"}'), TryAgain),
        (Reply(200, b'{"totalFilas":1,"resultados":[{'), TryAgain),
        (Reply(200, b"[]"), TryAgain),
        (Reply(200, b'{"resultados":{}}'), TryAgain),
        (Reply(200, b'{"totalFilas":3}'), TryAgain),
        (Reply(200, b"{}"), TryAgain),
        (Reply(200, b'{"resultados":[],"x":NaN}'), TryAgain),
        (Reply(200, b""), TryAgain),
        (Reply(401), SettingError),
        (Reply(403), SettingError),
        (Reply(404), SettingError),
        (Reply(406), SettingError),
    ],
)
def test_a_failing_feed_ends_the_pass_without_a_batch(trouble: Reply, error: type[Exception]) -> None:
    upstream = with_feed(of_day(9))
    upstream.instead(FIRST_PAGE, *[trouble] * 9)
    with pytest.raises(error):
        next(cima(upstream).pull(at("2026-03-10"), NOON))
    assert all(call.startswith("registroCambios") for call in upstream.calls)


def test_a_feed_that_fails_on_a_later_page_ends_the_pass_without_a_batch() -> None:
    upstream = with_feed(*many(4), page_size=2)
    upstream.instead("registroCambios?fecha=08/03/2026&pagina=2", *[BUSY] * 9)
    with pytest.raises(TryAgain):
        next(cima(upstream).pull(at("2026-03-10"), NOON))


def test_a_web_page_now_and_then_is_asked_again() -> None:
    upstream = with_feed(of_day(9, C))
    upstream.instead(FIRST_PAGE, HTML)
    assert keys_of(poll(cima(upstream), at("2026-03-10"), NOON)) == [C]
