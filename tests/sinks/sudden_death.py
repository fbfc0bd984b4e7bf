"""A run that dies at one call of its store or its sink: from then on it remembers nothing and begins nothing.

What it has in flight arrives all the same, as it would of a process that is killed.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tsi_fetch.words import Outcome


class Killed(BaseException):
    """No error that anybody could handle."""


@dataclass(frozen=True)
class Death:
    """At which call, counted from 1, of which method.  `after`: its work is done (of `write`: some of it, and the
    outcomes after which it dies are counted)."""

    at: str
    count: int = 1
    after: bool = False


@dataclass
class Doom:
    """What all that dies together shares."""

    death: Death
    over: bool = False
    instead: Callable[[], None] | None = None  # of dying, this happens there
    _seen: Counter[tuple[str, bool]] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reached(self, name: str, *, after: bool) -> None:
        with self._lock:
            self._seen[name, after] += 1
            here = (name, self._seen[name, after], after) == (self.death.at, self.death.count, self.death.after)
            self.over |= here and not self.instead
            if self.over:
                raise Killed
        if here and self.instead:
            self.instead()


class Mortal:
    """Something whose methods are its own, for as long as it lives."""

    def __init__(self, inner: Any, doom: Doom) -> None:
        self._inner, self._doom = inner, doom

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return self._mortal(name, found) if callable(found) else found

    def _mortal(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            self._doom.reached(name, after=False)
            result = method(*args, **named)
            if name == "write":  # begun now, and done while its outcomes are read
                return self._outcomes(result)
            self._doom.reached(name, after=True)
            return result

        return call

    def _outcomes(self, coming: Iterator[Sequence[Outcome]]) -> Iterator[Sequence[Outcome]]:
        for outcomes in coming:
            self._doom.reached("write", after=True)
            yield outcomes
