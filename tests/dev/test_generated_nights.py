"""The made-up register's nights: the change feed has a row for all that changed, and the listing can shift."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

from dev.cima.board import Board
from dev.cima.control import control
from dev.cima.generated import Generated, Settings
from dev.cima.products import facts
from dev.cima_server import BASE

SEED = 3


def register(**changes: Any) -> Generated:
    return Generated(Settings(**{"seed": SEED, "products": 300, "text_bytes": 6_000} | changes))


def page(of: Generated, call: str) -> Any:
    return json.loads(of.answer(f"{BASE}/{call}").body)


def whole_feed(of: Generated, since: str) -> list[Any]:
    rows: list[Any] = []
    for number in range(1, 200):
        found = page(of, f"registroCambios?fecha={since}&pagina={number}")
        rows += found["resultados"]
        if not found["resultados"]:
            assert len(rows) == found["totalFilas"]
            return rows
    raise AssertionError("the feed does not end")


def test_a_nights_feed_has_exactly_what_changed_newest_first() -> None:
    held = register(page_size=20)
    held.pass_night(5)
    events = held.pass_night(45)
    rows = whole_feed(held, "04/03/2026")
    assert sorted((r["nregistro"], r["tipoCambio"], r["cambio"]) for r in rows) == sorted(
        (facts(SEED, e.product).number, e.kind, list(e.flags)) for e in events
    )
    assert len(rows) == 45
    assert {r["nregistro"] for r in rows} == {facts(SEED, e.product).number for e in events}
    stamps = [row["fecha"] for row in whole_feed(held, "01/03/2026")]
    assert stamps == sorted(stamps, reverse=True)
    assert len(stamps) == 45 + 5 + 15 + 15


def test_the_feed_reaches_back_before_the_first_night() -> None:
    held = register()
    found = page(held, "registroCambios?fecha=01/01/1990&pagina=900")
    assert found["totalFilas"] == 15 * ((date(2026, 3, 2) - date(1990, 1, 1)).days + 1)
    assert len(found["resultados"]) == 200
    assert page(held, "registroCambios?fecha=03/03/2026")["resultados"] == []


def test_the_feed_can_be_asked_for_some_products() -> None:
    held = register()
    number = facts(SEED, held.pass_night(1)[0].product).number.replace(" ", "+")
    found = page(held, f"registroCambios?fecha=03/03/2026&nregistro={number}&nregistro=0")
    assert found["totalFilas"] == 1


def test_in_some_weeks_everything_happens_that_can() -> None:
    life = register().life
    start = set(life.alive())
    kinds, flags, away, back = set[int](), set[str](), set[int](), set[int]()
    for _ in range(40):
        for event in life.pass_night(30):
            kinds.add(event.kind)
            flags.update(event.flags)
            state = life.state(event.product)
            (away if state.gone or state.withdrawn else back).add(event.product)
    assert kinds == {1, 2, 3}
    assert flags == {"ft", "prosp", "otros", "matinf", "psum", "comerc", "estado", "notasSeguridad", "fotos"}
    assert set(life.alive()) - start
    assert start - set(life.alive())
    assert away & back
    assert any(life.state(p).withdrawn for p in life.alive())
    assert any(life.state(p).suspended for p in life.alive())
    assert any(2 in facts(SEED, p).segmented and not life.state(p).leaflet for p in start)
    assert any(life.state(p).packs != list(range(facts(SEED, p).packs)) for p in start)


def test_a_night_in_which_everything_changes_takes_each_product_once() -> None:
    held = register(products=40)
    events = held.pass_night(1_000)
    assert len(events) == 40
    assert len({event.product for event in events}) == 40


def test_processes_that_share_a_board_are_one_register() -> None:
    board = Board()
    settings = Settings(seed=SEED, products=300, text_bytes=6_000)
    one, other = Generated(settings, board), Generated(settings, board)
    one.pass_night(45)
    other.pass_night(45)
    assert one.numbers() == other.numbers()
    assert [one.truth(n) for n in one.numbers()[:30]] == [other.truth(n) for n in one.numbers()[:30]]
    assert one.now() == other.now() == "Wed, 04 Mar 2026 12:00:00 GMT"


def test_nights_can_pass_by_themselves() -> None:
    held = register(night_every=10, changes=4)
    for _ in range(25):
        page(held, "maestras?maestra=4")
    assert held.life.night == 2
    assert len(held.life.events[2]) == 4


def test_the_listing_shifts_while_it_is_paged() -> None:
    held = register(page_size=100)

    def listed() -> list[str]:
        pages = [page(held, f"medicamentos?pagina={n}")["resultados"] for n in (1, 2, 3)]
        return [row["nregistro"] for rows in pages for row in rows]

    assert sorted(listed()) == sorted(held.numbers())
    assert control(held, "POST", "/control/shift?rows=3&at_page=2").status == 200
    shifted = listed()
    assert len(set(held.numbers()) - set(shifted)) == 3
    assert len(shifted) == 300
    assert len(set(listed())) == 300


def test_a_night_passes_while_the_listing_is_paged() -> None:
    held = register(page_size=100)
    control(held, "POST", "/control/night?at_page=2&changes=45")
    page(held, "medicamentos?pagina=1")
    assert held.life.night == 0
    page(held, "medicamentos?pagina=2")
    assert held.life.night == 1


def test_a_page_changes_nothing_that_nobody_asked_for() -> None:
    held = register()
    before = held.board.tally()
    page(held, "medicamentos?pagina=1")
    assert (held.board.nights, held.board.shift) == (before.nights, before.shift)


def test_control_says_where_the_register_stands_and_what_is_true() -> None:
    held = register()
    rows = json.loads(control(held, "POST", "/control/night?changes=9").body)["rows"]
    assert {row["nregistro"] for row in rows} == {facts(SEED, e.product).number for e in held.life.events[1]}
    status = json.loads(control(held, "GET", "/control").body)
    assert status["nights"] == 1
    assert status["day"] == "2026-03-03"
    number = held.numbers()[0]
    shown = json.loads(control(held, "GET", f"/control/truth?nregistro={number.replace(' ', '+')}").body)
    assert shown["name"] == held.truth(number).name
    assert control(held, "GET", "/control/nothing").status == 404
    assert control(held, "POST", "/control/night?nights=many").status == 400


def test_the_bucket_lets_so_many_through_and_says_how_long_to_wait() -> None:
    now = [100.0]
    board = Board(rate=5, clock=lambda: now[0])
    assert [board.admit() for _ in range(5)] == [0.0] * 5
    assert 0 < board.admit() <= 0.2
    now[0] += 0.2
    assert board.admit() == 0.0
    assert board.admit() > 0
    assert board.tally().refused == 2
