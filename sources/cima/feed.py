"""The change feed `registroCambios`: which products changed since a day.

The feed is published once a day as a batch, newest row first, with a grain of one day in Madrid; pages may shift while
it is read.  So it is read whole, and again where two pages do not fit together, before anything is fetched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from sources.cima import identity
from sources.cima.client import CimaClient
from sources.cima.dates import madrid_date
from sources.cima.pages import page_of
from tsi_fetch.errors import TryAgain
from tsi_fetch.fhir.tokens import canonical, dump
from tsi_fetch.words import Answer, Cursor, CursorKind, Json

MOST_PASSES = 5
"""The feed is read again when its pages shift, at most so often in all."""

MODIFIED = 3
"""tipoCambio of a changed product; 1 is a new one, 2 a withdrawn one, and others have been seen."""

SIDE_FLAGS = frozenset({"psum", "notasSeguridad", "matinf"})
"""Flags that touch only resources of their own.  Any other one, known or not, means the whole product."""

LONGEST_KEY = 600
"""Characters of a row's key; more could be longer than PostgreSQL takes as one (some 2,700 bytes)."""

FEED_ROW = "fila"
"""The part of an answer that is a row of the feed, kept because it cannot be read."""


@dataclass(frozen=True, slots=True)
class FeedRow:
    """A row of the feed.  `key` is what it is recognised by; `stamp` is in milliseconds, `day` in Madrid."""

    key: str
    nregistro: str
    stamp: int
    day: date
    kind: int | None
    flags: frozenset[str]

    @property
    def whole(self) -> bool:
        """True where the whole product is to be fetched again."""
        return self.kind != MODIFIED or not self.flags or not self.flags <= SIDE_FLAGS


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A row of the feed that names no product or no day; kept as it came."""

    key: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class Feed:
    """Everything one reading of the feed gave, newest first, each row once."""

    rows: tuple[FeedRow, ...]
    unreadable: tuple[UnreadableRow, ...]


@dataclass(frozen=True, slots=True)
class Work:
    """One product to be looked at: what its new rows say together.  `stamp` is the latest row's."""

    nregistro: str
    stamp: int
    flags: frozenset[str]
    whole: bool
    settles: tuple[str, ...]


def read_feed(client: CimaClient, since: date) -> Feed:
    """All rows since a day in Madrid, inclusive.  TryAgain where the pages never fit together.

    One page is read at one moment.  Of several, two readings must agree: where the register drops one row and gains
    another meanwhile, the totals stay as they are, and a row is in none of the pages.
    """
    before: Sequence[str] | None = None
    for _ in range(MOST_PASSES):
        rows, pages = _one_pass(client, since)
        keys = sorted(row.key for row in rows)  # of rows of one moment, nobody promises an order
        # A row seen twice has moved from one page to the next; unless the same happens again: then CIMA says it twice.
        if pages and (keys == before or (pages == 1 and len(set(keys)) == len(keys))):
            return _feed(rows)
        before = keys if pages else None
    raise TryAgain(
        f"the change feed's pages did not fit together in {MOST_PASSES} readings",
        "the register is being updated: try again later",
    )


def _one_pass(client: CimaClient, since: date) -> tuple[list[FeedRow | UnreadableRow], int]:
    """Read page after page until all rows are there, or an empty page; how many pages were read, or 0 where the rows
    are not what was announced."""
    rows: list[FeedRow | UnreadableRow] = []
    total: int | None = None
    last: tuple[Json, ...] = ()
    number = 0
    while True:
        number += 1
        answer = client.changes(since, number)
        page = page_of(answer)
        if number == 1:
            total = page.total
        shifted = page.total is not None and page.total != total
        if shifted or (page.rows and page.rows == last):  # the same page again: `pagina` is not heeded
            return rows, 0
        rows += [_row(raw, answer) for raw in page.rows]
        last = page.rows
        if not page.rows or (total is not None and len(rows) >= total):
            return rows, number if total is None or len(rows) == total else 0


def _row(raw: Json, answer: Answer) -> FeedRow | UnreadableRow:
    row = _readable(raw) if isinstance(raw, dict) else None
    if row is not None:
        return row
    key = f"{FEED_ROW}-{hashlib.sha256(canonical(raw)).hexdigest()[:16]}"
    return UnreadableRow(key, Answer(FEED_ROW, answer.url, answer.status, dump(raw), answer.requested_at))


def _readable(raw: dict[str, Json]) -> FeedRow | None:
    nregistro, stamp, kind = identity.number(raw.get("nregistro")), raw.get("fecha"), raw.get("tipoCambio")
    if nregistro is None or type(stamp) is not int:
        return None
    try:
        day = madrid_date(stamp)
    except ValueError:
        return None
    flags = _flags(raw)
    kind = kind if type(kind) is int else None
    key = json.dumps([nregistro, stamp, kind, sorted(flags)], ensure_ascii=False, separators=(",", ":"))
    return FeedRow(key, nregistro, stamp, day, kind, flags) if len(key) <= LONGEST_KEY else None


def _flags(raw: dict[str, Json]) -> frozenset[str]:
    """`cambio` in real answers, `cambios` in the official document; what is not a word is a flag nobody knows,
    named by its digest: keys are shown, and what a row holds is not."""
    given = raw.get("cambio", raw.get("cambios"))
    if given is None:
        return frozenset()
    return frozenset(
        flag if isinstance(flag, str) else f"?{hashlib.sha256(canonical(flag)).hexdigest()[:16]}"
        for flag in (given if isinstance(given, list) else [given])
    )


def _feed(rows: Iterable[FeedRow | UnreadableRow]) -> Feed:
    once = {row.key: row for row in rows}.values()
    return Feed(
        tuple(row for row in once if isinstance(row, FeedRow)),
        tuple(row for row in once if isinstance(row, UnreadableRow)),
    )


def collapse(rows: Iterable[FeedRow]) -> list[Work]:
    """One piece of work per product, those that changed longest ago first."""
    products: dict[str, list[FeedRow]] = {}
    for row in rows:
        products.setdefault(row.nregistro, []).append(row)
    work = [
        Work(
            nregistro=nregistro,
            stamp=max(row.stamp for row in mine),
            flags=frozenset[str]().union(*(row.flags for row in mine)),
            whole=any(row.whole for row in mine),
            settles=tuple(row.key for row in mine),
        )
        for nregistro, mine in products.items()
    ]
    return sorted(work, key=lambda item: (item.stamp, item.nregistro))


def next_cursor(feed: Feed, before: Cursor | None, today: date, overlap: timedelta) -> Cursor | None:
    """Where the feed stands once everything in it is settled: never back, never past `today` (of the run's start).

    `seen` holds every row from the overlap on, those that were known already included, since the next poll gives them
    again.  None where nothing was ever read.
    """
    if not feed.rows and not feed.unreadable:
        return before
    days = [row.day for row in feed.rows]
    newest = min(max(days), today) if days else None
    if before is not None:
        old = date.fromisoformat(before.value)
        newest = max(old, newest) if newest else old
    if newest is None:
        return None
    horizon = newest - overlap
    seen = {row.key for row in feed.rows if row.day >= horizon} | {row.key for row in feed.unreadable}
    if before is not None:
        seen |= {key for key in before.seen if _since(key, horizon)}
    return Cursor(CursorKind.DATE, newest.isoformat(), frozenset(seen))


def _since(key: str, horizon: date) -> bool:
    """True for a feed row's key from that day on: a row may be missing from one poll and come back in the next."""
    if key.startswith(FEED_ROW):
        return False
    return madrid_date(json.loads(key)[1]) >= horizon
