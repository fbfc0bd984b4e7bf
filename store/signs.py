"""Whether a run, or a worker of a work list, still lives: one judgement for whoever asks.

A run gives a sign of life by its lease.  A worker's claims tell nothing of it: between two slices it has none, and
whoever cancels or halts the list takes them away.  So its record has a sign of its own, renewed with the claims.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, and_, exists, not_, or_, update

from store.bulk import now
from store.schema import leases, runs

FURTHEST = timedelta(days=7)
"""The longest time for which anything is held, put off, or heard of."""


def ahead(until: Column[Any], at: datetime) -> ColumnElement[bool]:
    """Whether an instant is still to come at this time of the store.  Further ahead than `FURTHEST` none is: a clock
    was set back."""
    return and_(until.is_not(None), until > at, until <= at + FURTHEST)


def gives_sign(at: datetime) -> ColumnElement[bool]:
    """Of a row of `runs`: whether whoever made it was heard of in time, at this time of the store."""
    holds = exists().where(leases.c.holder == runs.c.id, leases.c.expires > at)
    return or_(holds, ahead(runs.c.alive_until, at))


def renew_sign(conn: Connection, run_id: str, expiry: float) -> None:
    """This worker lives for an expiry (seconds) from now.  To be called after its claims are locked: whoever says
    that it was lost takes them in that order, too."""
    until = now(conn) + timedelta(seconds=expiry)
    conn.execute(update(runs).where(runs.c.id == run_id).values(alive_until=until))


def mark_lost(conn: Connection, which: ColumnElement[bool]) -> None:
    """Those of these workers that have not ended, and give no sign of life."""
    gone = (runs.c.list.is_not(None), runs.c.outcome == "running", not_(gives_sign(now(conn))))
    conn.execute(update(runs).where(which, *gone).values(outcome="lost"))
