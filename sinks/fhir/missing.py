"""Setting aside what refers to something that is not there, so that the rest of its bundle can go at once."""

from __future__ import annotations

from collections.abc import Sequence

from sinks.fhir.answers import Absence
from sinks.fhir.bundles import References, Unit
from tsi_fetch.words import Fault, Outcome, Ref, Result


def set_aside(units: Sequence[Unit], linked: References, absence: Absence) -> tuple[tuple[Unit, ...], list[Outcome]]:
    """Those that go on, and the outcomes of those that wait: what refers to the absent one, and what refers to
    something that would have been created by one of those.

    `units` are in order: each after all that it refers to.  A circle waits whole.
    """
    absent = {absence.target}
    kept: list[Unit] = []
    waiting: list[Outcome] = []
    for unit in units:
        own = {w.ref for w in unit.writes}
        missing = {target for ref in own for target in linked[ref]} & absent - own
        if missing:
            absent |= {w.ref for w in unit.writes if w.version is None}
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
