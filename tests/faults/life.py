"""One life of a job: nights in which things happen at the source, and go wrong; after each, the checker looks.

The rings differ in how a night is run: `Life.run` is theirs.
"""

from __future__ import annotations

import json
import random
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from store.handle import Stored, open_store
from store.job_store import JobBook
from store.queries import quarantine, runs
from tests.faults.checker import Ended, Evidence, Verdict, Version, look
from tests.faults.register_story import REFUSED, RegisterStory, names
from tests.faults.servers import Faulty, Reaper
from tests.sinks.disturbed_hapi import SOMEONE, DisturbedHapi
from tests.sinks.fake_hapi import Refusal
from tests.sinks.fake_hapi import Version as Kept
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.words import Known, Ref

JOB, SINK, STREAM = "cima", "epi", "registroCambios"
ENDS = {0, 65, 75, 78, 130, 143, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT}
"""How a run may end in a disturbed night; 78: for a login page, which a person must look at."""

FHIR_FAULTS = ("429 at once", "502", "race", "cut", "reset", "lost by reset", "garbled", "bad gateway", "login", "500")
"""Of those that `DisturbedHapi` knows, the ones that take no time."""


class Held(NamedTuple):
    """One version at the sink, and the sink's own name of it."""

    number: str
    said: Version


INCOMPLETE = ("listing was incomplete", "no listing of the source has been complete")
"""How a run says that rows may be missing, or that one before it should have said so."""


class ChoosyHapi(DisturbedHapi):
    """Never takes what has a certain word in it."""

    def _check(self, entry: dict[str, Any]) -> None:
        super()._check(entry)
        if REFUSED in json.dumps(entry.get("resource", {})):
            raise Refusal(422, "HAPI-0574: there is a word in it that this server does not take")

    def _apply(self, entry: dict[str, Any], run: str) -> dict[str, Any]:
        """A POST makes a new resource, whatever id is in it: nobody here should send one."""
        if entry["request"]["method"] != "POST":
            return super()._apply(entry, run)
        kind = entry["resource"]["resourceType"]
        ref = f"{kind}/new-{len(self.resources)}"
        self._append(ref, {**entry["resource"], "id": ref.partition("/")[2]}, run)
        return {"status": "201 Created", "location": f"{ref}/_history/1", "etag": "1"}


