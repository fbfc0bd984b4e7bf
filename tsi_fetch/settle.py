"""After the write: everything that one batch settles, as one value for one transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tsi_fetch.decide import FOREIGN, GONE, leaving
from tsi_fetch.errors import Exit
from tsi_fetch.flight import Flight
from tsi_fetch.judge import ACKNOWLEDGED, Judged, Turned
from tsi_fetch.refusals import quarantine_digest
from tsi_fetch.validators import kept as kept_validators
from tsi_fetch.words import (
    AWAITED,
    DOUBTED,
    OVERTAKEN,
    Action,
    Batch,
    Brought,
    Doubt,
    Fault,
    Known,
    Order,
    Outcome,
    Quarantined,
    Ref,
    Result,
    Row,
    ScopeSeen,
    ScopeSettled,
    Settlement,
    State,
    Upsert,
    Waiting,
)

if TYPE_CHECKING:
    from tsi_fetch.context import Run

SETTLED = ACKNOWLEDGED | {Result.MISSING}


REMOVAL = "removal of "
"""How the key begins under which a removal that was refused lies in quarantine."""


def removal_of(ref: Ref) -> str:
    """The key under which a removal that was refused lies in quarantine; what is given again is not to be removed."""
    return f"{REMOVAL}{ref}"


def removed(key: str) -> Ref | None:
    """The ref of such a key; None of any other, also of a source's that only begins like one."""
    kind, _, ident = key.removeprefix(REMOVAL).partition("/")
    return Ref(kind, ident) if key.startswith(REMOVAL) and kind and ident else None


def names(batch: Batch) -> frozenset[str]:
    """The keys of a batch's rows, and of the scopes they speak for."""
    return frozenset(row.key for row in batch.rows).union(claim.key for row in batch.rows for claim in row.scopes)


def take_off(
    run: Run, batch: Batch, judged: Judged, *, names: frozenset[str], doubt: int | None, brought: Brought
) -> Flight:
    """A batch whose write begins."""
    writes = judged.writes
    outcomes, done = run.air.write(writes)
    foreseen = {k.ref: k for k in (*judged.unchanged(run.policy), *judged.moved_on())} if run.sink.ahead else {}
    return Flight(
        batch=batch,
        brought=brought,
        judged=judged,
        doubt=doubt,
        writes=writes,
        outcomes=outcomes,
        done=done,
        names=names,
        refs=frozenset(w.ref for w in writes),
        foreseen=foreseen,
        size=sum(len(w.body or b"") for w in writes),
        began=run.clock.now(),
    )


def remembered(flight: Flight, outcomes: Sequence[Outcome], run: Run) -> Settlement:
    """Everything that this batch settles, for one transaction."""
    judged = flight.judged
    refused = list(judged.refused)
    refused += [
        (judged.decisions[o.ref].upsert, o.fault or Fault("refused", "$", "the sink refused it"))
        for o in outcomes
        if o.result not in SETTLED
    ]
    unsure = {u.ref for u, _ in refused} | {ref for ref, d in judged.decisions.items() if d.action is Action.OLDER}
    unsure |= {o.ref for o in outcomes if o.result is Result.MISSING}
    quarantined = _quarantined(judged, refused, run)
    fetched = [t.row.key for t in judged.turned if t.row.answered or t.row.unfetched]
    known = [*judged.acknowledged(outcomes, run.policy), *judged.unchanged(run.policy), *judged.moved_on()]
    known += _awaited(judged, outcomes, run)
    known += _disbelieved(judged, outcomes)
    replays = run.settings.replays
    scopes = tuple(s for t in judged.turned if not (t.fault or t.skipped) for s in _scopes(t, judged, unsure, run))
    if any(s.leaving for s in scopes):
        run.leaves = True
    return Settlement(
        stream=flight.batch.stream,
        known=tuple(known),
        scopes=scopes,
        quarantined=tuple(quarantined),
        checkpoint=tuple(key for t in judged.turned for key in t.row.settles) if flight.brought is Brought.FEED else (),
        keys=() if run.settings.only or replays else tuple(fetched),
        closed=() if replays else (*_overtaken(judged), *map(removal_of, {*judged.decisions, *_given(refused)})),
        waiting=tuple(_waiting(judged, outcomes, run)),
        arrived=tuple(_arrived(judged, outcomes, refused)),
        doubt=flight.doubt,
        rows=() if replays else tuple(t.row.key for t in judged.turned),
        replayed=tuple(_replayed(judged, run)),
        asked=flight.brought is Brought.KEY,
        seen=tuple(_seen(judged, run)),
        again=run.again,
        believed=believed(judged.known, {*judged.decisions, *judged.moved}, run),
    )


