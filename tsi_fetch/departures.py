"""The last step of a run: deletions and retirements that are past the guard are carried out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tsi_fetch.components import components, grouped
from tsi_fetch.counting import are, count
from tsi_fetch.decide import FOREIGN
from tsi_fetch.errors import Exit
from tsi_fetch.fhir.digest import canonical_digest
from tsi_fetch.fhir.equality import same
from tsi_fetch.fhir.references import references
from tsi_fetch.fhir.retire import parts, retirable, retired
from tsi_fetch.fhir.tokens import NotJson
from tsi_fetch.settle import believed, removal_of
from tsi_fetch.words import (
    DOUBTED,
    FORGOTTEN,
    Doubt,
    Fault,
    Held,
    Known,
    Outcome,
    Quarantined,
    Ref,
    Result,
    Row,
    Settlement,
    State,
    Write,
    WriteAction,
)
from tsi_fetch.write import write_all

if TYPE_CHECKING:
    from tsi_fetch.context import Run

AT_ONCE = 50
"""Refs removed together: a transaction's worth, whose bodies are held in memory."""


def carry_out(run: Run) -> None:
    """Remove, retire or keep every accepted ref, by the job's policy; remember what the sink acknowledged.

    A removal that lies in quarantine is tried again by `--full`, and when it is replayed (`again`).
    """
    refs = sorted({p.ref for p in run.store.pending() if p.accepted})
    _carry_out(run, refs if run.settings.full else _untroubled(run, refs))


def again(run: Run, refs: Sequence[Ref]) -> frozenset[Ref]:
    """Those of these removals that are still to be carried out, once more; which they were.  A person has been told of
    them and asks for it: only so is what somebody else wrote removed, where the job adopts."""
    going = frozenset(p.ref for p in run.store.pending(refs) if p.accepted)
    _carry_out(run, sorted(going), adopt=run.policy.adopt)
    return going


def too_long(run: Run) -> None:
    """What waits too long to be retired counts as quarantine, as any change that waits does.  What cannot be deleted
    for as long as something refers to it is told by every run, and no more."""
    if run.settings.removal != "retire":
        return
    old = {
        p.ref: p.decided
        for p in run.store.pending()
        if p.accepted and p.decided and run.clock.now() - p.decided > run.settings.max_wait_age
    }
    refs = _untroubled(run, sorted(old))
    if refs:
        what = (
            f"{count(len(refs), 'resource')} could not be retired since {min(old[r] for r in refs):%Y-%m-%d}: {refs[0]}"
        )
        run.tally.reason(Exit.QUARANTINE, what, f"tsi-fetch explain {refs[0]}")


def _untroubled(run: Run, refs: Sequence[Ref]) -> list[Ref]:
    """Those whose removal does not lie in quarantine."""
    found: list[Ref] = []
    for some in (refs[start : start + AT_ONCE] for start in range(0, len(refs), AT_ONCE)):
        entries = {ref: Row(removal_of(ref)).digest for ref in some}
        lying = run.store.in_quarantine(run.source.stream, list(entries.values()))
        found += [ref for ref, digest in entries.items() if digest not in lying]
    return found


def _carry_out(run: Run, refs: Sequence[Ref], *, adopt: bool = False) -> None:
    for some in _in_order(run, refs):
        run.stop.check()
        _some(run, some, adopt=adopt)


def _in_order(run: Run, refs: Sequence[Ref]) -> Iterator[Sequence[Ref]]:
    """Some at a time; where the sink keeps what is still referred to, referrers first and circles whole."""
    pages = [refs[start : start + AT_ONCE] for start in range(0, len(refs), AT_ONCE)]
    if len(pages) < 2 or run.settings.removal != "delete" or not run.sink.referential:
        yield from pages
        return
    wanted, graph = frozenset(refs), dict[Ref, frozenset[Ref]]()
    for page in pages:
        run.stop.check()
        held = run.sink.find(page, bodies=True)
        graph |= {ref: _targets(held.get(ref)) & wanted for ref in page}
    yield from grouped(reversed(list(components(graph))), AT_ONCE)


def _targets(held: Held | None) -> frozenset[Ref]:
    try:
        return references(held.body) if held and held.body else frozenset()
    except NotJson:
        return frozenset()  # then the sink says what still refers to what


