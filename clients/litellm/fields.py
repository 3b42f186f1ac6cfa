"""The fields of a LiteLLM key, as `GET /key/list?return_full_object=true` answers them (LiteLLM 1.104)."""

from __future__ import annotations

from typing import Any

_NUMBER, _TEXT, _FLAG, _MAP, _LIST = (int, float), (str,), (bool,), (dict,), (list,)
_INTEGER, _NONE = (int,), (type(None),)
KEY_FIELDS: dict[str, tuple[type, ...]] = {
    "token": _TEXT,
    "key_name": _TEXT + _NONE,
    "key_alias": _TEXT + _NONE,
    "key_type": _TEXT + _NONE,
    "user_id": _TEXT,
    "team_id": _TEXT + _NONE,
    "team_alias": _TEXT + _NONE,
    "models": _LIST,
    "aliases": _MAP + _NONE,
    "spend": _NUMBER,
    "total_spend": _NUMBER + _NONE,
    "max_budget": _NUMBER + _NONE,
    "soft_budget": _NUMBER + _NONE,
    "soft_budget_cooldown": _FLAG + _NONE,
    "budget_duration": _TEXT + _NONE,
    "budget_reset_at": _TEXT + _NONE,
    "budget_limits": _LIST + _NONE,
    "budget_fallbacks": _MAP + _NONE,
    "model_spend": _MAP + _NONE,
    "model_max_budget": _MAP + _NONE,
    "tpm_limit": _INTEGER + _NONE,
    "rpm_limit": _INTEGER + _NONE,
    "tpd_limit": _INTEGER + _NONE,
    "tpm_limit_per_model": _MAP + _NONE,
    "rpm_limit_per_model": _MAP + _NONE,
    "max_parallel_requests": _INTEGER + _NONE,
    "blocked": _FLAG + _NONE,
    "expires": _TEXT + _NONE,
    "metadata": _MAP,
    "allowed_routes": _LIST + _NONE,
    "allowed_cache_controls": _LIST + _NONE,
    "access_group_ids": _LIST + _NONE,
    "auto_rotate": _FLAG + _NONE,
    "rotation_interval": _TEXT + _NONE,
    "rotation_count": _INTEGER + _NONE,
    "last_rotation_at": _TEXT + _NONE,
    "key_rotation_at": _TEXT + _NONE,
    "last_active": _TEXT + _NONE,
    "created_at": _TEXT,
    "created_by": _TEXT + _NONE,
    "updated_at": _TEXT + _NONE,
    "updated_by": _TEXT + _NONE,
    "settings_updated_at": _TEXT + _NONE,
}
"""The fields of a key that a caller may see, LiteLLM's names, and the types that each may have."""

Key = dict[str, Any]
"""A key without its secret: those of KEY_FIELDS that LiteLLM sent."""
