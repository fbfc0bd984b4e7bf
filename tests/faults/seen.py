"""What was seen of one job after a run, and what is to be said of it: what the checker is given, and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from tsi_fetch.words import Known, Ref

Edition = Mapping[Ref, bytes]
"""What a product's row is mapped to, at one moment; empty where the source has nothing of it (any more)."""

Did = Literal["created", "updated", "retired", "deleted"]
"""What a version made of the one before it, in a report's words."""


@dataclass(frozen=True)
class Version:
    """One version at the sink; `body` None: a deletion.  `run`: who wrote it, None for somebody else."""

    body: bytes | None
    run: str | None


@dataclass(frozen=True)
class Written:
    """A version that a run made, whatever became of it.  `answered`: the run was told that it is there.

    `ambiguous`: the run has retired it, or the source has said that it is over: what is left is the same.
    """

    run: str
    ref: Ref
    did: Did
    answered: bool = True
    body: bytes | None = field(default=None, repr=False)
    ambiguous: bool = False


@dataclass(frozen=True)
class RowSeen:
    """A row of the source's feed: which product it announced, and in which edition the product was then.

    `day`: of its stamp, in the source's zone.  `refs`: what of the product it speaks for; None: all.
    """

    key: str
    product: str
    edition: int
    day: date | None = None
    refs: Set[Ref] | None = None


@dataclass(frozen=True)
class Facts:
    """What the register says of a product, in its own words.

    `packages`: their national codes; `withdrawn`: those that are, though the product is not.  `substances`: names, as
    they stand there.  `texts`: `ft` or `p`, of documents that come in sections.  `papers`: addresses of PDFs, photos,
    notes and materials; of a supply problem the pack's code, a dash and its beginning.
    """

    name: str
    holder: str
    packages: Set[str]
    suspended: bool = False
    revoked: bool = False
    withdrawn: Set[str] = frozenset()
    substances: Set[str] = frozenset()
    texts: Set[str] = frozenset()
    papers: Set[str] = frozenset()


@dataclass(frozen=True)
class Ended:
    """How a run ended: `code` of the process (negative: the signal that killed it), and what its record says of it
    (None where there is no record, or it has no end).

    `excused`: its store was away, or another runner had its lease, so that its record may have stayed open.
    """

    run: str
    code: int
    outcome: str | None
    recorded: int | None
    report: Mapping[str, Any] = field(default_factory=dict)
    excused: bool = False

    @property
    def said(self) -> int:
        """Killed after its record was closed, a run has ended as that says, and is held to it."""
        return self.recorded if self.code < 0 and self.recorded is not None else self.code


@dataclass(frozen=True)
class Evidence:
    """Everything seen of one job after a run.

    `editions`: of each product all so far, the last being the truth.  `unusable`: products whose rows cannot be used
    now; `refused`: those of which the sink takes some resource never; `never`: resources which it never takes as their
    products have them now.  `held`: every version of everything at the sink
    that is the job's.  `settled`: keys of feed rows that the store takes for settled, in its watermark or its
    checkpoint, or as older than what is asked again.  `troubles`: row key of each open entry of quarantine;
    `unfetched`: of those that could not be fetched; `refusals`: product and resource of those that are one refused
    change.
    `calm`: nothing disturbed the last run; else good rows may have been spoilt on the way, and lie in quarantine.
    `unsaid`: products of which the source says another thing than its feed did, or that a listing lacked which a run
    has called incomplete: what is there of them may be as it was, or as it is.
    """

    editions: Mapping[str, Sequence[Edition]]
    unusable: Set[str]
    held: Mapping[Ref, Sequence[Version]]
    refused: Set[str] = frozenset()
    never: Set[Ref] = frozenset()
    feed: Sequence[RowSeen] = ()
    settled: Set[str] = frozenset()
    known: Mapping[Ref, Known] = field(default_factory=dict)
    versions: Mapping[Ref, str] = field(default_factory=dict)  # the sink's own names of the last ones
    waiting: Mapping[Ref, frozenset[Ref]] = field(default_factory=dict)
    pending: Sequence[Ref] = ()
    troubles: Sequence[str] = ()
    unfetched: Sequence[str] = ()
    refusals: Sequence[str] = ()
    newly_troubled: Set[str] = frozenset()  # by the last run
    put_aside: Set[str] | None = None  # what the last run put into quarantine, by the names that reports use
    left: int = 0  # keys of an open work list
    runs: Sequence[Ended] = ()
    calm: bool = True
    unsaid: Set[str] = frozenset()
    tampered: bool = False  # somebody else was at the server
    alone: bool = True  # nobody but this job and who tampered ever writes to what is `held`
    verbatim: bool = True  # the sink keeps what it is sent as it is sent
    removal: str | None = None  # what the job was asked to do with what its source no longer has
    written: Sequence[Written] | None = None  # by all runs so far; None where nobody has counted
    watermark: str | None = None  # the cursor's own value
    today: date | None = None  # at the source
    facts: Mapping[str, Facts] = field(default_factory=dict)  # of products that can be used

    @property
    def troubled(self) -> Set[str]:
        """Products of which something lies in quarantine: a row of some flags alone is `{product}#{flags}`."""
        return {key.partition("#")[0] for key in self.troubles}

    @property
    def partly(self) -> Set[str]:
        """Products of which some resource is refused, and nothing else is wrong: all others are there."""
        away = {key.partition("#")[0] for key in self.unfetched} if not self.calm else frozenset()
        return self.refused - self.unusable - self.unsaid - away

    def stays(self, ref: Ref) -> bool:
        """It may be at the sink as it once was: it is refused itself, or waits for what is, or somebody else wrote it;
        what they deleted comes again."""
        versions = self.held.get(ref)
        theirs = bool(versions) and versions[-1].run is None and versions[-1].body is not None
        return ref in self.never or ref in self.waiting or theirs

    @property
    def kept(self) -> Set[Ref]:
        """What may be at the sink as it once was, of all that any product ever was."""
        aside = self.set_aside - self.partly
        every = {ref for key in aside for edition in self.editions.get(key, ()) for ref in edition}
        some = {ref for key in self.partly for edition in self.editions.get(key, ()) for ref in edition}
        return every | {ref for ref in some if self.stays(ref)}

    @property
    def set_aside(self) -> Set[str]:
        """Products that may be at the sink as they once were: what came of them lies in quarantine."""
        return {*self.unusable, *self.refused, *self.unsaid, *(() if self.calm else self.troubled)}


@dataclass(frozen=True)
class Verdict:
    lost: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    false_green: tuple[str, ...] = ()
    untrue: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        return not (self.lost or self.doubled or self.false_green or self.untrue)

    def __str__(self) -> str:
        named = {"lost": self.lost, "doubled": self.doubled, "false green": self.false_green, "untrue": self.untrue}
        return "\n".join(f"{name}: {what}" for name, all_of_it in named.items() for what in all_of_it) or "good"
