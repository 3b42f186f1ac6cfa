"""What the service needs to fail in the safe direction."""

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates what is new."""


def downgrade() -> None:
    """Drops it."""