class Life:
    """`dice` decide everything that happens.  `told`: what has happened so far, a line a night.

    `first`: the first product's number; lives that share a sink are told apart by it.
    """

    least_nights, most_nights = 1, 4
    began: datetime | None = None
    """Where the register's clock stands at first; None: it goes."""
    fhir_faults: tuple[str, ...] = FHIR_FAULTS

    def __init__(self, dice: random.Random, store: str, folder: Path, first: int = 70_000) -> None:
        self.dice, self.store, self.folder = dice, store, folder
        self.counts: Counter[str] = Counter()
        self.story = RegisterStory(dice, dice.randint(2, 6), first, self.began)
        self.hapi = ChoosyHapi(notices=dice.random() < 0.5, linger=False)
        self.hapi.offers = {}
        self.reaper = Reaper()
        self.register = Faulty(self.story.register, self.reaper)
        self.entries, self.batch = dice.choice([2, 5, 100]), dice.choice([1, 2, 8])
        self.ends: list[Ended] = []
        self.told: list[str] = []
        self.reasons: tuple[str, ...] = ()  # of the last run's end, where it said any
        self.tampered = False  # somebody else was at the server: until that is mended, it is not as the runs say
        self.codes: dict[str, int] = {}  # of runs that ended another way than the process that the night began
        self.incomplete = False  # a run has said so of the listing, and no complete one was worked off since
        self._recorded: set[str] = set()
        self._nights = 0

    @property
    def all_counts(self) -> Counter[str]:
        """Runs, kills and faults, by name."""
        sink = Counter({f"sink {fault}": number for fault, number in self.hapi.given.items()})
        return self.counts + self.register.injected + sink + self.reaper.done + Counter(runs=len(self.ends))

    def run(self, *, calm: bool, full: bool) -> tuple[int, str]:
        """One run: its exit code (negative: killed by that signal), and what was done to it, in words."""
        raise NotImplementedError

    def between(self) -> list[str]:
        """What else happens between two nights, in words."""
        return []

    def mend(self) -> None:
        """What a person would do before the last, calm night."""

    # the sink, as long as nobody says otherwise the one that is made up

    def disturb(self, *, calm: bool) -> None:
        """How the sink and the network between behave tonight."""
        self.hapi.bad_day = [] if calm else self._bad_day()
        if calm:
            self.hapi.catch_up()

    def held(self) -> dict[Ref, list[Held]]:
        """All versions of all that there is of this job at the sink, oldest first; not the marker."""
        return {
            Ref.parse(name): [_version(v) for v in versions]
            for name, versions in self.hapi.resources.items()
            if "Device/" not in name
        }

    def flaws(self) -> list[str]:
        """What the sink saw that it should not have seen; on_existing: adopt is allowed to write over an edit."""
        return [flaw for flaw in self.hapi.flaws if not (self.tampered and "somebody else's" in flaw)]

    def play(self) -> Verdict:
        """All nights, and a calm one at the end; the first verdict that is not good, or the last."""
        seed = self.dice.getrandbits(64)
        for number in range(self.dice.randint(self.least_nights, self.most_nights)):
            self.dice.seed(f"{seed}/{number}")  # whatever the nights before have used up
            happened = [*self.story.night(), *self.between()] if number else []
            if not (verdict := self.night(names(happened), full=self.dice.random() < 0.2)).good:
                return verdict
        self.dice.seed(f"{seed}/the end")
        return self.end()

    def night(self, happened: str, *, full: bool, calm: bool = False) -> Verdict:
        """A night on which things go wrong, and the verdict after it; where somebody else was at the server, nobody can
        say before that is mended."""
        self._nights += 1
        self._night(f"night {self._nights}: {happened}", calm=calm, full=full)
        return Verdict() if self.tampered else self.look()

    def end(self) -> Verdict:
        """Somebody mends what is broken, and nothing disturbs the last night."""
        self.story.find_the_hidden()
        self.mend()
        if self.incomplete:
            self._night("what is left of an incomplete list", calm=True, full=False)
        full, self.incomplete = self.incomplete, False
        self._night("the last night", calm=True, full=full)
        if self.incomplete:  # of a list that a run had left which did not live to say so
            self._night("a night with the whole list", calm=True, full=True)
        verdict = self.look(calm=True)
        expected = (0, 65) if self.story.spoilt | self.story.refused or self._kept_back() else (0,)
        if verdict.good and self.ends[-1].code not in expected:
            return Verdict(untrue=(f"the last run, which nothing disturbed, ended with {self.ends[-1].code}",))
        return verdict

    def _kept_back(self) -> bool:
        """What somebody else wrote was to go: it stays, and a person is told."""
        lying = self.evidence(calm=True).troubles if self.tampered else ()
        return any(key.startswith("removal of ") for key in lying)

    def _night(self, what: str, *, calm: bool, full: bool) -> None:
        self.reasons = ()
        self.register.tonight(0.0 if calm else self.dice.choice([0, 0, 0.1]), self.dice.getrandbits(64))
        self.disturb(calm=calm)
        code, how = self.run(calm=calm, full=full)
        self.told.append(f"{what}; {'--full, ' if full else ''}{how}: ended with {code} {'; '.join(self.reasons)}")
        self._ended(code)
        if any(words in str(self.reasons) for words in INCOMPLETE):
            self.incomplete = True

    def _bad_day(self) -> list[str | None]:
        if self.dice.random() < 0.5:
            return []
        some = self.fhir_faults
        return [self.dice.choice(some) if self.dice.random() < 0.2 else None for _ in range(8)]

    def _ended(self, code: int) -> None:
        """What the run's record says; of runs before it, which may be called lost only now, once more."""
        with self.opened() as stored:
            records = {row.record.id: row.record for row in runs(stored, JOB, 50)}
        self.ends = [
            replace(end, outcome=records[end.run].outcome, recorded=records[end.run].exit_code)
            if end.run in records
            else end
            for end in self.ends
        ]
        found = [r for r in reversed(records.values()) if r.id not in self._recorded]
        for record in found:
            self._recorded.add(record.id)
            self.ends.append(Ended(record.id, self.codes.get(record.id, code), record.outcome, record.exit_code))
        if not found:  # it died before it could begin
            self.ends.append(Ended("none", code, None, None))

    def look(self, *, calm: bool = False) -> Verdict:
        """At everything, as it is now."""
        verdict = look(self.evidence(calm=calm))
        last = self.ends[-1]
        wrong = [] if last.code in ENDS else [f"{last.run} ended with {last.code}"]
        return replace(verdict, untrue=(*verdict.untrue, *wrong, *self.flaws()))

    def evidence(self, *, calm: bool) -> Evidence:
        held = self.held()
        with self.opened() as stored:
            book = stored.reader(JOB, SINK)
            position, work = book.position(STREAM), book.open_list(STREAM)
            seen = position.cursor.seen if position.cursor else frozenset()
            lying = quarantine(stored, JOB)
            return Evidence(
                editions=self.story.editions,
                unusable=self.story.spoilt,
                refused=self.story.refused,
                held={ref: [v.said for v in versions] for ref, versions in held.items()},
                feed=self.story.feed,
                settled=seen | position.checkpoint if not work else frozenset(),
                known={**{k.ref: k for k in _all_known(book)}, **book.known(list(held))},
                versions={ref: versions[-1].number for ref, versions in held.items()},
                waiting=book.waiting_graph(),
                pending=[p.ref for p in book.pending()],
                troubles=[row.key for row in lying],
                unfetched=[row.key for row in lying if row.unfetched],
                refusals=[f"{row.ref} of {row.key}" for row in lying if row.ref],
                newly_troubled={row.key for row in lying if self.ends and row.run == self.ends[-1].run},
                left=work.left if work else 0,
                runs=self.ends,
                calm=calm,
                tampered=self.tampered,
                unsaid=self.story.hidden.keys() | self._not_listed(held) | self._concealed(seen | position.checkpoint),
            )

    def _concealed(self, settled: Set[str]) -> set[str]:
        """Products of which the feed has said nothing, since it was given as empty tonight."""
        return {row.product for row in self.story.feed if row.key not in settled} if self.register.concealed else set()

    def _not_listed(self, held: Mapping[Ref, Any]) -> set[str]:
        """Products of which nothing came yet, as long as a run's word holds that the listing was incomplete."""
        if not self.incomplete:
            return set()
        return {
            key
            for key, editions in self.story.editions.items()
            if not any(ref in held for edition in editions for ref in edition if ref.type != "Organization")
        }

    @contextmanager
    def opened(self) -> Iterator[Stored]:
        """The store."""
        with open_store(self.store) as stored:
            yield stored


def _all_known(book: JobBook) -> Iterator[Known]:
    """Everything that is remembered of this job, page by page."""
    after = 0
    while page := book.entries(after, 1000):
        yield from (entry.known for entry in page)
        after = page[-1].number


def _version(stored: Kept) -> Held:
    run = None if stored.run == SOMEONE else stored.run
    return Held(str(stored.number), Version(None if stored.resource is None else dump(stored.resource), run))
