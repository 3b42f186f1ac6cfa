"""The directory of users with its sweep, and the progress of cleanup runs."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables. The directory is empty until the first sweep."""
    # Cursors need one order on every database, whatever its collation.
    ordered = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.create_table(
        "directory_user",
        sa.Column("user_id", ordered, primary_key=True),
        sa.Column("searched", sa.Text, nullable=False),
        sa.Column("is_over_budget", sa.Boolean, nullable=False),
        sa.Column("sweep", sa.BigInteger, nullable=False),
    )
    op.create_index(
        "ix_directory_user_over_budget",
        "directory_user",
        ["user_id"],
        sqlite_where=sa.text("is_over_budget = 1"),
        postgresql_where=sa.text("is_over_budget"),
    )
    sweep = op.create_table(
        "directory_sweep",
        sa.Column("number", sa.BigInteger, primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("tail", sa.JSON, nullable=False),
        sa.Column("total", sa.BigInteger, nullable=True),
        sa.Column("started_at", sa.Float, nullable=True),
        sa.Column("advanced_at", sa.Float, nullable=True),
        sa.Column("swept_at", sa.Float, nullable=True),
    )
    op.bulk_insert(sweep, [{"number": 1, "position": 0, "tail": []}])
    op.add_column("cleanup_run", sa.Column("progress", sa.JSON, nullable=True))
    op.add_column("cleanup_run", sa.Column("alive_at", sa.Float, nullable=True))


def downgrade() -> None:
    """Drops them."""
    op.drop_table("directory_user")
    op.drop_table("directory_sweep")
    op.drop_column("cleanup_run", "progress")
    op.drop_column("cleanup_run", "alive_at")
