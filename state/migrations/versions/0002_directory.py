"""The directory of users with its sweep, the progress of cleanup runs, and indexes for the filters of the audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


# The audit log is sorted by time, so each filter needs its column before the time.
_OLD_INDEXES = {"actor": ["actor", "id"], "target": ["target", "id"], "started_at": ["started_at"]}
_INDEXES: tuple[list[str], ...] = (["actor"], ["target"], ["action"], ["actor", "action"], ["target", "action"], [])


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
    for name in _OLD_INDEXES:
        op.drop_index(f"ix_change_{name}", "change")
    for columns in _INDEXES:
        op.create_index(_name(columns), "change", [*columns, "started_at", "id"])


def downgrade() -> None:
    """Drops them."""
    op.drop_table("directory_user")
    op.drop_table("directory_sweep")
    op.drop_column("cleanup_run", "progress")
    op.drop_column("cleanup_run", "alive_at")
    for columns in _INDEXES:
        op.drop_index(_name(columns), "change")
    for name, columns in _OLD_INDEXES.items():
        op.create_index(f"ix_change_{name}", "change", columns)


def _name(columns: list[str]) -> str:
    return "_".join(["ix_change", *columns, "time"])
