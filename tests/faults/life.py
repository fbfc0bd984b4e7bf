"""One life of a job: nights in which things happen at the source, and go wrong; after each, the checker looks.

The rings differ in how a night is run: `Life.run` is theirs.
"""

from __future__ import annotations

import json
import random
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import select

from store.handle import Stored, open_store
from store.job_store import JobBook
from store.queries import quarantine, runs
from store.schema import Item
from store.schema import work as items
from tests.faults.bodies import identical
from tests.faults.checker import (
    Ended,
    Evidence,
    Facts,
    RowSeen,
    Verdict,
    Version,
    Written,
    look,
    look_meanwhile,
)
from tests.faults.choosy_hapi import ChoosyHapi
from tests.faults.facts import said
from tests.faults.lines import faults, kills
from tests.faults.records import not_refused
from tests.faults.register_story import RegisterStory, names
from tests.faults.servers import Faulty, Reaper
from tests.faults.versions import kept_by_others
from tests.sinks.disturbed_hapi import LATE, SOMEONE
from tests.sinks.fake_hapi import Version as Kept
from tsi_fetch.errors import Exit
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.marker import marker_name
from tsi_fetch.words import Cursor, Known, Ref, RunRecord, WorkList

JOB, SINK, STREAM = "cima", "epi", "registroCambios"
FHIR_FAULTS = ("429 at once", "502", "race", "cut", "reset", "lost by reset", "garbled", "bad gateway", "login", "500")
"""Of those that `DisturbedHapi` knows, the ones that take no time."""


class Held(NamedTuple):
    """One version at the sink, and the sink's own name of it."""

    number: str
    said: Version


def may_end(happened: Mapping[str, int], *, excused: bool = False) -> Set[int]:
    """The exit codes that a run may have to which this happened, by what is counted: a night in which nothing goes
    wrong is done, or has put something into quarantine."""
    given = [name for name, number in happened.items() if number > 0]
    ends: set[int] = {Exit.DONE, Exit.QUARANTINE}
    if excused or kills(happened) or any(number > 0 for number in faults(happened).values()):
        ends.add(Exit.TRY_AGAIN)
    for begins, codes in CAUSED.items():
        ends |= codes if any(name.startswith(begins) for name in given) else set()
    return ends


CAUSED: Mapping[tuple[str, ...], Set[int]] = {
    ("sink ", "register 410", "HAPI restarted", "PostgreSQL restarted"): {Exit.SETTING},
    ("SIGINT",): {Exit.INTERRUPTED, -signal.SIGINT},
    ("SIGTERM",): {Exit.TERMINATED, -signal.SIGTERM},
    ("SIGKILL", "died ", "killed "): {-signal.SIGKILL},
}
"""Ends that only what begins so, where it is counted, may cause; 78: what answers is not what was looked for."""

INCOMPLETE = ("listing was incomplete", "no listing of the source has been complete")
"""How a run says that rows may be missing, or that one before it should have said so."""


MADRID = ZoneInfo("Europe/Madrid")
OVERLAP = timedelta(days=2)
"""Before the watermark, by the job's default: what is older than that is never asked for again."""


