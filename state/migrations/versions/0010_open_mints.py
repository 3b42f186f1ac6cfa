"""Short keys that are being made, and that were made, are found without reading the history of their source."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_INDEXES = {
    "ix_change_open_actor": (["actor", "action"], "outcome IS NULL"),
    "ix_change_open_target": (["target", "action"], "outcome IS NULL"),
    "ix_change_minted": (["key_id"], "action = 'key.mint'"),
}


def upgrade() -> None:
    """Creates the indexes."""
    for name, (columns, condition) in _INDEXES.items():
        which = sa.text(condition)
        op.create_index(name, "change", columns, sqlite_where=which, postgresql_where=which)


def downgrade() -> None:
    """Drops them."""
    for name in _INDEXES:
        op.drop_index(name, "change")
