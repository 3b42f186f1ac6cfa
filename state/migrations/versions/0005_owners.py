"""What the service needs to know of the keys of software."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_NUMBERS = ("accepted_groups", "accepted_components", "unmanaged_owners")


def upgrade() -> None:
    """Adds the columns. Runs of before knew no owners but people."""
    op.add_column("directory_user", sa.Column("entity_uid", sa.Text, nullable=True))
    for column in _NUMBERS:
        op.add_column("cleanup_run", sa.Column(column, sa.Integer, nullable=True))


def downgrade() -> None:
    """Drops them."""
    for column in _NUMBERS:
        op.drop_column("cleanup_run", column)
    op.drop_column("directory_user", "entity_uid")
