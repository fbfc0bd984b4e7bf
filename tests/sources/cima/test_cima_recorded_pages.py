"""Real pages of the change feed, where they are at hand."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_cima import at, cima, cursor_of, keys_of, poll, register, rows_of

from dev.cima_server import Register, Reply
from tsi_fetch.words import Position

SAMPLES = os.environ.get("TSI_SAMPLES")

pytestmark = [
    pytest.mark.samples,
    pytest.mark.skipif(SAMPLES is None, reason="TSI_SAMPLES is not set: no recorded answers at hand"),
]


def sample(name: str) -> bytes:
    return (Path(SAMPLES or "") / "cima" / name).read_bytes()


def feed_of(**pages: str) -> Register:
    """A register whose feed is these recorded pages, whatever day is asked for."""
    upstream = register()
    for call, name in pages.items():
        day, number = call.removeprefix("d").split("p")
        fecha = f"{day[6:]}/{day[4:6]}/{day[:4]}"
        for _ in range(2):  # several pages are read until two readings agree
            upstream.instead(f"registroCambios?fecha={fecha}&pagina={number}", Reply(200, sample(name)))
    return upstream


def numbers(*names: str) -> set[str]:
    return {row["nregistro"] for name in names for row in _rows(name)}


def _rows(name: str) -> list[dict[str, Any]]:
    value = json.loads(sample(name))
    rows: list[dict[str, Any]] = value["resultados"] if isinstance(value, dict) else value
    return rows


FOLDER = "registroCambios_2026"
P1 = f"{FOLDER}/paged_fecha-28-07-2026_p1.json"
P2 = f"{FOLDER}/paged_fecha-28-07-2026_p2.json"
P3 = f"{FOLDER}/paged_fecha-28-07-2026_p3_past_end.json"
POLL_21 = f"{FOLDER}/poll_2026-08-21_fecha-20-08-2026.json"
POLL_22 = f"{FOLDER}/poll_2026-08-22_fecha-21-08-2026.json"


def test_the_feed_of_298_rows_is_read_whole() -> None:
    upstream = feed_of(d20260728p1=P1, d20260728p2=P2, d20260728p3=P3)
    batches = poll(cima(upstream), at("2026-07-30"), datetime(2026, 8, 6, 9, 30, tzinfo=UTC))
    rows = rows_of(batches)
    assert {row.key for row in rows} == numbers(P1, P2)
    assert sum(len(row.settles) for row in rows) == 298
    cursor = cursor_of(batches)
    assert cursor is not None
    assert cursor.value == "2026-08-05"


def test_the_feed_of_298_rows_killed_after_its_first_batch_loses_nothing() -> None:
    started = datetime(2026, 8, 6, 9, 30, tzinfo=UTC)
    before = at("2026-07-30")
    first = next(cima(feed_of(d20260728p1=P1, d20260728p2=P2)).pull(before, started))
    settled = frozenset(key for row in first.rows for key in row.settles)
    rest = poll(cima(feed_of(d20260728p1=P1, d20260728p2=P2)), Position(before.cursor, settled), started)
    assert {row.key for row in first.rows} | set(keys_of(rest)) == numbers(P1, P2)
    assert {row.key for row in first.rows} & set(keys_of(rest)) == set()


def test_two_polls_that_overlap_give_no_row_twice() -> None:
    first = poll(
        cima(feed_of(d20260820p1=POLL_21), overlap_days=1), at("2026-08-21"), datetime(2026, 8, 21, 9, 30, tzinfo=UTC)
    )
    cursor = cursor_of(first)
    assert cursor is not None
    second = poll(
        cima(feed_of(d20260820p1=POLL_22), overlap_days=1), Position(cursor), datetime(2026, 8, 22, 9, 30, tzinfo=UTC)
    )
    given = [key for batch in (*first, *second) for row in batch.rows for key in row.settles]
    assert len(given) == len(set(given))
    distinct = {(r["nregistro"], r["fecha"]) for r in _rows(POLL_21) + _rows(POLL_22)}
    assert len(given) == len(distinct)
    assert len(_rows(POLL_21)) + len(_rows(POLL_22)) > len(distinct)


def test_withdrawn_products_are_looked_at() -> None:
    rows = _rows("registroCambios_2023-12-18.rows.json")
    upstream = register()
    body = httpx.Response(200, json={"totalFilas": len(rows), "resultados": rows}).content
    upstream.instead("registroCambios?fecha=16/12/2023&pagina=1", Reply(200, body))
    found = rows_of(poll(cima(upstream), at("2023-12-18"), datetime(2023, 12, 18, 12, 0, tzinfo=UTC)))
    assert {row.key for row in found} == {row["nregistro"] for row in rows}
    assert all(row.answers[0].status == 204 for row in found)
