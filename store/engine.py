"""Engines: how each database is connected to, how a transaction begins, and what its errors mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError, TimeoutError
from sqlalchemy.pool import StaticPool

from tsi_fetch.errors import SettingError, TryAgain, TsiFetchError

BUSY_SECONDS = 10.0
"""How long SQLite waits for another writer; far below a lease's usual expiry, so that a heartbeat is late only once."""

CACHE_KIB = 2048
"""SQLite's page cache, of each of a run's connections.  With a large one a long run holds twice what a short one does,
and is hardly faster among ten million refs: the system keeps the pages of the file, too (`make bench-memory`)."""

CONNECT_SECONDS = 10
"""How long a PostgreSQL server may take to accept a connection."""

UNHEARD_SECONDS = 30
"""After how long without a sign of the server's host a connection to it is over: else a host that went without a word
would hold a run for as long as the system retransmits, or for ever where only an answer is waited for."""

LOCK_SECONDS = 15
"""How long PostgreSQL waits for what another transaction holds; then it is "try again"."""

IDLE_SECONDS = 10
"""How long PostgreSQL keeps a transaction whose client says nothing.  A runner that is paused in the middle of a commit
holds its lease's row; its successor would wait for as long as the pause lasts, whatever the expiry."""

_OF_LIBPQ: dict[str, Any] = {
    "connect_timeout": CONNECT_SECONDS,
    "application_name": "tsi-fetch",
    "keepalives_idle": UNHEARD_SECONDS // 3,
    "keepalives_interval": UNHEARD_SECONDS // 6,
    "keepalives_count": 4,
    "tcp_user_timeout": UNHEARD_SECONDS * 1000,
}
"""What a connection is made with, unless the store's URL says otherwise (libpq, "Parameter Key Words")."""

_FORMS = "write it as sqlite:///file.db or postgresql://user@host/database"

_SETTINGS = (
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "unable to open database file",
    "readonly database",
    "file is not a database",
    "permission denied",
)
"""What libpq and SQLite say where waiting cannot help.  libpq gives no SQLSTATE for a connection that failed."""

_NOT_OURS = ("25006", "42501")
"""SQLSTATEs that are the server's doing: a standby after a failover that takes no writes; a right that is missing."""

_OTHER_TABLES = ("no such table", "no such column", "has no column")
_UNDEFINED = ("42P01", "42703")
"""What SQLite says, and SQLSTATEs, where the tables are not those that this code knows."""

_ABSENT = ("database", "role")
"""`FATAL: database "x" does not exist`, and the same of a role."""


