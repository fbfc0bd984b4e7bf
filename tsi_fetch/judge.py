"""Before the write: turn rows into changes, look up, decide, validate.

Nothing here writes; `run` calls these in the only order that is right.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tsi_fetch.decide import TWICE, Decision, collapse, decide, older
from tsi_fetch.errors import Unusable
from tsi_fetch.fhir.tokens import NotJson
from tsi_fetch.words import (
    AWAITED,
    DOUBTED,
    OVERTAKEN,
    Action,
    Batch,
    Change,
    Deletion,
    Fault,
    Held,
    Known,
    Order,
    Outcome,
    Ref,
    Result,
    Row,
    ScopeState,
    State,
    Upsert,
    Write,
)

if TYPE_CHECKING:
    from tsi_fetch.context import Run
    from tsi_fetch.decide import Policy
    from tsi_fetch.report import Tally

ACKNOWLEDGED = frozenset({Result.CREATED, Result.UPDATED, Result.UNCHANGED})
WRITTEN = frozenset({Action.CREATE, Action.UPDATE})
WORDS = {Result.MISSING: "waiting"}
"""What a report calls an outcome, where it is not the outcome's own name."""

Leaving = Mapping[str, Set[Ref]]
"""By scope, what it holds only until a guard has let it go."""

NOTHING_LEAVES: Leaving = {}


@dataclass(slots=True)
class Turned:
    """One row, turned: its upserts and explicit deletions; `skipped`: its answers are the ones mapped last time, for
    each of its scopes.

    `raw`: the digest of its answers; None where nobody needs it, as no scope is mapped from them.
    """

    row: Row
    raw: bytes | None = None
    upserts: tuple[Upsert, ...] = ()
    deletions: tuple[Deletion, ...] = ()
    fault: Fault | None = None
    skipped: bool = False


