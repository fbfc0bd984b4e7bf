"""Where a command looked: so that the commands it recommends look there, too."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

_COMMAND = re.compile(
    r"\btsi-fetch (run|plan|reconcile|export|explain|status|runs(?: list| show)?|audit|check|jobs"
    r"|(?:quarantine|watermark|db|backfill) [a-z]+)\b"
)
_OF_THE_FILE = frozenset({"check", "jobs"})
_WRITING = frozenset(
    {
        *("run", "plan", "reconcile", "export", "watermark set", "watermark rewind", "watermark reset"),
        *("backfill work", "backfill resume", "quarantine replay"),
    }
)
"""Those that are given a store and a sink together, or neither."""
_BY_NUMBER = frozenset({"backfill show", "backfill resume", "backfill work", "backfill cancel"})
"""Those that are given a number, which is a store's own."""


@dataclass(frozen=True, slots=True)
class Place:
    """The options that name a job file, a store and a sink, as they were given; None for what was not.

    `job`: the job that a command is about, where its job file has several stores; None where a number says enough.
    """

    config: Path | None = None
    store: str | None = field(default=None, repr=False)  # a URL, perhaps with its password
    sink: str | None = None
    job: str | None = None

    def completed(self, text: str) -> str:
        """The text with every command in it told where to look."""
        return _COMMAND.sub(lambda command: f"{command[0]}{self._options(command[1])}", text)

    def _options(self, command: str) -> str:
        given: dict[str, object] = {"--config": self.config}
        if command in _WRITING and self.store and self.sink:
            given |= {"--store": self.store, "--sink": self.sink}
        elif command not in _WRITING | _OF_THE_FILE:
            given |= {"--store": self.store}
        if command in _BY_NUMBER and not self.store:
            given |= {"--job": self.job}
        return "".join(f" {name} {shlex.quote(str(value))}" for name, value in given.items() if value)
