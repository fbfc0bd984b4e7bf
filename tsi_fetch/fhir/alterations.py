"""What would become otherwise in a resource: the paths that differ, as JSON Pointers (RFC 6901).  Pure.

What is only spelt otherwise (`tsi_fetch.fhir.equality`) is no difference, unless nothing else differs: then it is what
is written, and is told as such.  Numbers are given as they are written: `1.0` and `1.00` differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any

from tsi_fetch.fhir.digest import without_server_meta
from tsi_fetch.fhir.equality import comparable, key_in, spelling
from tsi_fetch.fhir.prose import Place, places
from tsi_fetch.fhir.tokens import canonical
from tsi_fetch.words import Json

MOST_ALIGNED = 1000
"""Members of a list that are aligned with those of the other; a longer one is compared place by place."""

Form = Callable[[Json, str], bytes]
"""The same bytes for what counts as the same, given by which key it stands."""


class Nothing:
    """In the place of a value: there is none.  JSON's own null is a value."""

    def __repr__(self) -> str:
        return "NOTHING"


NOTHING = Nothing()


@dataclass(frozen=True, slots=True)
class Alteration:
    """One difference.  `path`: in what would be written; of what goes, in what is there.

    `old` and `new` are JSON values with their number tokens, or `NOTHING`.  Of XHTML both are left out: `places` says
    where its words differ; none where only its markup does.
    """

    path: str
    old: Json = field(default=NOTHING, repr=False)
    new: Json = field(default=NOTHING, repr=False)
    places: tuple[Place, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON types, and number tokens as `msgspec.Raw`."""
        if self.places is not None:
            told = [{"before": p.before, "old": p.old, "new": p.new, "after": p.after} for p in self.places]
            return {"path": self.path, "words": told}
        values = {"old": self.old, "new": self.new}
        return {"path": self.path, **{name: value for name, value in values.items() if value is not NOTHING}}


def alterations(held: bytes, sent: bytes) -> tuple[Alteration, ...]:
    """What writing `sent` over `held` would alter; nothing where both are the same, as written.

    NotJson where either is not JSON.
    """
    old, new = comparable(held, sent)
    return tuple(_altered("", "", old, new, spelling)) or tuple(_altered("", "", old, new, _as_written))


def _as_written(node: Json, key: str) -> bytes:
    return canonical(node)


def _altered(path: str, key: str, old: Json, new: Json, form: Form) -> Iterator[Alteration]:
    if form(old, key) == form(new, key):
        return
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _objects(path, old, new, form)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _lists(path, key, old, new, form)
    elif key == "div" and isinstance(old, str) and isinstance(new, str):
        yield Alteration(path, places=places(old, new))
    else:
        yield Alteration(path, old, new)


def _objects(path: str, old: Mapping[str, Json], new: Mapping[str, Json], form: Form) -> Iterator[Alteration]:
    for name in dict.fromkeys([*old, *new]):
        there = f"{path}/{_escaped(name)}"
        if name not in new:
            yield Alteration(there, old=old[name])
        elif name not in old:
            yield Alteration(there, new=new[name])
        else:
            yield from _altered(there, key_in(new, name), old[name], new[name], form)


def _lists(path: str, key: str, old: Sequence[Json], new: Sequence[Json], form: Form) -> Iterator[Alteration]:
    """Member by member; what stands in between moves none of the others."""
    if key == "contained":
        old, new = ([without_server_meta(one, ("versionId", "lastUpdated")) for one in some] for some in (old, new))
    for i1, i2, j1, j2 in _stretches(key, old, new, form):
        pairs = min(i2 - i1, j2 - j1)
        for n in range(pairs):
            yield from _altered(f"{path}/{j1 + n}", key, old[i1 + n], new[j1 + n], form)
        for i in range(i1 + pairs, i2):
            yield Alteration(f"{path}/{i}", old=old[i])
        for j in range(j1 + pairs, j2):
            yield Alteration(f"{path}/{j}", new=new[j])


def _stretches(key: str, old: Sequence[Json], new: Sequence[Json], form: Form) -> Iterator[tuple[int, int, int, int]]:
    """Stretches of both that are not the same."""
    if max(len(old), len(new)) > MOST_ALIGNED:
        yield 0, len(old), 0, len(new)
        return
    ours, theirs = [form(one, key) for one in new], [form(one, key) for one in old]
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, theirs, ours, autojunk=False).get_opcodes():
        if tag != "equal":
            yield i1, i2, j1, j2


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