@dataclass(slots=True)
class Judged:
    """A batch: turned, then decided.

    `strangers`: scopes of which nothing was ever settled.
    `recalled`: what was known of refs when the scopes were read.  `moved`: what is known of refs whose answers came
    again, later, with that order.  `refused`: changes that may not be written, with the upsert that asked for it.
    """

    turned: list[Turned]
    scopes: dict[str, ScopeState]
    strangers: frozenset[str] = frozenset()
    recalled: dict[Ref, Known] = field(default_factory=dict)
    known: dict[Ref, Known] = field(default_factory=dict)
    moved: dict[Ref, Known] = field(default_factory=dict)
    decisions: dict[Ref, Decision] = field(default_factory=dict)
    writes: list[Write] = field(default_factory=list)
    refused: list[tuple[Upsert, Fault]] = field(default_factory=list)
    newly_refused: int = 0
    all_refused: int = 0

    @property
    def refs(self) -> frozenset[Ref]:
        """Every ref that is to be decided, or was when its row was mapped last."""
        named = {u.ref for t in self.turned for u in t.upserts}
        return frozenset(named.union(*(self._mapped(t) for t in self.turned if t.skipped)))

    def _mapped(self, turned: Turned, leaving: Leaving = NOTHING_LEAVES) -> frozenset[Ref]:
        """What a skipped row's answers were mapped to, but for what leaves its scopes."""
        scopes = (self.scopes[claim.key] for claim in turned.row.scopes)
        return frozenset[Ref]().union(*(state.refs - leaving.get(state.key, frozenset()) for state in scopes))

    def acknowledged(self, outcomes: Sequence[Outcome], policy: Policy) -> list[Known]:
        """What is known now of the refs that the sink acknowledged."""
        return [self._known(self.decisions[o.ref], o.version, policy) for o in outcomes if o.result in ACKNOWLEDGED]

    def unchanged(self, policy: Policy) -> list[Known]:
        """Refs without a write whose remembered version, order or mapping moves all the same."""
        moved = [self._known(d, d.version, policy) for d in self.decisions.values() if d.action is Action.UNCHANGED]
        return [k for k in moved if self.known.get(k.ref) != k]

    def _known(self, decision: Decision, version: str | None, policy: Policy) -> Known:
        upsert = decision.upsert
        before = self.moved.get(upsert.ref) or self.known.get(upsert.ref)
        order = upsert.order
        if before and before.order is not None and (order is None or order < before.order):
            order = before.order
        job = before.job if before else policy.job
        return Known(upsert.ref, job, decision.digest, version, order, policy.mapping)

    def skipped_refs(self) -> list[Ref]:
        """Refs of rows whose answers were mapped before, each once."""
        refs = (ref for t in self.turned if t.skipped for ref in sorted(self._mapped(t)))
        return [ref for ref in dict.fromkeys(refs) if ref not in self.decisions]

    def orders(self, leaving: Leaving) -> dict[Ref, Order]:
        """Those of them whose order may move up, with the highest: rows without an order move none, and none moves what
        its answers no longer named."""
        highest: dict[Ref, Order] = {}
        for t in self.turned:
            if t.skipped and t.row.order is not None:
                for ref in self._mapped(t, leaving):
                    highest[ref] = max(t.row.order, highest.get(ref, t.row.order))
        return highest

    def moved_on(self) -> list[Known]:
        """Of `moved`, what nothing newer was decided of."""
        decided = {ref for ref, d in self.decisions.items() if d.action is not Action.OLDER}
        return [k for ref, k in self.moved.items() if ref not in decided]

    def count_acknowledged(self, outcomes: Sequence[Outcome], tally: Tally) -> None:
        """Count what the sink has done, as soon as it says so: whatever ends the run, that is done."""
        for o in outcomes:
            if o.result in ACKNOWLEDGED:
                tally.count(o.ref, o.result.value)

    def count(self, outcomes: Sequence[Outcome], tally: Tally) -> None:
        """Count what became of every other ref."""
        for o in outcomes:
            if o.result not in ACKNOWLEDGED:
                tally.count(o.ref, WORDS.get(o.result, o.result.value))
        for d in self.decisions.values():
            if d.action in (Action.UNCHANGED, Action.OLDER):
                tally.count(d.upsert.ref, d.action.value)
        for upsert, _ in self.refused:
            tally.count(upsert.ref, "refused")
        tally.count_all(self.skipped_refs(), Action.UNCHANGED.value)
        self.count_refused(tally)

    def count_refused(self, tally: Tally) -> None:
        tally.rows["newly refused"] += self.newly_refused
        tally.rows["refused"] += self.all_refused


def turn(batch: Batch, run: Run) -> Judged:
    """Rows → changes.  Answers that were mapped before, by the same mapping, are not mapped again."""
    claims = [claim.key for row in batch.rows for claim in row.scopes]
    if run.settings.replays:
        claims += [key.partition("#")[0] for key in claims]
    with run.tally.phase("lookup"):
        states = dict(run.store.scopes(claims)) if claims else {}
    strangers = frozenset(claims) - states.keys()
    with run.tally.phase("map"):
        recalled = {ref: known for state in states.values() for ref, known in state.known.items()}
        turned = _last_word([_turn_row(row, states, run) for row in batch.rows])
        states |= {key: ScopeState(key) for key in strangers}
        return Judged(turned, states, strangers, recalled)


def _last_word(turned: list[Turned]) -> list[Turned]:
    """Where rows of one batch both give a ref and delete it, what is said last holds: by their order, else as they
    come."""
    deleted = {d.ref for t in turned for d in t.deletions}
    both = deleted.intersection(u.ref for t in turned for u in t.upserts) if deleted else deleted
    if not both:
        return turned
    last: dict[Ref, Change] = {}
    for t in turned:
        changes: tuple[Change, ...] = (*t.upserts, *t.deletions)
        for change in changes:
            before = last.get(change.ref)
            if change.ref in both and (before is None or not older(change.order, before.order)):
                last[change.ref] = change
    return [
        replace(
            t,
            upserts=tuple(u for u in t.upserts if not isinstance(last.get(u.ref), Deletion)),
            deletions=tuple(d for d in t.deletions if not isinstance(last.get(d.ref), Upsert)),
        )
        for t in turned
    ]