def _some(run: Run, refs: Sequence[Ref], *, adopt: bool) -> None:
    known, holders = run.store.known(refs), run.store.holders(refs)  # another job may hold one by now: it stays
    live = {ref: k for ref in refs if (k := known.get(ref)) and _may_be_there(k) and not holders.get(ref)}
    if run.settings.removal == "keep":
        for ref in live:
            run.tally.count(ref, "kept")
        _remember(run, known=_learnt(run, live), departed=refs)
        return
    held = run.sink.find(list(live), bodies=True)
    living = _living(run, held)
    writes, settled, foreign = [], [], []
    for ref, k in live.items():
        step = _step(run, k, held.get(ref), living, adopt=adopt)
        if isinstance(step, Write):
            writes.append(step)
        elif isinstance(step, Known):
            settled.append(step)
            run.tally.count(ref, _found(step))
        else:
            foreign.append(ref)
            run.tally.count(ref, "refused")
    lost = [k.ref for k in settled if k.state is State.DELETED]
    doubt = run.store.doubt(_doubt(run, writes)) if writes else None
    outcomes = _write(run, writes)
    by_ref = {w.ref: w for w in writes}
    for o in outcomes:
        before, write = known[o.ref], by_ref[o.ref]
        settled.append(_after(before, o, write) if _done(o) else _kept(before, write))
    foreign += [o.ref for o in outcomes if o.result is Result.REFUSED]
    settled = [k for k in settled if k.ref not in foreign]
    others = [replace(live[ref], digest=DOUBTED, version=None) for ref in foreign]  # what is there is none of ours
    waiting = _wait_on(run, outcomes)
    faults = {o.ref: o.fault for o in outcomes if o.fault}
    _remember(
        run,
        known=[*settled, *others],
        before=known,
        departed=[ref for ref in refs if ref not in waiting and ref not in foreign],
        quarantined=[_quarantined(run, ref, faults.get(ref, FOREIGN), held.get(ref)) for ref in foreign],
        doubt=doubt,
        lost=lost,
    )


def _learnt(run: Run, live: Mapping[Ref, Known]) -> list[Known]:
    """Of what stays though a lost run may have changed it: the version that it is in now, where that is ours."""
    held = run.sink.find([ref for ref, k in live.items() if k.digest == DOUBTED])
    return [replace(live[ref], version=h.version) for ref, h in held.items() if run.wrote(h)]


def _doubt(run: Run, writes: Sequence[Write]) -> Doubt:
    return Doubt(tuple(w.ref for w in writes), (), run.policy.mapping, removes=run.settings.removal == "delete")


def _wait_on(run: Run, outcomes: Sequence[Outcome]) -> frozenset[Ref]:
    """What cannot go yet stays pending, and every run tries again."""
    referred = frozenset(o.ref for o in outcomes if o.result is Result.REFERRED)
    if referred:
        run.tally.note(
            f"{count(len(referred), 'resource')} {are(len(referred))} still referred to, and kept for as long"
        )
    lacking = frozenset(o.ref for o in outcomes if o.result is Result.MISSING)
    if lacking:
        run.tally.note(
            f"{count(len(lacking), 'resource')} cannot be retired until what is referred to is there: {min(lacking)}"
            f" refers to {min(t for o in outcomes for t in o.missing)}"
        )
    return referred | lacking


def _living(run: Run, held: Mapping[Ref, Held]) -> frozenset[Ref]:
    """Of what documents among these have as entries, under the ids that it has there: what a scope still holds and has
    not ended on its own."""
    inner = frozenset[Ref]().union(*(_parts(h) for ref, h in held.items() if ref.type == "Bundle"))
    standing = {run.settings.identity.ref(ref): ref for ref in inner}
    holders = run.store.holders(sorted(standing)) if inner else {}
    alive = sorted(ref for ref, scopes in holders.items() if scopes)
    for some in (alive[start : start + AT_ONCE] for start in range(0, len(alive), AT_ONCE)):
        ended = {ref for ref, h in run.sink.find(some, bodies=True).items() if _has_ended(h)}
        alive = [ref for ref in alive if ref not in ended]
    return frozenset(standing[ref] for ref in alive)


def _parts(held: Held) -> frozenset[Ref]:
    try:
        return parts(held.body) if held.body else frozenset()
    except ValueError:  # no resource at all
        return frozenset()


def _has_ended(held: Held) -> bool:
    """Its own row says so already."""
    body = None if held.deleted else _retired(held, frozenset())
    return body is not None and same(body, held.body or b"")


def _retired(held: Held, living: frozenset[Ref]) -> bytes | None:
    """None where what is held is no resource that could be retired: a file that somebody spoilt."""
    try:
        return retired(held.body or b"", living)
    except ValueError:
        return None


def _may_be_there(known: Known) -> bool:
    """Alive, or a run that was to bring it back may have been killed before it could remember."""
    return known.state is State.LIVE or known.digest in (FORGOTTEN, DOUBTED)


