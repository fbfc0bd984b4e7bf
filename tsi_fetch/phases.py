"""Where a run's time goes: seconds of the loop's own thread by phase, each second in one phase only.

`wait`: for answers of the source.  `lookup`: what is known, and what the sink holds.  `map`: rows → resources, without
`clean`: their HTML.  `decide`: digests and decisions.  `validate`.  `write`: waiting for a far sink, or writing to a
near one.  `remember`: the store's transactions.

A phase within another is taken out of it, so the sum is never more than the run took.  Other threads are not counted:
answers that arrive, and bundles that fly, while the loop maps cost neither `wait` nor `write`; only what it had to
stand still for does.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

_running: ContextVar[Phases | None] = ContextVar("phases", default=None)


class Phases:
    """A run's stopwatch."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock, self._since = clock, clock()
        self._open: list[str] = []
        self._seconds: Counter[str] = Counter()

    @property
    def seconds(self) -> Mapping[str, float]:
        return dict(self._seconds)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self._charge()
        self._open.append(name)
        try:
            yield
        finally:
            self._charge()
            # Not always the innermost: a generator that was left behind ends its phase late.
            del self._open[len(self._open) - 1 - self._open[::-1].index(name)]

    def _charge(self) -> None:
        """What passed since the last change belongs to the innermost phase."""
        now = self._clock()
        if self._open:
            self._seconds[self._open[-1]] += now - self._since  # type: ignore[assignment]  # seconds
        self._since = now

    @contextmanager
    def running(self) -> Iterator[None]:
        """While this lasts, `phase` counts here, in this thread."""
        token = _running.set(self)
        try:
            yield
        finally:
            _running.reset(token)


@contextmanager
def phase(name: str) -> Iterator[None]:
    """A phase of the run that goes on in this thread, if one does: for what is pure, and is handed no run."""
    running = _running.get()
    if running is None:
        yield
        return
    with running.phase(name):
        yield
