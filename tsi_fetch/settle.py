"""After the write: everything that one batch settles, as one value for one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tsi_fetch.decide import leaving
from tsi_fetch.judge import ACKNOWLEDGED, Judged, Turned, quarantine_digest
from tsi_fetch.words import (
    DOUBTED,
    Action,
    Batch,
    Fault,
    Known,
    Outcome,
    Quarantined,
    Ref,
    ScopeSettled,
    Settlement,
    State,
    Upsert,
)

if TYPE_CHECKING:
    from tsi_fetch.context import Run


def remembered(batch: Batch, judged: Judged, outcomes: Sequence[Outcome], run: Run, *, in_pass: bool) -> Settlement:
    """Everything that this batch settles, for one transaction."""
    refused = list(judged.refused)
    refused += [
        (judged.decisions[o.ref].upsert, o.fault or Fault("refused", "$", "the sink refused it"))
        for o in outcomes
        if o.result not in ACKNOWLEDGED
    ]
    doubts = {u.ref for u, _ in refused if u.ref in judged.decisions}
    restored = [judged.known.get(ref) or _never_seen(ref, State.DELETED, run) for ref in sorted(doubts)]
    unsure = {u.ref for u, _ in refused} | {ref for ref, d in judged.decisions.items() if d.action is Action.OLDER}
    quarantined = _quarantined(judged, refused, run)
    bad_rows = {q.key for q in quarantined}
    fetched = [t.row.key for t in judged.turned if t.row.answers or t.row.unfetched]
    return Settlement(
        stream=batch.stream,
        known=(
            *judged.acknowledged(outcomes, run.policy),
            *judged.unchanged(run.policy),
            *_skipped(judged),
            *restored,  # the sink did not take it, and holds what it held
        ),
        scopes=tuple(s for t in judged.turned if not (t.fault or t.skipped) for s in _scopes(t, judged, unsure, run)),
        quarantined=tuple(quarantined),
        checkpoint=tuple(key for t in judged.turned for key in t.row.settles) if in_pass else (),
        keys=() if run.settings.only else tuple(fetched),
        closed=tuple(key for key in fetched if key not in bad_rows),
    )


def doubted(judged: Judged, run: Run) -> Settlement | None:
    """Before the write: what is known of these refs, and the answers of their scopes, may no longer be true.

    A run that is killed before it remembers leaves the sink ahead of the store.  Were the old digests still there, a
    source that takes its change back would find everything unchanged, and the sink would keep what it took back.  What
    is about to be created is held by its scopes from here on, so that it goes when they go.
    """
    refs = {w.ref for w in judged.writes}
    if not refs:
        return None
    new = refs - judged.known.keys()
    known = [replace(judged.known[ref], digest=DOUBTED) for ref in sorted(refs - new)]
    known += [_never_seen(ref, State.LIVE, run) for ref in sorted(new)]
    scopes = [replace(s, refs=s.refs & new) for s in _touched(judged, refs)]
    remapped = tuple(s for s in scopes if s.refs or judged.scopes[s.key].raw is not None)
    return Settlement(run.source.stream, known=tuple(known), scopes=remapped)


def _never_seen(ref: Ref, state: State, run: Run) -> Known:
    """A ref that is about to be created, or that the sink refused to create: no version of it was ever seen."""
    return Known(ref, run.policy.job, DOUBTED, None, None, run.policy.mapping, state)


def so_far(judged: Judged, outcomes: Sequence[Outcome], run: Run) -> Settlement:
    """In the middle of a batch: what was acknowledged, and that its scopes hold it; the rows are not settled yet."""
    known = tuple(judged.acknowledged(outcomes, run.policy))
    return Settlement(run.source.stream, known=known, scopes=tuple(_touched(judged, {k.ref for k in known})))


def _touched(judged: Judged, refs: set[Ref]) -> Iterator[ScopeSettled]:
    """The scopes that name any of these refs, each with those of them; their answers are to be mapped again."""
    for t in judged.turned:
        for claim in t.row.scopes:
            named = frozenset(u.ref for u in t.upserts if u.scope == claim.key and u.ref in refs)
            if named:
                yield ScopeSettled(claim.key, named, frozenset(), None, None, t.row.key)


def _quarantined(judged: Judged, refused: list[tuple[Upsert, Fault]], run: Run) -> list[Quarantined]:
    result = [Quarantined(t.row.key, t.row.digest, t.fault, t.row) for t in judged.turned if t.fault]
    faults = {upsert.ref: fault for upsert, fault in refused}
    for row, upsert in (
        (t.row, u) for t in judged.turned for u in t.upserts if u.ref in faults
    ):  # each that asks for it
        digest = quarantine_digest(row, upsert.ref)
        result.append(Quarantined(row.key, digest, faults[upsert.ref], row, upsert.ref, upsert.body))
    for q in result:
        run.tally.trouble(f"{q.key} {q.ref}" if q.ref else q.key, q.fault)
    return result


def _skipped(judged: Judged) -> list[Known]:
    """The same answers came again, later: the order of what they were mapped to moves up."""
    orders = {
        ref: t.row.order
        for t in judged.turned
        if t.skipped and t.row.order is not None
        for ref in judged.scopes[t.row.scopes[0].key].refs
    }
    return [
        replace(k, order=order)
        for ref, order in orders.items()
        if (k := judged.known.get(ref)) and k.state is State.LIVE and (k.order is None or k.order < order)
    ]


def _scopes(turned: Turned, judged: Judged, unsure: set[Ref], run: Run) -> list[ScopeSettled]:
    """What the row says of its scopes.  Answers of which a change was not acknowledged are to be mapped again."""
    result = []
    for claim in turned.row.scopes:
        refs = frozenset(u.ref for u in turned.upserts if u.scope == claim.key)
        deleted = frozenset(d.ref for d in turned.deletions if d.scope == claim.key)
        before = judged.scopes[claim.key].refs
        gone = leaving(refs, before, whole=claim.whole) | (deleted & before)
        sure = len(turned.row.scopes) == 1 and not refs & unsure
        kept = refs if claim.whole else refs - deleted  # what else it holds, it still holds, or is letting go of
        raw = turned.row.digest if sure else None
        result.append(ScopeSettled(claim.key, kept, gone, raw, run.source.mapping if sure else None, turned.row.key))
    return result
