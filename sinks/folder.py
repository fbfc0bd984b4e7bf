"""A folder as a sink: one pretty file per resource, `Type/id.json`, made for `git diff`.

A resource's version is the SHA-256 of its file.  A write is a new file that takes the old one's place, so a reader sees
the old content or the new one, and a write that was cut short is never seen.  What has not changed is not touched.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from sinks.journal import Journal
from tsi_fetch.clock import Clock, microseconds
from tsi_fetch.errors import Guarded, SettingError, TryAgain, TsiFetchError
from tsi_fetch.ports import Permit
from tsi_fetch.words import Fault, Held, Mark, Outcome, Ref, Result, Write, WriteAction

MARKER = ".tsi-fetch.json"
BUNDLE = 100  # writes acknowledged together
WRITERS = 8  # of them at once
PAGE = 1000  # files of a listing read together
LEFTOVER_AFTER = timedelta(hours=1)  # no write takes so long; a younger one may be another job's, still in its hands

_TYPE = re.compile(r"[A-Z][A-Za-z]{0,63}")
_ID = re.compile(
    r"(?!\.+$)[A-Za-z0-9\-.]{1,64}"
)  # FHIR R5, datatypes: id.  It holds no separator, so `id.json` cannot escape
_TEMPORARY = ".{}.tmp"
_TEMPORARIES = "*/.*.tmp"
_CHANGED = frozenset({Result.CREATED, Result.UPDATED, Result.DELETED})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.EBUSY, errno.EAGAIN})


class FolderOptions(BaseModel):
    """Where the files go."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    path: Path = Field(description="the folder; it is made by the first write")
    release: Literal["R5", "R4"] = Field("R5", description="the FHIR release that resources are validated as")


