"""What a checker needs to know of a generated product, without reading what the server answered."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

SeenSection = tuple[str, str, str]
"""A section's number, and the visible letters of its title and of its text (no white space)."""


@dataclass(frozen=True, slots=True)
class Truth:
    """One product at the present night; of one that is not known (204) only its number and `exists`.

    `packs`: national code → name and whether it is on sale.  `documents`: CIMA's kinds, PDFs alone included.
    `texts`: kind → sections.  `notes`, `materials`: references and addresses.  `supply`: codes of packs that are
    short, each with the day (milliseconds) on which that began.
    """

    number: str
    exists: bool = False
    name: str = ""
    holder: str = ""
    representative: str | None = None
    estado: Mapping[str, int] | None = None
    packs: Mapping[str, tuple[str, bool]] | None = None
    documents: tuple[int, ...] = ()
    texts: Mapping[int, tuple[SeenSection, ...]] | None = None
    notes: tuple[str, ...] = ()
    materials: tuple[str, ...] = ()
    supply: Mapping[str, int] | None = None

    @property
    def status(self) -> str:
        """`gone` (204), `withdrawn`, `suspended` or `authorised`."""
        if not self.exists or self.estado is None:
            return "gone"
        return "withdrawn" if "rev" in self.estado else "suspended" if "susp" in self.estado else "authorised"

    def digests(self) -> dict[int, str]:
        """Of each text one over its sections' titles and letters, in their order."""
        return {kind: _digest(sections) for kind, sections in (self.texts or {}).items()}

    def shown(self) -> dict[str, Any]:
        """As JSON, with digests in the place of texts."""
        return {**asdict(self), "texts": self.digests(), "status": self.status}


def _digest(sections: tuple[SeenSection, ...]) -> str:
    return hashlib.sha256("\0".join(f"{title}\1{text}" for _, title, text in sections).encode()).hexdigest()
