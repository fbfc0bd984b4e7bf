"""The audit trail of the stores in the job file: what persons changed, newest first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import starmap
from typing import Any

from jobs.asking import Answers
from jobs.config.secret import SecretUrl
from jobs.looking import Where
from jobs.reporting.pruned import WORDS
from store.handle import NoStore, open_store
from store.trail import TrailRow, trail
from tsi_fetch.counting import count
from tsi_fetch.errors import TsiFetchError

Figures = dict[str, Any]


def audit_rows(where: Where, job: str | None, limit: int) -> Answers[Figures]:
    """The latest entries of all stores that are looked into, newest first.  `NoStore` where one was named and is not
    there; one that no run has made yet has none.  The only one raises what keeps it from being asked."""
    configuration = where.configuration(job)
    if where.store:
        urls = [SecretUrl(where.store)]
    elif job is not None:
        urls = [configuration.store_of(job).url]
    else:
        urls = list(dict.fromkeys(store.url for store in configuration.settings.stores.values()))
    found: list[tuple[TrailRow, str]] = []
    troubles: list[TsiFetchError] = []
    absent: list[str] = []
    for url in urls:
        try:
            with open_store(url.reveal()) as stored:
                found += [(row, str(url)) for row in trail(stored, job, limit)]
        except NoStore:
            if where.store:
                raise
            absent.append(str(url))
        except TsiFetchError as e:
            if len(urls) == 1:
                raise
            troubles.append(e)
    newest = sorted(found, key=lambda at: (at[0].at, at[0].id), reverse=True)
    return Answers(list(starmap(_figures, newest[:limit])), troubles, absent)


def _figures(row: TrailRow, store: str) -> Figures:
    return {
        "at": row.at.isoformat(timespec="seconds"),
        "store": store,
        "job": row.job,
        "sink": row.sink,
        "who": row.actor,
        "action": row.action,
        "why": row.why,
        "detail": dict(row.detail),
    }


def audit_lines(rows: list[Figures]) -> list[Figures]:
    """One line each: of the detail, what it was and what it is now.  Where no job is meant, its store is named."""
    return [
        {
            "at": row["at"],
            "job": row["job"],
            "who": row["who"],
            "action": row["action"],
            "what": _what(row["detail"]) if row["job"] else f"{_what(row['detail']) or 'nothing'}, in {row['store']}",
            "why": row["why"],
        }
        for row in rows
    ]


def _what(detail: Mapping[str, Any]) -> str | None:
    """From what to what, or how many of what; else the figures and words that are there."""
    if "from" in detail:
        return f"{detail['from']} → {detail.get('to') or 'none'}"
    if isinstance(counts := detail.get("counts"), Mapping):
        return ", ".join(starmap(_counted, _totals(counts).items())) or None
    if isinstance(expected := detail.get("expected"), Mapping):
        return f"not ended; to go were {', '.join(starmap(_counted, expected.items()))}"
    return ", ".join(f"{key} {value}" for key, value in detail.items() if isinstance(value, str | int)) or None


def _counted(kind: str, number: int) -> str:
    """Fates say the same of one and of many: `1 created`, but `1 report`."""
    return count(number, *WORDS[kind][:2]) if kind in WORDS else f"{number:,} {kind}"


def _totals(counts: Mapping[str, Any]) -> Mapping[str, int]:
    """By kind; where they are counted by resource type first, of all types."""
    found: Counter[str] = Counter()
    for key, value in counts.items():
        found.update(value if isinstance(value, Mapping) else {key: value})
    return found
