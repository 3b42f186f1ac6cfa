"""The tables. Times are seconds since the epoch; users are refs in lower case.

The migrations define them again: a migration is history and does not follow later changes of this file.
"""

from __future__ import annotations

import sqlalchemy as sa

from domain.actions import Action

metadata = sa.MetaData()
_Json = sa.JSON(none_as_null=True)

root = sa.Table(
    "root",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("secret", sa.LargeBinary, nullable=False),
)
lease = sa.Table(
    "lease",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=True),
    sa.Column("expires_at", sa.Float, nullable=False),
    sa.Column("fence", sa.BigInteger, nullable=False),
    sa.Column("next_run_at", sa.Float, nullable=True),
)
cleanup_run = sa.Table(
    "cleanup_run",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("trigger", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("fence", sa.BigInteger, nullable=True),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("finished_at", sa.Float, nullable=True),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("plan_hash", sa.Text, nullable=True, index=True),
    sa.Column("accepted_members", sa.Integer, nullable=True),
    sa.Column("accepted_admins", sa.Integer, nullable=True),
    sa.Column("accepted_groups", sa.Integer, nullable=True),
    sa.Column("accepted_components", sa.Integer, nullable=True),
    sa.Column("report", _Json, nullable=True),
    sa.Column("progress", _Json, nullable=True),
    sa.Column("alive_at", sa.Float, nullable=True),
    sa.Column("newest_key_at", sa.Float, nullable=True),
    sa.Column("plan_entries", sa.LargeBinary, nullable=True),
    sa.Column("unmanaged_owners", sa.Integer, nullable=True),
)
adoption_run = sa.Table(
    "adoption_run",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("trigger", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("fence", sa.BigInteger, nullable=True),
    sa.Column("requested", _Json, nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("alive_at", sa.Float, nullable=False),
    sa.Column("finished_at", sa.Float, nullable=True),
    sa.Column("outcome", sa.Text, nullable=True),
    sa.Column("reason", sa.Text, nullable=True),
    sa.Column("progress", _Json, nullable=True),
    sa.Column("plan_hash", sa.Text, nullable=True, index=True),
    sa.Column("plan", _Json, nullable=True),
    sa.Column("result", _Json, nullable=True),
)
directory_user = sa.Table(
    "directory_user",
    metadata,
    # Cursors need one order on every database, whatever its collation.
    sa.Column("user_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), primary_key=True),
    sa.Column("searched", sa.Text, nullable=False),
    sa.Column("is_over_budget", sa.Boolean, nullable=False),
    sa.Column("sweep", sa.BigInteger, nullable=False),
    sa.Column("first_seen_at", sa.Float, nullable=False),
    sa.Column("address", sa.Text, nullable=True, index=True),
    sa.Column("entity_uid", sa.Text, nullable=True),
)
directory_stranger = sa.Table(
    "directory_stranger",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("sweep", sa.BigInteger, nullable=False),
)
directory_sweep = sa.Table(
    "directory_sweep",
    metadata,
    sa.Column("number", sa.BigInteger, primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("tail", _Json, nullable=False),
    sa.Column("total", sa.BigInteger, nullable=True),
    sa.Column("started_at", sa.Float, nullable=True),
    sa.Column("advanced_at", sa.Float, nullable=True),
    sa.Column("swept_at", sa.Float, nullable=True),
    sa.Column("nameless", sa.BigInteger, nullable=False),
)
offboarding = sa.Table(
    "offboarding",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("confirmed", sa.Boolean, nullable=False),
    sa.Column("blocked_keys", _Json, nullable=False),
    sa.Column("confirmed_by", sa.Text, nullable=True),
    sa.Column("key_count", sa.Integer, nullable=True),
    sa.Column("looked_at", sa.Float, nullable=True),
)
cleanup_deletion = sa.Table(
    "cleanup_deletion",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)
change = sa.Table(
    "change",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("operation", sa.Text, nullable=False, unique=True),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("via", sa.Text, nullable=True),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=True),
    sa.Column("key_id", sa.Text, nullable=True),
    sa.Column("request_id", sa.Text, nullable=True),
    sa.Column("requested", _Json, nullable=True),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("lock", sa.Text, nullable=True),
    sa.Column("request_name", sa.Text, nullable=True),
    sa.Column("fingerprint", sa.Text, nullable=True),
    sa.Column("holder", sa.Text, nullable=True),
    sa.Column("lease_until", sa.Float, nullable=True),
    sa.Column("outcome", sa.Text, nullable=True),
    sa.Column("before", _Json, nullable=True),
    sa.Column("after", _Json, nullable=True),
    sa.Column("detail", sa.Text, nullable=True),
    sa.Column("ended_at", sa.Float, nullable=True),
    sa.Column("key_stable_id", sa.Text, nullable=True),
    sa.Column("key_version", sa.Integer, nullable=True),
)
kept_answer = sa.Table(
    "kept_answer",
    metadata,
    sa.Column("request_name", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("kept_at", sa.Float, nullable=False, index=True),
    sa.Column("resource_id", sa.Text, nullable=False, index=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
)
repetition = sa.Table(
    "repetition",
    metadata,
    sa.Column("change_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("times", sa.BigInteger, nullable=False),
)
due = sa.Table(
    "due",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=True, index=True),
    sa.Column("payload", _Json, nullable=True),
    sa.Column("due_at", sa.Float, nullable=False),
    sa.Column("next_attempt_at", sa.Float, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
)
short_key = sa.Table(
    "short_key",
    metadata,
    sa.Column("key_id", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("token", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),
    sa.Index("ix_short_key_token", "source", "token"),
    sa.Index("ix_short_key_expires_at", "source", "expires_at"),
)
refused_exchange = sa.Table(
    "refused_exchange",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("minute", sa.BigInteger, primary_key=True),
    sa.Column("reason", sa.Text, primary_key=True),
    sa.Column("times", sa.BigInteger, nullable=False),
)
device_code = sa.Table(
    "device_code",
    metadata,
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
session = sa.Table(
    "session",
    metadata,
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
session_token = sa.Table(
    "session_token",
    metadata,
    sa.Column("hash", sa.Text, primary_key=True),
    sa.Column("session_id", sa.Text, nullable=False, index=True),
    sa.Column("used_at", sa.Float, nullable=True, index=True),
    sa.Column("sealed", sa.LargeBinary, nullable=True),
)
code_guess = sa.Table(
    "code_guess",
    metadata,
    sa.Column("person", sa.Text, primary_key=True),
    sa.Column("wrong", sa.Integer, nullable=False),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("locked_until", sa.Float, nullable=False),
)
reported_key = sa.Table(
    "reported_key",
    metadata,
    sa.Column("key_id", sa.Text, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
)
rate = sa.Table(
    "rate",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("full_again_at", sa.Float, nullable=False),
)


def written_out(action: Action) -> sa.ColumnElement[str]:
    """The action as text of a statement: databases use an index of some actions only if they see that these are meant.

    A parameter says so too late for SQLite, and for a statement that PostgreSQL has planned for all parameters.
    """
    return sa.literal_column(f"'{action}'", sa.Text)
