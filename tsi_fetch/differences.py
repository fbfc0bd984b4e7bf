"""How a remembered ref may differ from what the sink holds, and what is done about it.  Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from tsi_fetch.fhir.digest import canonical_digest
from tsi_fetch.fhir.equality import without_added_text
from tsi_fetch.fhir.tokens import NotJson, canonical, parse
from tsi_fetch.words import AWAITED, DOUBTED, FORGOTTEN, Held, Known, Ref, State

IN_STEP = "in step"
UNKNOWN = "unknown"


class Kind(StrEnum):
    """How it differs; in the order in which it is told."""

    MISSING = "missing"  # remembered, and not there
    CHANGED = "changed"  # somebody else wrote the version that is there; perhaps the same content, spelt otherwise
    OURS = "ours"  # a run of this job wrote it, and it is not the one remembered: the sink or the store was restored
    BACK = "back"  # removed by us, and there again
    TOUCHED = "touched"  # the content is what we wrote; only the version is another


class Action(StrEnum):
    """What becomes of the memory of a ref that differs."""

    TAKE = "take"  # the sink's version becomes the remembered one
    FORGET = "forget"  # looked up and decided anew when its scopes are read again
    BURY = "bury"  # a tombstone: created again when its scopes give it
    REMOVE = "remove"  # no scope holds it, and it is ours: the next run removes it, again
    RELEASE = "release"  # no scope holds it, and it is somebody else's by now: not remembered any more


@dataclass(frozen=True, slots=True)
class Entry:
    """One remembered ref with its number in the store; `held`: a scope, of whatever job, holds it.  `writer`: the run
    that remembered its version."""

    number: int
    known: Known
    held: bool
    writer: str | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """`ours`: a run of this job wrote what is there.  `version`: of what is there."""

    kind: Kind
    ours: bool = False
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Repair:
    """What is to be done about one entry; `version`: the sink's, where it is taken over."""

    number: int
    action: Action
    version: str | None = None


def difference(entry: Entry, held: Held | None, *, ours: bool) -> Difference | None:
    """How the entry differs; None where it is in step.

    `held`: what the sink holds, with its body where the version alone does not tell.  `ours`: a run of this job wrote
    it.
    """
    known = entry.known
    if known.digest == AWAITED:
        return None  # nothing was ever written of it; what is there is somebody's, and found when its wait is over
    if held is None or held.deleted:
        awaited = known.state is not State.DELETED or (entry.held and known.digest == FORGOTTEN)
        return Difference(Kind.MISSING) if awaited else None
    if known.state is State.RETIRED and not entry.held and (known.digest, known.version) == (DOUBTED, None):
        return None  # somebody had retired it as its product left: theirs, and found when that comes back
    equal = held.body is not None and has_digest(held.body, known.digest)
    if known.state is State.DELETED:
        return Difference(Kind.BACK, ours or equal, held.version)
    if held.version == known.version and (held.body is None or equal):
        return None
    kind = Kind.TOUCHED if equal else Kind.OURS if ours else Kind.CHANGED
    return Difference(kind, ours or equal, held.version)


def repair(entry: Entry, found: Difference) -> Repair:
    """What is to be done about it."""
    if found.kind is Kind.MISSING:
        return Repair(entry.number, Action.BURY)
    if found.kind is Kind.TOUCHED:
        return Repair(entry.number, Action.TAKE, found.version)
    if entry.held:
        return Repair(entry.number, Action.FORGET)
    if found.ours:
        return Repair(entry.number, Action.REMOVE, found.version)
    return Repair(entry.number, Action.RELEASE)


def is_repaired(entry: Entry, needed: Repair) -> bool:
    """True where memory is already as this repair would leave it, and only a run can go on."""
    known = entry.known
    if needed.action in (Action.FORGET, Action.RELEASE):
        return known.version is None and known.digest == DOUBTED
    return needed.action is Action.BURY and known.state is State.DELETED and known.digest == FORGOTTEN


def has_digest(body: bytes, digest: bytes) -> bool:
    """True where `body`, as a sink holds it, is what was written with this digest: as it is, or without the narratives
    that the server may have generated.  What is no JSON is not.

    Stricter than `same`, which needs the body that was sent, and that is not remembered: what somebody else wrote
    counts as changed although it is only spelt otherwise (entities, exponents, the order of tags, comments).  A run
    that reads its source again decides with `same`.
    """
    try:
        return digest in (canonical_digest(body), canonical_digest(_plain(body)))
    except NotJson:
        return False


def _plain(body: bytes) -> bytes:
    return canonical(without_added_text(parse(body), {}))


class Counts:
    """Counts per type, and the first names of each kind."""

    def __init__(self, names: int) -> None:
        self._most = names
        self._counts: dict[str, Counter[str]] = {}
        self._named: dict[str, list[str]] = {}

    def add(self, ref: Ref, kind: Kind | None, *, gone: bool) -> None:
        """One remembered ref; a tombstone that is in step is not worth counting (`gone`)."""
        if kind is not None:
            self._name(ref, kind.value)
        elif not gone:
            self._count(ref, IN_STEP)

    def unknown(self, ref: Ref) -> None:
        self._name(ref, UNKNOWN)

    def _name(self, ref: Ref, kind: str) -> None:
        self._count(ref, kind)
        named = self._named.setdefault(kind, [])
        if len(named) < self._most:
            named.append(str(ref))

    def _count(self, ref: Ref, kind: str) -> None:
        self._counts.setdefault(ref.type, Counter())[kind] += 1

    def by_type(self) -> Mapping[str, Mapping[str, int]]:
        return {kind: dict(sorted(counts.items())) for kind, counts in sorted(self._counts.items())}

    def named(self) -> Mapping[str, tuple[str, ...]]:
        return {kind: tuple(sorted(refs)) for kind, refs in sorted(self._named.items())}
