"""One product: which calls it takes, what becomes of answers that are none, and in which order rows come."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from threading import Barrier, BrokenBarrierError
from typing import Any

import httpx
import pytest
from fake_cima import BASE_URL, BUSY, HTML, at, changed, cima, keys_of, register, rows_of, wire
from still_clock import StillClock

from dev.cima_server import Reply
from sources.cima import client
from tsi_fetch.clock import microseconds
from tsi_fetch.errors import SettingError, TryAgain, Unusable
from tsi_fetch.words import Row

A, B, C = "99001", "1998001001", "99 003-95-96"


def fetched(upstream: Any, *keys: str, **options: Any) -> list[Row]:
    return rows_of(cima(upstream, **options).fetch(keys or (A,)))


def parts(row: Row) -> list[str]:
    return [answer.part for answer in row.answers]


def test_a_product_is_its_own_answer_every_presentation_and_both_texts() -> None:
    (row,) = fetched(register())
    own = ["medicamento", "presentacion/999101", "presentacion/999102", "contenido/1", "contenido/2"]
    assert parts(row) == [*own, "notas", "materiales", "psuministro/999101", "psuministro/999102"]
    assert (row.key, row.unfetched) == (A, None)
    assert [(claim.key, claim.whole) for claim in row.scopes] == [
        (key, True) for key in (A, f"{A}#matinf", f"{A}#notasSeguridad", f"{A}#psum")
    ]


def test_what_a_product_says_that_it_has_not_is_not_asked_for() -> None:
    upstream = register()
    product = upstream.products[A]
    product["notas"] = product["materialesInf"] = product["psum"] = False
    product["presentaciones"][1]["psum"] = False
    (row,) = fetched(upstream)
    assert parts(row)[-1] == "contenido/2"
    product["presentaciones"][1]["psum"] = True
    (row,) = fetched(upstream)
    assert parts(row)[-1] == "psuministro/999102"


@pytest.mark.parametrize("kind", [2, 3])
def test_what_the_feed_tells_of_is_asked_for_with_the_whole_product(kind: int) -> None:
    upstream = register(date=datetime(2026, 3, 10, 12, tzinfo=UTC))
    product = upstream.products[A]
    for one in (product, *product["presentaciones"]):
        one.update(notas=False, materialesInf=False, psum=False)
    upstream.feed = [changed(A, "2026-03-10T08:55:00+01:00", "ft", "psum", "notasSeguridad", kind=kind)]

    (row,) = rows_of(cima(upstream).pull(at("2026-03-09"), datetime(2026, 3, 10, 12, tzinfo=UTC)))

    assert row.key == A
    assert parts(row)[-3:] == ["notas", "psuministro/999101", "psuministro/999102"]


def test_a_pack_that_the_supply_problems_do_not_know_has_none_and_a_lost_page_is_no_answer() -> None:
    upstream = register()
    call = "psuministro/v2/cn/999101"
    upstream.instead(call, Reply(404, b'{"error":"no existe"}'))
    (row,) = fetched(upstream)
    assert (row.unfetched, [a.status for a in row.answers if a.part == "psuministro/999101"]) == (None, [404])
    upstream.instead(call, Reply(404, b"<html></html>"))
    product, row = fetched(upstream)
    assert (product.unfetched, row.key) == (None, f"{A}#psum")
    assert row.unfetched is not None
    assert (row.unfetched.code, row.unfetched.path) == ("cima-status", "psuministro/999101")


def test_a_document_without_sections_is_not_asked_for() -> None:
    (row,) = fetched(register(), C)
    assert parts(row) == ["medicamento", "presentacion/999301"]


def test_a_number_with_blanks_is_percent_encoded() -> None:
    seen: list[str] = []
    upstream = wire(register(), lambda request: seen.append(request.url.raw_path.decode()))
    (row,) = fetched(upstream, C)
    assert seen[0] == "/cima/rest/medicamento?nregistro=99%20003-95-96"
    assert row.answers[0].url == f"{BASE_URL}/medicamento?nregistro=99%20003-95-96"
    assert row.unfetched is None


def test_a_number_cannot_ask_for_something_else() -> None:
    seen: list[str] = []
    upstream = wire(register(), lambda request: seen.append(request.url.raw_path.decode()))
    fetched(upstream, "1&cn=2#x/../y%")
    assert seen == ["/cima/rest/medicamento?nregistro=1%26cn%3D2%23x%2F..%2Fy%25"]


def test_every_product_of_the_register_maps() -> None:
    source = cima(register())
    for row in rows_of(source.fetch([A, B, C])):
        changes = source.to_changes(row)
        assert {change.scope for change in changes} <= {claim.key for claim in row.scopes}
        assert row.key in {change.scope for change in changes}
        assert {change.order for change in changes} == {row.order}


def test_an_unknown_product_is_a_row_whose_scope_is_empty() -> None:
    source = cima(register())
    (row,) = rows_of(source.fetch(["404404"]))
    assert [(answer.part, answer.status, answer.body) for answer in row.answers] == [("medicamento", 204, b"")]
    assert row.unfetched is None
    assert [claim.whole for claim in row.scopes] == [True] * 4
    assert source.to_changes(row) == ()


def test_a_presentation_or_text_that_is_not_there_is_kept_as_such() -> None:
    upstream = register()
    del upstream.presentations["999102"], upstream.contents[2, A]
    (row,) = fetched(upstream)
    assert [answer.status for answer in row.answers][:5] == [200, 200, 204, 200, 204]


def test_the_order_is_the_time_of_the_earliest_request() -> None:
    clock = StillClock()
    source = cima(register(), clock)
    started = clock.now()
    (row,) = rows_of(source.fetch([A]))
    assert row.order == microseconds(min(answer.requested_at for answer in row.answers))
    assert row.order == microseconds(started)
    assert max(answer.requested_at for answer in row.answers) > started


def test_the_digest_does_not_depend_on_when_it_was_fetched() -> None:
    early, late = StillClock(), StillClock(datetime(2027, 1, 1, tzinfo=UTC))
    (first,), (second,) = (rows_of(cima(register(), clock).fetch([A])) for clock in (early, late))
    assert first.digest == second.digest
    assert first.order != second.order


CALLS = [
    f"medicamento?nregistro={A}",
    "presentacion/999102",
    f"docSegmentado/contenido/2?nregistro={A}",
]

TROUBLE = {
    "cima-unreachable": [BUSY, HTML, Reply(200, b""), Reply(200, b'{"nregistro":'), Reply(429), Reply(500)],
    "cima-status": [Reply(400, b'{"error":"x"}'), Reply(404), Reply(406), Reply(410), Reply(206, b"{}")],
    "cima-error-answer": [Reply(200, b'{"error":"El medicamento no existe"}')],
    "cima-not-json": [Reply(200, b'{"a":1,"a":2}'), Reply(200, b'[{"a":NaN}]'), Reply(200, b'{"a":"\xff"}')],
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("code", "reply"), [(code, reply) for code, replies in TROUBLE.items() for reply in replies])
def test_a_product_that_cannot_be_fetched_is_a_row_that_says_why(call: str, code: str, reply: Reply) -> None:
    upstream = register()
    upstream.instead(call, *[reply] * 9)
    source = cima(upstream)
    bad, good = rows_of(source.fetch([A, C]))
    assert bad.unfetched is not None
    assert bad.unfetched.code == code
    assert bad.unfetched.path == {0: "medicamento", 1: "presentacion/999102", 2: "contenido/2"}[CALLS.index(call)]
    assert (bad.key, bad.answers, bad.scopes) == (A, (), ())
    assert good.unfetched is None
    with pytest.raises(Unusable):
        source.to_changes(bad)


@pytest.mark.parametrize(
    ("call", "body", "code"),
    [
        (CALLS[0], [], "cima-type"),
        (CALLS[0], {"nregistro": "99002"}, "cima-other-answer"),
        (CALLS[0], {"nregistro": 99001}, "cima-other-answer"),
        (CALLS[0], {"message": "ok"}, "cima-other-answer"),
        (CALLS[1], {"cn": "999101"}, "cima-other-answer"),
        (CALLS[1], [], "cima-type"),
        (CALLS[2], {"seccion": "1"}, "cima-type"),
    ],
)
def test_an_answer_about_something_else_is_not_taken(call: str, body: object, code: str) -> None:
    upstream = register()
    upstream.instead(call, Reply(200, json.dumps(body).encode()))
    (row,) = fetched(upstream)
    assert row.unfetched is not None
    assert row.unfetched.code == code


def test_a_fault_never_shows_what_the_answer_held() -> None:
    upstream = register()
    upstream.instead(CALLS[0], Reply(200, b'{"error":"hush"}'))
    (row,) = fetched(upstream)
    assert "hush" not in repr(row)


def test_an_answer_that_is_too_large_is_one_unfetched_row() -> None:
    (row, small) = fetched(register(contents={(1, A): [{"x": "y" * 3000}]}), A, "404404", max_body=2048)
    assert row.unfetched is not None
    assert row.unfetched.code == "cima-too-large"
    assert small.unfetched is None


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("call", CALLS)
def test_where_we_are_not_let_in_the_run_ends_with_a_setting_error(call: str, status: int) -> None:
    upstream = register()
    upstream.instead(call, *[Reply(status)] * 9)
    with pytest.raises(SettingError):
        fetched(upstream)


def test_a_server_that_asks_for_a_long_pause_ends_the_run() -> None:
    upstream = register()
    upstream.instead(CALLS[0], Reply(429, b"", {"Retry-After": "3600"}))
    with pytest.raises(TryAgain, match="max_wait"):
        fetched(upstream)


def test_a_redirect_off_the_register_ends_the_run_with_a_setting_error() -> None:
    upstream = register()
    upstream.instead(CALLS[0], Reply(302, b"", {"Location": "https://elsewhere.invalid/login"}))
    with pytest.raises(SettingError, match="elsewhere"):
        fetched(upstream)


def test_a_circle_of_redirects_is_a_setting_error() -> None:
    upstream = register()
    upstream.instead(CALLS[0], *[Reply(302, b"", {"Location": f"{BASE_URL}/{CALLS[0]}"})] * 9)
    with pytest.raises(SettingError, match="circle"):
        fetched(upstream)


def test_a_redirect_that_is_no_url_is_an_unfetched_row() -> None:
    upstream = register()
    nowhere = Reply(302, b"", {"Location": "https://cima.invalid:no-port/"})
    upstream.instead(CALLS[0], nowhere, nowhere)  # it is asked again, as after any broken answer
    (row,) = fetched(upstream)
    assert row.unfetched is not None
    assert row.unfetched.code == "cima-unreachable"


def test_timeouts_and_resets_are_retried_and_then_the_row_says_so() -> None:
    failures = iter([httpx.ReadTimeout("slow"), httpx.ConnectError("reset"), httpx.ReadTimeout("slow")])

    def break_(request: httpx.Request) -> None:
        failure = next(failures, None)
        if failure:
            raise failure

    upstream = wire(register(), break_)
    bad, good = fetched(upstream, A, A, connections=1)
    assert bad.unfetched is not None
    assert (bad.unfetched.code, bad.unfetched.rule) == ("cima-unreachable", "ConnectError")
    assert good.unfetched is None


@pytest.mark.parametrize("connections", [1, 4, 8])
def test_rows_come_in_the_order_asked_for_however_many_connections(connections: int) -> None:
    keys = [A, "1", C, "2", B, "3", A, "4"]
    batches = list(cima(register(), connections=connections, batch=3).fetch(keys))
    assert keys_of(batches) == keys
    assert [len(batch.rows) for batch in batches] == [3, 3, 2]
    assert all(batch.cursor is None for batch in batches)


def test_that_a_pack_is_not_known_is_asked_once_and_a_page_that_is_no_answer_again() -> None:
    """404 with an error message is the API's own answer to `psuministro/v2/cn`; a proxy's page says nothing."""
    upstream = register()
    call = "psuministro/v2/cn/999101"
    unknown, elsewhere = Reply(404, b'{"error":"no existe"}'), Reply(404, b"<html></html>")
    upstream.instead(call, elsewhere, unknown)
    source = cima(upstream)
    given = [rows_of(source.fetch(["99001#psum"])) for _ in range(3)]
    assert [rows[0].unfetched is None for rows in given] == [False, True, True]
    assert given[1] == given[2]
    assert upstream.calls.count(call) == 2


def test_a_presentation_that_is_listed_twice_is_asked_for_once() -> None:
    upstream = register()
    upstream.products[A]["presentaciones"] *= 2
    (row,) = fetched(upstream)
    assert parts(row).count("presentacion/999101") == 1


def test_rows_of_one_product_that_are_fetched_at_once_ask_each_address_once() -> None:
    upstream = register()
    together = Barrier(3)

    def slowly(request: httpx.Request) -> None:
        """Nobody answers before all that may come have come."""
        with suppress(BrokenBarrierError):
            together.wait(0.2)

    source = cima(wire(upstream, slowly), connections=4)
    rows = rows_of(list(source.fetch([A, f"{A}#psum", f"{A}#notasSeguridad"])))
    assert [row.unfetched for row in rows] == [None] * 3
    assert len(upstream.calls) == len(set(upstream.calls))


def test_only_so_many_products_are_fetched_ahead() -> None:
    upstream = register()
    asked: list[str] = []

    def keys() -> Any:
        for n in range(1000):
            asked.append(str(n))
            yield str(n)

    batches = cima(upstream, connections=2, batch=1).fetch(keys())
    next(batches)
    assert len(asked) <= 2 * 2 + 2
    batches.close()  # type: ignore[attr-defined]


def test_a_run_that_stops_reading_leaves_no_request_behind() -> None:
    upstream = register()
    batches = cima(upstream, batch=1).fetch(str(n) for n in range(100))
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    settled = len(upstream.calls)
    assert settled <= 4 * 2 + 4 + 1
    assert len(upstream.calls) == settled


def test_requests_are_polite() -> None:
    clock = StillClock()
    start = clock.now()
    upstream = register()
    rows_of(cima(upstream, clock, rate=5).fetch([A, B]))
    assert clock.now() - start >= timedelta(seconds=(len(upstream.calls) - 1) / 5)


def test_what_was_asked_of_a_product_is_not_asked_again_in_one_run() -> None:
    upstream = register()
    source = cima(upstream)
    (whole,) = rows_of(source.fetch([A]))
    (side,) = rows_of(source.fetch([f"{A}#psum"]))
    assert len(set(upstream.calls)) == len(upstream.calls)
    assert set(side.answers) <= set(whole.answers)
    assert side.order == whole.order, "what is said twice is as old as the first answer"


def test_what_was_asked_before_the_feed_was_read_is_asked_again_where_the_feed_names_it() -> None:
    upstream = register(date=datetime(2026, 3, 10, 12, tzinfo=UTC))
    source = cima(upstream)
    (before,) = rows_of(source.fetch([A]))
    upstream.feed = [changed(A, "2026-03-10T08:55:00+01:00", kind=2)]
    del upstream.products[A]

    (row,) = rows_of(source.pull(at("2026-03-09"), datetime(2026, 3, 10, 12, tzinfo=UTC)))

    assert before.answers[0].status == 200
    assert [answer.status for answer in row.answers] == [204], "gone, as the feed has said"


def test_what_is_kept_is_bounded_and_then_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MOST_KEPT", 4000)
    upstream = register()
    source = cima(upstream)
    for _ in range(2):
        rows_of(source.fetch([A, B, C]))
    assert upstream.calls.count(f"medicamento?nregistro={A}") == 2
