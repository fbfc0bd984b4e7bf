"""What must be true after a run, whatever happened before and in it: from what the source said, to what the sink holds.

Pure: it is given what was seen, and says what is lost, what is doubled, what is a false green, and what else is untrue.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import lru_cache

from tsi_fetch.fhir.equality import same as same_as
from tsi_fetch.fhir.retire import retirable, retired
from tsi_fetch.words import DOUBTED, Known, Ref, State

same = lru_cache(20_000)(same_as)
"""By the sink's equality; a life asks the same again after each run."""

Edition = Mapping[Ref, bytes]
"""What a product's row is mapped to, at one moment; empty where the source has nothing of it (any more)."""


@dataclass(frozen=True)
class Version:
    """One version at the sink; `body` None: a deletion.  `run`: who wrote it, None for somebody else."""

    body: bytes | None
    run: str | None


@dataclass(frozen=True)
class RowSeen:
    """A row of the source's feed: which product it announced, and in which edition the product was then."""

    key: str
    product: str
    edition: int


@dataclass(frozen=True)
class Ended:
    """How a run ended: `code` of the process (negative: the signal that killed it), and what its record says of it
    (None where there is no record, or it has no end)."""

    run: str
    code: int
    outcome: str | None
    recorded: int | None


@dataclass(frozen=True)
class Evidence:
    """Everything seen of one job after a run.

    `editions`: of each product all so far, the last being the truth.  `unusable`: products whose rows cannot be used
    now; `refused`: those of which the sink takes some resource never.  `held`: every version of everything at the sink
    that is the job's.  `settled`: keys of feed rows that the store takes for settled, in its watermark or its
    checkpoint.  `troubles`: product of each open entry of quarantine; `unfetched`: of those that could not be fetched;
    `refusals`: product and resource of those that are one refused change.
    `calm`: nothing disturbed the last run; else good rows may have been spoilt on the way, and lie in quarantine.
    `unsaid`: products of which the source says another thing than its feed did, or that a listing lacked which a run
    has called incomplete: what is there of them may be as it was, or as it is.
    """

    editions: Mapping[str, Sequence[Edition]]
    unusable: Set[str]
    held: Mapping[Ref, Sequence[Version]]
    refused: Set[str] = frozenset()
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
    left: int = 0  # keys of an open work list
    runs: Sequence[Ended] = ()
    calm: bool = True
    unsaid: Set[str] = frozenset()
    tampered: bool = False  # somebody else was at the server

    @property
    def set_aside(self) -> Set[str]:
        """Products that may be at the sink as they once were: what came of them lies in quarantine."""
        return {*self.unusable, *self.refused, *self.unsaid, *(() if self.calm else self.troubles)}


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


def look(e: Evidence) -> Verdict:
    """After any run, whatever its end; complete where the last one says that it is."""
    last = e.runs[-1] if e.runs else None
    finished = last is not None and last.code in (0, 65)
    lacking = tuple(_lacking(e)) if finished else ()
    green = last is not None and last.code == 0
    passed = tuple(_passed(e))
    return Verdict(
        lost=(*passed, *(() if green else lacking)),
        doubled=tuple(_doubled(e)),
        false_green=(*_false_ends(e), *(lacking if green else ()), *(_hidden(e) if green else ())),
        untrue=(*_out_of_order(e), *(_unfinished(e) if finished else ()), *(_misremembered(e) if finished else ())),
    )


def _now(e: Evidence) -> dict[Ref, bytes]:
    """What the source says now, of all that can be used."""
    return {
        ref: body
        for key, all_of_it in e.editions.items()
        if key not in e.set_aside
        for ref, body in all_of_it[-1].items()
    }


def _lacking(e: Evidence) -> Iterator[str]:
    """What should be at the sink and is not; what should have gone and has not."""
    now = _now(e)
    for ref, body in now.items():
        last = _last(e, ref)
        if last is None or not same(body, last):
            yield f"{ref} is {'not there' if last is None else 'not what the source says'}"
    kept = {ref for key in e.set_aside for edition in e.editions.get(key, ()) for ref in edition}
    for ref in e.held.keys() - now.keys() - kept:
        last = _last(e, ref)
        if e.held[ref][-1].run is None:
            continue  # somebody else's: what the source no longer has, they may have
        if e.tampered and f"removal of {ref}" in e.troubles:
            continue  # it was somebody else's when it was to go: a person was told, and has not said what is to be
        if last is not None and retirable(ref.type) and not same(last, retired(last)):
            yield f"{ref} is still there as if the source had it"


def _passed(e: Evidence) -> Iterator[str]:
    """Rows that the watermark, or the checkpoint, has passed, though what they announced is nowhere."""
    for row in e.feed:
        if row.key in e.settled and row.product not in e.troubles and not _arrived(e, row):
            yield f"{row.key} counts as settled, and what it announced is nowhere"


def _arrived(e: Evidence, row: RowSeen) -> bool:
    """Each resource of the product is at the sink as it was then, or later; of what products share (Organizations),
    another one may have brought what is there."""
    editions = e.editions[row.product][row.edition :]
    refs = {ref for edition in editions for ref in edition if ref.type != "Organization"}
    return all(any(_is(e, ref, edition.get(ref)) for edition in editions) for ref in refs)


def _is(e: Evidence, ref: Ref, wanted: bytes | None) -> bool:
    last = _last(e, ref)
    if wanted is None and ref in e.held and e.held[ref][-1].run is None:
        return True
    if wanted is None or last is None:
        return last is None or same(last, retired(last)) or ref in e.pending
    return same(wanted, last)


