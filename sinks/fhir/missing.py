"""Setting aside what refers to something that is not there, so that the rest of its bundle can go at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

from sinks.fhir.answers import Absence
from sinks.fhir.bundles import References, Unit, creates
from sinks.fhir.paths import CheckedPaths
from tsi_fetch.words import Fault, Outcome, Ref, Result, Write

Aside = tuple[tuple[Unit, ...], list[Outcome]]
"""Those that go on, and the outcomes of those that wait."""

Lacking = Callable[[Write, AbstractSet[Ref]], AbstractSet[Ref]]
"""Which of these targets keep a write from being taken."""


def set_aside(units: Sequence[Unit], linked: References, absence: Absence, paths: CheckedPaths) -> Aside:
    """Take out what refers to the absent one, and to what would have been created by one of those.

    Only references that this server is known to check: others are sent, and are refused if they are checked all the
    same, which teaches one more path.  Where none is seen at the path that the server names, all that refer count.
    """
    paths.learn(absence.path)
    kept, waiting = _aside(units, linked, absence, paths.checked)
    return (kept, waiting) if waiting else _aside(units, linked, absence, lambda write, targets: targets)


def _aside(units: Sequence[Unit], linked: References, absence: Absence, lacking: Lacking) -> Aside:
    """`units` are in order: each after all that it refers to."""
    absent = {absence.target}
    kept: list[Unit] = []
    waiting: list[Outcome] = []
    for unit in units:
        held_up = _held_up(unit, linked, absent - {w.ref for w in unit.writes}, lacking)
        absent |= {w.ref for w in unit.writes if w.ref in held_up and creates(w)}
        waiting += [waits(ref, missing, absence) for ref, missing in held_up.items()]
        left = tuple(w for w in unit.writes if w.ref not in held_up)
        kept += [Unit(left)] if left else []
    return tuple(kept), waiting


def _held_up(unit: Unit, linked: References, absent: AbstractSet[Ref], lacking: Lacking) -> dict[Ref, AbstractSet[Ref]]:
    """Who of the unit lacks what: something absent, or one of the unit that would be created and is held up itself.

    What is held up waits for all of its circle that is, checked or not, so that the circle is found again.
    """
    held_up: dict[Ref, AbstractSet[Ref]] = {}
    while True:
        gone = absent | {w.ref for w in unit.writes if w.ref in held_up and creates(w)}
        more = {w.ref: lacking(w, linked[w.ref] & gone) for w in unit.writes if linked[w.ref] & gone}
        more = {ref: missing for ref, missing in more.items() if missing}
        if more == held_up:
            mates = {w.ref for w in unit.writes if w.ref in held_up and creates(w)}
            return {ref: missing | (linked[ref] & mates) for ref, missing in held_up.items()}
        held_up = more


def waits(ref: Ref, missing: AbstractSet[Ref], absence: Absence) -> Outcome:
    """The outcome of one that waits."""
    named = tuple(sorted(missing))
    if absence.target in missing:
        fault = Fault(absence.code, absence.path, f"{absence.target} {absence.why}")
    else:
        fault = Fault(absence.code, "", f"{named[0]} waits itself for {absence.target}")
    return Outcome(ref, Result.MISSING, fault=fault, missing=named)
