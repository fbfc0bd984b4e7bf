"""Handing bundles over, and learning what became of each entry.

A transaction is all or nothing, and HAPI does not say which entry was at fault.  So: what is stale is read and left
out; what refers to something that is not there is left out; what is refused is narrowed down by halves; the rest is
sent.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sinks.fhir.answers import Verdict, absence, referred_fault, referred_ref, refusal, stale_ref, verdict
from sinks.fhir.bundles import References, Unit, creates, transaction
from sinks.fhir.documents import Reply
from sinks.fhir.find import Finder
from sinks.fhir.lanes import Emit
from sinks.fhir.missing import set_aside, waits
from sinks.fhir.paths import CheckedPaths
from sinks.fhir.proof import Proof
from sinks.fhir.receipts import acknowledged, stored
from sinks.fhir.wire import Wire
from tsi_fetch.errors import TryAgain
from tsi_fetch.ports import Permit
from tsi_fetch.words import Fault, Held, Outcome, Ref, Result, Write

UNEXPLAINED = 3  # refusals of one bundle as stale that no version explains, before the run ends
DOUBTFUL = 6  # answers of 500 to a bundle and its parts in a row, nothing being stored meanwhile, before a proof

_SPOILED = frozenset({Result.REFUSED, Result.MISSING})
_GUILTY = frozenset({Verdict.REFUSED, Verdict.CONFLICT, Verdict.BROKEN, Verdict.GONE, Verdict.MISSING})
"""Refusals of a resource: where one half of a bundle was taken, the other holds the culprit."""

_DOUBTED = frozenset({Verdict.BROKEN, Verdict.GONE})
"""Refusals that may be the server's own trouble, or a wrong address: it has to prove itself first."""

_OWN = frozenset({Verdict.REFUSED, Verdict.CONFLICT})
"""Refusals that are the fault of a resource that was sent alone."""


@dataclass(frozen=True, slots=True)
class Correspondence:
    """What all calls share: the way to the server, and what was learnt of it."""

    wire: Wire
    finder: Finder
    proof: Proof
    paths: CheckedPaths = field(default_factory=CheckedPaths)


@dataclass(frozen=True, slots=True)
class Suspect:
    """A single unit that was answered 500 or 404.  `stored`: what the server had stored until then."""

    unit: Unit
    stored: int


