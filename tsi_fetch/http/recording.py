"""Recordings on disk, and reading them.

    recording.json     format, job, start, the streams' state then, who wrote it, attribution, whether it is whole
    exchanges.jsonl    one line an exchange: request (scrubbed), status and chosen headers or kind of failure, times
    answers/           the bodies, decompressed, one file each: NNNN-<what>.<extension>

A body is written before its line, and a line at once: a recording whose run was killed reads up to its last whole line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path, PurePosixPath

import httpx

from tsi_fetch.clock import ReplayClock
from tsi_fetch.errors import SettingError
from tsi_fetch.http.exchange import Exchange
from tsi_fetch.http.replay import Replay
from tsi_fetch.http.scrub import Scrubber
from tsi_fetch.words import Json

FORMAT = 1
HEAD, EXCHANGES, ANSWERS = "recording.json", "exchanges.jsonl", "answers"


class Recording:
    """What one run asked and was answered, ready to be asked again."""

    def __init__(self, folder: Path, head: Mapping[str, Json], exchanges: tuple[Exchange, ...]) -> None:
        self.folder = folder
        self.job: str = head["job"]
        self.started = datetime.fromisoformat(head["started"])
        self.state: Mapping[str, Json] = head.get("state") or {}
        self.complete: bool = bool(head.get("complete"))
        self.attribution: str = head.get("attribution", "")
        self.exchanges = exchanges
        self._replay = Replay(exchanges, self.body, Scrubber(head.get("secret_parameters", ())))

    @classmethod
    def open(cls, folder: Path) -> Recording:
        """Read a recording.  SettingError where there is none, or one that cannot be read."""
        head = _head(folder)
        if head.get("format") != FORMAT:
            raise SettingError(f"{folder / HEAD} has a format that this version cannot read", "record again")
        try:
            return cls(folder, head, tuple(_exchanges(folder)))
        except (KeyError, TypeError, ValueError) as e:
            raise SettingError(f"{folder / HEAD} is damaged ({type(e).__name__})", "record again") from e

    def body(self, exchange: Exchange) -> bytes:
        """The recorded body.  SettingError where its file is missing or lies elsewhere."""
        if exchange.body is None:
            return b""
        name = PurePosixPath(exchange.body)
        if name.parts[:-1] != (ANSWERS,) or name.name in {"", ".", ".."} or "\\" in exchange.body:
            raise SettingError(f"exchange {exchange.n} of {self.folder} names a file elsewhere", "record again")
        try:
            return (self.folder / name).read_bytes()
        except OSError as e:
            raise SettingError(f"{self.folder / name} cannot be read ({type(e).__name__})", "record again") from e

    def transport(self) -> httpx.BaseTransport:
        """Answers from the recording.  One queue for all that ask, however often this is called."""
        return self._replay

    def clock(self) -> ReplayClock:
        """A clock that stands at the recorded start."""
        return ReplayClock(self.started)


def _head(folder: Path) -> dict[str, Json]:
    try:
        head = json.loads((folder / HEAD).read_bytes())
    except OSError as e:
        raise SettingError(f"{folder} holds no recording", f"name a folder with a {HEAD}") from e
    except ValueError as e:
        raise SettingError(f"{folder / HEAD} is not JSON", "record again") from e
    if not isinstance(head, dict):
        raise SettingError(f"{folder / HEAD} is not a recording", "record again")
    return head


def _exchanges(folder: Path) -> Iterator[Exchange]:
    path = folder / EXCHANGES
    lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
    for number, line in enumerate(lines[:-1], 1):  # what follows the last line feed was cut off by a kill
        try:
            yield Exchange(**json.loads(line))
        except (ValueError, TypeError) as e:
            raise SettingError(f"line {number} of {path} cannot be read ({type(e).__name__})", "record again") from e
