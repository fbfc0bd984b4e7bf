"""Workers: who has claimed an item of a work list, which backfill a run works on, and that a run waits for a lease.
The order of what a scope was mapped from, by which older answers are told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("scopes", sa.Column("order", sa.BigInteger()))
    op.add_column("leases", sa.Column("wanted", sa.BigInteger()))
    op.add_column("runs", sa.Column("list", sa.BigInteger().with_variant(sa.Integer(), "sqlite")))
    held = sa.text("holder IS NOT NULL")
    op.create_index("ix_work_claimed", "work", ["holder"], sqlite_where=held, postgresql_where=held)


def downgrade() -> None:
    raise NotImplementedError("a store is never brought back: restore a backup made before the upgrade")
