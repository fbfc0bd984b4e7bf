"""CIMA's paged lists: `{"totalFilas": n, "pagina": 1, "tamanioPagina": 25, "resultados": […]}`.

The page size has changed (25 in 2022, 200 in 2026), so nothing here counts on one.
"""

from __future__ import annotations

from dataclasses import dataclass

from sources.cima.answers import Unfetched, parsed
from tsi_fetch.errors import SettingError, TryAgain
from tsi_fetch.words import Answer, Json

_NOT_OURS = range(400, 500)


@dataclass(frozen=True, slots=True)
class Page:
    """One page.  `total` is how many rows the whole list has, None where the answer does not say."""

    rows: tuple[Json, ...]
    total: int | None


def page_of(answer: Answer) -> Page:
    """Read a page.  One that cannot be read ends the pass: SettingError where we ask the wrong thing, else TryAgain."""
    if answer.status in _NOT_OURS and answer.status not in (401, 403, 407):
        raise SettingError(f"{answer.url} answers with status {answer.status}", "correct base_url: is this CIMA?")
    try:
        value = parsed(answer)
    except Unfetched as e:
        raise TryAgain(f"{answer.url} gave no list: {e.fault.rule}", "the register has trouble: try again later") from e
    if value is None:
        return Page((), None)
    rows, total = (value.get("resultados"), value.get("totalFilas")) if isinstance(value, dict) else (None, None)
    if rows is None and total == 0:
        rows = []
    if not isinstance(rows, list):
        raise TryAgain(f"{answer.url} gave JSON that is not a list of rows", "try again later; is this CIMA?")
    return Page(tuple(rows), total if type(total) is int else None)
