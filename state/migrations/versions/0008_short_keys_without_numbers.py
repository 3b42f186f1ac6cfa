"""Keys for one token have no number: `created_at` orders them."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Drops the number."""
    op.drop_column("short_key", "attempt")


def downgrade() -> None:
    """Adds it."""
    op.add_column("short_key", sa.Column("attempt", sa.Integer, nullable=False, server_default=sa.text("1")))
