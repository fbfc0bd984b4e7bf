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
    """`units` are in order: each after all that it refers to.  A circle waits whole."""
    absent = {absence.target}
    kept: list[Unit] = []
    waiting: list[Outcome] = []
    for unit in units:
        others = absent - {w.ref for w in unit.writes}
        missing = {ref for w in unit.writes if linked[w.ref] & others for ref in lacking(w, linked[w.ref] & others)}
        if missing:
            absent |= {w.ref for w in unit.writes if creates(w)}
            waiting += waits(unit, missing, absence)
        else:
            kept.append(unit)
    return tuple(kept), waiting


def waits(unit: Unit, missing: set[Ref], absence: Absence) -> list[Outcome]:
    """The outcomes of a unit that waits, for all of its members the same."""
    named = tuple(sorted(missing))
    if absence.target in missing:
        fault = Fault(absence.code, absence.path, f"{absence.target} {absence.why}")
    else:
        fault = Fault(absence.code, "", f"{named[0]} waits itself for {absence.target}")
    return [Outcome(w.ref, Result.MISSING, fault=fault, missing=named) for w in unit.writes]
