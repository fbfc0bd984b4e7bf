"""A worker's own sign of life: it has no lease, and its claims come and go."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("runs", sa.Column("alive_until", sa.BigInteger()))


def downgrade() -> None:
    raise NotImplementedError("a store is never brought back: restore a backup made before the upgrade")
