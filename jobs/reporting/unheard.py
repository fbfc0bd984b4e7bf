"""When nobody reads any more, or there is no room for what is said: a run goes on, and its record has it all."""

from __future__ import annotations

import os
from typing import TextIO


def unheard(stream: TextIO) -> None:
    """What is written from now on goes nowhere: a second failure, at the process's end, would take its exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Heard:
    """A stream for log lines.  A reader who went away (`2>&1 | head`) or a full disk takes nothing from the run."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            unheard(self._stream)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            unheard(self._stream)
