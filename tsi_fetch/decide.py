"""The pure decision: what is known × what came → what is to be done.  No clock, no network, no database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tsi_fetch.fhir.digest import canonical_digest
from tsi_fetch.fhir.equality import alike, same
from tsi_fetch.fhir.tokens import NotJson
from tsi_fetch.words import DOUBTED, Action, Fault, Held, Known, Ref, State, Upsert, Write, WriteAction

FOREIGN = Fault(
    "foreign", "$", "the sink holds a version that this store did not write; `on_existing: adopt` would take it over"
)
GONE = Fault(
    "foreign",
    "$",
    "the sink no longer holds what this store wrote: somebody removed it; `on_existing: adopt` would bring it back",
)
OWNED = Fault("owned", "$", "another job owns this resource, and its type is not configured as shared")
TWICE = Fault("twice", "$", "two changes of one run differ for this resource, and no order says which is newer")
CONTENDED = Fault("contended", "$", "the sink's version moved again each time it was read")


@dataclass(frozen=True, slots=True)
class Policy:
    """What a job may do with what it finds."""

    job: str
    mapping: int
    adopt: bool = False  # on_existing: adopt, not refuse
    again: bool = False  # --again: write even what has not changed
    shared: frozenset[str] = frozenset()  # types that several jobs may own


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done with one upsert.  `version`: what the sink is believed to hold (None: nothing)."""

    action: Action
    upsert: Upsert
    digest: bytes
    version: str | None = None
    fault: Fault | None = None

    @property
    def write(self) -> Write:
        """The guarded write of a create or an update."""
        revives = self.action is Action.CREATE and self.version is not None
        return Write(self.upsert.ref, WriteAction.PUT, self.version, self.upsert.body, revives)


def decide(upsert: Upsert, known: Known | None, held: Held | None, policy: Policy, *, ours: bool = False) -> Decision:
    """Decide one upsert.  `held`: what the sink holds, with its body, where the version is not in `known`, or what is
    known is in doubt; `ours`: it was written by a run that was killed before it could remember."""
    digest = canonical_digest(upsert.body)
    if known and known.job != policy.job and upsert.ref.type not in policy.shared:
        return Decision(Action.REFUSE, upsert, digest, fault=OWNED)
    doubted = known is not None and known.digest == DOUBTED and held is not None and not held.deleted
    if known and known.version is not None and not doubted:
        return _of_known(upsert, digest, known, policy)
    if known and older(upsert.order, known.order):
        return Decision(Action.OLDER, upsert, digest)
    if held is None or held.deleted:
        return Decision(Action.CREATE, upsert, digest, held.version if held else None)
    believed = known is not None and known.version == held.version
    return _of_held(upsert, digest, held, policy, ours=ours or believed)


def _of_known(upsert: Upsert, digest: bytes, known: Known, policy: Policy) -> Decision:
    if known.state is not State.DELETED and known.digest == digest and not policy.again:
        return Decision(Action.UNCHANGED, upsert, digest, known.version)
    if older(upsert.order, known.order):
        return Decision(Action.OLDER, upsert, digest, known.version)
    if known.fresh and not policy.again and not _newer(upsert.order, known.order):
        return Decision(Action.REFUSE, upsert, digest, known.version, TWICE)
    action = Action.CREATE if known.state is State.DELETED else Action.UPDATE
    return Decision(action, upsert, digest, known.version)


def _of_held(upsert: Upsert, digest: bytes, held: Held, policy: Policy, *, ours: bool) -> Decision:
    if held.body is not None and _same(upsert.body, held.body) and not policy.again:
        return Decision(Action.UNCHANGED, upsert, digest, held.version)
    if policy.adopt or ours:
        return Decision(Action.UPDATE, upsert, digest, held.version)
    return Decision(Action.REFUSE, upsert, digest, held.version, FOREIGN)


def _same(ours: bytes, theirs: bytes) -> bool:
    """What is not JSON (a file that somebody spoilt) is the same as nothing."""
    try:
        return same(ours, theirs)
    except NotJson:
        return False


def older(order: int | None, known: int | None) -> bool:
    """Lower never replaces higher; where either has no order, the later to come wins."""
    return order is not None and known is not None and order < known


def _newer(order: int | None, known: int | None) -> bool:
    return order is not None and known is not None and order > known


@dataclass(frozen=True, slots=True)
class Collapsed:
    """Several upserts of one ref in one batch, made one; `clashing` are those that no order tells apart."""

    upsert: Upsert | None
    clashing: tuple[Upsert, ...] = ()


def collapse(upserts: Sequence[Upsert]) -> Collapsed:
    """Equal content collapses; else the highest order wins; a tie of different content, or no order, is a clash.

    Of one batch.  Where a later batch of the same run differs and no order tells, the first change is written already
    and stays: the later one alone is refused (`Known.fresh`), and there only equal digests are equal content.
    """
    if len(upserts) == 1:
        return Collapsed(upserts[0])
    if _alike(upserts):
        return Collapsed(max(upserts, key=lambda u: -1 if u.order is None else u.order))
    if any(u.order is None for u in upserts):
        return Collapsed(None, tuple(upserts))
    newest = max(u.order for u in upserts if u.order is not None)
    winners = [u for u in upserts if u.order == newest]
    return Collapsed(winners[0]) if _alike(winners) else Collapsed(None, tuple(winners))


def _alike(upserts: Sequence[Upsert]) -> bool:
    """Equal digests tell at less cost; different ones may be spellings."""
    first, *others = upserts
    digest = canonical_digest(first.body)
    return all(canonical_digest(u.body) == digest or alike(first.body, u.body) for u in others)


@dataclass(frozen=True, slots=True)
class Anew:
    """A stale version, read and decided anew: acknowledged as it is, written over, or refused."""

    acknowledged: bool = False
    version: str | None = None
    fault: Fault | None = None


def decide_stale(write: Write, held: Held | None, *, ours: bool, adopt: bool) -> Anew:
    """The sink holds another version than believed.

    Where the sink holds just what was believed, the write was only held back with another one (its target was stale),
    and is sent again.  Equal content is acknowledged: a lost answer, or somebody who did the same.  What a run of this
    store wrote (`ours`) is written over: the run died before it could remember.  Anything else is foreign, unless the
    job adopts.
    """
    if (held.version if held else None) == write.version:
        return Anew(version=write.version)
    there = held is not None and not held.deleted
    if there and held and held.body is not None and write.body is not None and _same(write.body, held.body):
        return Anew(acknowledged=True, version=held.version)
    if ours or adopt:
        return Anew(version=held.version if held else None)
    return Anew(fault=GONE if held is None or held.deleted else FOREIGN)


def leaving(claimed: frozenset[Ref], remembered: frozenset[Ref], *, whole: bool) -> frozenset[Ref]:
    """Refs that a whole scope held and no longer names; a scope that is not whole loses nothing by silence."""
    return remembered - claimed if whole else frozenset()
