"""Handing bundles over, and learning what became of each entry.

A transaction is all or nothing, and HAPI does not say which entry was at fault.  So: what is stale is read and left
out; what is refused is narrowed down by halves; what is left is sent.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sinks.fhir.answers import Verdict, refusal, stale_ref, verdict
from sinks.fhir.bundles import References, Unit, transaction
from sinks.fhir.documents import EntryResponse, Reply
from sinks.fhir.find import Finder
from sinks.fhir.wire import FHIR_JSON, Request, Wire
from tsi_fetch.errors import SettingError, TryAgain
from tsi_fetch.ports import Permit
from tsi_fetch.words import Fault, Held, Outcome, Ref, Result, Write, WriteAction

UNEXPLAINED = 3  # refusals of one bundle as stale that no version explains, before the run ends

_HEADERS = {
    "Content-Type": FHIR_JSON,
    "Prefer": "return=minimal",
    # else HAPI merges tags and labels with what it has, and a removed one stays
    "X-Meta-Snapshot-Mode": "TAG, PROFILE, SECURITY_LABEL",
}


@dataclass
class Sent:
    """What became of a bundle.  `suspects`: single units that a 500 came back for, not yet judged."""

    outcomes: list[Outcome] = field(default_factory=list)
    suspects: list[tuple[Unit, Fault]] = field(default_factory=list)

    def add(self, other: Sent) -> None:
        self.outcomes += other.outcomes
        self.suspects += other.suspects


class Delivery:
    """The bundles of one call; may be used from several threads."""

    def __init__(self, wire: Wire, finder: Finder, permit: Permit, linked: References) -> None:
        self._wire, self._finder, self._permit, self._linked = wire, finder, permit, linked
        self._absent: set[Ref] = set()  # stale, and not there: what refers to them cannot be written yet
        self._lock = threading.Lock()

    def deliver(self, units: Sequence[Unit]) -> list[Outcome]:
        """Write a bundle: one outcome per write.  TryAgain where the server is down, SettingError where it is wrong."""
        sent = self._deliver(tuple(units))
        if sent.suspects:
            sent.outcomes += self._judged(sent)
        return sent.outcomes

    def _deliver(self, units: tuple[Unit, ...]) -> Sent:
        sent = Sent()
        unexplained = broken = 0
        while True:
            units, held_back = self._without_absent(units)
            sent.outcomes += held_back
            if not units:
                return sent
            reply = self.post([w for unit in units for w in unit.writes])
            found = verdict(reply)
            if found is Verdict.OK:
                sent.outcomes += acknowledged([w for unit in units for w in unit.writes], reply)
                return sent
            if found is Verdict.STALE:
                stale = self._stale([w for unit in units for w in unit.writes], reply)
                unexplained += not stale
                if unexplained > UNEXPLAINED:
                    raise TryAgain("the server calls versions stale that it holds", "run again; look at its log")
                sent.outcomes += stale
                units = _without(units, {o.ref for o in stale})
            elif found is Verdict.BROKEN and not broken:
                broken += 1  # HAPI answers 500 for some faults of the moment, too: once more
            else:
                sent.add(self._narrowed(units, found, reply))
                return sent

    def post(self, writes: Sequence[Write]) -> Reply:
        """Send one transaction; SettingError where the base takes none."""
        reply = self._wire.send(Request("POST", "", transaction(writes), _HEADERS), self._permit)
        if verdict(reply) is Verdict.GONE:
            raise SettingError(f"{self._wire.url} takes no transactions", "the sink's url must be the FHIR base")
        return reply

    def _narrowed(self, units: tuple[Unit, ...], found: Verdict, reply: Reply) -> Sent:
        """Halve what is refused; the one that is left is the culprit.  First halves first: others may refer to them."""
        if len(units) > 1:
            middle = len(units) // 2
            sent = self._deliver(units[:middle])
            sent.add(self._deliver(units[middle:]))
            return sent
        if found is Verdict.BROKEN:
            return Sent(suspects=[(units[0], refusal(reply))])
        if found is Verdict.TOO_LARGE:
            return Sent(_refused(units[0], Fault("fhir-413", "", "larger than the server takes")))
        return Sent(_refused(units[0], refusal(reply)))

    def _judged(self, sent: Sent) -> list[Outcome]:
        """A resource is to blame for a 500 only while the server is well: others of its bundle were written, or it is
        the only one that 500 came for (the others were refused, perhaps as they refer to it) and the server reads."""
        others = any(o.result is not Result.REFUSED for o in sent.outcomes)
        unit, fault = sent.suspects[0]
        if not (others or len(sent.suspects) == 1):
            raise TryAgain(f"the server answers 500 to everything ({fault.code})", "look at its log, then run again")
        self._finder.find([unit.writes[0].ref])
        return [outcome for unit, fault in sent.suspects for outcome in _refused(unit, fault)]

    def _stale(self, writes: Sequence[Write], reply: Reply) -> list[Outcome]:
        """Those whose version is another than believed, with what the server holds.  Empty where none is."""
        versions = self._finder.find([w.ref for w in writes])
        hidden = stale_ref(reply) not in versions  # a search does not see what was deleted
        moved = [w for w in writes if _version(versions.get(w.ref)) != w.version or (hidden and w.ref not in versions)]
        held = self._finder.all([w.ref for w in moved])
        stale = [Outcome(w.ref, Result.STALE, held=held.get(w.ref)) for w in moved if not _believed(w, held)]
        with self._lock:
            self._absent |= {o.ref for o in stale if o.held is None or o.held.deleted}
        return stale

    def _without_absent(self, units: tuple[Unit, ...]) -> tuple[tuple[Unit, ...], list[Outcome]]:
        """Leave out what refers to a resource that is being decided anew because it is not there.

        Its own version is what was believed: it is to be written again, together with that resource.
        """
        kept: list[Unit] = []
        held_back: list[Write] = []
        with self._lock:
            for unit in units:
                if any(self._linked[w.ref] & self._absent for w in unit.writes):
                    self._absent |= {w.ref for w in unit.writes if w.version is None}
                    held_back += unit.writes
                else:
                    kept.append(unit)
        held = self._finder.find([w.ref for w in held_back], bodies=True) if held_back else {}
        held |= self._finder.all([w.ref for w in held_back if w.version and w.ref not in held])  # its own tombstone
        return tuple(kept), [Outcome(w.ref, Result.STALE, held=held.get(w.ref)) for w in held_back]


def acknowledged(writes: Sequence[Write], reply: Reply) -> list[Outcome]:
    """Read every entry of the answer to a transaction.  TryAgain where it is not one answer per write."""
    document = reply.document
    if document is None or reply.kind != "Bundle" or len(document.entry) != len(writes):
        raise _unreadable("it does not hold one entry per resource")
    return [_outcome(write, entry.response) for write, entry in zip(writes, document.entry, strict=True)]


def _outcome(write: Write, response: EntryResponse | None) -> Outcome:
    status = response.status[:3] if response else ""
    if response is None or not status.startswith("2"):
        raise _unreadable(f"{write.ref} has status {status or 'none'}")
    if response.location and f"{write.ref}/_history/" not in response.location:
        raise _unreadable(f"{write.ref} is answered by another resource")
    if write.action is WriteAction.DELETE:
        return Outcome(write.ref, Result.DELETED, response.version)
    if response.version is None:
        raise _unreadable(f"{write.ref} has no version")
    if "SUCCESSFUL_UPDATE_NO_CHANGE" in response.codes:
        return Outcome(write.ref, Result.UNCHANGED, response.version)
    return Outcome(write.ref, Result.CREATED if status == "201" else Result.UPDATED, response.version)


def _unreadable(what: str) -> TryAgain:
    return TryAgain(
        f"the server's answer to a transaction cannot be trusted: {what}", "run again: what was written is recognised"
    )


def _refused(unit: Unit, fault: Fault) -> list[Outcome]:
    return [Outcome(w.ref, Result.REFUSED, fault=fault) for w in unit.writes]


def _without(units: Sequence[Unit], refs: set[Ref]) -> tuple[Unit, ...]:
    left = (Unit(tuple(w for w in unit.writes if w.ref not in refs)) for unit in units)
    return tuple(unit for unit in left if unit.writes)


def _version(held: Held | None) -> str | None:
    return held.version if held else None


def _believed(write: Write, held: Mapping[Ref, Held]) -> bool:
    """True where the server holds just what the writer believes: a deletion's version is believed for a return."""
    return _version(held.get(write.ref)) == write.version
