"""The listing: all keys, the register's own date, and what is missing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from fake_cima import BUSY, HTML, cima, page, register
from still_clock import StillClock

from dev.cima_server import Register, Reply
from tsi_fetch.errors import SettingError, TryAgain
from tsi_fetch.words import KeyPage


def crowded(count: int, page_size: int) -> Register:
    upstream = register(page_size=page_size)
    upstream.products = {f"{n:05d}": {"nregistro": f"{n:05d}"} for n in range(count)}
    return upstream


def pages(upstream: Register) -> list[KeyPage]:
    return list(cima(upstream).keys())


@pytest.mark.parametrize(("size", "calls"), [(25, 3), (200, 1), (57, 1), (56, 2)])
def test_all_keys_are_read_whatever_the_page_size(size: int, calls: int) -> None:
    upstream = crowded(57, size)
    found = pages(upstream)
    assert [key for one in found for key in one.keys] == sorted(upstream.products)
    assert sum(one.unreadable for one in found) == 0
    assert len(upstream.calls) == calls


@pytest.mark.parametrize(
    ("server", "day"),
    [
        (datetime(2026, 3, 1, 23, 30, tzinfo=UTC), "2026-03-02"),
        (datetime(2026, 7, 1, 21, 59, tzinfo=UTC), "2026-07-01"),
        (datetime(2026, 10, 25, 22, 59, tzinfo=UTC), "2026-10-25"),
    ],
)
def test_the_cursor_is_the_registers_own_date_in_madrid_at_the_first_request(server: datetime, day: str) -> None:
    upstream = crowded(30, 25)
    upstream.date = server
    first, second = cima(upstream, StillClock(server)).keys()
    assert first.cursor is not None
    assert (first.cursor.value, first.cursor.seen) == (day, frozenset())
    assert second.cursor == first.cursor


def test_where_the_registers_clock_is_ahead_of_ours_ours_counts() -> None:
    """A watermark in the future would never be passed by anything."""
    upstream, ours = crowded(1, 25), datetime(2026, 3, 2, 12, tzinfo=UTC)
    upstream.date = datetime(2027, 1, 1, tzinfo=UTC)
    (found,) = cima(upstream, StillClock(ours)).keys()
    assert found.cursor is not None
    assert found.cursor.value == "2026-03-02"


def test_without_a_date_header_our_own_clock_counts() -> None:
    upstream = crowded(1, 25)
    upstream.instead("medicamentos?pagina=1", Reply(200, page([{"nregistro": "1"}]).body, {"Date": "soon"}))
    (found,) = pages(upstream)
    assert found.cursor is not None
    assert found.cursor.value == "2026-03-02"


def test_an_empty_listing_is_a_page_without_keys() -> None:
    (found,) = pages(crowded(0, 25))
    assert (found.keys, found.unreadable) == ((), 0)


@pytest.mark.parametrize("row", [{}, {"nregistro": None}, {"nregistro": 1}, {"nregistro": ""}, "1", None, []])
def test_a_row_without_a_number_counts_as_unreadable(row: object) -> None:
    upstream = crowded(0, 25)
    upstream.instead("medicamentos?pagina=1", page([{"nregistro": "1"}, row]))
    (found,) = pages(upstream)
    assert (found.keys, found.unreadable) == (("1",), 1)


def test_what_was_announced_and_not_given_counts_as_unreadable() -> None:
    upstream = crowded(0, 25)
    upstream.instead("medicamentos?pagina=1", page([{"nregistro": "1"}], total=10))
    upstream.instead("medicamentos?pagina=2", page([], total=10))
    assert sum(found.unreadable for found in pages(upstream)) == 9


def test_a_page_that_repeats_the_one_before_ends_the_listing_as_incomplete() -> None:
    upstream = crowded(0, 25)
    for number in (1, 2):
        upstream.instead(f"medicamentos?pagina={number}", page([{"nregistro": "1"}], total=10))
    found = pages(upstream)
    assert [one.keys for one in found] == [("1",), ()]
    assert sum(one.unreadable for one in found) > 0


def test_a_later_page_that_announces_less_takes_nothing_back() -> None:
    for later in (page([], total=0), Reply(204, headers={}), page([{"nregistro": "2"}], total=2)):
        upstream = crowded(0, 25)
        upstream.instead("medicamentos?pagina=1", page([{"nregistro": "1"}], total=10))
        upstream.instead("medicamentos?pagina=2", later)
        assert sum(found.unreadable for found in pages(upstream)) >= 8


def test_a_row_that_comes_twice_has_taken_the_place_of_another_one() -> None:
    upstream = crowded(0, 25)
    upstream.instead("medicamentos?pagina=1", page([{"nregistro": "1"}, {"nregistro": "2"}], total=4))
    upstream.instead("medicamentos?pagina=2", page([{"nregistro": "2"}, {"nregistro": "3"}], total=4))
    assert sum(found.unreadable for found in pages(upstream)) == 1


def test_a_row_that_comes_twice_on_one_page_is_the_registers_own_way() -> None:
    upstream = crowded(0, 25)
    upstream.instead("medicamentos?pagina=1", page([{"nregistro": "1"}, {"nregistro": "1"}], total=2))
    assert [(found.keys, found.unreadable) for found in pages(upstream)] == [(("1", "1"), 0)]


def test_pages_that_come_round_again_end_the_reading() -> None:
    upstream = crowded(0, 25)
    for number in range(1, 10):
        body = b'{"resultados":[{"nregistro":"%d"}]}' % (number % 2)
        upstream.instead(f"medicamentos?pagina={number}", Reply(200, body))
    found = pages(upstream)
    assert [f.keys for f in found] == [("1",), ("0",), ()]
    assert sum(f.unreadable for f in found) == 1


@pytest.mark.parametrize(
    ("trouble", "error"),
    [(BUSY, TryAgain), (HTML, TryAgain), (Reply(200, b'{"error":"x"}'), TryAgain), (Reply(404), SettingError)],
)
def test_a_listing_that_breaks_off_raises(trouble: Reply, error: type[Exception]) -> None:
    upstream = crowded(57, 25)
    upstream.instead("medicamentos?pagina=2", *[trouble] * 9)
    with pytest.raises(error):
        pages(upstream)


def test_a_listing_of_the_fixtures_names_every_product() -> None:
    (found,) = pages(register())
    assert found.keys == ("1998001001", "99 003-95-96", "99001")


@pytest.mark.parametrize("total", [3, 0, -1])
def test_more_rows_than_were_announced_say_that_something_is_wrong(total: int) -> None:
    """A register that gives one product thirty times may lack two others (hostile input, trial 103)."""
    upstream = crowded(0, 25)
    for number in (1, 2):
        upstream.instead(f"medicamentos?pagina={number}", page([{"nregistro": "1"}] * 30, total=total))
    assert sum(one.unreadable for one in pages(upstream)) > 0
