"""A clock that stands still until somebody waits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tsi_fetch.clock import ReplayClock


class StillClock(ReplayClock):
    """Waits move it, and are noted."""

    def __init__(self, start: datetime | None = None) -> None:
        super().__init__(start or datetime(2026, 3, 2, 9, 30, tzinfo=UTC))
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        super().sleep(seconds)

    def move(self, delta: timedelta) -> None:
        """Set the clock, forth or back, without a wait."""
        with self._lock:
            self._now += delta
