"""What is lost when one key is made out of another.

An operator can set anything on a key, also what this service has never heard of. So a loss is not one of a list: it is
whatever the old key sets and the new one lacks, or has otherwise, except for what is a key's own by nature. A row is
all that LiteLLM has of a key, by the names in `GET /key/info`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

Row = Mapping[str, Any]

_A_KEYS_OWN = frozenset(
    {
        # identity
        *("token", "key_name", "key_alias", "user_id", "created_by", "updated_by"),
        # state and counters; `spend` is copied as it was when the rotation began, and goes on counting
        *("blocked", "status", "spend", "total_spend", "model_spend", "soft_budget_cooldown", "rotation_count"),
        *("model_max_budget_usage", "budget_limits_usage"),
        # times; a new key's `expires` is decided by whoever makes it, and LiteLLM computes `budget_reset_at`
        *("created_at", "updated_at", "settings_updated_at", "last_active", "last_rotation_at", "key_rotation_at"),
        *("expires", "budget_reset_at"),
    }
)
_JOINED = frozenset({"litellm_budget_table", "litellm_organization_table", "litellm_project_table"})
"""Rows of other tables: the column that refers to them is compared."""
_NEVER_FILLED = frozenset(
    {
        "agent_id",
        "project_id",
        "budget_id",
        "permissions",
        "config",
        "router_settings",
        "aliases",
        "policies",
        "access_group_ids",
        "allowed_cache_controls",
        "tpd_limit",
        "model_max_budget",
        "budget_limits",
        "budget_fallbacks",
        "auto_rotate",
        "rotation_interval",
    }
)
"""What no setting of LiteLLM 1.104 fills in for new keys."""
_MAY_GROW = ("metadata", "object_permission_id")
"""Where LiteLLM may add a default of its own beside what is set."""
_AS_WE_CREATE = {"key_type": "llm_api", "allowed_routes": ["llm_api_routes"]}


def plain_losses(old: Row) -> list[str]:
    """What a new key would certainly lose of `old`. Anything else can be a default that LiteLLM fills in for all."""
    certain = _NEVER_FILLED | _AS_WE_CREATE.keys()
    return losses({name: value for name, value in old.items() if name in certain}, _AS_WE_CREATE)


def losses(old: Row, new: Row, *, changed: Collection[str] = ()) -> list[str]:
    """The columns that `old` sets and that `new`, made out of it, lacks or has otherwise; `changed` were to change."""
    before, after = _settings(old), _settings(new)
    return sorted(name for name in before if name not in changed and not _is_kept(name, before[name], after.get(name)))


def _settings(row: Row) -> dict[str, Any]:
    """What is set on a key: not null, empty or false, nor its own by nature, nor LiteLLM's name for no key type."""
    found = {name: value for name, value in row.items() if _is_set(value) and name not in _A_KEYS_OWN | _JOINED}
    if found.get("key_type") == "default":
        del found["key_type"]
    # Each key has a row of its own for these, so two with the same permissions have different ids.
    permissions = found.pop("object_permission", None)
    if isinstance(permissions, dict) and "object_permission_id" in found:
        found["object_permission_id"] = {**permissions, "object_permission_id": True}
    return found


def _is_kept(name: str, before: Any, after: Any) -> bool:
    if name in _MAY_GROW and isinstance(before, dict) and isinstance(after, dict):
        return all(after.get(part) == value for part, value in before.items() if _is_set(value))
    return bool(before == after)


def _is_set(value: Any) -> bool:
    return value is not None and value is not False and value not in ("", [], {})
