"""What all processes that serve one generated register share: how many nights passed, and the bucket of its limit."""

from __future__ import annotations

import mmap
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass

MOST_NIGHTS = 8_000
_NIGHTS, _SHIFT, _REQUESTS, _REFUSED, _NIGHT_AT, _CHANGES, _SHIFT_AT, _ROWS = range(8)
_FIRST = 16
_TOKENS, _FILLED = range(2)


@dataclass(frozen=True, slots=True)
class Tally:
    """What the board says: nights, the listing's shift, requests answered and refused (429) by all processes."""

    nights: int
    shift: int
    requests: int
    refused: int


class Board:
    """Numbers in shared memory; processes that are forked after it was made share it.

    `rate`: requests a second, over which 429 is the answer; 0 for none.
    """

    def __init__(self, rate: float = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._numbers = memoryview(mmap.mmap(-1, 8 * (_FIRST + MOST_NIGHTS))).cast("q")
        self._bucket = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("d")
        self._lock = multiprocessing.get_context("fork").RLock()
        self._rate, self._clock = rate, clock
        self._bucket[_TOKENS], self._bucket[_FILLED] = max(1.0, rate), clock()

    @property
    def nights(self) -> int:
        return self._numbers[_NIGHTS]

    @property
    def shift(self) -> int:
        """By how many places the listing is turned round."""
        return self._numbers[_SHIFT]

    def tally(self) -> Tally:
        return Tally(self.nights, self.shift, self._numbers[_REQUESTS], self._numbers[_REFUSED])

    def changes(self, night: int) -> int:
        """How many products changed in a night (from 1)."""
        return self._numbers[_FIRST + night]

    def add_night(self, changes: int) -> None:
        with self._lock:
            night = self.nights + 1
            if night >= MOST_NIGHTS:
                raise ValueError(f"a register lives for {MOST_NIGHTS} nights at most")
            self._numbers[_FIRST + night] = changes
            self._numbers[_NIGHTS] = night

    def turn(self, rows: int) -> None:
        with self._lock:
            self._numbers[_SHIFT] += rows

    def at_page(self, page: int, *, changes: int = 0, rows: int = 0) -> None:
        """Let a night pass, or the listing shift, when this page of it is asked for next."""
        with self._lock:
            if changes:
                self._numbers[_NIGHT_AT], self._numbers[_CHANGES] = page, changes
            if rows:
                self._numbers[_SHIFT_AT], self._numbers[_ROWS] = page, rows

    def asked_page(self, page: int) -> None:
        """A page of the listing is asked for: what was to happen then happens."""
        with self._lock:
            if self._numbers[_NIGHT_AT] == page:
                self._numbers[_NIGHT_AT] = 0
                self.add_night(self._numbers[_CHANGES])
            if self._numbers[_SHIFT_AT] == page:
                self._numbers[_SHIFT_AT] = 0
                self._numbers[_SHIFT] += self._numbers[_ROWS]

    def count(self) -> int:
        """Count a request; the number of it."""
        with self._lock:
            self._numbers[_REQUESTS] += 1
            return self._numbers[_REQUESTS]

    def admit(self) -> float:
        """0 where a request may be answered now, else the seconds until one may."""
        if not self._rate:
            return 0.0
        with self._lock:
            now, most = self._clock(), max(1.0, self._rate)
            tokens = min(most, self._bucket[_TOKENS] + (now - self._bucket[_FILLED]) * self._rate)
            self._bucket[_FILLED] = now
            admitted = tokens >= 1
            self._bucket[_TOKENS] = tokens - 1 if admitted else tokens
            self._numbers[_REFUSED] += not admitted
            return 0.0 if admitted else (1 - tokens) / self._rate
