"""What a scope's answers can be asked for by: the source's own names of them (ETags)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("scopes", sa.Column("validators", sa.LargeBinary()))


def downgrade() -> None:
    raise NotImplementedError("a store is never brought back: restore a backup made before the upgrade")