def believed(known: Mapping[Ref, Known], refs: Iterable[Ref], run: Run) -> tuple[tuple[Ref, Known | None], ...]:
    """What was known of those of these refs that other jobs may settle, too."""
    return tuple((ref, known.get(ref)) for ref in sorted(refs) if ref.type in run.settings.shared)


def _seen(judged: Judged, run: Run) -> Iterator[ScopeSeen]:
    """Scopes of rows whose answers came again, and those beside the first one of which there is nothing."""
    for t in judged.turned:
        if t.fault or t.row.order is None:
            continue
        given = {u.scope for u in t.upserts}
        for n, claim in enumerate(t.row.scopes):
            if t.skipped or (n and claim.key not in given and claim.key in judged.strangers):
                yield ScopeSeen(claim.key, t.row.key, t.raw, run.source.mapping, t.row.order)


def _replayed(judged: Judged, run: Run) -> Iterator[int]:
    """Entries of the quarantine whose answers were mapped; of what was overtaken they stay, with their reason."""
    for t in judged.turned:
        if run.replaying and t.fault is not OVERTAKEN and (replayed := run.replaying.get(t.row.digest)):
            yield from replayed.entries


def _given(refused: Sequence[tuple[Upsert, Fault]]) -> Iterator[Ref]:
    """What the source has again, though it may not be written."""
    return (upsert.ref for upsert, _ in refused)


def _overtaken(judged: Judged) -> Iterator[str]:
    """Keys of rows of which there are newer answers; those of other rows only by answers that can be used."""
    for t in judged.turned:
        if t.row.answered:
            yield t.row.key
            yield from () if t.fault else t.row.overtakes


def _waiting(judged: Judged, outcomes: Sequence[Outcome], run: Run) -> Iterator[Waiting]:
    """Changes that refer to something not there: settled, and sent once it is."""
    missing = {o.ref: frozenset(o.missing) for o in outcomes if o.result is Result.MISSING}
    rows = {u.scope: t.row.key for t in judged.turned for u in t.upserts if u.ref in missing}
    for ref, targets in missing.items():
        upsert = judged.decisions[ref].upsert
        row = rows[upsert.scope]
        yield Waiting(ref, upsert.body, upsert.scope, row, upsert.order, run.source.mapping, targets)


def _awaited(judged: Judged, outcomes: Sequence[Outcome], run: Run) -> Iterator[Known]:
    """Of what waits and was never written: something for its scopes to hold."""
    for o in outcomes:
        known = judged.known.get(o.ref)
        unwritten = known is None or (known.digest == DOUBTED and judged.decisions[o.ref].version is None)
        if o.result is Result.MISSING and unwritten:
            job = known.job if known else run.settings.job
            yield Known(o.ref, job, AWAITED, None, None, run.source.mapping, State.DELETED)


def _disbelieved(judged: Judged, outcomes: Sequence[Outcome]) -> Iterator[Known]:
    """Of what somebody else has changed: what we wrote is not there, and the same content coming again is no proof."""
    for o in outcomes:
        known = judged.known.get(o.ref)
        if o.fault in (FOREIGN, GONE) and known and known.digest != DOUBTED:
            yield replace(known, digest=DOUBTED)


def _arrived(
    judged: Judged, outcomes: Sequence[Outcome], refused: Sequence[tuple[Upsert, Fault]]
) -> Iterator[tuple[Ref, Order | None]]:
    """What is at the sink now, or not to be there, or was refused: an older change of it that waits is not wanted any
    more."""
    written = {o.ref for o in outcomes if o.result in ACKNOWLEDGED}
    for ref, decision in judged.decisions.items():
        if ref in written or decision.action is Action.UNCHANGED:
            yield ref, decision.upsert.order
    yield from ((upsert.ref, upsert.order) for upsert, _ in refused)
    yield from ((d.ref, d.order) for t in judged.turned for d in t.deletions)


