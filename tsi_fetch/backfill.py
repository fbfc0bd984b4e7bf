"""One worker of a backfill: it claims items of the list, fetches them beside everybody else, and writes in its turn.

While one slice waits for the turn and is written, the next one is fetched, by a thread of its own.  What is fetched
goes through the very loop of a run (`launch`), under the job's lease, and only as far as the claims still hold: what a
nightly run, or another worker, has settled meanwhile is newer, and took the claim away.  The watermark and the marker
are not touched.  What no longer belongs to a scope is decided, and left to the next run, whose guard stands before it.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from tsi_fetch import waiting
from tsi_fetch.context import Ports, Run, Settings
from tsi_fetch.counting import are, count
from tsi_fetch.errors import Exit, Guarded, SettingError, TryAgain, TsiFetchError
from tsi_fetch.ports import Claims, Forgetful, Ranged, Turns
from tsi_fetch.report import Report, Tally
from tsi_fetch.run import air_of, launch
from tsi_fetch.words import Batch, Brought, Claimed, Row

AT_ONCE = 20
"""Items that a worker claims, fetches and writes together: what bounds its memory (two such slices), and how long its
turns are."""

MOST_NAMED = 20
"""Keys that the source does not know which are named; with others the number of all is."""

POLL = 1.0
"""Seconds between looks at a list of which others do the rest."""

WINDOW_PAGE = 1000
"""Keys of a window that are stored together."""

_NO_ROW = "the source gives no row for it"


class _TimeIsUp(Exception):
    """The planned duration is over."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What a worker works with: beside the ports, its claims and its turns.  `ports.store` is read outside of turns."""

    ports: Ports
    claims: Claims
    turns: Turns
    at_once: int = AT_ONCE


def work(bench: Bench, settings: Settings) -> Report:
    """Work until nothing of the list is left, time is up or something ends it (TsiFetchError): the report says which.
    Anything else raised is a bug."""
    return _Worker(bench, settings).work()


@dataclass(frozen=True, slots=True)
class _Slice:
    """Claimed items, number by key, and what is fetched of them; None: to be fetched in the turn."""

    keyed: Mapping[str, int]
    coming: Future[list[Batch]] | None
    alone: bool  # an item that was tried before: if it kills its worker, it takes none along


