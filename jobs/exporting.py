"""Export: every live resource that a job knows, as its sink holds it, in a file of lines for each type.

Everything is written under temporary names and gets its own at the end, the manifest last: a folder without
`manifest.json` is never a whole export, however it was cut short.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import msgspec

from jobs.config.load import Configuration
from jobs.disk import written
from jobs.looking import Figures
from jobs.wiring import Asked, Target, make_sink, new_run_id, target
from store.handle import open_store
from store.job_store import JobBook
from tsi_fetch.clock import StopSignal
from tsi_fetch.errors import Exit, SettingError, Usage
from tsi_fetch.ports import Progress, Sink
from tsi_fetch.words import AWAITED, Held, Known, Ref, State

MANIFEST = "manifest.json"
AT_ONCE = 1000
"""Remembered refs that are read together."""

BODIES = 50
"""Bodies that are held in memory together."""

NAMED = 20
"""Resources that are named of each kind of difference; the rest are counted."""

MISSING, OTHER, UNREADABLE = "missing", "another version", "not JSON"

MEANING = {
    MISSING: "remembered, and not on the sink: left out",
    OTHER: "in another version than remembered: exported as it is there",
    UNREADABLE: "is no JSON on the sink: left out",
}

_PART = ".{}.part"


@dataclass(slots=True)
class Exported:
    """What an export wrote and what it did not.  `files`: of each type its name, lines, bytes and SHA-256."""

    job: str
    sink: str
    began: datetime
    ended: datetime
    files: dict[str, Figures] = field(default_factory=dict)
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    named: dict[str, list[str]] = field(default_factory=dict)

    def differs(self, kind: str, ref: Ref) -> None:
        self.counts.setdefault(kind, Counter())[ref.type] += 1
        names = self.named.setdefault(kind, [])
        if len(names) < NAMED:
            names.append(str(ref))

    @property
    def exit_code(self) -> int:
        return int(Exit.QUARANTINE if self.counts else Exit.DONE)

    def to_json(self) -> Figures:
        """The manifest, and what `--json` prints: members as in FHIR's Bulk Data export where it has them."""
        return {
            "transactionTime": self.began.isoformat(timespec="seconds"),
            "ended": self.ended.isoformat(timespec="seconds"),
            "job": self.job,
            "sink": self.sink,
            "whole": not self.counts,
            "output": [{"type": kind, **figures} for kind, figures in sorted(self.files.items())],
            "differences": {
                kind: {"total": sum(of.values()), "counts": dict(sorted(of.items())), "named": self.named[kind]}
                for kind, of in self.counts.items()
            },
        }


@dataclass(frozen=True, slots=True)
class Ears:
    """Who is told how far it is, and who may stop it."""

    stop: StopSignal
    progress: Progress


def export(configuration: Configuration, asked: Asked, folder: Path, types: Sequence[str], ears: Ears) -> Exported:
    """Write every live resource of the job, or of these types, into a new or empty folder.

    Usage where the folder holds something, or the job knows none of a type; NoStore before the first run; TryAgain
    where store or sink is down: then nothing is left behind.
    """
    to = target(configuration, asked, None)
    _check_empty(folder)
    with ExitStack() as stack:
        stored = stack.enter_context(open_store(to.store.reveal()))
        clock = stored.clock(ears.stop)
        book = stored.reader(asked.job, to.sink)
        wanted = _wanted(book, asked.job, to, types)
        sink = make_sink(to, clock, run_id=new_run_id(clock.now()), job=asked.job, store_id=stored.store_id)
        stack.enter_context(closing(sink))
        sink.open(sorted(wanted))
        began = clock.now()
        done = Exported(asked.job, to.sink, began, began)
        with _Lines(folder) as lines:
            _Export(book, sink, done, lines, ears).write(wanted)
            done.ended = clock.now()
            lines.publish(done)
    return done


def _check_empty(folder: Path) -> None:
    try:
        names = sorted(os.listdir(folder)) if folder.exists() else []
    except OSError as e:
        raise SettingError(f"{folder} cannot be used: {e.strerror}", "name a new folder") from e
    if not names:
        return
    if MANIFEST not in names and all(name.startswith(".") and name.endswith(".part") for name in names):
        raise Usage(f"{folder} holds what an export that was cut short has left", "remove it, or name a new folder")
    raise Usage(f"{folder} is not empty", "name a new folder, or an empty one")


