"""All tables, those of later work (waiting, windows, audit) included, so that the first schema bears them.

Names are interned: a `jobs` row is one job *at one sink*, because what another sink acknowledged says nothing about
this one.  A ref costs one row in `known` and one in `holds`; its key is a small integer, its digest 16 bytes.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

from tsi_fetch.clock import microseconds

HEAD = "0004"
"""The revision this code needs; revisions are compared as text.  A test holds it against the migrations."""

VERSION_TABLE = "tsi_fetch_schema"
"""Ours alone, so that a database shared with another Alembic user stays readable."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Instant(TypeDecorator[datetime]):
    """An instant, kept as microseconds since 1970-01-01T00:00Z: the same on both databases, and no zone to lose."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else microseconds(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else _EPOCH + timedelta(microseconds=value)


class Item(IntEnum):
    """How far a work item is."""

    OPEN = 0
    DONE = 1
    ASIDE = 2  # tried too often; its reason says why


HELD = text("holder IS NOT NULL")
"""A claimed item: few at a time, however long the list."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_Key = BigInteger().with_variant(Integer(), "sqlite")  # SQLite's rowid is spelt INTEGER


def _id() -> Column[int]:
    return Column("id", _Key, primary_key=True)


def _job(**options: Any) -> Column[int]:
    return Column("job", Integer, ForeignKey("jobs.id"), nullable=False, **options)


def _text(name: str, **options: Any) -> Column[str]:
    return Column(name, Text, **{"nullable": False, **options})


store = Table(
    "store",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    _text("store_id"),
    Column("created", Instant, nullable=False),
)

sinks = Table("sinks", metadata, Column("id", Integer, primary_key=True), _text("name", unique=True))

types = Table("types", metadata, Column("id", Integer, primary_key=True), _text("name", unique=True))

jobs = Table(
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True),
    _text("name"),
    Column("sink", Integer, ForeignKey("sinks.id"), nullable=False),
    UniqueConstraint("name", "sink"),
)