def _step(run: Run, known: Known, held: Held | None, living: frozenset[Ref], *, adopt: bool) -> Write | Known | None:
    """What to do with one live ref: a guarded write, nothing more (it is as it should be), or None: not ours."""
    if held is None or held.deleted:
        version = held.version if held else None
        digest = FORGOTTEN if known.digest == DOUBTED else known.digest  # a killed run's deletion: nothing is in doubt
        return replace(known, state=State.DELETED, version=version, digest=digest)
    ours = held.version == known.version or run.wrote(held) or adopt
    if run.settings.removal == "delete":
        return Write(known.ref, WriteAction.DELETE, held.version) if ours else None
    if not retirable(known.ref.type):
        run.tally.note(f"a {known.ref.type} cannot be retired: kept as it is")
        return replace(known, version=held.version, state=State.RETIRED) if ours else None
    return _retire(known, held, living, ours=ours)


def _retire(known: Known, held: Held, living: frozenset[Ref], *, ours: bool) -> Write | Known | None:
    body = _retired(held, living)
    if body is None:
        return None
    if not same(body, held.body or b""):
        return Write(known.ref, WriteAction.PUT, held.version, body) if ours else None
    digest = canonical_digest(body)
    if ours or digest == known.digest:
        return replace(known, version=held.version, state=State.RETIRED, digest=digest)
    return replace(known, version=None, state=State.RETIRED, digest=DOUBTED)  # somebody made it so, and it is theirs


def _write(run: Run, writes: Sequence[Write]) -> list[Outcome]:
    if not writes:
        return []
    with run.tally.phase("write"):
        run.marker.move()
        return list(_counted(run, write_all(run, writes, removing=True)))


def _counted(run: Run, outcomes: Iterable[Sequence[Outcome]]) -> Iterator[Outcome]:
    """Each is counted as soon as the sink says so: whatever ends the run, that is done."""
    for o in (o for some in outcomes for o in some):
        run.tally.count(o.ref, _word(o))
        yield o


def _done(outcome: Outcome) -> bool:
    return outcome.result in (Result.UPDATED, Result.UNCHANGED, Result.CREATED, Result.DELETED)


def _after(known: Known, outcome: Outcome, write: Write) -> Known:
    """A retired ref is remembered with what was written; a deletion leaves a tombstone."""
    if write.body is None or outcome.result is Result.DELETED:
        return replace(known, state=State.DELETED, version=outcome.version)
    return replace(known, state=State.RETIRED, version=outcome.version, digest=canonical_digest(write.body))


def _kept(known: Known, write: Write) -> Known:
    """What the sink would not let go, in the version that was found there: another one than is remembered was written
    by a lost run, and nobody knows what it says."""
    if write.version == known.version:
        return known
    return replace(known, state=State.LIVE, version=write.version, digest=DOUBTED)


def _found(step: Known) -> str:
    """How that is counted of which nothing is sent: the sink had lost it, it is as it should be, or has to stay."""
    if step.state is State.DELETED:
        return "gone"
    return "unchanged" if retirable(step.ref.type) else "kept"


def _word(outcome: Outcome) -> str:
    if outcome.result in (Result.UPDATED, Result.UNCHANGED, Result.CREATED):
        return "retired"
    words = {Result.DELETED: "deleted", Result.REFERRED: "kept", Result.MISSING: "waiting"}
    return words.get(outcome.result, "refused")


def _quarantined(run: Run, ref: Ref, fault: Fault, held: Held | None) -> Quarantined:
    row = Row(removal_of(ref))
    run.tally.trouble(row.key, fault)
    return Quarantined(row.key, row.digest, fault, row, ref, held.body if held else None)


def _remember(
    run: Run,
    *,
    known: Sequence[Known] = (),
    before: Mapping[Ref, Known] | None = None,
    departed: Sequence[Ref] = (),
    quarantined: Sequence[Quarantined] = (),
    doubt: int | None = None,
    lost: Sequence[Ref] = (),
) -> None:
    """`before`: what was known of it as this was decided.  `departed`: what is no longer to be removed, and an older
    refusal to remove it is over.  `lost`: what the sink did not have any more."""
    stream = run.source.stream
    told = believed(before, [k.ref for k in known], run) if before else ()
    settled = Settlement(
        stream, known=tuple(known), departed=tuple(departed), quarantined=tuple(quarantined), believed=told
    )
    with run.tally.phase("remember"):
        over = tuple(map(removal_of, departed))
        run.store.settle(replace(settled, closed=over, doubt=doubt, lost=tuple(lost)))
