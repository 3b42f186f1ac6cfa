"""What the LiteLLM stand-in keeps: users and keys, in the form in which LiteLLM 1.104 answers them."""

from __future__ import annotations

import hashlib
import re
from calendar import monthrange
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from standalone.litellm_usage import CALL_COST, Row, Usage, calls_for

_NOT_SET = dict.fromkeys(
    [
        "agent_id",
        "project_id",
        "organization_id",
        "object_permission_id",
        "budget_id",
        "last_active",
        "settings_updated_at",
        "rotation_interval",
        "last_rotation_at",
        "key_rotation_at",
        "budget_limits",
        "tpd_limit",
        "max_parallel_requests",
    ]
)
_ONLY_LISTED = dict.fromkeys(
    [
        "team_spend",
        "team_alias",
        "team_tpm_limit",
        "team_rpm_limit",
        "team_tpd_limit",
        "team_max_budget",
        "team_soft_budget",
        "team_model_max_budget",
        "soft_budget",
        "team_model_aliases",
        "team_member",
        "team_metadata",
        "team_object_permission_id",
        "team_member_spend",
        "team_member_tpm_limit",
        "team_member_rpm_limit",
        "end_user_id",
        "end_user_tpm_limit",
        "end_user_rpm_limit",
        "end_user_tpd_limit",
        "end_user_max_budget",
        "end_user_model_max_budget",
        "organization_alias",
        "organization_max_budget",
        "organization_tpm_limit",
        "organization_rpm_limit",
        "organization_metadata",
        "project_alias",
        "project_metadata",
        "last_refreshed_at",
        "api_key",
        "user_role",
        "allowed_model_region",
        "parent_otel_span",
        "rpm_limit_per_model",
        "tpm_limit_per_model",
        "user_tpm_limit",
        "user_rpm_limit",
        "user_email",
        "user_spend",
        "user_max_budget",
        "user_model_max_budget",
        "request_route",
        "user",
        "created_by_user",
        "end_user_object_permission",
        "team_object_permission",
        "jwt_claims",
    ]
) | {"team_models": [], "team_blocked": False, "is_session_token": False}
_ONLY_IN_INFO = dict.fromkeys(["litellm_organization_table", "litellm_project_table", "jwt_key_mappings"])
_NOT_LISTED = ("organization_id", "policies")
"""Columns that `/key/list` does not have; it calls the first one `org_id`."""
_USER_UPDATES = (
    "max_budget",
    "budget_duration",
    "models",
    "metadata",
    "spend",
    "tpm_limit",
    "rpm_limit",
    "user_email",
    "user_alias",
    "user_role",
)
_USER_CLEARABLE = ("max_budget", "budget_duration", "spend")
_KEY_UPDATES = (
    "user_id",
    "key_alias",
    "max_budget",
    "budget_duration",
    "models",
    "metadata",
    "blocked",
    "tpm_limit",
    "rpm_limit",
    "spend",
    "budget_id",
    "agent_id",
    "permissions",
    "config",
    "router_settings",
    "rotation_interval",
    "aliases",
    "tpd_limit",
    "max_parallel_requests",
    "access_group_ids",
    "allowed_cache_controls",
)
_BUDGET_DURATION = re.compile(r"([1-9]\d*)(s|m|h|d|w)|1mo")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class UnsupportedDurationError(Exception):
    """LiteLLM does not take this duration."""