known = Table(
    "known",
    metadata,
    _id(),
    Column("sink", Integer, ForeignKey("sinks.id"), nullable=False),
    Column("type", Integer, ForeignKey("types.id"), nullable=False),
    _text("ident"),
    _job(),
    Column("digest", LargeBinary, nullable=False),
    Column("version", LargeBinary),  # see packing.py; NULL: to be learnt anew
    Column("order", BigInteger),
    Column("mapping", Integer, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("run", Integer),  # runs.no of the last write; a hint for people, so no foreign key
    UniqueConstraint("sink", "type", "ident"),
    Index(None, "job", "state", "type", "mapping"),  # answers `live` and the count of older mappings by itself
)

scopes = Table(
    "scopes",
    metadata,
    _id(),
    _job(),
    _text("key"),
    Column("raw", LargeBinary),
    Column("mapping", Integer),
    Column("row", Text),  # NULL: the same as `key`
    Column("validators", LargeBinary),  # of the row's answers, see packing.py
    Column("order", BigInteger),  # of the row that it was mapped from last
    UniqueConstraint("job", "key"),
)

holds = Table(
    "holds",
    metadata,
    Column("scope", _Key, ForeignKey("scopes.id"), primary_key=True, autoincrement=False),
    Column("known", _Key, ForeignKey("known.id"), primary_key=True, autoincrement=False),
    Index(None, "known", "scope"),
    sqlite_with_rowid=False,
)

notes = Table(
    "notes",
    metadata,
    _id(),
    _job(),
    Column("doubt", LargeBinary, nullable=False),  # what is about to be written, see packing.py
    Index(None, "job"),
)

watermarks = Table(
    "watermarks",
    metadata,
    _job(primary_key=True),
    _text("stream", primary_key=True),
    _text("kind"),
    _text("value"),
    Column("seen", LargeBinary),
    Column("moved", Instant, nullable=False),
    sqlite_with_rowid=False,
)

checkpoints = Table(
    "checkpoints",
    metadata,
    _job(primary_key=True),
    _text("stream", primary_key=True),
    _text("key", primary_key=True),
    sqlite_with_rowid=False,
)

lists = Table(
    "lists",
    metadata,
    _id(),
    _job(),
    _text("stream"),
    _text("kind"),
    _text("state"),  # begun, open, halted, closed, cancelled
    Column("complete", Boolean, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("created", Instant, nullable=False),
    Column("closed", Instant),
    Column("options", Text),  # JSON: `run`, the number of the run that began it; what a backfill was asked for
    Index(None, "job", "stream", "state"),
)

listed = Table(
    "listed",
    metadata,
    Column("list", _Key, ForeignKey("lists.id"), primary_key=True, autoincrement=False),
    Column("pass", Integer, primary_key=True, autoincrement=False),
    _text("key", primary_key=True),
    sqlite_with_rowid=False,
)

work = Table(
    "work",
    metadata,
    _id(),
    Column("list", _Key, ForeignKey("lists.id"), nullable=False),
    _text("key"),  # a row's key, or a window's name
    Column("state", SmallInteger, nullable=False),
    Column("since", Text),  # a half-open window [since, until), where the source can be asked for a range
    Column("until", Text),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("holder", Text),  # the run id of the worker that has claimed it; see claims.py
    Column("held_until", Instant),  # with a holder: until when; without one: not to be claimed before
    Column("reason", Text),
    UniqueConstraint("list", "key"),
    Index(None, "list", "state", "id"),
)

claimed = Index("ix_work_claimed", work.c.holder, sqlite_where=HELD, postgresql_where=HELD)

pending = Table(
    "pending",
    metadata,
    _id(),
    _job(),
    _text("stream"),
    Column("known", _Key, ForeignKey("known.id"), nullable=False),
    Column("scope", _Key, ForeignKey("scopes.id"), nullable=False),
    _text("row"),
    Column("accepted", Boolean, nullable=False),
    Column("list", _Key, ForeignKey("lists.id")),  # the work list whose item decided it, to be reopened by `discard`
    Column("decided", Instant, nullable=False),
    UniqueConstraint("scope", "known"),
    Index(None, "known"),
    Index(None, "job", "stream", "accepted"),
)

waiting = Table(
    "waiting",
    metadata,
    _id(),
    _job(),
    _text("stream"),
    Column("type", Integer, ForeignKey("types.id"), nullable=False),
    _text("ident"),
    _text("row"),
    _text("scope"),
    Column("order", BigInteger),
    Column("mapping", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),  # compressed
    Column("since", Instant, nullable=False),
    UniqueConstraint("job", "type", "ident"),
    Index(None, "job", "scope"),
)

waiting_for = Table(
    "waiting_for",
    metadata,
    Column("waiting", _Key, ForeignKey("waiting.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("type", Integer, ForeignKey("types.id"), primary_key=True, autoincrement=False),
    _text("ident", primary_key=True),
    Index(None, "type", "ident"),
    sqlite_with_rowid=False,
)

quarantine = Table(
    "quarantine",
    metadata,
    _id(),
    _job(),
    _text("stream"),
    Column("digest", LargeBinary, nullable=False),
    _text("key"),
    Column("ref", Text),
    _text("code"),
    _text("path"),
    _text("rule"),
    Column("unfetched", Boolean, nullable=False),
    Column("payload", LargeBinary, nullable=False),  # see packing.py
    Column("attempts", Integer, nullable=False),
    Column("opened", Instant, nullable=False),
    Column("last", Instant, nullable=False),
    Column("run", Text),
    Column("closed", Instant),
    Column("why", Text),  # overtaken, replayed, or what a person said when dropping it
    UniqueConstraint("job", "stream", "digest"),
    Index(None, "job", "stream", "key"),
    Index(None, "job", "closed"),
)

marks = Table(
    "marks",
    metadata,
    _job(primary_key=True),
    Column("intended", Boolean, primary_key=True),
    _text("run"),
    Column("counter", BigInteger, nullable=False),
    Column("version", Text),
)

leases = Table(
    "leases",
    metadata,
    _text("job", primary_key=True),
    Column("fence", BigInteger, nullable=False),
    Column("holder", Text),  # a run id; NULL: free
    Column("host", Text),
    Column("expires", Instant),
    Column("wanted", Instant),  # until then a run waits for it: workers let it pass
)

runs = Table(
    "runs",
    metadata,
    Column("no", Integer, primary_key=True),
    _text("id", unique=True),
    _job(),
    Column("started", Instant, nullable=False),
    Column("ended", Instant),
    _text("outcome"),
    Column("exit_code", Integer),
    Column("host", Text),
    Column("fence", BigInteger),
    Column("replay", Boolean, nullable=False),
    Column("whole", Boolean, nullable=False),  # not asked for single products only
    _text("report"),
    Column("list", _Key),  # of a worker: the backfill that it works on; lists go, so no foreign key
    Column("alive_until", Instant),  # of a worker: its sign of life, see signs.py
    Index(None, "job", "started"),
)

audit = Table(
    "audit",
    metadata,
    _id(),
    Column("at", Instant, nullable=False),
    Column("job", Integer, ForeignKey("jobs.id")),
    Column("actor", Text),
    _text("action"),
    _text("why"),
    _text("detail"),
)

rates = Table(
    "rates",
    metadata,
    _text("host", primary_key=True),
    Column("next", Instant, nullable=False),  # when the next request of any worker may begin
)
