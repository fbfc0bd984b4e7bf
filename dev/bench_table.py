"""The benchmark's table, on 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dev.bench_trial import Measured

HEAD = f"{'':31}{'res/s':>8}{'of (a)':>8}{'CPU s':>7}{'MB':>6}{'writes/all':>12}{'books':>7}"
WIDTH = 79


@dataclass(frozen=True)
class Line:
    """One trial.  `limit`: resources a second of (a), just before and just after, or None where it is (a) itself."""

    name: str
    measured: Measured
    limit: float | None = None

    @property
    def rate(self) -> float:
        """Resources a second."""
        return self.measured.resources / self.measured.seconds

    @property
    def share(self) -> float | None:
        return self.rate / self.limit if self.limit else None

    @property
    def cpu(self) -> float:
        """CPU seconds of the process per 1,000 resources."""
        return 1000 * self.measured.cpu / max(1, self.measured.resources)

    def to_json(self) -> Mapping[str, object]:
        return {
            "name": self.name,
            "rate": round(self.rate, 1),
            "limit": self.limit and round(self.limit, 1),
            "cpu_per_1000": round(self.cpu, 3),
            **vars(self.measured),
        }

    def printed(self) -> Iterator[str]:
        m = self.measured
        share = "" if self.share is None else f"{self.share:.2f}"
        books = f"{100 * m.kept / m.seconds:.0f} %" if m.phases else ""
        requests = f"{m.writing}/{m.requests}" if m.requests else ""
        yield f"{self.name:31}{self.rate:8,.0f}{share:>8}{self.cpu:7.2f}{m.rss:6.0f}{requests:>12}{books:>7}"
        if m.phases:
            yield from _wrapped([f"{name} {100 * s / m.seconds:.0f} %" for name, s in _longest(m.phases)])
        if m.note:
            yield f"    ! {m.note}"


def _longest(phases: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(phases.items(), key=lambda phase: -phase[1])


def _wrapped(words: list[str]) -> Iterator[str]:
    line = "   "
    for word in words:
        if len(line) + len(word) + 2 > WIDTH:
            yield line
            line = "   "
        line += f" {word},"
    yield line.rstrip(",")
