"""LiteLLM's rows as they arrive (LiteLLM 1.104). Decoding checks every type, and drops every field that is not here.

A field that may be absent has a default. Numbers are limited to what JSON encoders can write, times have a zone.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar

from msgspec import UNSET, Meta, Struct, UnsetType, field

_Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Number = _Integer | float
_Map = dict[str, Any]
_Time = Annotated[datetime, Meta(tz=True)]


class KeyRow(Struct, kw_only=True, gc=False):
    """A key in `GET /key/list?return_full_object=true`: the fields that a caller may see, under LiteLLM's names."""

    token: str
    key_name: str | UnsetType | None = UNSET
    key_alias: str | UnsetType | None = UNSET
    key_type: str | UnsetType | None = UNSET
    user_id: str | None
    team_id: str | UnsetType | None = UNSET
    team_alias: str | UnsetType | None = UNSET
    models: list[str]
    aliases: _Map | UnsetType | None = UNSET
    spend: _Number
    total_spend: _Number | UnsetType | None = UNSET
    max_budget: _Number | UnsetType | None = UNSET
    soft_budget: _Number | UnsetType | None = UNSET
    soft_budget_cooldown: bool | UnsetType | None = UNSET
    budget_duration: str | UnsetType | None = UNSET
    budget_reset_at: _Time | UnsetType | None = UNSET
    budget_limits: list[dict[str, Any]] | UnsetType | None = UNSET
    budget_fallbacks: _Map | UnsetType | None = UNSET
    model_spend: _Map | UnsetType | None = UNSET
    model_max_budget: _Map | UnsetType | None = UNSET
    tpm_limit: _Integer | UnsetType | None = UNSET
    rpm_limit: _Integer | UnsetType | None = UNSET
    tpd_limit: _Integer | UnsetType | None = UNSET
    tpm_limit_per_model: _Map | UnsetType | None = UNSET
    rpm_limit_per_model: _Map | UnsetType | None = UNSET
    max_parallel_requests: _Integer | UnsetType | None = UNSET
    blocked: bool | UnsetType | None = UNSET
    expires: _Time | UnsetType | None = UNSET
    metadata: _Map
    allowed_routes: list[str] | UnsetType | None = UNSET
    allowed_cache_controls: list[str] | UnsetType | None = UNSET
    access_group_ids: list[str] | UnsetType | None = UNSET
    auto_rotate: bool | UnsetType | None = UNSET
    rotation_interval: str | UnsetType | None = UNSET
    rotation_count: _Integer | UnsetType | None = UNSET
    last_rotation_at: _Time | UnsetType | None = UNSET
    key_rotation_at: _Time | UnsetType | None = UNSET
    last_active: _Time | UnsetType | None = UNSET
    created_at: _Time | UnsetType | None = UNSET
    created_by: str | UnsetType | None = UNSET
    updated_at: _Time | UnsetType | None = UNSET
    updated_by: str | UnsetType | None = UNSET
    settings_updated_at: _Time | UnsetType | None = UNSET
    odd: ClassVar[frozenset[str]] = frozenset()


class OddKeyRow(KeyRow, kw_only=True, gc=False):
    """A key with columns that are not of their type: `odd` has their names."""

    odd: frozenset[str]  # type: ignore[misc]  # only such a row has the field


class KeyPage(Struct, kw_only=True):
    """`GET /key/list`."""

    rows: list[KeyRow] = field(name="keys")
    total_pages: int


class AnyKeyPage(Struct, kw_only=True):
    """`GET /key/list`, where a row is odd."""

    rows: list[_Map] = field(name="keys")
    total_pages: int


class ListedKeyRow(Struct, kw_only=True, gc=False):
    """Any key in `GET /key/list?return_full_object=true`: what blocking needs, unchecked, so that no row stops it."""

    token: Any = None
    user_id: Any = None
    team_id: Any = None
    blocked: Any = None
    created_at: Any = None
    metadata: Any = None


class ListedKeyPage(Struct, kw_only=True):
    """`GET /key/list`, whatever else its rows contain."""

    rows: list[ListedKeyRow] = field(name="keys")
    total_pages: int


class UserRow(Struct, kw_only=True):
    """A user in `GET /user/list`."""

    user_id: str
    created_at: _Time | None = None
    updated_at: _Time | None = None
    spend: _Number
    max_budget: _Number | None = None
    budget_duration: str | None = None
    budget_reset_at: _Time | None = None
    models: list[str] | None = None
    tpm_limit: _Integer | None = None
    rpm_limit: _Integer | None = None
    metadata: _Map | None = None
    user_alias: str | None = None
    user_email: str | None = None
    odd: ClassVar[frozenset[str]] = frozenset()


class OddUserRow(UserRow, kw_only=True):
    """A user with columns that are not of their type: `odd` has their names."""

    odd: frozenset[str]  # type: ignore[misc]  # only such a row has the field


class UserPage(Struct, kw_only=True):
    """`GET /user/list` for some users."""

    rows: list[UserRow] = field(name="users")
    total: int = 0


class AnyUserPage(Struct, kw_only=True):
    """`GET /user/list` for some users, where a row is odd."""

    rows: list[_Map] = field(name="users")
    total: int = 0


class SweptRow(Struct, kw_only=True):
    """Any user in `GET /user/list`: what a sweep needs, unchecked, so that one odd row does not stop it."""

    user_id: Any = None
    spend: Any = None
    max_budget: Any = None
    user_alias: Any = None
    user_email: Any = None
    key_count: Any = None
    metadata: Any = None


class SweptPage(Struct, kw_only=True):
    """`GET /user/list` for all users."""

    rows: list[SweptRow] = field(name="users")
    total: int
