"""What the service needs to fail in the safe direction."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_REFUSAL = "the audit log is append-only"
_FROZEN_BEFORE = "OLD.outcome IS NOT NULL OR " + " OR ".join(
    f"OLD.{column} <> NEW.{column}" for column in ("operation", "actor", "action", "started_at")
)


def upgrade() -> None:
    """Creates what is new."""
    _create_root()
    # The last one: it freezes the columns that the table has by now.
    _freeze_changes()


def downgrade() -> None:
    """Drops it."""
    _replace_trigger(_FROZEN_BEFORE)
    op.drop_table("root")


def _create_root() -> None:
    """The root is drawn here, so that there is one from the start and all replicas read the same."""
    root = op.create_table(
        "root",
        sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1"), primary_key=True),
        sa.Column("secret", sa.LargeBinary, nullable=False),
    )
    op.bulk_insert(root, [{"id": 1, "secret": secrets.token_bytes(32)}])


def _freeze_changes() -> None:
    """An ended change never changes. An open one changes its holder and lease, and what its end says when it ends.

    What is not allowed is refused, so a column that a later migration adds is frozen: in PostgreSQL at once, in SQLite
    if that migration replaces the trigger too.
    """
    lease = {"holder", "lease_until"}
    end = {"outcome", "before", "after", "detail", "ended_at"}
    found_at_the_end = {"key_id", "target"}  # unknown when the change began, and never another
    frozen = [
        "OLD.outcome IS NOT NULL",
        _others_differ(lease | end | found_at_the_end),
        *(f'(OLD."{column}" IS NOT NULL AND {_differs(column)})' for column in sorted(found_at_the_end)),
        f"(NEW.outcome IS NULL AND {_others_differ(lease)})",
    ]
    _replace_trigger(" OR ".join(frozen))


def _differs(column: str) -> str:
    is_not = "IS DISTINCT FROM" if _is_postgresql() else "IS NOT"
    return f'OLD."{column}" {is_not} NEW."{column}"'


def _others_differ(allowed: set[str]) -> str:
    """Whether any column differs that is not in `allowed`."""
    if _is_postgresql():
        names = f"'{{{','.join(sorted(allowed))}}}'::text[]"
        return f"to_jsonb(OLD) - {names} IS DISTINCT FROM to_jsonb(NEW) - {names}"
    columns = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("change")}
    return f"({' OR '.join(map(_differs, sorted(columns - allowed)))})"


def _is_postgresql() -> bool:
    return bool(op.get_bind().dialect.name == "postgresql")


def _replace_trigger(frozen: str) -> None:
    op.execute(f"DROP TRIGGER change_is_append_only{' ON change' if _is_postgresql() else ''}")
    refuse = "EXECUTE FUNCTION change_is_append_only()"
    if not _is_postgresql():
        refuse = f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
    op.execute(f"CREATE TRIGGER change_is_append_only BEFORE UPDATE ON change FOR EACH ROW WHEN ({frozen}) {refuse}")