class _Worker:
    def __init__(self, bench: Bench, settings: Settings) -> None:
        self._bench, self._claims = bench, bench.claims
        self._ports, self._clock, self._source = bench.ports, bench.ports.clock, bench.ports.source
        self._settings = replace(settings, worker=True)
        self._started = self._clock.now()
        self._unknown = 0  # keys of which the source has nothing
        self._reader = ThreadPoolExecutor(1, f"fetches of {settings.run_id}")
        self._over = threading.Event()  # nobody wants any more what is being fetched
        self._in_turn = False  # the source gives no orders: only what is fetched in the turn is known to be new
        self._tally = Tally(settings.job, settings.run_id, self._started, plan=False)

    def work(self) -> Report:
        try:
            with self._tally.phases.running(), self._claims.kept(), self._reading():
                self._until_done()
        except _TimeIsUp:
            self._tally.partial = True
            self._tally.note("time was up: others, or `backfill resume`, go on with what is left")
        except TsiFetchError as e:
            self._tally.failed(e)
            if isinstance(e, Guarded):
                self._at_the_end(self._claims.halt)
        self._at_the_end(self._claims.release)
        self._at_the_end(self._say_what_is_left)
        return self._tally.report(self._clock.now())

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """What is being fetched at the end is waited for; its claims are kept until then."""
        try:
            yield
        finally:
            self._over.set()
            self._reader.shutdown(cancel_futures=True)

    def _at_the_end(self, step: Callable[[], None]) -> None:
        try:
            step()
        except TsiFetchError as e:
            self._tally.failed(e)

    def _say_what_is_left(self) -> None:
        if self._unknown > MOST_NAMED:
            self._tally.note(f"and for {count(self._unknown - MOST_NAMED, 'other')}")
        there, number = self._claims.progress(), self._claims.list_id
        self._tally.remainder = there.left
        if there.state == "cancelled":
            self._tally.partial = True
            self._tally.note("the list was cancelled")
        elif there.state == "halted":
            hint = f"tsi-fetch backfill show {number} says why; then: tsi-fetch backfill resume {number}"
            self._tally.reason(Exit.GUARDED, "a guard halted the work on this list", hint)
        elif there.state == "gone":
            self._tally.reason(Exit.TRY_AGAIN, "the backfill's list is gone", "begin another one")
        if there.aside:
            what = f"{count(there.aside, 'item')} {are(there.aside)} set aside, and not done"
            hint = f"tsi-fetch backfill show {number} says why; then: tsi-fetch backfill resume {number}"
            self._tally.reason(Exit.QUARANTINE, what, hint)

    def _until_done(self) -> None:
        self._ports.sink.open(self._source.types)
        ahead: _Slice | None = None
        while True:
            self._check_time()
            if some := ahead or self._begin():
                ahead = self._do(some)
            elif not self._is_more_to_come():
                return

    def _is_more_to_come(self) -> bool:
        """Nothing can be claimed now.  False where the list is done, or not to be worked on; else after a while."""
        there = self._claims.progress()
        if there.state != "open":
            return False
        if not there.left:
            if self._claims.close():
                self._release_waiting()
            return False
        again = (there.soonest - there.at).total_seconds() if there.soonest else POLL
        self._clock.sleep(min(max(again, 0.0), POLL))
        return True

    # -- one slice

    def _begin(self, *, untried: bool = False) -> _Slice | None:
        """Claim a slice (`untried`: of items never tried before) and begin to fetch it; None where there is none now.
        Nothing else is being fetched."""
        while items := self._claims.claim(self._bench.at_once, untried=untried):
            for window in (item for item in items if item.since is not None):
                self._expand(window)
            if keyed := {item.key: item.number for item in items if item.since is None}:
                coming = None if self._in_turn else self._reader.submit(self._fetch, keyed)
                return _Slice(keyed, coming, alone=any(item.attempts for item in items))
        return None

    def _do(self, some: _Slice) -> _Slice | None:
        """Settle one slice; gives the next one, which is fetched meanwhile."""
        keyed, batches = some.keyed, self._fetched(some)
        if any(row.order is None and row.answered for batch in batches for row in batch.rows):
            self._in_turn, batches = True, []
        batches, reasons = _usable(batches, keyed)
        ahead: _Slice | None = None
        if not (batches or self._in_turn):
            self._is_the_source_there()
        else:
            ahead = None if self._in_turn or some.alone else self._begin(untried=True)
            keyed = _still_of_this(keyed, ahead)
            reasons |= self._settle(batches, keyed)
            self._say_what_is_unknown(keyed)
        mine = self._claims.mine()
        left = {number: reasons.get(key, _NO_ROW) for key, number in keyed.items() if number in mine}
        if left:
            self._claims.failed(left)
        return ahead

    def _fetched(self, some: _Slice) -> list[Batch]:
        if some.coming is None:
            return []
        with self._tally.phase("wait"):
            return some.coming.result()

    def _fetch(self, keyed: Mapping[str, int]) -> list[Batch]:
        """All of the slice, as it is now."""
        if isinstance(self._source, Forgetful):
            self._source.forget()  # a claim that was lost and won again is of newer answers than those that were kept
        return list(self._until_over(iter(self._source.fetch(list(keyed)))))

    def _until_over(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        while not self._over.is_set():
            self._check_time()
            batch = next(batches, None)
            if batch is None:
                return
            yield batch

    def _is_the_source_there(self) -> None:
        """Nothing of a slice, be it of one item, could be fetched.  Where the source does not even give its listing,
        that is no fault of the items: TryAgain."""
        if next(iter(self._source.keys()), None) is None:
            raise TryAgain("the source gives neither rows nor its listing", "the source is down or busy: resume later")

    def _settle(self, batches: Sequence[Batch], keyed: Mapping[str, int]) -> dict[str, str]:
        """Write and remember, in as many turns as it takes: a run that waits for the lease does not wait for long."""
        todo, reasons = deque(batches), dict[str, str]()
        first = True
        while todo or (first and self._in_turn):
            with self._bench.turns.turn(self._settings.run_id, self._patiently) as store:
                run = self._run(replace(self._ports, store=store))
                run.marker.check()
                run.held_back = store.recover()
                if first and self._in_turn:
                    fresh, reasons = _usable(self._fetch(keyed), keyed)
                    todo.extend(fresh)
                    if not fresh:
                        self._is_the_source_there()
                self._write(run, todo, keyed)
            first = False
            self._ports.progress("rows", self._tally.rows["read"], None)
        return reasons

    def _say_what_is_unknown(self, keyed: Mapping[str, int]) -> None:
        """Keys of which the source has nothing, and to which no resource belongs: mistyped, perhaps."""
        numbers = []
        for key, state in self._ports.store.scopes(list(keyed)).items():
            if not state.refs and not self._tally.may_be_troubled(key):
                numbers.append(keyed[key])
                self._unknown += 1
                if self._unknown <= MOST_NAMED:
                    self._tally.note(f"the source has nothing for {key}, and no resource belongs to it")
        if numbers:
            self._claims.unknown(numbers)

    def _write(self, run: Run, todo: deque[Batch], keyed: Mapping[str, int]) -> None:
        with air_of(run) as run.air:
            while todo:
                batch = _still_mine(todo[0], keyed, self._claims.mine())
                if batch.rows:
                    launch(run, batch, Brought.KEY)
                todo.popleft()
                if todo and not self._in_turn and self._bench.turns.wanted():
                    return

    def _run(self, ports: Ports) -> Run:
        """A turn's view of the loop; what is counted, all turns count together."""
        run = Run(ports, self._settings)
        run.tally = self._tally
        return run

    def _release_waiting(self) -> None:
        """What the backfill brought may be what others wait for."""
        with self._bench.turns.turn(self._settings.run_id, self._patiently) as store:
            run = self._run(replace(self._ports, store=store))
            run.marker.check()
            run.held_back = store.recover()
            waiting.release(run)

    # -- a window

    def _expand(self, window: Claimed) -> None:
        """Ask what changed in it, and put the keys on the list; what the source gives beyond it is left out."""
        if not isinstance(self._source, Ranged) or window.since is None or window.until is None:
            raise SettingError("this source cannot be asked for a range", "cancel the backfill; begin one with --keys")
        since, until = datetime.fromisoformat(window.since), datetime.fromisoformat(window.until)
        unreadable = 0
        for page in self._source.changed(since, until):
            self._check_time()
            unreadable += page.unreadable
            keys = sorted({key for key, at in page.rows if at is None or since <= at < until})
            for some in (keys[i : i + WINDOW_PAGE] for i in range(0, len(keys), WINDOW_PAGE)):
                self._claims.expand(window, some, last=False)
        if unreadable:
            what = f"{count(unreadable, 'row')} of the source's answer for {window.key} cannot be read"
            self._tally.reason(Exit.QUARANTINE, what, "the nightly run's feed has them, if they are new")
        self._claims.expand(window, (), last=True)

    # -- time

    def _patiently(self, seconds: float) -> None:
        """Wait for the turn; not in step with the others."""
        self._check_time()
        self._clock.sleep(seconds * (0.5 + random.random()))

    def _check_time(self) -> None:
        """`Stopped`, or time is up."""
        self._ports.stop.check()
        most = self._settings.max_duration
        if most is not None and self._clock.now() - self._started >= most:
            raise _TimeIsUp


def _usable(batches: Sequence[Batch], keyed: Mapping[str, int]) -> tuple[list[Batch], dict[str, str]]:
    """Without the rows of items that could not be fetched, and why not.  What else could not be fetched (a part of an
    item, whose rest is here) goes through the loop, into quarantine."""
    reasons: dict[str, str] = {}
    some: list[Batch] = []
    for batch in batches:
        reasons |= {row.key: row.unfetched.rule for row in batch.rows if row.unfetched and row.key in keyed}
        rows = tuple(row for row in batch.rows if row.key not in reasons)
        if rows:
            some.append(replace(batch, rows=rows, cursor=None))
    return some, reasons


def _still_of_this(keyed: Mapping[str, int], ahead: _Slice | None) -> Mapping[str, int]:
    """Without items that the next slice has: what can be claimed once more was lost before, and is fetched anew."""
    again = set(ahead.keyed.values()) if ahead else ()
    return {key: number for key, number in keyed.items() if number not in again}


def _still_mine(batch: Batch, keyed: Mapping[str, int], mine: frozenset[int]) -> Batch:
    """The rows of items that are still claimed; the others are settled by somebody who has newer ones."""
    return replace(batch, rows=tuple(row for row in batch.rows if _item(row, keyed) in mine))


def _item(row: Row, keyed: Mapping[str, int]) -> int | None:
    """The item that a row, or a part of a row, was fetched for."""
    return keyed.get(row.key, keyed.get(row.key.partition("#")[0]))
