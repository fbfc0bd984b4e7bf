"""A copy of an embedded store: whole, checked, and consistent also while a run writes."""

from __future__ import annotations

import os
import secrets
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from store.engine import connect, hidden, meant, parse
from store.handle import NoStore
from store.upgrade import is_there, state
from tsi_fetch.errors import SettingError, TryAgain, Usage


@dataclass(frozen=True, slots=True)
class Backup:
    """What was copied.  `store`: as it may be shown; `size` in bytes."""

    store: str
    file: Path
    size: int


def backup(url: str, file: Path) -> Backup:
    """Copy the store to a new file, which appears whole and checked, or not at all; only its owner may read it.

    SQLite's own backup, in one step: it reads one state, and writers go on beside it.  Usage where something is there
    already, or the store is PostgreSQL; SettingError where there is no store, no folder or no room, or the copy is not
    sound.
    """
    parsed = parse(url)
    shown = hidden(parsed)
    if parsed.get_backend_name() != "sqlite":
        raise Usage(f"{shown} is not an SQLite file", "back it up with pg_dump, which is consistent while runs write")
    source = Path(parsed.database or "")
    if not is_there(source) or state(url) == "absent":
        raise NoStore(f"there is no store at {shown}", "name another one with --store")
    _refuse(file)
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        _copy(url, part)
        _check(part)
        _settle(part, file)
        return Backup(shown, file, file.stat().st_size)
    except OSError as e:
        raise SettingError(f"{file} cannot be written: {e.strerror}", "name a folder that is there, with room") from e
    finally:
        for leftover in (part, *_beside(part)):
            with suppress(OSError):
                leftover.unlink()


def _beside(file: Path) -> tuple[Path, ...]:
    """SQLite's own files beside a database."""
    return tuple(file.with_name(file.name + end) for end in ("-wal", "-shm", "-journal"))


def _refuse(file: Path) -> None:
    """Nothing is overwritten; a log of another database would be taken for the copy's own."""
    for there in (file, *_beside(file)):
        if os.path.lexists(there):
            raise Usage(f"{there} is there already", "name a new file; nothing is overwritten")


def _copy(url: str, part: Path) -> None:
    database = connect(parse(url))
    try:
        with meant(database.shown), database.engine.connect() as conn:
            raw = conn.connection.dbapi_connection
            assert isinstance(raw, sqlite3.Connection)
            with closing(sqlite3.connect(part)) as copy:
                _in_one_step(raw, copy)
    finally:
        database.close()


def _in_one_step(raw: sqlite3.Connection, copy: sqlite3.Connection) -> None:
    try:
        raw.backup(copy)
    except sqlite3.OperationalError as e:
        if "full" in str(e):
            raise SettingError("there is no room for the copy", "name a folder with room") from e
        raise TryAgain(f"the store cannot be copied now: {e}", "run again later") from e
    except sqlite3.DatabaseError as e:
        raise _unsound(str(e)) from e


def _check(part: Path) -> None:
    """What was copied is read once whole."""
    try:
        with closing(sqlite3.connect(part)) as copy:
            said = [row[0] for row in copy.execute("PRAGMA integrity_check(1)")]
    except sqlite3.DatabaseError as e:
        raise _unsound(str(e)) from e
    if said != ["ok"]:
        raise _unsound(said[0].splitlines()[0])


def _unsound(why: str) -> SettingError:
    return SettingError(f"the store's file is damaged ({why}); no copy was made", "restore it from an older copy")


def _settle(part: Path, file: Path) -> None:
    """On the disk, then under its name, where nothing may be."""
    _sync(part)
    try:
        os.link(part, file)
    except FileExistsError:
        raise Usage(f"{file} is there already", "name a new file; nothing is overwritten") from None
    except OSError:  # a file system without hard links
        _refuse(file)
        part.rename(file)
    _sync(file.parent)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
