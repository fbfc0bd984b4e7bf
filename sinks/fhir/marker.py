"""The marker: a Device that holds the run id and a counter, by which a wiped or restored server is noticed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

import msgspec

from sinks.fhir.find import Finder
from sinks.fhir.receipts import counts_anew
from tsi_fetch.errors import Guarded, SettingError
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.words import Held, Mark, Outcome, Ref, Result, Write, WriteAction

RUN = "https://github.com/Gravitate-Health/tsi-fetch/marker/run"
COUNTER = "https://github.com/Gravitate-Health/tsi-fetch/marker/counter"

Deliver = Callable[[Write], Outcome]
"""Writes or deletes one resource, guarded."""

_NOTE = "Left by tsi-fetch at the start and the end of every run that writes.  Do not edit: it tells a restored server."
_LOST = "it was wiped or restored, or another store writes under this name: look at it before the next run"
_LONGEST_ID = 64
_MOVED = (Result.CREATED, Result.UPDATED, Result.UNCHANGED)


def device(name: str) -> Ref:
    """The marker's identity; a name that is too long, or is no id, is cut and told apart by a fingerprint."""
    plain = re.sub(r"[^A-Za-z0-9\-.]", "-", name)
    if plain == name and len(name) <= _LONGEST_ID:
        return Ref("Device", name)
    return Ref("Device", f"{plain[: _LONGEST_ID - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}")


def body(name: str, mark: Mark) -> bytes:
    """The Device, valid in R4 and in R5."""
    identifiers = [{"system": RUN, "value": mark.run}, {"system": COUNTER, "value": str(mark.counter)}]
    ref = device(name)
    return dump({"resourceType": ref.type, "id": ref.id, "identifier": identifiers, "note": [{"text": _NOTE}]})


def mark_of(held: Held) -> Mark:
    """What a Device says.  Guarded where somebody made it something else."""
    try:
        values = {i.system: i.value for i in msgspec.json.decode(held.body or b"{}", type=_Device).identifier}
    except msgspec.DecodeError:
        values = {}
    run, counter = values.get(RUN), values.get(COUNTER, "")
    if not run or not counter.isdecimal():
        raise Guarded(f"the marker {held.ref} was edited", "look at who writes to the server")
    return Mark(run, int(counter), held.version)


class _Identifier(msgspec.Struct):
    system: str = ""
    value: str = ""


class _Device(msgspec.Struct):
    identifier: list[_Identifier] = []


def read(finder: Finder, name: str) -> Mark | None:
    """The job's marker; None where there is none, or it was deleted."""
    held = finder.one(device(name))
    return mark_of(held) if held and not held.deleted else None


def move(deliver: Deliver, name: str, mark: Mark) -> Mark:
    """Write it, guarded by the version of the one before.  Guarded where the server holds another."""
    outcome = _write(deliver, name, mark, mark.version)
    held = outcome.held
    if outcome.result is Result.STALE and held and held.deleted and mark.version is None:
        outcome = _write(deliver, name, mark, held.version)  # none there, but one was: it comes back
        held = outcome.held
    if mark.version is not None and _created(outcome, mark):
        raise _lost(deliver, outcome)
    if outcome.result in _MOVED:
        return Mark(mark.run, mark.counter, outcome.version)
    if outcome.result is Result.REFUSED:
        rule = outcome.fault.rule if outcome.fault else ""
        raise SettingError(f"the server does not take the marker {outcome.ref}: {rule}", "it must accept Device")
    if held and not held.deleted and _same(mark_of(held), mark):
        return mark_of(held)  # our own, whose acknowledgement was lost
    raise Guarded(f"the server does not hold the marker {outcome.ref} that was left there", _LOST)


def _created(outcome: Outcome, mark: Mark) -> bool:
    """True where there was nothing to move.

    The answer that said so may have been lost, and the marker that is found then be ours.  Every move changes it, so
    one that changes nothing comes after such an answer, too.
    """
    held = outcome.held
    if outcome.result is Result.STALE and held and not held.deleted and counts_anew(mark.version, held.version):
        return _same(mark_of(held), mark)
    if outcome.result is Result.UNCHANGED:
        return outcome.version == mark.version
    return outcome.result is Result.CREATED


def _lost(deliver: Deliver, created: Outcome) -> Guarded:
    """Take away what was created in the place of the lost marker, else the next run would find it as it is intended."""
    version = created.held.version if created.held else created.version
    deliver(Write(created.ref, WriteAction.DELETE, version))
    return Guarded(f"the server has lost the marker {created.ref} that was left there", _LOST)


def _same(held: Mark, ours: Mark) -> bool:
    return (held.run, held.counter) == (ours.run, ours.counter)


def _write(deliver: Deliver, name: str, mark: Mark, version: str | None) -> Outcome:
    ref = device(name)
    return deliver(Write(ref, WriteAction.PUT, version, body(name, mark)))