class Life:
    """`dice` decide everything that happens.  `told`: what has happened so far, a line a night.

    `first`: the first product's number; lives that share a sink are told apart by it.
    """

    least_nights, most_nights = 1, 4
    began: datetime | None = None
    """Where the register's clock stands at first, until `pass_time` moves it; None: it goes."""
    fhir_faults: tuple[str, ...] = FHIR_FAULTS
    slow = 0.4
    """Share of nights in which what is late is done by nobody's next request."""
    also_ends: frozenset[int] = frozenset()
    """Other ends that runs of this life may have."""
    removal, on_existing = "retire", "refuse"
    """What the job was asked to do with what its source no longer has, and with what somebody else wrote."""
    alone = verbatim = True
    """See `Evidence`."""

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
        self.excused: set[str] = set()  # runs of which the store was away, or whose lease another one had
        self._slow_nights = 0
        self._recorded: set[str] = set()
        self._nights = 0
        self._mended = False  # and `tampered`: by a person, before the last night
        self._read: set[str] = (
            set()
        )  # rows that the feed had told when a run moved the watermark to their day or past it
        self._happened: Counter[str] = Counter()  # in the last night: faults and kills, by name
        self._refusals: list[str] = []  # what runs did on a server that is not the one they left

    @property
    def all_counts(self) -> Counter[str]:
        """Runs, kills, faults, and what happened at the register and came of it, by name."""
        sink = Counter({f"sink {fault}": number for fault, number in self.hapi.given.items()})
        happened = self.counts + self.story.counts + self.hapi.said
        return happened + self.register.injected + sink + self.reaper.done + Counter(runs=len(self.ends))

    def run(self, *, calm: bool, full: bool) -> tuple[int, str]:
        """One run: its exit code (negative: killed by that signal), and what was done to it, in words."""
        raise NotImplementedError

    def between(self) -> list[str]:
        """What else happens between two nights, in words."""
        return []

    def pass_time(self) -> None:
        """A night is over: where the register's clock stands in the next."""

    def cursor(self) -> Cursor | None:
        """How far the feed was read."""
        with self.opened() as stored:
            return stored.reader(JOB, SINK).position(STREAM).cursor

    def mend(self) -> None:
        """What a person would do before the last, calm night."""

    # the sink, as long as nobody says otherwise the one that is made up

    def disturb(self, *, calm: bool) -> None:
        """How the sink and the network between behave tonight; what came too late for one run may be done after the
        next one."""
        self._slow_nights = max(0, self._slow_nights - 1)
        if calm or not self._slow_nights:
            self.counts["done after the next run"] += self.hapi.slow and self.hapi.late
            self.hapi.catch_up()
            self._slow_nights = 2 * (not calm and self.dice.random() < self.slow)
        self.hapi.slow = self._slow_nights > 0
        self.hapi.bad_day = [] if calm else self._bad_day()

    def held(self) -> dict[Ref, list[Held]]:
        """All versions of all that there is of this job at the sink, oldest first; not the marker."""
        return {
            Ref.parse(name): [_version(v) for v in versions]
            for name, versions in self.hapi.resources.items()
            if "Device/" not in name
        }

    def flaws(self) -> list[str]:
        """What the sink saw that it should not have seen; on_existing: adopt is allowed to write over an edit, and what
        somebody deleted is brought back once a person has reconciled."""
        allowed = ("writes over somebody else's", *(["somebody else's"] if self.on_existing == "adopt" else []))
        return [f for f in self.hapi.flaws if not (self.tampered and any(words in f for words in allowed))]

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
        return self.look()

    def end(self) -> Verdict:
        """Somebody mends what is broken, and nothing disturbs the last night."""
        self.story.find_the_hidden()
        if self.another_server():
            self._night("the server is another", calm=True, full=False)
            self.counts["another server refused"] += 1
            if not (verdict := self.look()).good:
                return verdict
        self.mend()
        self._mended = True
        if not (verdict := self._last_nights()).good:
            return verdict
        expected = (0, 65) if self.story.spoilt | self._untaken(self.held()) or self._kept_back() else (0,)
        if self.ends[-1].code not in expected:
            return Verdict(untrue=(f"the last run, which nothing disturbed, ended with {self.ends[-1].code}",))
        return verdict

    def _last_nights(self) -> Verdict:
        """As many as it takes until a complete list was worked off; each is looked at."""
        if self.incomplete and not (verdict := self._calm("what is left of an incomplete list", full=False)).good:
            return verdict
        full, self.incomplete = self.incomplete, False
        verdict = self._calm("the last night", full=full)
        if self.incomplete and verdict.good:  # of a list that a run had left which did not live to say so
            verdict = self._calm("a night with the whole list", full=True)
        return verdict

    def _calm(self, what: str, *, full: bool) -> Verdict:
        self._night(what, calm=True, full=full)
        return self.look(calm=True)

    def _kept_back(self) -> bool:
        """What somebody else wrote was to go: it stays, and a person is told."""
        lying = self.evidence(calm=True).troubles if self.tampered else ()
        return any(key.startswith("removal of ") for key in lying)

    def _night(self, what: str, *, calm: bool, full: bool) -> None:
        self.reasons, before = (), self.all_counts
        cursor, told = self.cursor(), len(self.story.feed)
        self.register.tonight(0.0 if calm else self.dice.choice([0, 0, 0.1]), self.dice.getrandbits(64))
        self.disturb(calm=calm)
        with self.watched() as began:
            code, how = self.run(calm=calm, full=full)
            self.told.append(f"{what}; {'--full, ' if full else ''}{how}: ended with {code} {'; '.join(self.reasons)}")
            self.recorded(code)
            if not self.nights(self.ends[began:]):  # it died before it could begin
                self.ends.append(Ended("none", code, None, None))
        self._happened = self.all_counts - before
        self._read |= read_to(self.story.feed[:told], cursor, self.cursor())
        self.pass_time()
        if any(words in str(self.reasons) for words in INCOMPLETE):
            self.incomplete = True

    @contextmanager
    def watched(self) -> Iterator[int]:
        """Runs in here refuse a server that is not the one they left; gives the number of those that ended before."""
        another, ends = self.another_server(), len(self.ends)
        made, given = len(self.hapi.written), self.hapi.given.total()
        yield ends
        if another:
            disturbed = self.hapi.given.total() > given or bool(self.excused & {end.run for end in self.ends[ends:]})
            self._refusals += not_refused(self.nights(self.ends[ends:]), self.hapi.written[made:], disturbed=disturbed)

    def _bad_day(self) -> list[str | None]:
        if self.dice.random() < 0.5:
            return []
        if self._slow_nights == 2 and self.dice.random() < 0.5:  # whatever it is asked again, it answers too late
            return [None] * self.dice.randint(0, 8) + [LATE] * 12
        some = self.fhir_faults
        return [self.dice.choice(some) if self.dice.random() < 0.2 else None for _ in range(8)]

    def recorded(self, code: int) -> None:
        """What the records say of new runs, the last of which gave this code; of runs before them, which may be called
        lost only now, once more."""
        with self.opened() as stored:
            records = {row.record.id: row.record for row in runs(stored, JOB, 50)}
        self.ends = [self._as_told(end, records.get(end.run)) for end in self.ends]
        for record in [r for r in reversed(records.values()) if r.id not in self._recorded]:
            self._recorded.add(record.id)
            ended = Ended(record.id, self.codes.get(record.id, code), None, None, excused=self.excuses(record.id))
            self.ends.append(self._as_told(ended, record))

    @staticmethod
    def _as_told(ended: Ended, record: RunRecord | None) -> Ended:
        """As its record says now."""
        if record is None:
            return ended
        return replace(ended, outcome=record.outcome, recorded=record.exit_code, report=record.report)

    def excuses(self, run: str) -> bool:
        """The run's store was away, or another one had its lease."""
        return run in self.excused

    def nights(self, ends: Sequence[Ended]) -> list[Ended]:
        """Those that are of runs: all."""
        return list(ends)

    def another_server(self) -> bool:
        """The marker that is there is none that a run of this store could have left there last: by the contract,
        neither the one that is remembered nor one that a killed run had intended."""
        if not self.tampered:
            return False
        with self.opened() as stored:
            remembered, intended = stored.reader(JOB, SINK).marks()
            versions = self.hapi.resources.get(f"Device/{marker_name(stored.store_id, JOB)}", [])
            ran = {row.record.id for row in runs(stored, JOB, 1000)}
        there = versions[-1] if versions else None
        if there is None or there.resource is None:
            return remembered is not None
        run, counter = (str(i["value"]) for i in there.resource["identifier"])
        if remembered and (remembered.run, str(remembered.counter), remembered.version) == (
            run,
            counter,
            str(there.number),
        ):
            return False
        least, most = remembered.counter if remembered else 0, intended.counter if intended else 0
        return not (least < int(counter) <= most and run in ran)

    def look(self, *, calm: bool = False) -> Verdict:
        """At everything, as it is now."""
        seen, meanwhile = self.evidence(calm=calm), self.tampered and not self._mended
        verdict = look_meanwhile(seen) if meanwhile else look(seen)
        last = self.ends[-1]
        may = may_end(self._happened, excused=last.excused) | self.also_ends
        may |= {Exit.GUARDED} if meanwhile else set()  # whether it must, `_refusals` has
        wrong = [] if last.code in may else [f"{last.run} ended with {last.code}, and no cause for that was given"]
        return replace(verdict, untrue=(*verdict.untrue, *wrong, *self._refusals, *self.flaws()))

    def evidence(self, *, calm: bool) -> Evidence:
        held = self.held()
        with self.opened() as stored:
            book = stored.reader(JOB, SINK)
            position, open_lists = book.position(STREAM), list(_open_lists(book))
            seen = position.cursor.seen if position.cursor else frozenset()
            unsaid = self.story.hidden.keys() | self._not_listed(held) | self._concealed(seen | position.checkpoint)
            lying = quarantine(stored, JOB)
            watermark = position.cursor.value if position.cursor else None
            settled = seen | position.checkpoint | self._passed(watermark, unsaid)
            settled -= self._of(_still_to_do(stored, open_lists))
            return Evidence(
                editions=self.story.editions,
                unusable=self.story.spoilt,
                refused=self._untaken(held),
                never=self.story.never,
                held={ref: [v.said for v in versions] for ref, versions in held.items()},
                feed=self.story.feed,
                settled=settled,
                known={**{k.ref: k for k in _all_known(book)}, **book.known(list(held))},
                versions={ref: versions[-1].number for ref, versions in held.items()},
                waiting=book.waiting_graph(),
                pending=[p.ref for p in book.pending()],
                troubles=[row.key for row in lying],
                unfetched=[row.key for row in lying if row.unfetched],
                refusals=[f"{row.ref} of {row.key}" for row in lying if row.ref],
                newly_troubled={row.key for row in lying if self.ends and row.run == self.ends[-1].run},
                left=sum(work.left for work in open_lists),
                runs=self.ends,
                calm=calm,
                tampered=self.tampered,
                unsaid=unsaid,
                put_aside=self._put_aside(stored),
                alone=self.alone,
                verbatim=self.verbatim,
                removal=self.removal,
                written=self.written(),
                watermark=watermark,
                today=self.today(),
                facts=self._facts(),
            )

    def written(self) -> list[Written] | None:
        """What each run made at the sink; None where nobody has counted."""
        return [self._as_counted(w) for w in self.hapi.written if w.ref.type != "Device"]

    def _as_counted(self, written: Written) -> Written:
        """What the source itself says is over, or has said, may be an update of it, and no retirement."""
        if written.did != "retired" or not written.body:
            return written
        return replace(written, ambiguous=self.said(written.ref, written.body))

    def said(self, ref: Ref, body: bytes) -> bool:
        """The source has, or had, a resource just so."""
        editions = (edition for some in self.story.editions.values() for edition in some)
        return any(identical(edition[ref], body) for edition in editions if ref in edition)

    def _untaken(self, held: Mapping[Ref, list[Held]]) -> set[str]:
        """Products of which something stays as it is, since the server does not take it, or as it is another's."""
        if not self.tampered or self.on_existing == "adopt":
            return set(self.story.refused)
        last = {ref: versions[-1].said for ref, versions in held.items()}
        return self.story.refused | kept_by_others(self.story.editions, last, verbatim=self.verbatim)

    def _facts(self) -> dict[str, Facts]:
        """Of each product that can be used, whatever it is mapped to."""
        register = self.story.register
        return {key: said(register, key) for key, product in register.products.items() if "nombre" in product}

    def _put_aside(self, stored: Stored) -> set[str]:
        """By the last run, in the words of a report."""
        rows = [row for row in quarantine(stored, JOB, state="all") if self.ends and row.run == self.ends[-1].run]
        removals = {row.key for row in rows if row.key.startswith("removal of ")}
        return removals | {f"{row.key} {row.ref}" if row.ref else row.key for row in rows if row.key not in removals}

    def _passed(self, watermark: str | None, unsaid: Set[str]) -> set[str]:
        """Rows of the feed that the watermark has passed, and those that are so old that no run will ask for them
        again; of those products that the source told truly of."""
        if watermark is None:
            return set()
        since = date.fromisoformat(watermark) - OVERLAP
        old = {row.key for row in self.story.feed if _day(row) < since}
        return (old | self._read) - self._of(unsaid)

    def _of(self, products: Set[str]) -> set[str]:
        """Rows of the feed that announced these."""
        return {row.key for row in self.story.feed if row.product in products}

    def today(self) -> date:
        """At the register."""
        return (self.story.register.date or datetime.now(UTC)).astimezone(MADRID).date()

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


