"""One patience with one server, for all lanes: what fails is waited for by one of them, and hammered by none."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from sinks.fhir.documents import Reply
from tsi_fetch.clock import Clock

FIRST_WAIT = 1.0  # seconds; doubled with every attempt, the wait drawn between zero and it (full jitter)
LONGEST_WAIT = 30.0
SAID_ALOUD = 5.0  # seconds from which on a wait is logged
_FOREVER = timedelta(days=3650)  # what may be added to any instant; a server may ask for more


class Unwell(Exception):
    """An attempt that may be repeated.  `asked`: seconds that the server asks to wait.  `page`: it answered 200 with
    something that is no FHIR.  `alive`: it is well, and only this request is to be repeated.  `conflict`: its answer,
    where what was sent may be to blame if that comes again and again."""

    def __init__(
        self,
        reason: str,
        *,
        asked: float = 0.0,
        page: bool = False,
        alive: bool = False,
        conflict: Reply | None = None,
    ) -> None:
        super().__init__(reason)
        self.asked, self.page, self.alive, self.conflict = asked, page, alive, conflict


class OutOfPatience(Exception):
    """Longer than may be waited.  `why` is the last trouble."""

    def __init__(self, why: Unwell) -> None:
        super().__init__(str(why))
        self.why = why


class Patience:
    """How long one request may be waited for in all, in seconds: `most`."""

    def __init__(self, clock: Clock, host: str, most: float) -> None:
        self._clock, self._host, self._most = clock, host, most
        self._spent = 0.0

    def wait(self, seconds: float, why: Unwell, more: float = 0.0) -> None:
        """Wait so long; OutOfPatience where that is too long.  A wait that a person would notice is logged.

        `more`: seconds added so that not all clients come back at the same moment; they do not count.
        """
        if not self.bears(seconds):
            raise OutOfPatience(why)
        if seconds + more > SAID_ALOUD:
            log = structlog.get_logger()
            log.warning("waiting for the FHIR server", host=self._host, why=str(why), seconds=round(seconds + more, 1))
        self._clock.sleep(seconds + more)
        self._spent += seconds

    def bears(self, seconds: float) -> bool:
        """True where so long may still be waited."""
        return self._spent + seconds <= self._most

    @property
    def bounds(self) -> str:
        """How long is waited, for a person."""
        before = f", and waited {self._spent:.0f} s already" if self._spent >= 1 else ""
        return f"a run waits for {self._most:.0f} s at most{before}"

    def waited(self, seconds: float) -> None:
        """Another one waited so long, and this one with it."""
        self._spent += max(0.0, seconds)


class Circuit:
    """Opens after `limit` failures in a row: then one lane probes, with a back-off of its own, and the others wait.

    What a server asks to wait by Retry-After holds all lanes.  `probe` raises `Unwell` where the server is not back.
    """

    def __init__(self, clock: Clock, limit: int, probe: Callable[[], None]) -> None:
        self._clock, self._limit, self._probe = clock, limit, probe
        self._rng = random.Random()
        self._turn = threading.Condition()
        self._failures = 0
        self._open = self._probing = False
        self._round = 0
        self._not_before: datetime | None = None
        self._why = Unwell("nothing is wrong")

    def enter(self, patience: Patience) -> None:
        """Return when a request may be sent; OutOfPatience where that takes too long."""
        while not self._turned(patience):
            pass

    def _turned(self, patience: Patience) -> bool:
        with self._turn:
            if self._open and self._probing:
                begun = self._clock.now()
                self._turn.wait()  # the one that probes leaves by any way, and says so
                patience.waited((self._clock.now() - begun).total_seconds())
                return False
            (seconds, more), why, mine = self._seconds(), self._why, self._open
            if not (seconds or mine):
                return True
            self._probing = mine
        try:
            patience.wait(seconds, why, more)
            if mine:
                self._try()
        finally:
            if mine:
                with self._turn:
                    self._probing = False
                    self._turn.notify_all()
        return False

    def _seconds(self) -> tuple[float, float]:
        """What is to be waited for, and a little more than what was asked for."""
        held = (self._not_before - self._clock.now()).total_seconds() if self._not_before else 0.0
        if held > 0:
            return held, self.jitter(1)
        self._not_before = None
        return (self.jitter(self._round + 1) if self._open else 0.0), 0.0

    def jitter(self, attempt: int) -> float:
        """Seconds to back off after attempt 1, 2, …"""
        return self._rng.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (min(attempt, 10) - 1)))

    def _try(self) -> None:
        try:
            self._probe()
        except Unwell as e:
            with self._turn:
                self._round += 1
                self._note(e)
            return
        with self._turn:  # half open: one more failure, and it is probed again
            self._open, self._round, self._failures = False, 0, self._limit - 1

    def failed(self, why: Unwell) -> None:
        """An attempt of any lane failed."""
        with self._turn:
            self._failures += 1
            self._note(why)
            if self._failures >= self._limit and not self._open:
                self._open = True
                structlog.get_logger().warning(
                    "the FHIR server fails: it is probed before anything is sent", why=str(why), failures=self._failures
                )

    def _note(self, why: Unwell) -> None:
        self._why = why
        if why.asked:
            until = self._clock.now() + min(timedelta(seconds=min(why.asked, 1e9)), _FOREVER)
            self._not_before = max(self._not_before or until, until)

    def succeeded(self) -> None:
        """The server answered in its own words."""
        with self._turn:
            self._failures = 0
