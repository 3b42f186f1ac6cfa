"""Which version of which key a change is about."""

from collections.abc import Collection

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_REFUSAL = "the audit log is append-only"
_LEASE = frozenset({"holder", "lease_until"})
_END = frozenset({"outcome", "after", "detail", "ended_at"})
_NAMES = frozenset({"key_id", "key_stable_id", "key_version"})


def upgrade() -> None:
    """Adds the columns. Events from before have none: what is in the log stays as it is."""
    _drop_trigger()
    op.add_column("change", sa.Column("key_stable_id", sa.Text, nullable=True))
    op.add_column("change", sa.Column("key_version", sa.Integer, nullable=True))
    # The last step: it freezes the columns that the table has by now.
    _create_trigger(_END, found_on_the_way=_NAMES | {"before"}, found_at_the_end={"target"})


def downgrade() -> None:
    """Drops them."""
    _drop_trigger()
    op.drop_column("change", "key_version")
    op.drop_column("change", "key_stable_id")
    _create_trigger(_END | {"before"}, found_on_the_way=(), found_at_the_end={"key_id", "target"})


def _drop_trigger() -> None:
    op.execute(f"DROP TRIGGER change_is_append_only{' ON change' if _is_postgresql() else ''}")


def _create_trigger(
    end: Collection[str], *, found_on_the_way: Collection[str], found_at_the_end: Collection[str]
) -> None:
    """An ended change never changes. An open one changes its holder and lease, and what its end says when it ends.

    What is found was unknown when the change began, and is never another: on the way, so that a repair knows what the
    change was about to change, or at the end. What is not allowed is refused, so a column that a later migration adds
    is frozen: in PostgreSQL at once, in SQLite if that migration replaces the trigger too.
    """
    found = {*found_on_the_way, *found_at_the_end}
    frozen = [
        "OLD.outcome IS NOT NULL",
        _others_differ({*_LEASE, *end, *found}),
        *(f'(OLD."{column}" IS NOT NULL AND {_differs(column)})' for column in sorted(found)),
        f"(NEW.outcome IS NULL AND {_others_differ({*_LEASE, *found_on_the_way})})",
    ]
    refuse = "EXECUTE FUNCTION change_is_append_only()"
    if not _is_postgresql():
        refuse = f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
    when = f"FOR EACH ROW WHEN ({' OR '.join(frozen)})"
    op.execute(f"CREATE TRIGGER change_is_append_only BEFORE UPDATE ON change {when} {refuse}")


def _differs(column: str) -> str:
    if _is_postgresql():  # by way of JSON: its type `json` has no equality
        return f"to_jsonb(OLD) -> '{column}' IS DISTINCT FROM to_jsonb(NEW) -> '{column}'"
    return f'OLD."{column}" IS NOT NEW."{column}"'


def _others_differ(allowed: Collection[str]) -> str:
    """Whether any column differs that is not in `allowed`."""
    if _is_postgresql():
        names = f"'{{{','.join(sorted(allowed))}}}'::text[]"
        return f"to_jsonb(OLD) - {names} IS DISTINCT FROM to_jsonb(NEW) - {names}"
    columns = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("change")}
    return f"({' OR '.join(map(_differs, sorted(columns - set(allowed))))})"


def _is_postgresql() -> bool:
    return bool(op.get_bind().dialect.name == "postgresql")