class Folder:
    """Implements `Sink`.  Opening and reading write nothing; the folder is made by the first write."""

    ahead = 0  # a disk answers soon: little is gained by reading on while a batch is written
    referential = False  # files may name what is not there

    def __init__(self, options: FolderOptions, clock: Clock, run_id: str = "run") -> None:
        self.release: str = options.release
        self._root = options.path
        self._clock = clock
        self._clean = False
        self._journal = Journal(options.path, run_id)
        self._marked = 0
        self._threads: ThreadPoolExecutor | None = None

    def open(self, types: Collection[str] = (), *, deletes: bool = False) -> None:
        """SettingError where the path is something else than a folder, or one that cannot be read.  Takes any type."""
        with _named(self._root):
            if self._root.exists() and not self._root.is_dir():
                raise SettingError(f"{self._root} is not a folder", "name another path for the sink")
            if self._root.exists():
                os.listdir(self._root)

    def find(self, refs: Sequence[Ref], *, bodies: bool = False) -> Mapping[Ref, Held]:
        there = {ref: held for ref in refs if (held := self._held(ref, bodies=bodies))}
        return {ref: replace(held, run=run) for ref, held, run in self._with_runs(there)}

    def listing(self, resource_type: str) -> Iterator[Sequence[Held]]:
        """Every file of a type with its hash, in no order; one that goes while it is listed is left out."""
        names = self._names(resource_type)
        while page := [Ref(resource_type, name) for name in islice(names, PAGE)]:
            yield list(self.find(page).values())

    def _names(self, resource_type: str) -> Iterator[str]:
        """The ids that have a file; what is no resource's file name is somebody else's."""
        if not _TYPE.fullmatch(resource_type):
            return
        folder = self._root / resource_type
        with _named(folder):
            try:
                entries = os.scandir(folder)
            except FileNotFoundError:
                return
        with entries:
            for entry in entries:
                name, suffix = os.path.splitext(entry.name)
                if suffix == ".json" and _ID.fullmatch(name) and entry.is_file():
                    yield name

    def _with_runs(self, there: Mapping[Ref, Held]) -> Iterator[tuple[Ref, Held, str | None]]:
        with _named(self._root):
            runs = self._journal.runs({ref: held.version for ref, held in there.items()})
        for ref, held in there.items():
            yield ref, held, runs.get(ref)

    def write(self, writes: Sequence[Write], permit: Permit) -> Iterator[Sequence[Outcome]]:
        """What is yielded is on the disk, its folder entries included; those of one list come in no order."""
        with _named(self._root):
            self._journal.begin()
        for start in range(0, len(writes), BUNDLE):
            outcomes = self._bundle(writes[start : start + BUNDLE], permit)
            for folder in {self._root / o.ref.type for o in outcomes if o.result in _CHANGED}:
                _sync_folder(folder)
            yield outcomes

    def _bundle(self, writes: Sequence[Write], permit: Permit) -> list[Outcome]:
        """In threads: a disk that is to be sure of a file takes some milliseconds, and takes many in the same time.
        All have ended when this does, however it does."""
        permit()
        self._remove_leftovers()
        if len(writes) == 1:
            return [self._write(writes[0])]

        def one(write: Write) -> Outcome:
            permit()
            return self._write(write)

        if self._threads is None:
            self._threads = ThreadPoolExecutor(WRITERS, f"files of {self._root.name}")
        coming = [self._threads.submit(one, write) for write in writes]
        wait(coming)
        return [future.result() for future in coming]

    def read_mark(self, name: str) -> Mark | None:
        return self._marks().get(name)

    def move_mark(self, name: str, mark: Mark, permit: Permit) -> Mark:
        """Written once: the first mark of a job stays, and is what every later move gives back.

        A folder that was emptied has lost it; one that was put back from a copy cannot be told from the original.
        The second move of a run is its end: all that it wrote is settled.
        """
        self._marked += 1
        if self._marked > 1:
            with _named(self._root):
                self._journal.settled(self._clock.now())
        permit()
        with self._locked():
            marks = self._marks()
            held = marks.get(name)
            if (held.version if held else None) != mark.version:
                raise Guarded(
                    f"{self._root} does not hold the marker that was left there",
                    "the folder was emptied or belongs to another store: look at it before the next run",
                )
            if held is None:
                held = Mark(mark.run, mark.counter, mark.run)
                marks[name] = held
                self._replace(self._root / MARKER, msgspec.json.format(msgspec.json.encode(marks), indent=2) + b"\n")
                _sync_folder(self._root)
        return held

    def close(self) -> None:
        """Let go of the threads."""
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None

    def _marks(self) -> dict[str, Mark]:
        with _named(self._root / MARKER):
            try:
                return msgspec.json.decode((self._root / MARKER).read_bytes(), type=dict[str, Mark])
            except FileNotFoundError:
                return {}
            except msgspec.DecodeError as e:
                raise SettingError(f"{self._root / MARKER} is not a marker", "was it edited?  Restore it") from e

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Jobs that share the folder change its marker one after the other."""
        with _named(self._root):
            self._root.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._root, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _path(self, ref: Ref) -> Path | None:
        """The file of a ref; None where the ref could name something outside."""
        if not (_TYPE.fullmatch(ref.type) and _ID.fullmatch(ref.id)):
            return None
        return self._root / ref.type / f"{ref.id}.json"

    def _held(self, ref: Ref, *, bodies: bool) -> Held | None:
        path = self._path(ref)
        if path is None:
            return None
        with _named(path):
            try:
                with path.open("rb") as file:
                    if not bodies:
                        return Held(ref, hashlib.file_digest(file, "sha256").hexdigest())
                    body = file.read()
            except FileNotFoundError:
                return None
        return Held(ref, hashlib.sha256(body).hexdigest(), body)

    def _write(self, write: Write) -> Outcome:
        path = self._path(write.ref)
        if path is None:
            return _refused(write.ref, "folder-id", "id", "a type or id that is none of FHIR's cannot be a file name")
        held = self._held(write.ref, bodies=False)
        if write.action is WriteAction.DELETE:
            return self._delete(path, write, held)
        if (held.version if held else None) != write.version:
            return Outcome(write.ref, Result.STALE, held=self.find([write.ref], bodies=True).get(write.ref))
        content = _pretty(write.body or b"")
        if content is None:
            return _refused(write.ref, "folder-json", "$", "the body is not JSON")
        version = hashlib.sha256(content).hexdigest()
        if held and held.version == version:
            return Outcome(write.ref, Result.UNCHANGED, version)
        with _named(path):
            self._journal.note(write.ref, version)
        self._replace(path, content)
        return Outcome(write.ref, Result.UPDATED if held else Result.CREATED, version)

    def _delete(self, path: Path, write: Write, held: Held | None) -> Outcome:
        """The file goes; its folder stays, since the next resource of the type is likely to come."""
        if held is None:
            return Outcome(write.ref, Result.DELETED)
        if held.version != write.version:
            return Outcome(write.ref, Result.STALE, held=self.find([write.ref], bodies=True).get(write.ref))
        with _named(path):
            path.unlink(missing_ok=True)
        return Outcome(write.ref, Result.DELETED)

    def _replace(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(_TEMPORARY.format(path.name))
        with _named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            except OSError:
                with suppress(OSError):  # the reason is the one above; a leftover is removed by a later run
                    temporary.unlink(missing_ok=True)
                raise

    def _remove_leftovers(self) -> None:
        """Remove what killed writes left behind; once, before the first write."""
        if self._clean:
            return
        self._clean = True
        old = microseconds(self._clock.now() - LEFTOVER_AFTER)
        with _named(self._root):
            for leftover in self._root.glob(_TEMPORARIES):
                with suppress(FileNotFoundError):  # another job, cleaning at the same time, was faster
                    if leftover.stat().st_mtime_ns // 1000 < old:
                        leftover.unlink()


def _pretty(body: bytes) -> bytes | None:
    """Indented, keys in the order given, number tokens and string escapes as they are; None where it is not JSON."""
    try:
        return msgspec.json.format(body, indent=2) + b"\n"
    except (msgspec.DecodeError, RecursionError):
        return None


def _refused(ref: Ref, code: str, path: str, rule: str) -> Outcome:
    return Outcome(ref, Result.REFUSED, fault=Fault(code, path, rule))


def _sync_folder(folder: Path) -> None:
    """Make new and removed names survive a power cut."""
    with _named(folder), suppress(FileNotFoundError):  # nothing was ever written: a deletion of what never was
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn the system's errors into ours: a full or failing disk may get better, a wrong path or permission will not.

    FileNotFoundError inside is the caller's own business only where it catches it itself.
    """
    try:
        yield
    except OSError as e:
        raise _error(path, e) from e


def _error(path: Path, e: OSError) -> TsiFetchError:
    why = os.strerror(e.errno) if e.errno else type(e).__name__
    if e.errno in _FULL:
        return TryAgain(f"{path} cannot be written: {why}", "free some space, then run again")
    return SettingError(f"{path} cannot be used: {why}", "check the sink's path and its permissions")
