"""What the service needs to fail in the safe direction."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates what is new."""
    _create_patient_deletions()


def downgrade() -> None:
    """Drops it."""
    _drop_patient_deletions()


def _create_patient_deletions() -> None:
    op.add_column("offboarding", sa.Column("confirmed_by", sa.Text, nullable=True))
    op.add_column("offboarding", sa.Column("key_count", sa.Integer, nullable=True))
    op.add_column("offboarding", sa.Column("looked_at", sa.Float, nullable=True))
    op.add_column("cleanup_run", sa.Column("newest_key_at", sa.Float, nullable=True))
    op.create_table(
        "cleanup_deletion",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )


def _drop_patient_deletions() -> None:
    op.drop_table("cleanup_deletion")
    op.drop_column("cleanup_run", "newest_key_at")
    for column in ("looked_at", "key_count", "confirmed_by"):
        op.drop_column("offboarding", column)
