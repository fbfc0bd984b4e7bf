"""Where too many rows of a run cannot be fetched, or are refused, it stops: nothing beyond is written or settled."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tsi_fetch import guards
from tsi_fetch.counting import count
from tsi_fetch.errors import Guarded, TryAgain
from tsi_fetch.words import OVERTAKEN, Outcome, Ref, Result, Row

if TYPE_CHECKING:
    from tsi_fetch.context import Run
    from tsi_fetch.judge import Judged


def rows_guard(judged: Judged, run: Run) -> None:
    """Before anything is written: stop where too many rows cannot be used, or not even be fetched.  Keys that could not
    be fetched by the runs before say nothing of this night."""
    rows, turned = run.tally.rows, judged.turned
    rows["read"] += len(turned)
    rows["skipped"] += sum(t.skipped for t in turned)
    rows["fetched"] += sum(t.row.answered for t in turned)
    rows["unfetched"] += sum(t.row.unfetched is not None for t in turned)
    run.unfetched_again += sum(t.row.unfetched is not None and t.row.key in run.unfetched_before for t in turned)
    many, read = rows["unfetched"] - run.unfetched_again, rows["read"] - run.unfetched_again
    codes = ", ".join(sorted({t.row.unfetched.code for t in turned if t.row.unfetched}))
    nothing = many >= guards.FEW_VANISHED and not rows["fetched"]
    if nothing or guards.too_many_rows(many, read):
        raise TryAgain(
            f"{many:,} of {count(read, 'row')} could not be fetched ({codes})",
            "the source is down or busy; the next run asks again",
        )
    _refusals_guard(judged, (), run)


def sink_guard(judged: Judged, outcomes: Sequence[Outcome], run: Run) -> None:
    """After the write: stop where it is the sink that refuses too much."""
    if any(o.result is Result.REFUSED for o in outcomes):
        _refusals_guard(judged, outcomes, run)


def _refusals_guard(judged: Judged, outcomes: Sequence[Outcome], run: Run) -> None:
    """Stop where too many rows are refused, by the mapping, by validation or by the sink; rows that lie in quarantine
    already, for the same reason, are not counted again."""
    refused = {u.ref: f for u, f in judged.refused} | {o.ref: o.fault for o in outcomes if o.result is Result.REFUSED}
    codes: set[str] = set()
    digests: list[bytes] = []
    for t in judged.turned:
        if t.fault is OVERTAKEN:
            continue
        if t.fault and not t.row.unfetched:
            codes.add(t.fault.code)
            digests.append(quarantine_digest(t.row, None))
        elif hit := next((u.ref for u in t.upserts if u.ref in refused), None):
            fault = refused[hit]
            codes.add(fault.code if fault else "refused")
            digests.append(quarantine_digest(t.row, hit))
    if not digests:
        return
    old = run.store.in_quarantine(run.source.stream, digests)
    judged.newly_refused = sum(d not in old for d in digests)
    judged.all_refused = len(digests)
    before = run.tally.rows["newly refused"] + run.air.newly_refused
    many, read = before + judged.newly_refused, run.tally.rows["read"]
    if guards.too_many_rows(many, read, run.settings.accept_refusals):
        judged.count_refused(run.tally)
        raise Guarded(
            f"{many:,} of {count(read, 'row')} refused ({', '.join(sorted(codes))}); nothing more is settled",
            f"see what changed at the source or the sink; to go on all the same: --accept-refusals {many}",
        )


def quarantine_digest(row: Row, ref: Ref | None) -> bytes:
    """What tells one trouble from another: the key, the answers and, for a refused change, its ref."""
    if ref is None:
        return row.digest
    return hashlib.sha256(row.digest + str(ref).encode()).digest()[:16]