def _turn_row(row: Row, states: Mapping[str, ScopeState], run: Run) -> Turned:
    if row.unfetched:
        return Turned(row, fault=row.unfetched)
    if row.unmodified:
        return _unmodified(row, states, run)
    if run.settings.replays and row.scopes:
        row = replace(row, scopes=tuple(claim for claim in row.scopes if not _overtaken(row, claim.key, states)))
        if not row.scopes:
            return Turned(row, fault=OVERTAKEN)
    raw = raw_digest(row, run) if row.scopes else None
    if raw is not None and not run.again and _mapped_before(row, raw, states, run):
        return Turned(row, raw, skipped=True)
    try:
        changes = run.settings.identity.apply(run.source.to_changes(row))
    except Unusable as e:
        return Turned(row, raw, fault=e.fault)
    told = {claim.key for claim in row.scopes} if run.settings.replays and row.scopes else None
    changes = [c for c in changes if told is None or c.scope in told]
    return Turned(
        row,
        raw,
        tuple(c for c in changes if isinstance(c, Upsert)),
        tuple(c for c in changes if isinstance(c, Deletion)),
    )


def _overtaken(row: Row, key: str, states: Mapping[str, ScopeState]) -> bool:
    """Was the scope mapped from newer answers than these?  Where it is not known what it was mapped from last, what is
    known of its refs tells; of a part that never held anything, the whole that it is a part of."""
    state = states.get(key) or states.get(key.partition("#")[0])
    if state is None or row.order is None:
        return False
    known = [k.order for k in state.known.values() if k.order is not None]
    newest = state.order if state.order is not None else max(known, default=None)
    return newest is not None and newest > row.order


def _unmodified(row: Row, states: Mapping[str, ScopeState], run: Run) -> Turned:
    """Nothing to map; where what its answers were mapped to is in doubt by now, it is asked for again next time."""
    state = states.get(row.scopes[0].key)
    if state and state.raw is not None and _mapped_before(row, state.raw, states, run):
        return Turned(row, skipped=True)
    fault = Fault("unmodified", "$", "what it was mapped to came into doubt after it was asked for")
    return Turned(replace(row, unmodified=False, unfetched=fault), fault=fault)


def _mapped_before(row: Row, raw: bytes, states: Mapping[str, ScopeState], run: Run) -> bool:
    """Were these answers the last that each of its scopes was mapped from?  Where they gave a scope beside the first
    one nothing, nothing is stored of it."""
    if row.scopes[0].key not in states:
        return False
    found = [states[claim.key] for claim in row.scopes if claim.key in states]
    return all(state.raw == raw and state.mapping == run.source.mapping for state in found)


def raw_digest(row: Row, run: Run) -> bytes:
    """What tells whether a row's answers are those that were mapped last, under the same identity."""
    salt = run.settings.identity.salt
    return hashlib.sha256(row.digest + salt).digest()[:16] if salt else row.digest


def judge(judged: Judged, run: Run) -> None:
    """Look up what is known, and on the sink what is not; decide; validate what would be written."""
    by_ref: dict[Ref, list[Upsert]] = {}
    for upsert in (u for t in judged.turned for u in t.upserts):
        by_ref.setdefault(upsert.ref, []).append(upsert)
    with run.tally.phase("lookup"):
        orders = judged.orders(_leaving(judged, run))
        wanted = {**dict.fromkeys(by_ref), **dict.fromkeys(orders)}
        judged.known = {ref: k for ref, k in _recall(wanted, judged.recalled, run).items() if k.digest != AWAITED}
        judged.known |= {ref: k for ref, k in run.air.foreseen().items() if ref in wanted}
        for ref in run.released & judged.known.keys():
            judged.known[ref] = replace(judged.known[ref], fresh=False)  # what waited is of another night
        judged.moved = dict(_moved(judged.known, orders))
        held = _held(by_ref, judged.known, run)
    with run.tally.phase("decide"):
        for ref, upserts in by_ref.items():
            there = held.get(ref)
            _decide_ref(ref, upserts, judged, there, run.policy, ours=there is not None and run.wrote(there))
    with run.tally.phase("validate"):
        _validate(judged, run)
    judged.writes = [d.write for d in judged.decisions.values() if d.action in WRITTEN]