class Rows:
    """Users by id and keys by hash. `now` is a clock in seconds since the epoch, `new_id` names secrets.

    `defaults` are LiteLLM's `default_key_generate_params`.
    """

    def __init__(self, now: Callable[[], float], new_id: Callable[[], str]) -> None:
        self._now = now
        self._new_id = new_id
        self.users: dict[str, Row] = {}
        self.keys: dict[str, Row] = {}
        self.deleted_keys: dict[str, Row] = {}
        self.budgets: dict[str, Row] = {}
        self.permissions: dict[str, Row] = {}
        self.defaults: Row = {}
        self.usage = Usage()

    def stamp(self, seconds_ahead: float = 0) -> str:
        """The time as LiteLLM writes it."""
        moment = datetime.fromtimestamp(self._now() + seconds_ahead, UTC)
        return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")

    def add_user(self, asked: Row) -> Row:
        """A new row for `asked["user_id"]`. Raises UnsupportedDurationError."""
        row: Row = {
            "user_id": asked["user_id"],
            "user_alias": asked.get("user_alias"),
            "user_email": asked.get("user_email"),
            "user_role": asked.get("user_role"),
            "teams": [],
            "max_budget": asked.get("max_budget"),
            "spend": asked.get("spend") or 0.0,
            "models": asked.get("models") or [],
            "metadata": asked.get("metadata") or {},
            "tpm_limit": asked.get("tpm_limit"),
            "rpm_limit": asked.get("rpm_limit"),
            "max_parallel_requests": asked.get("max_parallel_requests"),
            "budget_duration": asked.get("budget_duration"),
            "budget_reset_at": self._reset(asked.get("budget_duration")),
            "sso_user_id": None,
            "object_permission": None,
            "model_spend": {},
            "model_max_budget": {},
            "created_at": self.stamp(),
            "updated_at": self.stamp(),
        }
        self.users[row["user_id"]] = row
        return row

    def update_user(self, asked: Row) -> Row:
        """Update the row, or create it, as LiteLLM does: null clears a budget, and nothing else."""
        row = self.users.get(asked["user_id"]) or self.add_user({"user_id": asked["user_id"]})
        if asked.get("budget_duration"):
            row["budget_reset_at"] = self._reset(asked["budget_duration"])
        for name in _USER_UPDATES:
            if name in asked and (asked[name] not in (None, [], {}) or name in _USER_CLEARABLE):
                row[name] = asked[name]
        row["updated_at"] = self.stamp()
        return row

    def delete_user(self, user_id: str) -> None:
        """Delete the row and the user's keys."""
        del self.users[user_id]
        for token in [token for token, key in self.keys.items() if key["user_id"] == user_id]:
            self.delete_key(token)

    def add_key(self, asked: Row) -> tuple[Row, str]:
        """A new key and its secret. `defaults` are filled in. Raises UnsupportedDurationError."""
        asked = self.defaults | asked
        secret = asked.get("key") or f"sk-{self._new_id()}"
        token = hashlib.sha256(secret.encode()).hexdigest()
        if token in self.keys:
            return {**self.keys[token], "user_id": asked.get("user_id")}, secret
        key_type = asked.get("key_type") or "default"
        row: Row = {
            **_NOT_SET,
            "token": token,
            "key_name": f"sk-...{secret[-4:]}",
            "key_alias": asked.get("key_alias"),
            "key_type": key_type,
            "allowed_routes": ["llm_api_routes"] if key_type == "llm_api" else [],
            "user_id": asked.get("user_id"),
            "team_id": asked.get("team_id"),
            "models": asked.get("models") or [],
            "aliases": {},
            "config": {},
            "permissions": {},
            "router_settings": {},
            "spend": asked.get("spend") or 0.0,
            "total_spend": 0.0,
            "max_budget": asked.get("max_budget"),
            "budget_duration": asked.get("budget_duration"),
            "budget_reset_at": self._reset(asked.get("budget_duration")),
            "expires": self._expiry(asked.get("duration")),
            "tpm_limit": asked.get("tpm_limit"),
            "rpm_limit": asked.get("rpm_limit"),
            **{name: asked[name] for name in ("max_parallel_requests", "organization_id") if name in asked},
            "metadata": asked.get("metadata") or {},
            "blocked": asked.get("blocked"),
            "model_spend": {},
            "model_max_budget": {},
            "budget_fallbacks": {},
            "soft_budget_cooldown": False,
            "allowed_cache_controls": [],
            "access_group_ids": [],
            "policies": [],
            "auto_rotate": False,
            "rotation_count": 0,
            "created_at": self.stamp(),
            "created_by": "default_user_id",
            "updated_at": self.stamp(),
            "updated_by": "default_user_id",
        }
        self._permit(row, asked)
        self.keys[token] = row
        return row, secret

    def listed(self, row: Row) -> Row:
        """A key as `/key/list` shows it."""
        columns = {name: value for name, value in row.items() if name not in _NOT_LISTED}
        return _ONLY_LISTED | columns | self._joined(row) | {"org_id": row["organization_id"]}

    def described(self, row: Row) -> Row:
        """A key as `/key/info` shows it."""
        columns = {name: value for name, value in row.items() if name != "token"}
        return _ONLY_IN_INFO | {"status": "active"} | columns | self._joined(row)

    def _joined(self, row: Row) -> Row:
        return {
            "litellm_budget_table": self.budgets.get(row["budget_id"]),
            "object_permission": self.permissions.get(row["object_permission_id"]),
        }

    def _permit(self, row: Row, asked: Row) -> None:
        """Each key that gets permissions gets a row of its own for them."""
        if asked.get("object_permission"):
            permission_id = row["object_permission_id"] = f"permission-{len(self.permissions)}"
            self.permissions[permission_id] = {"object_permission_id": permission_id, **asked["object_permission"]}

    def update_key(self, token: str, asked: Row) -> Row:
        """Change what is named; null clears."""
        row = self.keys[token]
        row |= {name: asked[name] for name in _KEY_UPDATES if name in asked}
        self._permit(row, asked)
        if "duration" in asked:
            row["expires"] = self._expiry(asked["duration"])
        row["updated_at"] = self.stamp()
        return row

    def delete_key(self, token: str) -> None:
        """Delete the key; it can still be looked up for a while, marked as deleted."""
        self.deleted_keys[token] = self.keys.pop(token) | {"status": "deleted"}

    def count_call(self, key: Row, model: str, spend: float | None = None) -> None:
        """Charge a call, or as many as cost `spend` USD, to the key and its owner. The key was used now."""
        for holder in (key, self.users.get(key["user_id"], {"spend": 0.0})):
            holder["spend"] += CALL_COST if spend is None else spend
        key["last_active"] = self.stamp()
        metrics = None if spend is None else calls_for(spend)
        self.usage.add(key["user_id"], self.stamp()[:10], model, key["token"], metrics)

    def is_over(self, key: Row) -> bool:
        """Whether the key has expired."""
        return key["expires"] is not None and key["expires"] <= self.stamp()

    def _reset(self, duration: str | None) -> str | None:
        if duration is None:
            return None
        if not _BUDGET_DURATION.fullmatch(duration):
            raise UnsupportedDurationError(duration)
        if duration in ("30d", "1mo"):
            return self._next_month()
        return self._expiry(duration)

    def _expiry(self, duration: str | None) -> str | None:
        if duration is None:
            return None
        if duration == "1mo":
            now = datetime.fromtimestamp(self._now(), UTC)
            return self.stamp(timedelta(days=monthrange(now.year, now.month)[1]).total_seconds())
        match = re.fullmatch(r"(\d+)(s|m|h|d|w)", duration)
        if match is None:
            raise UnsupportedDurationError(duration)
        return self.stamp(timedelta(**{_UNITS[match[2]]: int(match[1])}).total_seconds())

    def _next_month(self) -> str:
        now = datetime.fromtimestamp(self._now(), UTC)
        return f"{now.year + now.month // 12}-{now.month % 12 + 1:02}-01T00:00:00Z"
