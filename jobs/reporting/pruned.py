"""What goes of a store, or went, as lines of figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jobs.reporting.instants import minute
from tsi_fetch.counting import count

WORDS = {
    "reports": ("report", "reports", " of runs; the runs' lines stay, as they say who wrote what"),
    "runs": ("run", "runs", " that wrote nothing"),
    "quarantine": ("closed entry", "closed entries", " of the quarantine, with the answers"),
    "work": ("item", "items", " of closed work lists"),
    "lists": ("closed work list", "closed work lists", ""),
    "audit": ("entry", "entries", " of the audit trail"),
}
"""One, many, of what."""


def pruned_text(old: Mapping[str, Any], *, done: bool) -> str:
    """One store: from when on it is kept, and what goes by kind."""
    before = minute(old["before"])
    if not old["there"]:
        return f"{old['store']} is not there: no run has made it yet\n"
    if not old["counts"]:
        return f"{old['store']}: nothing to prune that is older than {before}\n"
    head = f"{old['store']}: {'gone' if done else 'would go'}, older than {before}:"
    return "\n".join([head, *(_line(number, *WORDS[kind]) for kind, number in _in_order(old["counts"]))]) + "\n"


def _in_order(counts: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    return ((kind, counts[kind]) for kind in WORDS if kind in counts)


def _line(number: int, one: str, many: str, of: str) -> str:
    figure, _, thing = count(number, one, many).partition(" ")
    return f"{figure:>9}  {thing}{of}"
