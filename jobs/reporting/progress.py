"""How far a run is: drawn on a terminal, logged sparsely elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol, Self, TextIO

import structlog
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

SILENT_FOR = 30.0
"""Seconds between two log lines of one phase: enough to see life, too few to fill a log."""


class Shown(Protocol):
    """Progress that is shown while the run goes on, and cleaned up after it."""

    def __call__(self, phase: str, done: int, total: int | None) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...


class Drawn:
    """A bar per phase; gone when the run is over, as the report then says more."""

    def __init__(self, stream: TextIO) -> None:
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(file=stream),
            transient=True,
        )
        self._phases: dict[str, TaskID] = {}

    def __call__(self, phase: str, done: int, total: int | None) -> None:
        if phase not in self._phases:
            self._phases[phase] = self._bars.add_task(phase, total=total)
        self._bars.update(self._phases[phase], completed=done, total=total)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bars.stop()


class Logged:
    """One line when a phase begins, and one every `SILENT_FOR` seconds."""

    def __init__(self) -> None:
        self._log = structlog.get_logger()
        self._said: dict[str, float] = {}
        self._began: dict[str, tuple[float, int]] = {}

    def __call__(self, phase: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        began, before = self._began.setdefault(phase, (now, done))
        if now - self._said.get(phase, -SILENT_FOR) >= SILENT_FOR:
            self._said[phase] = now
            figures = {"phase": phase, "done": done, "total": total}
            if total is not None and before < done < total:
                figures["seconds_left"] = round((now - began) / (done - before) * (total - done))
            self._log.info("progress", **figures)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Nothing is drawn, so nothing is cleaned up."""