@dataclass
class Case:
    """One bundle, until each of its entries has an outcome.

    `doubtful`: so many answers of 500 in a row, while what the server had `stored` stayed the same.  `proved`: it was
    asked for a proof in the middle.  `last_word`: it has proved itself: a single unit that still gets 500 is to blame.
    `hasty`: there was a conflict that nothing explains, often enough not to be one of the moment.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    suspects: list[Suspect] = field(default_factory=list)
    stored: int = 0
    doubtful: int = 0
    proved: bool = False
    last_word: bool = False
    hasty: bool = False

    @property
    def spoiled(self) -> int:
        return len(self.suspects) + sum(o.result in _SPOILED for o in self.outcomes)


class Delivery:
    """The bundles of one call; may be used from several threads."""

    def __init__(self, server: Correspondence, permit: Permit, linked: References) -> None:
        self._wire, self._finder, self._proof, self._paths = server.wire, server.finder, server.proof, server.paths
        self._permit, self._linked = permit, linked
        self._absent: set[Ref] = set()  # stale, and not there: what refers to them cannot be written yet
        self._lock = threading.Lock()

    def deliver(self, units: Sequence[Unit], emit: Emit) -> None:
        """Write a bundle: one outcome per write.  TryAgain where the server is down, SettingError where it is wrong.

        What was acknowledged is handed over before anything is raised.
        """
        case = Case()
        try:
            self._deliver(case, tuple(units), tries=2)
            self._judge(case)
        finally:
            if case.outcomes:
                emit(case.outcomes)

    def _post(self, case: Case, writes: Sequence[Write]) -> tuple[Verdict, Reply]:
        reply = self._wire.transact(transaction(writes), self._permit, hasty=case.hasty)
        found = verdict(reply)
        case.hasty |= found is Verdict.CONFLICT
        return found, reply

    def _acknowledged(self, writes: Sequence[Write], reply: Reply) -> list[Outcome]:
        """The outcomes of a transaction that was taken."""
        outcomes = acknowledged(writes, reply)
        if stored(outcomes, reply):
            self._proof.saw_change()
        return outcomes

    def _deliver(self, case: Case, units: tuple[Unit, ...], tries: int = 1) -> None:
        """`tries`: HAPI answers 500 for some faults of the moment, too, so a bundle may come again before it is cut."""
        unexplained = 0
        while units := self._without_absent(case, units):
            writes = [w for unit in units for w in unit.writes]
            found, reply = self._post(case, writes)
            if found is Verdict.OK:
                case.outcomes += self._acknowledged(writes, reply)
                return
            if found in _DOUBTED:
                self._doubt(case)
            tries -= found is Verdict.BROKEN
            left = self._left(case, units, found, reply)
            if found is Verdict.STALE:
                unexplained += left == units
                if unexplained > UNEXPLAINED:
                    raise TryAgain("the server calls versions stale that it holds", "run again; look at its log")
            elif left == units and not (found is Verdict.BROKEN and tries):
                self._narrow(case, units, found, reply)
                return
            units = left

    def _left(self, case: Case, units: tuple[Unit, ...], found: Verdict, reply: Reply) -> tuple[Unit, ...]:
        """What is left without those that the answer tells: all, where it tells none."""
        if found is Verdict.MISSING:
            return self._set_aside(case, units, reply)
        told: list[Outcome] = []
        if found is Verdict.STALE:
            told = self._stale([w for unit in units for w in unit.writes], reply)
        elif found is Verdict.REFERRED:
            named = referred_ref(reply)
            told = [_referred(w, reply) for unit in units for w in unit.writes if w.ref == named]
        case.outcomes += told
        return _without(units, {o.ref for o in told}) if told else units

    def _set_aside(self, case: Case, units: tuple[Unit, ...], reply: Reply) -> tuple[Unit, ...]:
        """What is left without those that refer to what the server misses; all, where no reference to it is found."""
        named = absence(reply)
        if named is None:
            return units
        kept, waiting = set_aside(units, self._linked, named, self._paths)
        case.outcomes += waiting
        return kept

    def _doubt(self, case: Case) -> None:
        """A server that answers nothing but 500, or 404, is not asked about every half: first it must store."""
        before = self._proof.stored
        case.doubtful = case.doubtful + 1 if before == case.stored else 1
        case.stored = before
        if case.doubtful == DOUBTFUL and not (case.proved or case.last_word):
            case.proved = True
            self._proof.make(before, self._permit)

    def _narrow(self, case: Case, units: tuple[Unit, ...], found: Verdict, reply: Reply) -> None:
        """Halve what is refused; the one that is left is the culprit.  First halves first: others may refer to them."""
        if len(units) == 1:
            self._blame(case, units[0], found, reply)
            return
        middle = len(units) // 2
        spoiled = case.spoiled
        self._deliver(case, units[:middle])
        if found in _GUILTY and case.spoiled == spoiled and len(units) - middle > 1:
            self._narrow(case, units[middle:], found, reply)  # the culprit is here: no need to hear it again
        else:
            self._deliver(case, units[middle:])

    def _blame(self, case: Case, unit: Unit, found: Verdict, reply: Reply) -> None:
        named = absence(reply)
        if found in _DOUBTED and not case.last_word:
            case.suspects.append(Suspect(unit, self._proof.stored))
        elif found is Verdict.MISSING and named:
            case.outcomes += [waits(w.ref, {named.target}, named) for w in unit.writes]
        elif found is Verdict.REFERRED:
            case.outcomes += [_referred(w, reply) for w in unit.writes]
        elif found is Verdict.TOO_LARGE:
            case.outcomes += _refused(unit, Fault("fhir-413", "", "larger than the server takes"))
        elif len(unit.writes) > 1:
            self._blame_one(case, unit, refusal(reply))
        else:
            case.outcomes += _refused(unit, refusal(reply))

    def _blame_one(self, case: Case, circle: Unit, fault: Fault) -> None:
        """A circle that is refused: who of it?  Each is sent alone, since the server does not say.

        One that is taken is there.  One that misses another of the circle is held up by whoever is refused by name.
        """
        guilty: dict[Ref, Fault] = {}
        held_up: list[Write] = []
        for write in circle.writes:
            found, reply = self._post(case, [write])
            if found is Verdict.OK:
                case.outcomes += self._acknowledged([write], reply)
            elif found is Verdict.STALE and (stale := self._stale([write], reply)):
                case.outcomes += stale
            elif found in _OWN or (case.last_word and found in _DOUBTED):
                guilty[write.ref] = refusal(reply)
            else:
                held_up.append(write)
        case.outcomes += [Outcome(ref, Result.REFUSED, fault=own) for ref, own in guilty.items()]
        shared = _of_circle(circle, guilty, fault)
        case.outcomes += [Outcome(w.ref, Result.REFUSED, fault=shared) for w in held_up]

    def _judge(self, case: Case) -> None:
        """A resource is to blame for a 500 or 404 that came before the server stored something and comes again after.

        So a server that is down or full blames nobody, and one that was down for a moment takes the resource now.
        """
        if not case.suspects:
            return
        self._proof.make(max(s.stored for s in case.suspects), self._permit)
        case.last_word = True
        for suspect in case.suspects:
            self._deliver(case, (suspect.unit,))

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

    def _without_absent(self, case: Case, units: tuple[Unit, ...]) -> tuple[Unit, ...]:
        """Leave out what refers to a resource that is being decided anew because it is not there.

        Its own version is what was believed: it is to be written again, together with that resource.
        """
        kept: list[Unit] = []
        held_back: list[Write] = []
        with self._lock:
            for unit in units:
                if any(self._linked[w.ref] & self._absent for w in unit.writes):
                    self._absent |= {w.ref for w in unit.writes if creates(w)}
                    held_back += unit.writes
                else:
                    kept.append(unit)
        held = self._finder.all([w.ref for w in held_back]) if held_back else {}  # perhaps a tombstone of its own
        case.outcomes += [Outcome(w.ref, Result.STALE, held=held.get(w.ref)) for w in held_back]
        return tuple(kept)


def _referred(write: Write, reply: Reply) -> Outcome:
    return Outcome(write.ref, Result.REFERRED, fault=referred_fault(reply))


def _of_circle(circle: Unit, guilty: Mapping[Ref, Fault], fault: Fault) -> Fault:
    """Why the others of a circle are refused: because of whom, where that was found."""
    for ref, own in guilty.items():
        return Fault(own.code, "", f"{ref}, of its circle, is refused: {own.rule}")
    size = len(circle.writes)
    return Fault(fault.code, fault.path, f"one of its circle of {size} is refused, and which is not said: {fault.rule}")


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
