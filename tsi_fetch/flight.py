"""Batches on their way to the sink: written by threads of their own while the next ones are read and judged.

A far sink is idle while we look up, validate and remember, and we are idle while it writes.  So up to `Sink.ahead`
batches are in the air at once.  What a batch promises stays in order: noted, written, remembered, told.  Only batches
that have nothing to do with each other fly together, and they land in the order they took off, on the loop's thread,
which alone talks to the store.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from tsi_fetch.errors import TsiFetchError
from tsi_fetch.words import Batch, Brought, Known, Outcome, Ref, Write

if TYPE_CHECKING:
    from tsi_fetch.judge import Judged
    from tsi_fetch.ports import Permit, Sink

MOST_BYTES = 16_000_000
"""Bodies in the air, at most: one batch more may be, since its size is known only once it is there."""

Outcomes = Iterator[Sequence[Outcome]]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Flight:
    """One batch, judged and noted.  `outcomes`: of its first round of writes, as the sink acknowledges them."""

    batch: Batch
    brought: Brought
    judged: Judged
    doubt: int | None
    writes: Sequence[Write]
    outcomes: Outcomes
    done: Future[None] | None
    names: frozenset[str]  # keys of its rows and scopes
    refs: frozenset[Ref]  # what it writes
    foreseen: dict[Ref, Known]  # what is known, once it has landed, of refs that it does not write
    size: int  # bytes of the bodies
    began: datetime

    @property
    def over(self) -> bool:
        """Nothing of its first round is still to come."""
        return self.done is None or self.done.done()


class Air:
    """The flights of one run, first in, first out; a context manager that lands what is left.

    `land` settles one flight; `failed` is told of errors that cannot be raised, since another one is.
    """

    def __init__(
        self, sink: Sink, permit: Permit, land: Callable[[Flight], None], failed: Callable[[TsiFetchError], None]
    ) -> None:
        self._sink, self._permit, self._land, self._failed = sink, permit, land, failed
        self._flights: deque[Flight] = deque()
        self._threads: ThreadPoolExecutor | None = None

    def write(self, writes: Sequence[Write]) -> tuple[Outcomes, Future[None] | None]:
        """Begin to write: at once, in a thread, where the sink may be far; else whenever the outcomes are asked for."""
        if not writes:
            return iter(()), None
        coming = iter(self._sink.write(writes, self._permit))  # here, so that the sink is asked in the order of flights
        if not self._sink.ahead:
            return coming, None
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._sink.ahead, thread_name_prefix="flight")
        queue: SimpleQueue[Sequence[Outcome] | None] = SimpleQueue()
        done = self._threads.submit(_fly, coming, queue)
        return _arriving(queue, done), done

    def launch(self, flight: Flight) -> None:
        """One more; it lands at once where the sink is near, and others land first where too much is in the air."""
        self._flights.append(flight)
        while len(self._flights) > self._sink.ahead or sum(f.size for f in self._flights) > MOST_BYTES:
            self._land_first()

    def land(self) -> None:
        """All of them."""
        while self._flights:
            self._land_first()

    def land_named(self, names: frozenset[str]) -> None:
        """Until none has a row or a scope of these keys."""
        while any(names & f.names for f in self._flights):
            self._land_first()

    def land_writing(self, judged: Judged) -> None:
        """Until none writes a ref of this batch; where any had to land, what was known of them is known no more."""
        if not any(f.refs for f in self._flights):
            return
        refs = judged.refs
        while any(refs & f.refs for f in self._flights):
            self._land_first()
            judged.recalled.clear()

    def _land_first(self) -> None:
        self._land(self._flights.popleft())

    def foreseen(self) -> dict[Ref, Known]:
        """What will be known, once all have landed, of refs that they do not write."""
        return {ref: known for flight in self._flights for ref, known in flight.foreseen.items()}

    @property
    def newly_refused(self) -> int:
        """Rows of what is in the air that were refused before it took off."""
        return sum(f.judged.newly_refused for f in self._flights)

    def reading(self, batches: Iterator[_T], more: Callable[[], bool]) -> Iterator[_T]:
        """The same batches; where the sink is far, each is asked for while the ones before are worked on, as long as
        `more` says that it will be wanted."""
        if not self._sink.ahead:
            yield from batches
            return
        with ThreadPoolExecutor(1, thread_name_prefix="reader") as reader:
            coming = reader.submit(next, batches, None)
            while (batch := self._until(coming)) is not None:
                wanted = more()
                if wanted:
                    coming = reader.submit(next, batches, None)
                yield batch
                if not wanted:
                    coming = reader.submit(next, batches, None)

    def _until(self, future: Future[_T]) -> _T:
        """Wait for something else; what the sink has acknowledged is remembered meanwhile."""
        while not future.done():
            awaited: list[Future[Any]] = [future]
            if self._flights and (first := self._flights[0].done):
                awaited.append(first)
            wait(awaited, return_when=FIRST_COMPLETED)
            while self._flights and self._flights[0].over:
                self._land_first()
        return future.result()

    def __enter__(self) -> Air:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None) -> None:
        """Whatever ended the loop: what is in the air is landed, so that it is remembered; the first error counts."""
        first: TsiFetchError | None = None
        while self._flights and (e is None or isinstance(e, TsiFetchError)):
            try:
                self._land_first()
            except TsiFetchError as error:
                if first or e:
                    self._failed(error)
                first = first or error
        if self._threads:
            self._threads.shutdown(wait=True, cancel_futures=True)
        if first and e is None:
            raise first


def _fly(coming: Outcomes, queue: SimpleQueue[Sequence[Outcome] | None]) -> None:
    try:
        for outcomes in coming:
            queue.put(outcomes)
    finally:
        queue.put(None)


def _arriving(queue: SimpleQueue[Sequence[Outcome] | None], done: Future[None]) -> Outcomes:
    while (outcomes := queue.get()) is not None:
        yield outcomes
    done.result()  # raises what ended the write early
