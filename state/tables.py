"""The state of this service beyond LiteLLM. Times are seconds since the epoch; users are refs in lower case.

Written again in `migrations/`: a migration is history, and does not follow later changes of these.
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

lease = sa.Table(
    "lease",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=True),
    sa.Column("expires_at", sa.Float, nullable=False),
    sa.Column("fence", sa.BigInteger, nullable=False),
    sa.Column("next_run_at", sa.Float, nullable=False),
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
    sa.Column("believed_members", sa.Integer, nullable=True),
    sa.Column("believed_admins", sa.Integer, nullable=True),
    sa.Column("report", sa.JSON, nullable=True),
)
offboarding = sa.Table(
    "offboarding",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("confirmed", sa.Boolean, nullable=False),
    sa.Column("blocked_keys", sa.JSON, nullable=False),
)
audit_intent = sa.Table(
    "audit_intent",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("via", sa.Text, nullable=True),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=True),
    sa.Column("key_id", sa.Text, nullable=True),
    sa.Column("request_id", sa.Text, nullable=True),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("before", sa.JSON, nullable=True),
    sa.Column("wanted", sa.JSON, nullable=True),
)
audit_outcome = sa.Table(
    "audit_outcome",
    metadata,
    sa.Column("intent_id", sa.Integer, sa.ForeignKey("audit_intent.id"), primary_key=True, autoincrement=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("key_id", sa.Text, nullable=True),
    sa.Column("after", sa.JSON, nullable=True),
    sa.Column("detail", sa.Text, nullable=True),
)
idempotency = sa.Table(
    "idempotency",
    metadata,
    sa.Column("request", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False, index=True),
    sa.Column("running_until", sa.Float, nullable=True),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("made", sa.Text, nullable=True),
    sa.Column("sealed_answer", sa.LargeBinary, nullable=True),
)
lock = sa.Table(
    "lock",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),
)
key_revocation = sa.Table(
    "key_revocation",
    metadata,
    sa.Column("key_id", sa.Text, primary_key=True),
    sa.Column("user_id", sa.Text, nullable=False, index=True),
    sa.Column("replaced_by", sa.Text, nullable=False),
    sa.Column("revoke_at", sa.Float, nullable=False),
    sa.Column("next_attempt_at", sa.Float, nullable=False, index=True),
    sa.Column("attempts", sa.Integer, nullable=False),
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
