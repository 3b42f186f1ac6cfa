"""Devices that ask to be signed in, and those that are."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates what is new."""
    op.create_table(
        "device_code",
        sa.Column("device_hash", sa.Text, primary_key=True),
        sa.Column("user_hash", sa.Text, nullable=False, unique=True),
        sa.Column("client_id", sa.Text, nullable=False),
        sa.Column("device_name", sa.Text, nullable=True),
        sa.Column("tool", sa.Text, nullable=True),
        sa.Column("address", sa.Text, nullable=True),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False, index=True),
        sa.Column("interval", sa.Float, nullable=False),
        sa.Column("polled_at", sa.Float, nullable=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("principal", sa.Text, nullable=True),
        sa.Column("owner", sa.Text, nullable=True),
        sa.Column("life", sa.Float, nullable=True),
        sa.Column("session_id", sa.Text, nullable=True),
    )
    op.create_table(
        "session",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("principal", sa.Text, nullable=False, index=True),
        sa.Column("owner", sa.Text, nullable=False, index=True),
        sa.Column("client_id", sa.Text, nullable=False),
        sa.Column("device_name", sa.Text, nullable=True),
        sa.Column("tool", sa.Text, nullable=True),
        sa.Column("address", sa.Text, nullable=True),
        sa.Column("life", sa.Float, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("used_at", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False, index=True),
        sa.Column("ended_at", sa.Float, nullable=True),
    )
    op.create_table(
        "session_token",
        sa.Column("hash", sa.Text, primary_key=True),
        sa.Column("session_id", sa.Text, nullable=False, index=True),
        sa.Column("used_at", sa.Float, nullable=True, index=True),
        sa.Column("sealed", sa.LargeBinary, nullable=True),
    )
    op.create_table(
        "code_guess",
        sa.Column("person", sa.Text, primary_key=True),
        sa.Column("wrong", sa.Integer, nullable=False),
        sa.Column("since", sa.Float, nullable=False),
        sa.Column("locked_until", sa.Float, nullable=False),
    )


def downgrade() -> None:
    """Drops it. Short keys of sessions end by themselves."""
    for table in ("code_guess", "session_token", "session", "device_code"):
        op.drop_table(table)
