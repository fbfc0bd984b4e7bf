"""Several bundles in flight, of several calls: first come, first served, and none past what it needs.

No two bundles in flight write, or create and refer to, the same resource.  A bundle that refers to what an earlier one
writes is sent once that one is acknowledged or given up.  Nothing waits for what came later, so nothing waits for ever.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue

from tsi_fetch.errors import TryAgain
from tsi_fetch.words import Outcome, Ref

Emit = Callable[[Sequence[Outcome]], None]


@dataclass(frozen=True, slots=True)
class Job:
    """A bundle, or all deletions of a call.  `work` hands over outcomes as they are acknowledged.

    `unsure`: what of it comes into being, or goes: what refers to it and came earlier is sent before.  `last`: it comes
    after all of its call.
    """

    writes: frozenset[Ref]
    refers: frozenset[Ref]
    work: Callable[[Emit], None] = field(repr=False)
    unsure: frozenset[Ref] = frozenset()
    last: bool = False


@dataclass(frozen=True, slots=True)
class _Ended:
    """A job of a call is over; `error` says how, where it failed."""

    error: BaseException | None = None


@dataclass(eq=False)
class _Call:
    """One call of `write`.  `failed`: none of its jobs is begun any more."""

    left: int
    inbox: SimpleQueue[Sequence[Outcome] | _Ended] = field(default_factory=SimpleQueue)
    failed: bool = False


@dataclass(eq=False)
class _Place:
    """A job in the queue, waiting for so many earlier ones (`before`)."""

    number: int
    job: Job
    call: _Call
    before: int = 0
    after: list[_Place] = field(default_factory=list)

    def __lt__(self, other: _Place) -> bool:
        return self.number < other.number


class Lanes:
    """At most `writers` jobs in flight, over all calls.  Safe to use from several threads."""

    def __init__(self, writers: int) -> None:
        self._writers = writers
        self._pool = ThreadPoolExecutor(writers, thread_name_prefix="writer")
        self._lock = threading.RLock()
        self._numbers = itertools.count()
        self._places: set[_Place] = set()  # not over yet
        self._ready: list[_Place] = []
        self._writer: dict[Ref, _Place] = {}  # the last place that writes a ref
        self._referrers: dict[Ref, set[_Place]] = {}
        self._flying = 0
        self._closed = False

    def send(self, jobs: Sequence[Job], refused: Sequence[Outcome] = ()) -> Generator[Sequence[Outcome], None, None]:
        """Queue the jobs of one call, and begin at once; gives their outcomes as they are acknowledged.

        Where one raises, no other of the call is begun; what is in
        flight is waited for and yielded, then the first error is raised.  `refused`: given first.
        """
        call = _Call(len(jobs))
        with self._lock:
            if self._closed:
                raise TryAgain("the sink is closed", "open it anew")
            for job in jobs:
                self._queue(_Place(next(self._numbers), job, call))
            self._begin()
        outcomes = self._outcomes(call, refused)
        next(outcomes)  # to its first line: only what has begun is ended by `close`
        return outcomes

    def _queue(self, place: _Place) -> None:
        job = place.job
        before = {earlier for ref in job.writes | job.refers if (earlier := self._writer.get(ref))}
        before.update(*(self._referrers.get(ref, ()) for ref in job.unsure))
        if job.last:
            before.update(p for p in self._places if p.call is place.call)
        for earlier in before:
            earlier.after.append(place)
        place.before = len(before)
        self._places.add(place)
        self._writer.update(dict.fromkeys(job.writes, place))
        for ref in job.refers:
            self._referrers.setdefault(ref, set()).add(place)
        if not before:
            heapq.heappush(self._ready, place)

    def _begin(self) -> None:
        while self._ready:
            place = next((p for p in self._ready if p.call.failed), None)
            if place:
                self._ready.remove(place)
                heapq.heapify(self._ready)
                self._over(place, TryAgain("the sink was closed while it wrote", "run again") if self._closed else None)
            elif self._flying < self._writers:
                place = heapq.heappop(self._ready)
                self._flying += 1
                future = self._pool.submit(place.job.work, place.call.inbox.put)
                future.add_done_callback(partial(self._landed, place))
            else:
                return

    def _landed(self, place: _Place, done: Future[None]) -> None:
        with self._lock:
            self._flying -= 1
            self._over(place, done.exception())
            self._begin()

    def _over(self, place: _Place, error: BaseException | None) -> None:
        """Acknowledged or given up: what waited for it may go."""
        self._places.remove(place)
        for ref in place.job.writes:
            if self._writer.get(ref) is place:
                del self._writer[ref]
        for ref in place.job.refers:
            self._referrers[ref].discard(place)
            if not self._referrers[ref]:
                del self._referrers[ref]
        for later in place.after:
            later.before -= 1
            if not later.before:
                heapq.heappush(self._ready, later)
        place.call.failed |= error is not None
        place.call.inbox.put(_Ended(error))

    def _outcomes(self, call: _Call, refused: Sequence[Outcome]) -> Generator[Sequence[Outcome], None, None]:
        error: BaseException | None = None
        try:
            yield ()
            if refused:
                yield refused
            while call.left:
                news = call.inbox.get()
                if not isinstance(news, _Ended):
                    yield news
                    continue
                call.left -= 1
                error = error or news.error
        finally:
            self._drain(call)
        if error:
            raise error

    def _drain(self, call: _Call) -> None:
        """The caller has gone: begin no more, and wait for what is in flight: nothing is sent behind its back."""
        with self._lock:
            call.failed = True
            self._begin()
        while call.left:
            call.left -= isinstance(call.inbox.get(), _Ended)

    def close(self) -> None:
        """Begin no more, and wait for what is in flight.  Calls that are not done raise `TryAgain`."""
        with self._lock:
            self._closed = True
            for place in self._places:
                place.call.failed = True
            self._begin()
        self._pool.shutdown(wait=True)
