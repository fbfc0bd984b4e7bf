"""What must be true after a run, whatever happened before and in it: from what the source said, to what the sink holds.

Pure: it is given what was seen, and says what is lost, what is doubled, what is a false green, and what else is untrue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.faults.bodies import can_be_retired, is_retired
from tests.faults.facts import mismapped
from tests.faults.records import false_ends, false_reports
from tests.faults.seen import Did, Edition, Ended, Evidence, Facts, RowSeen, Verdict, Version, Written
from tests.faults.versions import alike, doubled, out_of_order, removed_otherwise, strangers
from tsi_fetch.fhir.digest import canonical_digest
from tsi_fetch.words import AWAITED, DOUBTED, FORGOTTEN, Ref, State

__all__ = [
    "Did",
    "Edition",
    "Ended",
    "Evidence",
    "Facts",
    "RowSeen",
    "Verdict",
    "Version",
    "Written",
    "look",
    "look_meanwhile",
]

IN_DOUBT = frozenset({DOUBTED, FORGOTTEN, AWAITED})
"""Digests of what is not believed, or never was there."""


def look(e: Evidence) -> Verdict:
    """After any run, whatever its end; complete where the last one says that it is."""
    last = e.runs[-1] if e.runs else None
    finished = last is not None and last.said in (0, 65) and last.outcome != "partial"
    lacking = tuple(_lacking(e)) if finished else ()
    green = finished and last is not None and last.said == 0
    passed = tuple(_passed(e))
    return Verdict(
        lost=(*passed, *(() if green else lacking)),
        doubled=tuple(doubled(e)),
        false_green=(*false_ends(e), *(lacking if green else ()), *_hidden(e, green=green)),
        untrue=(
            *_whatever_happens(e),
            *(_unfinished(e) if finished else ()),
            *(_misremembered(e) if finished else ()),
            *_remembered_otherwise(e, finished=finished),
            *(mismapped(e) if finished else ()),
        ),
    )


def look_meanwhile(e: Evidence) -> Verdict:
    """After a run on a server where somebody else was, until that is mended: what the source says need not be there,
    and everything else that was promised is."""
    return Verdict(doubled=tuple(doubled(e)), false_green=tuple(false_ends(e)), untrue=tuple(_whatever_happens(e)))


def _whatever_happens(e: Evidence) -> Iterator[str]:
    for rule in (out_of_order, strangers, removed_otherwise, false_reports):
        yield from rule(e)


def _now(e: Evidence) -> dict[Ref, bytes]:
    """What the source says now, of all that can be used."""
    whole = {
        ref: body
        for key, all_of_it in e.editions.items()
        if key not in e.set_aside
        for ref, body in all_of_it[-1].items()
    }
    return whole | {
        ref: body
        for key in e.partly
        if key in e.editions
        for ref, body in e.editions[key][-1].items()
        if not e.stays(ref)
    }


def _lacking(e: Evidence) -> Iterator[str]:
    """What should be at the sink and is not; what should have gone and has not."""
    now = _now(e)
    for ref, body in now.items():
        last = _last(e, ref)
        if last is None or not alike(e, body, last):
            yield f"{ref} is {'not there' if last is None else 'not what the source says'}"
    for ref in e.held.keys() - now.keys() - e.kept:
        last = _last(e, ref)
        if e.held[ref][-1].run is None:
            continue  # somebody else's: what the source no longer has, they may have
        if e.tampered and f"removal of {ref}" in e.troubles:
            continue  # it was somebody else's when it was to go: a person was told, and has not said what is to be
        if not _is_over(e, ref, last) and not (ref in e.pending and _needed(e, ref)):
            yield f"{ref} is still there as if the source had it"


def _passed(e: Evidence) -> Iterator[str]:
    """Rows that the watermark, or the checkpoint, has passed, though what they announced is nowhere."""
    for row in e.feed:
        if row.key in e.settled and row.product not in e.troubled and not _arrived(e, row):
            yield f"{row.key} counts as settled, and what it announced is nowhere"


def _arrived(e: Evidence, row: RowSeen) -> bool:
    """Each resource of the product is at the sink as it was then, or later; of what products share (Organizations),
    another one may have brought what is there."""
    all_of_it = e.editions[row.product]
    editions = all_of_it[row.edition :]
    refs = row.refs
    if refs is None:
        refs = {ref for edition in all_of_it for ref in edition if ref.type != "Organization"}
    return all(any(_is(e, ref, edition.get(ref)) for edition in editions) for ref in refs)


def _is(e: Evidence, ref: Ref, wanted: bytes | None) -> bool:
    last = _last(e, ref)
    if wanted is None and ref in e.held and e.held[ref][-1].run is None:
        return True
    if wanted is not None and last is None:
        return ref in e.waiting  # for what a product that was not listed has not brought yet
    if wanted is None or last is None:
        return wanted is None and (_is_over(e, ref, last) or ref in e.pending)
    return alike(e, wanted, last)


def _is_over(e: Evidence, ref: Ref, last: bytes | None) -> bool:
    """It went as the job was asked to let it go."""
    if last is None or not can_be_retired(ref.type):
        return last is None or e.removal != "delete"
    return e.removal != "delete" and is_retired(last)


def _needed(e: Evidence, ref: Ref) -> bool:
    """It cannot be deleted: something that stays as it is, since its row cannot be used or as it is somebody else's,
    still refers to it."""
    kept = (e.kept | {other for other, versions in e.held.items() if versions and versions[-1].run is None}) - {ref}
    named = f'"reference":"{ref}"'.encode()
    return e.removal == "delete" and any(named in (_last(e, other) or b"") for other in kept)


def _unfinished(e: Evidence) -> Iterator[str]:
    for ref, missing in e.waiting.items():
        if all(_last(e, target) is not None for target in missing):
            yield f"{ref} waits for what is there"
    told = {ref for ref in e.pending if f"removal of {ref}" in e.troubles}  # it goes once a person has said so
    yield from (f"{ref} is still to go" for ref in e.pending if ref not in told and not _needed(e, ref))
    if e.left:
        yield f"{e.left} keys of a work list are left"
    yield from (
        f"{key} cannot be used, and does not lie in quarantine"
        for key in sorted(e.unusable - e.unsaid - set(e.troubles))
    )
    for key in sorted(set(e.troubles) - e.refused - e.unsaid):  # of a refused one, each resource lies there
        if (times := _times(e, key)) > 1:
            yield f"{key} lies in quarantine {times} times"
    for lying, times in Counter(e.refusals).items():
        if times > 1:
            yield f"{lying} lies in quarantine {times} times"
    yield from _wrongly_refused(e)
    yield from (
        f"{key} is refused, and does not lie in quarantine" for key in sorted(e.refused - e.unsaid - set(e.troubles))
    )
    if e.calm:
        kept_back = {f"removal of {ref}" for ref in e.held.keys() - _now(e).keys()}  # what somebody else wrote
        yield from (
            f"{key} lies in quarantine, and is good"
            for key in sorted(set(e.troubles) - e.unusable - e.refused - kept_back)
        )


def _wrongly_refused(e: Evidence) -> Iterator[str]:
    """Each resource that the sink never takes lies there by itself, once."""
    for key in sorted(e.partly & e.editions.keys()):
        names = [refusal.partition(" of ") for refusal in e.refusals]
        times = Counter(ref for ref, _, row in names if row.partition("#")[0] == key)
        for ref in sorted(e.never & e.editions[key][-1].keys()):
            if times[str(ref)] != 1:
                yield f"{ref} of {key} is refused, and lies in quarantine {times[str(ref)]} times"


def _times(e: Evidence, key: str) -> int:
    """How often a row lies there.  What was received and cannot be used, or was refused, stays there beside what could
    not be fetched since, until the source answers again."""
    times = e.troubles.count(key)
    if e.calm or key not in e.unfetched:
        return times
    times -= sum(refusal.endswith(f" of {key}") for refusal in e.refusals)
    return times - (times > 1)


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


def _remembered_otherwise(e: Evidence, *, finished: bool) -> Iterator[str]:
    """What is remembered of a version is what it says, whatever the end of a run; and once the source was read to its
    end, that it is alive, or over."""
    for ref, known in e.known.items():
        body = _last(e, ref)
        if body is None or known.version != e.versions[ref] or known.digest in IN_DOUBT:
            continue
        if e.verbatim and known.digest != canonical_digest(body):
            yield f"{ref} is remembered in version {known.version} as something else than it is"
        if finished and ref not in e.kept and known.state is not (state := _state(e, ref, body)):
            yield f"{ref} is remembered as {known.state}, and is {state}"


def _state(e: Evidence, ref: Ref, body: bytes) -> State:
    """Of what is there; where the source itself has it so, it is as alive as anything."""
    said = any(all_of_it and ref in all_of_it[-1] for all_of_it in e.editions.values())
    return State.RETIRED if is_retired(body) and not said else State.LIVE


def _hidden(e: Evidence, *, green: bool) -> Iterator[str]:
    """What a run sets aside makes it red, also one that was planned to stop; what lay there before does so only after
    a week."""
    unsaid = (e.unusable | e.refused) - e.unsaid - set(e.troubles) if green else set()
    if hidden := unsaid | (e.newly_troubled if e.runs and e.runs[-1].said == 0 else set()):
        yield f"exit code 0, and {', '.join(sorted(hidden))} cannot be used"


def _last(e: Evidence, ref: Ref) -> bytes | None:
    versions = e.held.get(ref)
    return versions[-1].body if versions else None