def doubted(judged: Judged, run: Run, brought: Brought, *, without: Collection[Ref] = ()) -> Doubt:
    """Before the write: what is known of these refs, and the answers of their scopes, may no longer be true.

    A run that is killed before it remembers leaves the sink ahead of the store.  Were the old digests still believed, a
    source that takes its change back would find everything unchanged, and the sink would keep what it took back.

    `without`: refs that are written and remembered already.  Their rows are not settled for that.
    """
    refs = tuple(w.ref for w in judged.writes if w.ref not in without)
    overtakes = tuple((ref, judged.decisions[ref].upsert.order) for ref in refs)
    written = {w.ref for w in judged.writes}
    scopes = tuple(replace(s, refs=s.refs.difference(without)) for s in _touched(judged, written))
    return Doubt(refs, scopes, run.policy.mapping, overtakes, asked=brought is Brought.KEY)


def so_far(judged: Judged, outcomes: Sequence[Outcome], run: Run) -> Settlement:
    """In the middle of a batch: what was acknowledged, and that its scopes hold it; the rows are not settled yet."""
    known = tuple(judged.acknowledged(outcomes, run.policy))
    touched = tuple(_touched(judged, {k.ref for k in known}))
    rows = () if run.settings.replays else tuple(t.row.key for t in judged.turned)
    shared = believed(judged.known, {k.ref for k in known}, run)
    return Settlement(run.source.stream, known=known, scopes=touched, rows=rows, believed=shared)


def _touched(judged: Judged, refs: set[Ref]) -> Iterator[ScopeSettled]:
    """The scopes that name any of these refs, each with those of them; their answers are to be mapped again."""
    for t in judged.turned:
        for claim in t.row.scopes:
            named = frozenset(u.ref for u in t.upserts if u.scope == claim.key and u.ref in refs)
            if named:
                yield ScopeSettled(claim.key, named, frozenset(), None, None, t.row.key, order=t.row.order)


def _quarantined(judged: Judged, refused: list[tuple[Upsert, Fault]], run: Run) -> list[Quarantined]:
    result = [
        Quarantined(t.row.key, t.row.digest, t.fault, _received(t.row, run))
        for t in judged.turned
        if t.fault and t.fault is not OVERTAKEN
    ]
    faults = {upsert.ref: fault for upsert, fault in refused}
    for row, upsert in (
        (t.row, u) for t in judged.turned for u in t.upserts if u.ref in faults
    ):  # each that asks for it
        digest = quarantine_digest(row, upsert.ref)
        received = _received(row, run)
        result.append(Quarantined(row.key, digest, faults[upsert.ref], received, upsert.ref, upsert.body))
    for t in judged.turned:
        if t.fault is OVERTAKEN:
            hint = f"tsi-fetch quarantine drop, or fetch it anew: tsi-fetch run {run.settings.job} --only '{t.row.key}'"
            run.tally.reason(Exit.QUARANTINE, f"{t.row.key}: {OVERTAKEN.rule}", hint)
    for q in result:
        run.tally.trouble(f"{q.key} {q.ref}" if q.ref else q.key, q.fault)
    return result


def _received(row: Row, run: Run) -> Row:
    """The row as it lay in quarantine, where it speaks for less by now."""
    replayed = run.replaying.get(row.digest) if run.replaying else None
    return replayed.row if replayed else row


def _scopes(turned: Turned, judged: Judged, unsure: set[Ref], run: Run) -> list[ScopeSettled]:
    """What the row says of its scopes.  Answers of which a change was not acknowledged are to be mapped again; of a
    scope beside its first one, that there is nothing is not worth a line."""
    result = []
    for n, claim in enumerate(turned.row.scopes):
        refs = frozenset(u.ref for u in turned.upserts if u.scope == claim.key)
        deleted = frozenset(d.ref for d in turned.deletions if d.scope == claim.key)
        before = judged.scopes[claim.key].refs
        if n and not refs and claim.key in judged.strangers:
            continue
        gone = leaving(refs, before, whole=claim.whole) | (deleted & before)
        sure = turned.raw is not None and not refs & unsure
        kept = refs if claim.whole else refs - deleted  # what else it holds, it still holds, or is letting go of
        raw = turned.raw if sure else None
        mapping = run.source.mapping if sure else None
        found = turned.row.validators if sure and not n and claim.whole else None
        validators = kept_validators(found, run.settings.identity)
        order = turned.row.order
        result.append(ScopeSettled(claim.key, kept, gone, raw, mapping, turned.row.key, validators, order))
    return result
