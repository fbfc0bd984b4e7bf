"""The listing of all medicines: what a first load starts from."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from sources.cima import identity
from sources.cima.calendar import day_of
from sources.cima.client import CimaClient
from sources.cima.pages import page_of
from tsi_fetch.words import Cursor, CursorKind, Json, KeyPage


def read_listing(client: CimaClient) -> Iterator[KeyPage]:
    """One pass over `medicamentos`, page by page.

    The cursor on every page is the register's own date at the first request, in Madrid: from there on the feed tells.
    Where its clock is ahead of ours, ours counts: a watermark in the future would never be passed by anything.
    What the listing announced, on any of its pages, and did not give counts as unreadable, as do rows without an
    nregistro.  A row that comes twice is given once; unless it does so on one page, pages have shifted, and another one
    was left out for it.  A page that brings nothing new is the last.  Where more came than was announced, something is
    wrong with the listing, and at least one row counts as unreadable.
    """
    cursor: Cursor | None = None
    received, announced, last = 0, 0, ()
    seen, unreadable, doubled = set[str](), 0, 0
    for number in count(1):
        answer, server = client.listing(number)
        page = page_of(answer)
        if cursor is None:
            at = min(server or answer.requested_at, answer.requested_at)
            cursor = Cursor(CursorKind.DATE, day_of(at).isoformat())
        given = tuple(filter(None, map(_key, page.rows)))
        repeated = bool(page.rows) and (page.rows == last or bool(given and seen.issuperset(given)))
        rows, keys, last = ((), (), last) if repeated else (page.rows, given, page.rows)
        received, announced = received + len(rows), max(announced, page.total or 0)
        done = not rows or (page.total is not None and received >= announced)
        seen.update(keys)
        doubled += len(keys) - len(set(keys))
        unreadable += (lost := len(rows) - len(keys))
        odd = repeated or (
            page.total is not None and received > announced
        )  # more than it announced: what else it says is no better
        missing = max(announced - len(seen) - doubled - unreadable, int(odd)) if done else 0
        yield KeyPage(keys, cursor, lost + missing)
        if done:
            return


def _key(row: Json) -> str | None:
    return identity.number(row.get("nregistro")) if isinstance(row, dict) else None
