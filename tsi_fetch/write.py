"""Writing, guarded: what the sink refuses as stale is read, and decided anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tsi_fetch.decide import CONTENDED, Anew, decide_stale
from tsi_fetch.errors import TryAgain
from tsi_fetch.words import AWAITED, DOUBTED, Held, Outcome, Result, State, Write, WriteAction

if TYPE_CHECKING:
    from tsi_fetch.context import Run
    from tsi_fetch.flight import Outcomes

MOST_ROUNDS = 3
"""How often a version may move under our feet before the change is set aside."""


def write_all(
    run: Run, writes: Sequence[Write], *, removing: bool = False, first: Outcomes | None = None
) -> Iterator[Sequence[Outcome]]:
    """Write, and resolve what is stale; in the end every write has one outcome that is not `stale`.

    `removing`: what turns out to be gone already is as it should be, and what somebody else wrote is not adopted.
    `first`: the outcomes of a first round that is under way.
    """
    todo = list(writes)
    for _ in range(MOST_ROUNDS):
        by_ref = {w.ref: w for w in todo}
        again: list[Write] = []
        outcomes_of, first = first or run.sink.write(todo, run.permit), None
        unanswered = set(by_ref)
        for outcomes in outcomes_of:
            unanswered -= {o.ref for o in outcomes}
            done: list[Outcome] = []
            for outcome in outcomes:
                if outcome.result is not Result.STALE:
                    done.append(outcome)
                    continue
                write, held = by_ref[outcome.ref], outcome.held
                run.expects_nothing &= held is None
                if removing and (held is None or held.deleted):
                    done.append(Outcome(outcome.ref, Result.DELETED, held.version if held else None))
                    continue
                anew = _anew(run, write, held, adopt=run.policy.adopt and not removing)
                if anew.acknowledged:
                    done.append(Outcome(outcome.ref, Result.UNCHANGED, anew.version))
                elif anew.fault:
                    done.append(Outcome(outcome.ref, Result.REFUSED, fault=anew.fault))
                else:
                    again.append(replace(write, version=anew.version, revives=bool(held and held.deleted)))
            if done:
                yield done
        if unanswered:
            raise TryAgain(f"the sink said nothing of {len(unanswered)} writes", f"the first is {min(unanswered)}")
        if not again:
            return
        todo = again
    yield [Outcome(w.ref, Result.REFUSED, fault=CONTENDED) for w in todo]


def _anew(run: Run, write: Write, held: Held | None, *, adopt: bool) -> Anew:
    return decide_stale(write, held, ours=_ours(run, write, held), adopt=adopt)


def _ours(run: Run, write: Write, held: Held | None) -> bool:
    """Did a run of this store make what the sink holds?  A run that was killed could not remember it.

    Nothing there, or a deletion: ours where this store had decided to remove it, or had created nothing yet.
    """
    if held is not None and not held.deleted:
        return run.wrote(held)
    if write.action is WriteAction.DELETE:
        return True  # it is gone: nothing is overwritten
    known = run.store.known([write.ref]).get(write.ref)
    if known and known.state is State.DELETED and known.digest not in (DOUBTED, AWAITED):
        return True
    return any(p.ref == write.ref and p.accepted for p in run.store.pending())
