"""The first schema.

Written down column by column, not taken from `store.schema`: a migration says what was true then.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.BigInteger()  # microseconds since 1970-01-01T00:00Z


def upgrade() -> None:
    _names()
    _memory()
    _streams()
    _lists()
    _departures()
    _waiting()
    _quarantine()
    _running()
    _records()


def downgrade() -> None:
    raise NotImplementedError("a store is never brought back: restore a backup made before the upgrade")


def _names() -> None:
    """Who and where: the store's own row, and the interned names."""
    op.create_table(
        "store",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("store_id", sa.Text(), nullable=False),
        sa.Column("created", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_store")),
    )
    op.create_table(
        "sinks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sinks")),
        sa.UniqueConstraint("name", name=op.f("uq_sinks_name")),
    )
    op.create_table(
        "types",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_types")),
        sa.UniqueConstraint("name", name=op.f("uq_types_name")),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sink", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["sink"], ["sinks.id"], name=op.f("fk_jobs_sink")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("name", "sink", name=op.f("uq_jobs_name_sink")),
    )


def _memory() -> None:
    """Refs, the scopes that hold them, and what is about to be written."""
    op.create_table(
        "known",
        sa.Column("id", KEY, nullable=False),
        sa.Column("sink", sa.Integer(), nullable=False),
        sa.Column("type", sa.Integer(), nullable=False),
        sa.Column("ident", sa.Text(), nullable=False),
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("version", sa.LargeBinary()),
        sa.Column("order", sa.BigInteger()),
        sa.Column("mapping", sa.Integer(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("run", sa.Integer()),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name=op.f("fk_known_job")),
        sa.ForeignKeyConstraint(["sink"], ["sinks.id"], name=op.f("fk_known_sink")),
        sa.ForeignKeyConstraint(["type"], ["types.id"], name=op.f("fk_known_type")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_known")),
        sa.UniqueConstraint("sink", "type", "ident", name=op.f("uq_known_sink_type_ident")),
    )
    op.create_index(op.f("ix_known_job_state_type_mapping"), "known", ["job", "state", "type", "mapping"])
    op.create_table(
        "scopes",
        sa.Column("id", KEY, nullable=False),
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("raw", sa.LargeBinary()),
        sa.Column("mapping", sa.Integer()),
        sa.Column("row", sa.Text()),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name=op.f("fk_scopes_job")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scopes")),
        sa.UniqueConstraint("job", "key", name=op.f("uq_scopes_job_key")),
    )
    op.create_table(
        "holds",
        sa.Column("scope", KEY, autoincrement=False, nullable=False),
        sa.Column("known", KEY, autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["known"], ["known.id"], name=op.f("fk_holds_known")),
        sa.ForeignKeyConstraint(["scope"], ["scopes.id"], name=op.f("fk_holds_scope")),
        sa.PrimaryKeyConstraint("scope", "known", name=op.f("pk_holds")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_holds_known_scope"), "holds", ["known", "scope"])
    op.create_table(
        "notes",
        sa.Column("id", KEY, nullable=False),
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("doubt", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name=op.f("fk_notes_job")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notes")),
    )
    op.create_index(op.f("ix_notes_job"), "notes", ["job"])


def _streams() -> None:
    """How far each stream is."""
    op.create_table(
        "watermarks",
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("seen", sa.LargeBinary()),
        sa.Column("moved", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name=op.f("fk_watermarks_job")),
        sa.PrimaryKeyConstraint("job", "stream", name=op.f("pk_watermarks")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "checkpoints",
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name=op.f("fk_checkpoints_job")),
        sa.PrimaryKeyConstraint("job", "stream", "key", name=op.f("pk_checkpoints")),
        sqlite_with_rowid=False,
    )


def _lists() -> None:
    """Work lists, their keys, and the passes of a listing."""
    op.create_table(
        "lists",
        sa.Column("id", KEY, nullable=False),
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("created", INSTANT, nullable=False),
        sa.Column("closed", INSTANT),
        sa.Column("options", sa.Text()),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name=op.f("fk_lists_job")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lists")),
    )
    op.create_index(op.f("ix_lists_job_stream_state"), "lists", ["job", "stream", "state"])
    op.create_table(
        "listed",
        sa.Column("list", KEY, autoincrement=False, nullable=False),
        sa.Column("pass", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["list"], ["lists.id"], name=op.f("fk_listed_list")),
        sa.PrimaryKeyConstraint("list", "pass", "key", name=op.f("pk_listed")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "work",
        sa.Column("id", KEY, nullable=False),
        sa.Column("list", KEY, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("since", sa.Text()),
        sa.Column("until", sa.Text()),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("holder", sa.Text()),
        sa.Column("held_until", INSTANT),
        sa.Column("reason", sa.Text()),
        sa.ForeignKeyConstraint(["list"], ["lists.id"], name=op.f("fk_work_list")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_work")),
        sa.UniqueConstraint("list", "key", name=op.f("uq_work_list_key")),
    )
    op.create_index(op.f("ix_work_list_state_id"), "work", ["list", "state", "id"])


def _departures() -> None:
    """Deletions and retirements not yet carried out."""
    op.create_table(
        "pending",
        sa.Column("id", KEY, nullable=False),
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("known", KEY, nullable=False),
        sa.Column("scope", KEY, nullable=False),
        sa.Column("row", sa.Text(), nullable=False),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("list", KEY),
        sa.Column("decided", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name=op.f("fk_pending_job")),
        sa.ForeignKeyConstraint(["known"], ["known.id"], name=op.f("fk_pending_known")),
        sa.ForeignKeyConstraint(["list"], ["lists.id"], name=op.f("fk_pending_list")),
        sa.ForeignKeyConstraint(["scope"], ["scopes.id"], name=op.f("fk_pending_scope")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pending")),
        sa.UniqueConstraint("scope", "known", name=op.f("uq_pending_scope_known")),
    )
    op.create_index(op.f("ix_pending_job_stream_accepted"), "pending", ["job", "stream", "accepted"])
    op.create_index(op.f("ix_pending_known"), "pending", ["known"])


def _waiting() -> None:
    """Changes that refer to something not there yet."""
    op.create_table(
        "waiting",
        sa.Column("id", KEY, nullable=False),
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("type", sa.Integer(), nullable=False),
        sa.Column("ident", sa.Text(), nullable=False),
        sa.Column("row", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("order", sa.BigInteger()),
        sa.Column("mapping", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("since", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name=op.f("fk_waiting_job")),
        sa.ForeignKeyConstraint(["type"], ["types.id"], name=op.f("fk_waiting_type")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_waiting")),
        sa.UniqueConstraint("job", "type", "ident", name=op.f("uq_waiting_job_type_ident")),
    )
    op.create_index(op.f("ix_waiting_job_scope"), "waiting", ["job", "scope"])
    op.create_table(
        "waiting_for",
        sa.Column("waiting", KEY, autoincrement=False, nullable=False),
        sa.Column("type", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("ident", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["type"], ["types.id"], name=op.f("fk_waiting_for_type")),
        sa.ForeignKeyConstraint(["waiting"], ["waiting.id"], name=op.f("fk_waiting_for_waiting"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("waiting", "type", "ident", name=op.f("pk_waiting_for")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_waiting_for_type_ident"), "waiting_for", ["type", "ident"])


def _quarantine() -> None:
    """Rows and changes that could not be used."""
    op.create_table(
        "quarantine",
        sa.Column("id", KEY, nullable=False),
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text()),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("unfetched", sa.Boolean(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("opened", INSTANT, nullable=False),
        sa.Column("last", INSTANT, nullable=False),
        sa.Column("run", sa.Text()),
        sa.Column("closed", INSTANT),
        sa.Column("why", sa.Text()),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name=op.f("fk_quarantine_job")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
        sa.UniqueConstraint("job", "stream", "digest", name=op.f("uq_quarantine_job_stream_digest")),
    )
    op.create_index(op.f("ix_quarantine_job_closed"), "quarantine", ["job", "closed"])
    op.create_index(op.f("ix_quarantine_job_stream_key"), "quarantine", ["job", "stream", "key"])


def _running() -> None:
    """Leases, the marker, rates."""
    op.create_table(
        "leases",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.Text()),
        sa.Column("host", sa.Text()),
        sa.Column("expires", INSTANT),
        sa.PrimaryKeyConstraint("job", name=op.f("pk_leases")),
    )
    op.create_table(
        "marks",
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("intended", sa.Boolean(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("counter", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Text()),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name=op.f("fk_marks_job")),
        sa.PrimaryKeyConstraint("job", "intended", name=op.f("pk_marks")),
    )
    op.create_table(
        "rates",
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("next", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("host", name=op.f("pk_rates")),
    )


def _records() -> None:
    """Runs, and what people did."""
    op.create_table(
        "runs",
        sa.Column("no", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("started", INSTANT, nullable=False),
        sa.Column("ended", INSTANT),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("exit_code", sa.Integer()),
        sa.Column("host", sa.Text()),
        sa.Column("fence", sa.BigInteger()),
        sa.Column("replay", sa.Boolean(), nullable=False),
        sa.Column("whole", sa.Boolean(), nullable=False),
        sa.Column("report", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name=op.f("fk_runs_job")),
        sa.PrimaryKeyConstraint("no", name=op.f("pk_runs")),
        sa.UniqueConstraint("id", name=op.f("uq_runs_id")),
    )
    op.create_index(op.f("ix_runs_job_started"), "runs", ["job", "started"])
    op.create_table(
        "audit",
        sa.Column("id", KEY, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("job", sa.Integer()),
        sa.Column("actor", sa.Text()),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name=op.f("fk_audit_job")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