def parse(url: str) -> URL:
    """Read a store's URL; SettingError without repeating it where it cannot be read."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise SettingError("the store's URL cannot be read", _FORMS) from None
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        if "@" in f"{parsed.host}{parsed.database}":  # the password's tail, which whatever names the host would show
            raise SettingError("the store's URL has an @ in its password", "write it as %40")
        return _out_of_sight(parsed.set(drivername="postgresql+psycopg"))
    if parsed.drivername == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed
    raise SettingError("the store's URL names neither an SQLite file nor a PostgreSQL database", _FORMS)


def _out_of_sight(url: URL) -> URL:
    """A password given as a parameter is moved to where SQLAlchemy hides it."""
    given = url.query.get("password")
    if given is None:
        return url
    return url.difference_update_query(["password"]).set(password=given if isinstance(given, str) else given[-1])


def hidden(url: URL) -> str:
    """A parsed URL as it may be shown: without its password, and that of its key."""
    url = url.difference_update_query(["sslpassword"])
    return url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True)


def connect(url: URL) -> Database:
    """The database of a parsed URL; nothing is opened yet.  Its errors never show parameters: those are bodies."""
    try:
        if url.get_backend_name() == "sqlite":
            # Last in, first out: in turn, a run's connection and its heartbeat's would drop each other's cached pages.
            own: dict[str, Any] = {"pool_use_lifo": True, "connect_args": {"timeout": BUSY_SECONDS}}
            engine = create_engine(url, hide_parameters=True, **own)
            return Database(_sqlite(engine), hidden(url))
        given = {name: value for name, value in _OF_LIBPQ.items() if name not in url.query}
        engine = create_engine(url, hide_parameters=True, pool_pre_ping=True, connect_args=given)
        return Database(_postgres(engine), hidden(url))
    except (ArgumentError, NoSuchModuleError, ImportError):
        raise SettingError("the store's URL cannot be used", _FORMS) from None


def _postgres(engine: Engine) -> Engine:
    """Let nobody wait for ever; set by statement, as connection poolers refuse it as an option of the connection."""

    @event.listens_for(engine, "connect")
    def _prepare(raw: Any, record: object) -> None:
        limits = {"lock_timeout": LOCK_SECONDS, "idle_in_transaction_session_timeout": IDLE_SECONDS}
        with raw.cursor() as cursor:
            cursor.execute("; ".join(f"SET {name} = {int(seconds * 1000)}" for name, seconds in limits.items()))
        raw.commit()

    return engine


def scratch() -> Database:
    """A private SQLite that vanishes when closed: kept in memory, spilt to an unnamed temporary file when it grows
    (sqlite.org, "Temporary Databases")."""
    engine = create_engine("sqlite://", creator=_nameless, poolclass=StaticPool, hide_parameters=True)
    return Database(_sqlite(engine), "scratch")


def _nameless() -> sqlite3.Connection:
    return sqlite3.connect("", check_same_thread=False)


def _sqlite(engine: Engine) -> Engine:
    """Make transactions real: Python's sqlite3 before 3.12 begins late and not at all before DDL."""

    @event.listens_for(engine, "connect")
    def _prepare(raw: sqlite3.Connection, record: object) -> None:
        raw.isolation_level = None
        raw.execute("PRAGMA foreign_keys = ON")
        raw.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        raw.execute("PRAGMA synchronous = FULL")  # what was acknowledged to a source must survive a power cut

    @event.listens_for(engine, "begin")
    def _begin(conn: Connection) -> None:
        writes = conn.get_execution_options().get("writes", False)
        conn.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


class Database:
    """An engine with the name it may be shown by."""

    def __init__(self, engine: Engine, shown: str) -> None:
        self.engine = engine
        self.shown = shown

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view (SQLite), one connection (both)."""
        with meant(self.shown), self.engine.connect() as conn:
            yield conn

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction.  SQLite takes the write lock at once: a reader that turns writer may fail unwaited."""
        with meant(self.shown), self.engine.connect().execution_options(writes=True) as conn, conn.begin():
            yield conn

    def close(self) -> None:
        self.engine.dispose()


@contextmanager
def meant(where: str) -> Iterator[None]:
    """Say what a database error means: TryAgain or SettingError.  `where` is the URL as it may be shown.

    A COMMIT that broke is TryAgain too: whether it took place is for the next run to read, not for this one to assume.
    """
    try:
        yield
    except (OperationalError, InterfaceError) as e:
        raise _meaning(e, where) from e
    except TimeoutError as e:
        raise TryAgain(f"the store {where} has no free connection", "run again later") from e
    except DBAPIError as e:
        foreign = isinstance(e.orig, sqlite3.DatabaseError) and "file is not a database" in str(e.orig)
        if getattr(e.orig, "sqlstate", None) in _UNDEFINED:
            raise _other_tables(where) from e
        if foreign or e.connection_invalidated or getattr(e.orig, "sqlstate", None) in _NOT_OURS:
            raise _meaning(e, where) from e
        raise


def _meaning(error: DBAPIError, where: str) -> TsiFetchError:
    said = str(error.orig)
    if any(text in said for text in _OTHER_TABLES):
        return _other_tables(where)
    absent = "does not exist" in said and any(f'{thing} "' in said for thing in _ABSENT)
    rule = next((text for text in _SETTINGS if text in said), "does not exist" if absent else "")
    if rule:
        return SettingError(f"the store {where} cannot be used: {rule}", "mend the store's URL, credential or rights")
    busy = "it is locked by another writer" if "locked" in said else f"it is down or busy ({type(error.orig).__name__})"
    return TryAgain(f"the store {where} did not answer: {busy}", "run again later")


def _other_tables(where: str) -> SettingError:
    return SettingError(
        f"the store {where} has other tables than this version makes",
        "use the version of tsi-fetch that made it, or another store",
    )
