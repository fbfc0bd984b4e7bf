"""What goes of a store, or went, as lines of figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WORDS = {
    "reports": "reports of runs; their lines stay, as they say who wrote what",
    "runs": "runs that wrote nothing",
    "quarantine": "closed entries of the quarantine, with their answers",
    "work": "items of closed work lists",
    "lists": "closed work lists",
    "audit": "entries of the audit trail",
}


def pruned_text(old: Mapping[str, Any], *, done: bool) -> str:
    """One store: from when on it is kept, and what goes by kind."""
    before = old["before"][:16].replace("T", " ")
    if not old["counts"]:
        return f"{old['store']}: nothing to prune that is older than {before}\n"
    head = f"{old['store']}: {'gone' if done else 'would go'}, older than {before}:"
    return (
        "\n".join(
            [head, *(f"{old['counts'][kind]:>9,}  {said}" for kind, said in WORDS.items() if kind in old["counts"])]
        )
        + "\n"
    )