def _leaving(judged: Judged, run: Run) -> Leaving:
    """What scopes of skipped rows hold only until a guard has let it go."""
    if run.leaves is None and any(t.skipped for t in judged.turned):
        run.leaves = bool(run.store.pending())
    found: dict[str, set[Ref]] = {}
    for p in run.store.pending(judged.skipped_refs()) if run.leaves else ():
        if not p.accepted:
            found.setdefault(p.scope, set()).add(p.ref)
    return found


def _recall(refs: Collection[Ref], recalled: Mapping[Ref, Known], run: Run) -> dict[Ref, Known]:
    """What is known of these refs; those that came with their scopes need not be asked for again."""
    there = {ref: recalled[ref] for ref in refs if ref in recalled}
    asked = [ref for ref in refs if ref not in there]
    return {**there, **run.store.known(asked)} if asked else there


def _moved(known: Mapping[Ref, Known], orders: Mapping[Ref, Order]) -> Iterator[tuple[Ref, Known]]:
    """The same answers came again, later: the order of what they were mapped to moves up."""
    for ref, order in orders.items():
        k = known.get(ref)
        if k and k.state is State.LIVE and (k.order is None or k.order < order):
            yield ref, replace(k, order=order)


def _held(refs: Collection[Ref], known: Mapping[Ref, Known], run: Run) -> dict[Ref, Held]:
    """What the sink holds of refs whose version is not known, or is in doubt: versions in bulk, bodies only of those
    that are there.

    A far sink that held nothing of what was looked up last is not asked about refs that were never known: to create
    them only where nothing is there answers the same, and to look up a thousand takes it as long as to write them.
    """
    unseen = [ref for ref in refs if ref in known and (known[ref].version is None or known[ref].digest == DOUBTED)]
    strangers = [ref for ref in refs if ref not in known]
    guessed = run.sink.ahead > 0 and run.expects_nothing and not run.settings.plan
    asked = unseen if guessed else unseen + strangers
    there = run.sink.find(asked) if asked else {}
    if strangers and not guessed:
        run.expects_nothing = not any(ref in there for ref in strangers)
    return dict(run.sink.find(list(there), bodies=True)) if there else {}


def _decide_ref(
    ref: Ref, upserts: list[Upsert], judged: Judged, held: Held | None, policy: Policy, *, ours: bool
) -> None:
    try:
        collapsed = collapse(upserts)
        if collapsed.upsert is None:
            judged.refused += [(u, TWICE) for u in collapsed.clashing]
            return
        decision = decide(collapsed.upsert, judged.known.get(ref), held, policy, ours=ours)
    except NotJson as e:
        judged.refused += [(u, Fault("not-json", "$", str(e))) for u in upserts]
        return
    if decision.fault:
        judged.refused.append((decision.upsert, decision.fault))
    else:
        judged.decisions[ref] = decision


def _validate(judged: Judged, run: Run) -> None:
    """Only what would be written, each by its type's model, which is dropped at once."""
    if run.settings.validate == "off":
        return
    from tsi_fetch.fhir.validation import validatable, validate  # pulls in fhir.resources: only where it is needed

    written = [d for d in judged.decisions.values() if d.action in WRITTEN]
    sound = set[bytes]()
    for decision in sorted(written, key=lambda d: d.upsert.ref.type == "Bundle"):  # after what they have as entries
        if not validatable(decision.upsert.ref.type, run.sink.release):
            run.tally.note(
                f"a {decision.upsert.ref.type} cannot be validated: it is of R4 only, and is passed on as it is"
            )
            continue
        faults = validate(decision.upsert.body, decision.upsert.ref, run.sink.release, sound)
        if not faults:
            sound.add(decision.upsert.body)
            continue
        if run.settings.validate == "refuse":
            del judged.decisions[decision.upsert.ref]
            judged.refused.append((decision.upsert, faults[0]))
        else:
            run.tally.note(f"{decision.upsert.ref} is written though not valid: {faults[0].path} {faults[0].rule}")
            run.tally.count(decision.upsert.ref, "invalid")
