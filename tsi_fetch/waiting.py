"""Changes that refer to something not there yet: they wait in the store, and are sent once it is.

Every run asks the sink, in bulk, for what is waited for: first of all, and again at its end, when it may itself have
brought it.  What waits for each other goes together, so that circles meet here and travel as one bundle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from tsi_fetch.components import components, grouped
from tsi_fetch.decide import Decision, decide
from tsi_fetch.errors import Exit
from tsi_fetch.judge import ACKNOWLEDGED, WORDS
from tsi_fetch.refusals import quarantine_digest
from tsi_fetch.settle import believed
from tsi_fetch.words import (
    AWAITED,
    Action,
    Doubt,
    Fault,
    Held,
    Known,
    Outcome,
    Quarantined,
    Ref,
    Result,
    Row,
    ScopeSettled,
    Settlement,
    State,
    Upsert,
    Waiting,
    Write,
)
from tsi_fetch.write import write_all

if TYPE_CHECKING:
    from tsi_fetch.context import Run

AT_ONCE = 100
"""Changes sent together, whose bodies are held in memory; a circle is never separated, however large."""

_LOOKED_UP = 1000  # targets asked for at once


def release(run: Run) -> None:
    """Send what no longer waits for anything, or only for what is sent with it."""
    graph = {ref: missing for ref, missing in run.store.waiting_graph().items() if ref not in run.held_back}
    ready = _ready(graph, _there(run, graph)) if graph else frozenset()
    for refs in grouped(components({ref: graph[ref] for ref in graph if ref in ready}), AT_ONCE):
        run.stop.check()
        _send(run, refs)
        run.released.update(refs)


def too_long(run: Run, oldest: datetime | None) -> None:
    """What waits is said; what waits too long counts as quarantine: the run is red until somebody looks."""
    if oldest is None:
        return
    what = f"changes wait for something that is not there, the oldest since {oldest:%Y-%m-%d}"
    hint = f"tsi-fetch status {run.settings.job}"
    if run.clock.now() - oldest > run.settings.max_wait_age:
        run.tally.reason(Exit.QUARANTINE, what, hint)
    elif not run.settings.plan:
        run.tally.note(f"{what}: {hint}")


def _there(run: Run, graph: Mapping[Ref, frozenset[Ref]]) -> frozenset[Ref]:
    """Those of the targets outside the graph that the sink holds alive; for a plan, also those that it would bring."""
    targets = sorted({target for found in graph.values() for target in found} - graph.keys())
    there: set[Ref] = set()
    with run.tally.phase("lookup"):
        for page in (targets[i : i + _LOOKED_UP] for i in range(0, len(targets), _LOOKED_UP)):
            there.update(run.sink.find(page))
            if run.settings.plan:
                there.update(ref for ref, k in run.store.known(page).items() if k.state is State.LIVE)
    return frozenset(there)


def _ready(graph: Mapping[Ref, frozenset[Ref]], there: frozenset[Ref]) -> frozenset[Ref]:
    """All whose targets are there, or are among them: what waits for something else holds up all that waits for it."""
    referrers: dict[Ref, list[Ref]] = {}
    for ref, targets in graph.items():
        for target in targets:
            referrers.setdefault(target, []).append(ref)
    blocked = [target for target in referrers if target not in graph and target not in there]
    held_up = set(blocked)
    while blocked:
        for ref in referrers.get(blocked.pop(), ()):
            if ref not in held_up:
                held_up.add(ref)
                blocked.append(ref)
    return frozenset(graph.keys() - held_up)


@dataclass(frozen=True, slots=True)
class _Sending:
    """Waiting changes, decided."""

    waits: Mapping[Ref, Waiting]
    known: Mapping[Ref, Known]
    decisions: Mapping[Ref, Decision]


def _send(run: Run, refs: Sequence[Ref]) -> None:
    sending = _decide(run, refs)
    writes = [d.write for d in sending.decisions.values() if d.action in (Action.CREATE, Action.UPDATE)]
    outcomes: list[Outcome] = []
    doubt = None
    if writes:
        with run.tally.phase("remember"):
            doubt = run.store.doubt(_doubt(run, sending, writes))
        run.marker.move()
        with run.tally.phase("write"):
            for some in write_all(run, writes):
                outcomes += some
                for o in some:
                    if o.result in ACKNOWLEDGED:  # counted at once: whatever ends the run, that is done
                        _count(run, o.ref, o.result.value)
    with run.tally.phase("remember"):
        run.store.settle(replace(_settlement(run, sending, outcomes), doubt=doubt))


def _doubt(run: Run, sending: _Sending, writes: Sequence[Write]) -> Doubt:
    waits = [sending.waits[w.ref] for w in writes]
    scopes = [ScopeSettled(w.scope, frozenset({w.ref}), frozenset(), None, None, w.row) for w in waits]
    return Doubt(tuple(w.ref for w in writes), tuple(scopes), run.policy.mapping)


def _decide(run: Run, refs: Sequence[Ref]) -> _Sending:
    """Decide anew: something newer may have come, or somebody else may have created it."""
    waits = {w.ref: w for w in run.store.waiting(refs)}
    known = {ref: k for ref, k in run.store.known(list(waits)).items() if k.digest != AWAITED}
    unseen = [ref for ref in waits if ref not in known or known[ref].version is None]
    held: Mapping[Ref, Held] = run.sink.find(unseen, bodies=True) if unseen else {}
    decisions: dict[Ref, Decision] = {}
    for ref, w in waits.items():
        there = held.get(ref)
        ours = there is not None and run.wrote(there)
        upsert = Upsert(ref, w.body, w.scope, w.order)
        decisions[ref] = decide(upsert, known.get(ref), there, run.policy, ours=ours)
    return _Sending(waits, known, decisions)


def _settlement(run: Run, sending: _Sending, outcomes: Sequence[Outcome]) -> Settlement:
    """What became of them: at the sink, waiting on for something else, or in quarantine.

    Their scopes hold them already, and have their answers mapped again when they come.
    """
    by_ref = {o.ref: o for o in outcomes}
    known: list[Known] = []
    again: list[Waiting] = []
    quarantined: list[Quarantined] = []
    arrived: list[Ref] = []
    for ref, decision in sending.decisions.items():
        waiting, outcome = sending.waits[ref], by_ref.get(ref)
        fault = decision.fault or (outcome.fault if outcome else None)
        if outcome and outcome.result is Result.MISSING:
            again.append(replace(waiting, missing=frozenset(outcome.missing)))
            continue
        arrived.append(ref)
        if not (outcome and outcome.result in ACKNOWLEDGED):
            _count(run, ref, _word(decision, outcome))
        if decision.action is Action.UNCHANGED or (outcome and outcome.result in ACKNOWLEDGED):
            version = outcome.version if outcome else decision.version
            known.append(_now_known(run, waiting, decision, sending.known.get(ref), version))
        elif decision.action is not Action.OLDER:
            quarantined.append(_quarantined(run, waiting, fault or Fault("refused", "$", "the sink refused it")))
    orders = {ref: sending.waits[ref].order for ref in arrived}
    return Settlement(
        run.source.stream,
        known=tuple(known),
        quarantined=tuple(quarantined),
        waiting=tuple(again),
        arrived=tuple(orders.items()),
        believed=believed(sending.known, sending.decisions, run),
    )


def _now_known(run: Run, waiting: Waiting, decision: Decision, before: Known | None, version: str | None) -> Known:
    job, order = before.job if before else run.policy.job, decision.upsert.order
    if before and before.order is not None and (order is None or order < before.order):
        order = before.order
    return Known(decision.upsert.ref, job, decision.digest, version, order, waiting.mapping)


def _quarantined(run: Run, waiting: Waiting, fault: Fault) -> Quarantined:
    row = Row(waiting.row)
    run.tally.trouble(f"{row.key} {waiting.ref}", fault)
    return Quarantined(row.key, quarantine_digest(row, waiting.ref), fault, row, waiting.ref, waiting.body)


def _count(run: Run, ref: Ref, word: str) -> None:
    """What this run said to wait and is over now has not waited, as far as its report goes."""
    if ref in run.said_to_wait:
        run.said_to_wait.remove(ref)
        run.tally.count(ref, WORDS[Result.MISSING], -1)
    run.tally.count(ref, word)


def _word(decision: Decision, outcome: Outcome | None) -> str:
    if outcome:
        return WORDS.get(outcome.result, outcome.result.value)
    return "refused" if decision.fault else decision.action.value
