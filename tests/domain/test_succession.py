"""What counts as lost when one key is made out of another."""

from __future__ import annotations

from typing import Any

import pytest

from domain.succession import losses, plain_losses

NEW: dict[str, Any] = {"token": "new", "key_type": "llm_api", "allowed_routes": ["llm_api_routes"], "spend": 3.5}


@pytest.mark.parametrize("value", [0, 0.0, "x", [0], {"a": None}, True])
@pytest.mark.parametrize("name", ["budget_id", "invented_by_a_later_version"])
def test_whatever_an_operator_set_is_lost_without_it(name: str, value: Any) -> None:
    """Also a column that this service has never heard of; zero is a limit."""
    assert losses(NEW | {name: value}, NEW) == [name]
    assert losses(NEW | {name: value}, NEW | {name: [value]}) == [name]
    assert losses(NEW | {name: value}, NEW | {name: value}) == []


@pytest.mark.parametrize("value", [None, "", [], {}, False])
def test_what_is_not_set_cannot_be_lost(value: Any) -> None:
    """A row that is older than a default of LiteLLM's, or its form of nothing."""
    assert losses(NEW | {"budget_limits": value, "permissions": value}, NEW | {"permissions": {"a": True}}) == []


def test_what_is_a_keys_own_is_not_compared() -> None:
    """Who and when it is, what it spent, and whether it is blocked."""
    own = {
        "token": "old",
        "key_name": "sk-...old",
        "key_alias": "old",
        "created_at": "2026-01-01T00:00:00Z",
        "settings_updated_at": "2026-01-01T00:00:00Z",
        "last_active": "2026-01-01T00:00:00Z",
        "spend": 4,
        "total_spend": 44,
        "model_spend": {"gpt-fake": 4},
        "rotation_count": 3,
        "blocked": True,
        "status": "revoked",
        "budget_reset_at": "2026-12-01T00:00:00Z",
        "expires": "2026-12-01T00:00:00Z",
    }
    assert losses(NEW | own, NEW) == plain_losses(NEW | own) == []


@pytest.mark.parametrize(
    ("routing", "lost"),
    [
        ({"key_type": "default", "allowed_routes": []}, []),
        ({"key_type": None, "allowed_routes": None}, []),
        ({"key_type": None}, []),
        ({"key_type": "management"}, ["key_type"]),
        ({"key_type": "default", "allowed_routes": ["/chat/completions"]}, ["allowed_routes"]),
    ],
)
def test_a_key_for_everything_becomes_one_for_models(routing: dict[str, Any], lost: list[str]) -> None:
    """The plugin's keys have LiteLLM's default type; a type or routes that somebody chose are kept or refused."""
    assert losses(NEW | routing, NEW) == plain_losses(NEW | routing) == lost


def test_a_default_that_litellm_may_fill_in_is_not_a_plain_loss() -> None:
    """Only the new row tells whether LiteLLM gives it to every key."""
    old = NEW | {"team_id": "all", "max_parallel_requests": 5, "later": 1, "object_permission_id": "p"}
    assert plain_losses(old | {"budget_id": "shared"}) == ["budget_id"]
    assert losses(old, NEW) == ["later", "max_parallel_requests", "object_permission_id", "team_id"]


def test_values_that_were_to_change_are_not_lost() -> None:
    """But the others that are copied must have arrived."""
    old, new = NEW | {"max_budget": 5, "rpm_limit": 10}, NEW | {"max_budget": 7, "rpm_limit": 9}
    assert losses(old, new, changed={"max_budget"}) == ["rpm_limit"]


@pytest.mark.parametrize(
    ("after", "lost"),
    [
        ({"guardrails": ["pii"], "added": 1}, []),
        ({"guardrails": []}, ["metadata"]),
        ({}, ["metadata"]),
        (None, ["metadata"]),
    ],
)
def test_metadata_may_grow(after: Any, lost: list[str]) -> None:
    """LiteLLM may add to it; what an operator wrote there stays."""
    assert losses(NEW | {"metadata": {"guardrails": ["pii"]}}, NEW | {"metadata": after}) == lost


def test_permissions_are_compared_by_what_they_permit() -> None:
    """LiteLLM gives each key a row of its own for them, so the ids differ."""

    def permitted(name: str, **permissions: Any) -> dict[str, Any]:
        joined = {"object_permission_id": name, "mcp_servers": [], **permissions}
        return NEW | {"object_permission_id": name, "object_permission": joined}

    old = permitted("p1", vector_stores=["v"])
    assert losses(old, permitted("p2", vector_stores=["v"], agents=["a"])) == []
    assert losses(old, permitted("p2", vector_stores=["w"])) == ["object_permission_id"]
    assert losses(permitted("p1"), NEW) == ["object_permission_id"]
    assert losses(NEW | {"object_permission_id": "p1"}, NEW | {"object_permission_id": "p2"}) == [
        "object_permission_id"
    ]