def _doubled(e: Evidence) -> Iterator[str]:
    for ref, versions in e.held.items():
        for one, two in itertools.pairwise(versions):
            alike = one.body is two.body is None or (one.body and two.body and same(one.body, two.body))
            if alike and two.run is not None:
                yield f"{ref}: {two.run} wrote again what {one.run} had written"


def _out_of_order(e: Evidence) -> Iterator[str]:
    """Each resource's versions follow the source's order; one that says what no edition ever said is wrong as well."""
    for ref, versions in e.held.items():
        told = [t for t in _told(e, ref)]
        if ref.type == "Organization":  # said by several products, in no common order
            told = told * len(versions)
        at = 0
        for version in versions:
            if version.body is None or version.run is None or same(version.body, _as_retired(version.body)):
                continue
            later = [n for n in range(at, len(told)) if same(told[n], version.body)]
            if not later:
                yield f"{ref}: a version of {version.run} says what the source said before, or never"
            at = later[0] if later else at


@lru_cache(5_000)
def _as_retired(body: bytes) -> bytes:
    try:
        return retired(body)
    except ValueError:
        return b"{}"


def _told(e: Evidence, ref: Ref) -> Iterator[bytes]:
    for editions in e.editions.values():
        yield from (edition[ref] for edition in editions if ref in edition)


def _unfinished(e: Evidence) -> Iterator[str]:
    for ref, missing in e.waiting.items():
        if all(_last(e, target) is not None for target in missing):
            yield f"{ref} waits for what is there"
    yield from (f"{ref} is still to go" for ref in e.pending)
    if e.left:
        yield f"{e.left} keys of a work list are left"
    yield from (
        f"{key} cannot be used, and does not lie in quarantine"
        for key in sorted(e.unusable - e.unsaid - set(e.troubles))
    )
    for key in sorted(set(e.troubles) - e.refused):  # of a refused one, each resource lies there
        if (times := _times(e, key)) > 1:
            yield f"{key} lies in quarantine {times} times"
    for lying, times in Counter(e.refusals).items():
        if times > 1:
            yield f"{lying} lies in quarantine {times} times"
    yield from (
        f"{key} is refused, and does not lie in quarantine" for key in sorted(e.refused - e.unsaid - set(e.troubles))
    )
    if e.calm:
        kept_back = {f"removal of {ref}" for ref in e.held.keys() - _now(e).keys()}  # what somebody else wrote
        yield from (
            f"{key} lies in quarantine, and is good"
            for key in sorted(set(e.troubles) - e.unusable - e.refused - kept_back)
        )


def _times(e: Evidence, key: str) -> int:
    """How often a row lies there.  What was received and cannot be used stays there beside what could not be fetched
    since, until the source answers again."""
    times = e.troubles.count(key)
    return times - (times > 1 and not e.calm and key in e.unfetched)


def _misremembered(e: Evidence) -> Iterator[str]:
    aside, now = {ref for key in e.set_aside for edition in e.editions.get(key, ()) for ref in edition}, _now(e)
    for ref in e.held:
        known, there = e.known.get(ref), _last(e, ref) is not None
        if known is None and e.held[ref][-1].run is None and ref not in now:
            continue
        if known is None:
            yield f"{ref} is at the sink, and nobody remembers it"
        elif ref in aside and (known.version is None or known.digest == DOUBTED):
            continue  # to be learnt anew once its row can be used again
        elif known.digest == DOUBTED and known.version is None and f"removal of {ref}" in e.troubles:
            continue  # somebody else's: it was not removed, a person is told, and its version is none of ours
        elif not there and known.state is State.DELETED:
            continue  # of what is gone, the version need not be known: somebody else may have deleted it
        elif (known.state is not State.DELETED) is not there or known.version != e.versions[ref]:
            yield f"{ref} is remembered as {known.state} in version {known.version}, and is {e.versions[ref]}"
    for ref, known in e.known.items():
        in_doubt = ref in aside and known.digest == DOUBTED and known.version is None
        if known.state is not State.DELETED and ref not in e.held and not in_doubt:
            yield f"{ref} is remembered, and is nowhere"


OUTCOMES = {0: ("done", "partial"), 65: ("quarantined", "partial")}
"""What the record of a run says that ended so."""


def _false_ends(e: Evidence) -> Iterator[str]:
    """Records that say something else than the process did; a run that was killed has no good end, and the record of
    one that was overtaken, or lost its store, has none at all."""
    for ended in e.runs:
        if ended.code == 75 and ended.outcome in ("lost", "running") and ended.recorded is None:
            continue
        if ended.code >= 0 and (ended.outcome is not None or ended.code in OUTCOMES) and ended.recorded != ended.code:
            yield f"{ended.run} ended with {ended.code}, and its record says {ended.recorded}"
        if ended.code in OUTCOMES and ended.outcome not in OUTCOMES[ended.code]:
            yield f"{ended.run} ended with {ended.code}, and is recorded as {ended.outcome}"
        if ended.outcome == "done" and ended.code != 0:
            yield f"{ended.run} ended with {ended.code}, and is recorded as done"


def _hidden(e: Evidence) -> Iterator[str]:
    """What a run sets aside makes it red; what lay there before does so only after a week."""
    if hidden := (e.unusable | e.refused) - e.unsaid - set(e.troubles) | e.newly_troubled:
        yield f"exit code 0, and {', '.join(sorted(hidden))} cannot be used"


def _last(e: Evidence, ref: Ref) -> bytes | None:
    versions = e.held.get(ref)
    return versions[-1].body if versions else None
