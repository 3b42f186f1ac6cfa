"""Keys of minutes, and what was refused one."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates what is new."""
    op.create_table(
        "short_key",
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
    )
    op.create_index("ix_short_key_token", "short_key", ["source", "token"])
    op.create_index("ix_short_key_expires_at", "short_key", ["source", "expires_at"])
    op.create_index("ix_kept_answer_resource_id", "kept_answer", ["resource_id"])
    leaving = sa.text("action IN ('user.block', 'user.delete')")
    op.create_index("ix_change_leaving", "change", ["target"], sqlite_where=leaving, postgresql_where=leaving)
    op.create_table(
        "refused_exchange",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("minute", sa.BigInteger, primary_key=True),
        sa.Column("reason", sa.Text, primary_key=True),
        sa.Column("times", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Drops it."""
    op.drop_table("refused_exchange")
    op.drop_index("ix_change_leaving", "change")
    op.drop_index("ix_kept_answer_resource_id", "kept_answer")
    op.drop_table("short_key")
