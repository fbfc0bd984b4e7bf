"""Changed pages of CIMA's two lists, the change feed and the listing, through the real source, loop and store.

`TSI_MUTATIONS` / 8 of each list (250 without it); `TSI_TRIAL=<number>` runs one alone.  What must hold: a run that
says done or quarantined has asked for every product that the page names, for what each row's flags mean, and keeps
every row of the feed that it cannot read, as it came; a page whose rows are not as many as it says never ends so;
whatever happens, nothing but an error that we know.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from fake_cima import changed, register
from memory_sink import MemorySink
from still_clock import StillClock

from dev.cima_server import Register, Reply
from store import queries
from store.handle import Stored, open_store
from tests.hostile.mutated_products import cima_of, sending
from tests.hostile.mutations import PLANTED, Mutation, mutated
from tsi_fetch.fhir.tokens import NotJson, dump, parse
from tsi_fetch.report import Report
from tsi_fetch.run import Ports, Settings, run_job
from tsi_fetch.words import Cursor, CursorKind, RunRecord

COUNT = int(os.environ.get("TSI_MUTATIONS", "2000")) // 8
ONLY = os.environ.get("TSI_TRIAL")
TRIALS = [int(ONLY)] if ONLY else range(COUNT)

FEED = [
    changed("99001", "2026-03-02T08:00:00+00:00", "ft", "prosp"),
    changed("99 003-95-96", "2026-03-02T08:00:00+00:00", "psum"),
    changed("1998001001", "2026-03-01T08:00:00+00:00", "estado"),
]
SIDE = {"psum": "psuministro/v2/cn/", "notasSeguridad": "notas?", "matinf": "materiales?"}
"""Flags that touch only what has calls of its own, and how these begin."""


def page_of(rows: list[Any]) -> dict[str, Any]:
    return {"totalFilas": len(rows), "pagina": 1, "tamanioPagina": 200, "resultados": rows}


@dataclass
class Night:
    """What became of one run.  `kept`: rows of the feed in quarantine, as they are stored."""

    report: Report
    kept: list[Any]
    watermark: str | None


def night(folder: Path, upstream: Register, *, first: bool) -> Night:
    clock = StillClock()
    for left in folder.glob("store.db*"):
        left.unlink()
    shutil.copy(folder / "empty.db", folder / "store.db")
    with open_store(f"sqlite:///{folder / 'store.db'}") as stored:
        with (
            closing(cima_of(sending(upstream), clock)) as source,
            stored.lease("cima", "sink", "run", expiry=60, wait=lambda seconds: None) as made,
        ):
            made.begin_run(RunRecord("run", "cima", clock.now()))
            if not first:
                made.advance("registroCambios", Cursor(CursorKind.DATE, "2026-03-01"), clear=True)
            settings = Settings("cima", "run", validate="off")
            report = run_job(Ports(source, MemorySink("run"), made, clock), settings)
            cursor = made.position("registroCambios").cursor
        return Night(report, kept_in(stored), cursor.value if cursor else None)


def kept_in(stored: Stored) -> list[Any]:
    """The rows of the feed in quarantine: the path of each leads to the row, which neither list nor rule tells."""
    entries = [queries.quarantined(stored, entry.id) for entry in queries.quarantine(stored, "cima")]
    rows = []
    for shown, entry in filter(None, entries):
        if not entry.key.startswith("fila-"):
            continue
        (answer,) = entry.row.answers
        assert (answer.part, entry.fault.path) == ("fila", "$")
        assert entry.fault.code
        assert entry.fault.rule
        assert PLANTED not in f"{shown}"
        rows.append(parse(answer.body))
    return rows


def rows_in(mutation: Mutation) -> tuple[list[Any], Any]:
    """The rows that the page holds, and how many it says there are; no rows where it cannot be read."""
    try:
        tree = parse(mutation.body) if mutation.status == 200 else None
    except NotJson:
        return [], None
    if not isinstance(tree, dict) or not isinstance(rows := tree.get("resultados"), list):
        return [], None
    return rows, tree.get("totalFilas")


def named(row: Any) -> str | None:
    number = row.get("nregistro") if isinstance(row, dict) else None
    good = (
        isinstance(number, str)
        and number.strip()
        and len(number) <= 100
        and not re.search(r"[\0-\x1f\x7f-\x9f]", number)
    )
    return number if good else None


def asked(upstream: Register, call: str, number: str) -> bool:
    """Whether a call of this name was made for this product."""
    return any(made.startswith(call) and made.partition("=")[2] == number for made in upstream.calls)


def flags_of(row: dict[str, Any]) -> list[Any]:
    flags = row.get("cambio", row.get("cambios"))
    return flags if isinstance(flags, list) else [] if flags is None else [flags]


def is_asked_for(row: dict[str, Any], upstream: Register) -> bool:
    """Whether everything was asked for that this row of the feed means."""
    number, flags = row["nregistro"], flags_of(row)
    if not asked(upstream, "medicamento?", number):
        return False
    product = upstream.products.get(number)
    if product is None:  # the register has none of this number: there is nothing more to ask for
        return True
    if row.get("tipoCambio") != 3 or not flags or not all(isinstance(f, str) and f in SIDE for f in flags):
        return all(f"presentacion/{pack['cn']}" in upstream.calls for pack in product["presentaciones"])
    packs = [f"{SIDE['psum']}{pack['cn']}" for pack in product["presentaciones"]] if "psum" in flags else []
    of_number = [call for flag, call in SIDE.items() if flag != "psum" and flag in flags]
    return set(packs) <= set(upstream.calls) and all(asked(upstream, call, number) for call in of_number)


def check(mutation: Mutation, upstream: Register, found: Night, *, feed: bool) -> None:
    report, ours = found.report, range(400, 500)  # what such a status says is about the address that was set
    assert report.exit_code in ((78,) if mutation.status in ours else (0, 65, 75)), report.reasons
    said = json.dumps([report.to_json()["reasons"], report.to_json()["notes"]])
    assert PLANTED not in said
    if report.exit_code in (75, 78):
        assert report.outcome == "failed"
        return
    assert report.outcome == ("done" if report.exit_code == 0 else "quarantined")
    rows, total = rows_in(mutation)
    if type(total) is int and total != len(rows):
        assert not feed, "rows are missing, and the run goes on"
        assert report.exit_code == 65, "rows are missing, and the run says done"
    if feed:
        _of_feed(rows, upstream, found)
    for row in () if feed else rows:
        assert asked(upstream, "medicamento?", row["nregistro"]) if named(row) else report.exit_code == 65, row


def _of_feed(rows: list[Any], upstream: Register, found: Night) -> None:
    """Each row is asked for, or lies in quarantine as it came: never neither, and what can be read never lies there."""
    kept = [dump(row) for row in found.kept]
    assert len(kept) == len(set(kept))
    assert found.report.exit_code == 65 or not kept
    for row in rows:
        readable = named(row) and type(row.get("fecha")) is int and madrid_has(row["fecha"]) and short(row)
        assert (dump(row) in kept) != bool(readable), row
        assert not readable or is_asked_for(row, upstream), row
    assert set(kept) <= {dump(row) for row in rows}


def madrid_has(milliseconds: int) -> bool:
    """Whether a calendar has the day."""
    try:
        instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
        return bool(instant.astimezone(ZoneInfo("Europe/Madrid")))
    except (OverflowError, ValueError):
        return False


def short(row: dict[str, Any]) -> bool:
    """Whether the words by which a row is known fit into a key."""
    return sum(len(json.dumps(f, ensure_ascii=False)) if isinstance(f, str) else 20 for f in flags_of(row)) < 500


@pytest.mark.parametrize("kind", ["feed", "listing"])
def test_every_changed_page_is_worked_off_or_tried_again(
    kind: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    codes: Counter[int] = Counter()
    open_store(f"sqlite:///{tmp_path / 'empty.db'}", create=True).close()
    for trial in TRIALS:
        rng = random.Random(f"{kind} {trial}")
        upstream = register(feed=[])
        rows = FEED if kind == "feed" else [{"nregistro": n, "nombre": "x", "comerc": True} for n in upstream.products]
        mutation = mutated(rng, page_of(rows))
        call = "registroCambios?fecha=27/02/2026&pagina=1" if kind == "feed" else "medicamentos?pagina=1"
        upstream.instead(call, *[Reply(mutation.status, mutation.body)] * 12)
        try:
            found = night(tmp_path, upstream, first=kind == "listing")
            assert call in upstream.calls
            check(mutation, upstream, found, feed=kind == "feed")
            assert found.watermark in (None, "2026-03-01", "2026-03-02")
            if kind == "feed" and found.report.outcome == "failed":
                assert found.watermark == "2026-03-01", "it moved, and the feed was not read to its end"
        except Exception as e:
            raise AssertionError(f"{kind}, TSI_TRIAL={trial}: {mutation}: {type(e).__name__} {e}") from e
        codes[found.report.exit_code] += 1
    record_property("mutations", sum(codes.values()))
    print(f"\n{kind}: {sum(codes.values())} changed pages, exit codes {dict(codes)}")
    if not ONLY and COUNT >= 50:
        assert all(codes[code] > COUNT / 20 for code in (0, 65, 75))