def _day(row: RowSeen) -> date:
    """Of its stamp, at the register."""
    return datetime.fromtimestamp(json.loads(row.key)[1] / 1000, MADRID).date()


def read_to(told: Sequence[RowSeen], before: Cursor | None, after: Cursor | None) -> set[str]:
    """Of rows that the feed had told when a run began, those that it moved the watermark to, or past; the first
    watermark is a listing's, and moved before the feed was read."""
    if before is None or after is None or before == after:
        return set()
    return {row.key for row in told if _day(row) <= date.fromisoformat(after.value)}


def _open_lists(book: JobBook) -> Iterator[WorkList]:
    """Those that runs work off."""
    work = book.open_list(STREAM)
    while work is not None:
        yield work
        work = book.open_list(STREAM, work.id)


def _still_to_do(stored: Stored, lists: Sequence[WorkList]) -> set[str]:
    """Products on these lists that are not done."""
    mine = (items.c.list.in_([work.id for work in lists]), items.c.state == Item.OPEN)
    with stored.database.read() as conn:
        return {key.partition("#")[0] for key in conn.scalars(select(items.c.key).where(*mine))}


def _all_known(book: JobBook) -> Iterator[Known]:
    """Everything that is remembered of this job, page by page."""
    after = 0
    while page := book.entries(after, 1000):
        yield from (entry.known for entry in page)
        after = page[-1].number


def _version(stored: Kept) -> Held:
    run = None if stored.run == SOMEONE else stored.run
    return Held(str(stored.number), Version(None if stored.resource is None else dump(stored.resource), run))
