"""The schema's state, and bringing it up to date.  Alembic is imported only where something is to be done."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, column, func, insert, inspect, select, table
from sqlalchemy.exc import OperationalError

from store.bulk import is_postgres, now
from store.engine import BUSY_SECONDS, Database, connect, meant, parse
from store.schema import HEAD, VERSION_TABLE, store
from tsi_fetch.errors import SettingError, TryAgain

SchemaState = Literal["current", "behind", "absent", "newer"]

MIGRATIONS = Path(__file__).parent / "migrations"

_LOCK = 0x7473695F66657463  # "tsi_fetc": the advisory lock of everyone who upgrades


def state(url: str) -> SchemaState:
    """What the store at `url` has; a SQLite file that is not there has nothing, and is not made."""
    parsed = parse(url)
    if parsed.get_backend_name() == "sqlite" and not is_there(Path(parsed.database or "")):
        return "absent"
    database = connect(parsed)
    try:
        with database.read() as conn:
            return state_of(conn)
    finally:
        database.close()


def is_there(file: Path) -> bool:
    """Whether the file holds a store; an empty one is what a creation that was cut short leaves behind."""
    try:
        return file.stat().st_size > 0
    except FileNotFoundError:
        return False
    except OSError as e:
        raise SettingError(f"the store {file} cannot be read: {e.strerror}", "mend its path or rights") from e


def state_of(conn: Connection) -> SchemaState:
    """What this database has."""
    if not inspect(conn).has_table(VERSION_TABLE):
        return "absent"
    found = conn.scalar(select(column("version_num")).select_from(table(VERSION_TABLE)))
    if found is None:
        return "absent"
    return "current" if found == HEAD else "behind" if found < HEAD else "newer"


def upgrade(url: str, about_to: Callable[[SchemaState], None] = lambda before: None) -> SchemaState:
    """Bring the store up to date and say what it was before.  Two who try at once take turns.

    `about_to`: hears what it is, where that is about to be changed.  SettingError where it was made by a newer
    tsi-fetch; TryAgain where it is down or locked.
    """
    parsed = parse(url)
    if parsed.get_backend_name() == "sqlite":
        make_room(Path(parsed.database or ""))
    database = connect(parsed)
    try:
        return upgrade_on(database, about_to)
    finally:
        database.close()


def make_room(file: Path) -> None:
    """See that the folder of an embedded store is there: one that is not is a typing mistake, or a lost mount, and a
    store made anew in its place would load everything again and say that all is well."""
    if not file.parent.is_dir():
        raise SettingError(
            f"the store's folder {file.parent} is not there", "mend the path, mount it, or make the folder"
        )


def upgrade_on(database: Database, about_to: Callable[[SchemaState], None] = lambda before: None) -> SchemaState:
    """The same, on a database that is open already."""
    if database.engine.dialect.name == "sqlite":
        _write_ahead(database)
    with database.write() as conn:
        if is_postgres(conn):
            conn.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        before = state_of(conn)
        if before == "newer":
            raise newer(database.shown)
        if before != "current":
            about_to(before)
            _migrate(conn)
            _christen(conn)
        return before


def newer(where: str) -> SettingError:
    return SettingError(f"the store {where} was made by a newer tsi-fetch", "use that version, or another store")


def _write_ahead(database: Database) -> None:
    """Write-ahead logging is a property of the file, and cannot be set within a transaction.  Beside somebody
    who is about to write, SQLite gives up at once, whatever its busy timeout: so this waits.  TryAgain where that takes
    too long."""
    with meant(database.shown), database.engine.connect() as conn:
        raw = conn.connection.dbapi_connection
        assert raw is not None
        until = time.monotonic() + BUSY_SECONDS
        while not _set_ahead(raw):
            if time.monotonic() > until:
                raise TryAgain(f"the store {database.shown} is locked by another who makes it", "run again later")
            time.sleep(0.02)


def _set_ahead(raw: Any) -> bool:
    """False where somebody else has the file locked."""
    try:
        if raw.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            raw.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as e:
        if "locked" not in str(e):
            raise OperationalError("PRAGMA journal_mode", None, e) from e
        return False
    return True


def _migrate(conn: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = conn
    command.upgrade(config, "head")


def _christen(conn: Connection) -> None:
    """Give a new store its id, which its markers on the sinks carry."""
    if conn.scalar(select(func.count()).select_from(store)) == 0:
        conn.execute(insert(store).values(id=1, store_id=secrets.token_hex(4), created=now(conn)))