def _wanted(book: JobBook, job: str, to: Target, types: Sequence[str]) -> Mapping[str, int]:
    """How many refs of each of these types the job knows, whatever their state."""
    kinds = book.kinds()
    if unknown := sorted(set(types) - kinds.keys()):
        known = f"it knows {', '.join(sorted(kinds))}" if kinds else f"it knows nothing at {to.sink}"
        raise Usage(f"{job} has never written a {unknown[0]}", known)
    if not kinds:
        raise Usage(f"{job} knows nothing at {to.sink}, so there is nothing to export", f"tsi-fetch status {job}")
    return {kind: count for kind, count in kinds.items() if not types or kind in types}


@dataclass(frozen=True, slots=True)
class _Export:
    """One export in progress."""

    book: JobBook
    sink: Sink
    done: Exported
    lines: _Lines
    ears: Ears

    def write(self, wanted: Mapping[str, int]) -> None:
        """`wanted`: how many refs of each type are known."""
        after, seen, total = 0, 0, sum(wanted.values())
        while entries := self.book.entries(after, AT_ONCE):
            known = [e.known for e in entries if e.known.ref.type in wanted]
            live = [k for k in known if k.state is State.LIVE and k.digest != AWAITED]
            for start in range(0, len(live), BODIES):
                self.ears.stop.check()
                self._some(live[start : start + BODIES])
            after, seen = entries[-1].number, seen + len(known)
            self.ears.progress("export", seen, total)

    def _some(self, live: Sequence[Known]) -> None:
        held = self.sink.find([k.ref for k in live], bodies=True)
        unlike = {k.ref for k in live if _version(held.get(k.ref)) != k.version}
        now = self.book.known(sorted(unlike)) if unlike else {}  # a run may have written it since the page was read
        for k in live:
            if k.ref not in unlike:
                self._one(k, held[k.ref])
            elif (later := now.get(k.ref)) and later.state is State.LIVE:
                self._one(later, held.get(k.ref))

    def _one(self, known: Known, held: Held | None) -> None:
        """Either it is exported, in whatever version, or it is left out: one difference at most."""
        if held is None or held.body is None:
            self.done.differs(MISSING, known.ref)
            return
        line = one_line(held.body)
        if line is None:
            self.done.differs(UNREADABLE, known.ref)
            return
        if held.version != known.version:
            self.done.differs(OTHER, known.ref)
        self.lines.add(known.ref.type, line)


def _version(held: Held | None) -> str | None:
    return held.version if held else None


def one_line(body: bytes) -> bytes | None:
    """JSON without the white space between its tokens, every token as it is written; None where it is no JSON."""
    try:
        line = msgspec.json.format(body.removeprefix(b"\xef\xbb\xbf"), indent=-1)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return None if b"\n" in line or b"\r" in line else line


class _Lines:
    """A file for each type, under a temporary name until `publish`; what was not published is removed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = False
        self._files: dict[str, IO[bytes]] = {}
        self._figures: dict[str, tuple[int, int, Any]] = {}
        self._manifest = False

    def __enter__(self) -> _Lines:
        with written(self._folder):
            self._made = not self._folder.exists()
            self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *of_an_error: object) -> None:
        for file in self._files.values():
            file.close()
        for name in [*map(_name, self._files), *([MANIFEST] if self._manifest else [])]:
            self._part(name).unlink(missing_ok=True)
        if self._made and not any(self._folder.iterdir()):
            self._folder.rmdir()

    def add(self, kind: str, line: bytes) -> None:
        with written(self._folder):
            if kind not in self._files:
                self._files[kind] = self._part(_name(kind)).open("xb")  # closed by `__exit__`
                self._figures[kind] = (0, 0, hashlib.sha256())
            count, size, digest = self._figures[kind]
            digest.update(line + b"\n")
            self._files[kind].write(line + b"\n")
            self._figures[kind] = (count + 1, size + len(line) + 1, digest)

    def publish(self, done: Exported) -> None:
        """What was written is on the disk before any of it gets its name, and the manifest gets its name last."""
        with written(self._folder):
            for kind, file in self._files.items():
                file.flush()
                os.fsync(file.fileno())
                count, size, digest = self._figures[kind]
                done.files[kind] = {"file": _name(kind), "count": count, "bytes": size, "sha256": digest.hexdigest()}
            with self._part(MANIFEST).open("xb") as manifest:
                self._manifest = True
                manifest.write(msgspec.json.format(msgspec.json.encode(done.to_json()), indent=2) + b"\n")
                manifest.flush()
                os.fsync(manifest.fileno())
            for name in [*map(_name, sorted(self._files)), MANIFEST]:
                self._part(name).rename(self._folder / name)
            handle = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def _part(self, name: str) -> Path:
        return self._folder / _PART.format(name)


def _name(kind: str) -> str:
    return f"{kind}.ndjson"
