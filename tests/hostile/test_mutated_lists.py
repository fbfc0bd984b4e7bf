"""Changed pages of CIMA's two lists, the change feed and the listing, through the real source, loop and store.

`TSI_MUTATIONS` / 40 of each list (50 without it); `TSI_TRIAL=<number>` runs one alone.  What must hold: a run that
says done or quarantined has asked for every product that the page names and keeps every row that it cannot read; a page
whose rows are not as many as it says never ends so; whatever happens, nothing but an error that we know.
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
from pathlib import Path
from typing import Any

import pytest
from fake_cima import changed, register
from memory_sink import MemorySink
from still_clock import StillClock

from dev.cima_server import Register, Reply
from store import queries
from store.handle import open_store
from tests.hostile.mutated_products import cima_of, sending
from tests.hostile.mutations import PLANTED, Mutation, mutated
from tsi_fetch.fhir.tokens import NotJson, parse
from tsi_fetch.report import Report
from tsi_fetch.run import Ports, Settings, run_job
from tsi_fetch.words import Cursor, CursorKind, RunRecord

COUNT = int(os.environ.get("TSI_MUTATIONS", "2000")) // 40
ONLY = os.environ.get("TSI_TRIAL")
TRIALS = [int(ONLY)] if ONLY else range(COUNT)

FEED = [
    changed("99001", "2026-03-02T08:00:00+00:00", "ft", "prosp"),
    changed("99 003-95-96", "2026-03-02T08:00:00+00:00", "psum"),
    changed("1998001001", "2026-03-01T08:00:00+00:00", "estado"),
]
SIDE = {"psum", "notasSeguridad", "matinf"}


def page_of(rows: list[Any]) -> dict[str, Any]:
    return {"totalFilas": len(rows), "pagina": 1, "tamanioPagina": 200, "resultados": rows}


def night(folder: Path, upstream: Register, *, first: bool) -> tuple[Report, list[str], str | None]:
    """One run: the report, the keys in quarantine, the watermark."""
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
        return report, [e.key for e in queries.quarantine(stored, "cima")], cursor.value if cursor else None


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


def asked(upstream: Register) -> set[str]:
    return {call.partition("=")[2] for call in upstream.calls if call.startswith("medicamento?")}


def beside(row: dict[str, Any]) -> bool:
    """True for a change that touches only what is not mapped."""
    flags = row.get("cambio", row.get("cambios"))
    flags = flags if isinstance(flags, list) else [flags]
    return row.get("tipoCambio") == 3 and bool(flags) and all(isinstance(f, str) and f in SIDE for f in flags)


def check(mutation: Mutation, upstream: Register, report: Report, keys: list[str], *, feed: bool) -> None:
    ours = range(400, 500)  # what such a status says is about the address that was set
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
    unread = [r for r in rows if not named(r) or (feed and type(r.get("fecha")) is not int)]
    for row in rows:
        number = named(row)
        if number and row not in unread:
            assert number in asked(upstream) or any(k.startswith("fila-") for k in keys) or (feed and beside(row)), row
    if unread:
        assert report.exit_code == 65, "a row cannot be read, and the run says done"
    if feed:
        assert len({key for key in keys if key.startswith("fila-")}) >= len(
            {json.dumps(r, default=str) for r in unread}
        )


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
            report, keys, watermark = night(tmp_path, upstream, first=kind == "listing")
            assert call in upstream.calls
            check(mutation, upstream, report, keys, feed=kind == "feed")
            assert watermark in (None, "2026-03-01", "2026-03-02")
            if kind == "feed" and report.outcome == "failed":
                assert watermark == "2026-03-01", "it moved, and the feed was not read to its end"
        except Exception as e:
            raise AssertionError(f"{kind}, TSI_TRIAL={trial}: {mutation}: {type(e).__name__} {e}") from e
        codes[report.exit_code] += 1
    record_property("mutations", sum(codes.values()))
    print(f"\n{kind}: {sum(codes.values())} changed pages, exit codes {dict(codes)}")
    if not ONLY and COUNT >= 50:
        assert all(codes[code] > COUNT / 20 for code in (0, 65, 75))
