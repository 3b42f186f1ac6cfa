"""The whole story of a key, against the service at ORCHESTRATOR_URL (`make mock`).

ORCHESTRATOR_TOKENS has Backstage tokens by user ref, as JSON; for whom it has none, the mock's are used.
ORCHESTRATOR_WORKLOAD_TOKEN is one that the rule `checkout-pipeline` takes; without it there is no workload.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import httpx
import pytest
from litellm_orchestrator_client import Client, OrchestratorError, TokenError, exchange, pages, result
from litellm_orchestrator_client.api.audit import get_audit
from litellm_orchestrator_client.api.keys import (
    create_user_key,
    delete_user_key,
    get_user_key,
    get_user_key_versions,
    get_user_keys,
    regenerate_user_key,
    report_key,
    update_user_key,
)
from litellm_orchestrator_client.api.usage import get_models, get_user_usage
from litellm_orchestrator_client.api.users import get_me, get_user, get_users, update_user
from litellm_orchestrator_client.api.workloads import get_workloads, issue_token
from litellm_orchestrator_client.models import (
    ApiError,
    CreateUserKeyRequest,
    Manager,
    OwnerKind,
    RegenerateUserKeyRequest,
    ReportKeyRequest,
    UpdateUserKeyRequest,
    UpdateUserRequest,
    UsageGrouping,
    UserStatus,
)
from litellm_orchestrator_client.types import Unset

ALICE, BOB, CAROL = (f"user:default/{name}" for name in ("alice", "bob", "carol"))
ASSISTANT = "component:default/assistant"
CHECKOUT, PIPELINE = "component:default/checkout", "checkout-pipeline"
WORKLOAD_TOKEN = os.environ.get("ORCHESTRATOR_WORKLOAD_TOKEN", "")
TOKENS: dict[str, str] = json.loads(os.environ.get("ORCHESTRATOR_TOKENS", "{}"))


def accepted(response: httpx.Response) -> None:
    """A proxy that compares responses with the contract, if there is one in between, found nothing."""
    violations = json.loads(response.headers.get("sl-violations", "[]"))
    assert [row for row in violations if row["location"][0] == "response"] == []


def signed_in(user: str) -> Client:
    return Client(
        os.environ["ORCHESTRATOR_URL"],
        lambda: TOKENS.get(user, f'mock-user-token:{{"sub":"{user}"}}'),
        event_hooks={"response": [accepted]},
    )


@pytest.fixture
def alice() -> Iterator[Client]:
    with (client := signed_in(ALICE)).get_httpx_client():
        yield client


@pytest.fixture
def bob() -> Iterator[Client]:
    with (client := signed_in(BOB)).get_httpx_client():
        yield client


def test_a_member_manages_a_key(alice: Client) -> None:
    """Created once though asked twice, read, changed, listed, rotated, reported, deleted."""
    me = result(get_me.sync(client=alice))
    assert (me.subject, me.roles) == (ALICE, ["member"])
    assert [row.scope for row in me.permissions if row.name == "keys.create"] == ["own"]
    alias, once = f"python {uuid4().hex[:8]}", str(uuid4())
    wanted = CreateUserKeyRequest(alias=alias, max_budget=5, budget_duration="7d", expires_in=3600)
    made = result(create_user_key.sync(ALICE, client=alice, body=wanted, idempotency_key=once))
    again = result(create_user_key.sync(ALICE, client=alice, body=wanted, idempotency_key=once))
    assert made == again

    found = get_user_key.sync_detailed(ALICE, made.key_id, client=alice)
    key = result(found.parsed)
    assert (key.key_alias, key.max_budget, key.user_id) == (alias, 5, ALICE)
    assert isinstance(key.expires, datetime)
    assert key.expires > datetime.now(UTC)
    unchanged = get_user_key.sync_detailed(ALICE, made.key_id, client=alice, if_none_match=found.headers["ETag"])
    assert (unchanged.status_code, unchanged.parsed) == (304, None)

    result(update_user_key.sync(ALICE, made.key_id, client=alice, body=UpdateUserKeyRequest(max_budget=None)))
    stale = update_user_key.sync(
        ALICE, made.key_id, client=alice, body=UpdateUserKeyRequest(max_budget=9), if_match=found.headers["ETag"]
    )
    assert isinstance(stale, ApiError)
    assert (stale.error.name, stale.response.status_code) == ("PreconditionFailedError", 412)
    assert result(get_user_key.sync(ALICE, made.key_id, client=alice)).max_budget is None

    aliases = [
        row.key_alias
        for page in pages(lambda cursor: get_user_keys.sync(ALICE, client=alice, limit=1, cursor=cursor))
        for row in page.keys
    ]
    assert alias in aliases
    assert len(aliases) > 1

    overlap = RegenerateUserKeyRequest(overlap=60)
    rotated = result(
        regenerate_user_key.sync(ALICE, made.key_id, client=alice, body=overlap, idempotency_key=once + "r")
    )
    assert rotated.revokes.key_id == made.key_id
    assert (rotated.id, rotated.version) == (made.id, 2)
    assert isinstance(rotated.id, str)
    known = result(get_user_key_versions.sync(ALICE, rotated.id, client=alice))
    assert [(row.token, row.created_by) for row in known.versions] == [(rotated.key_id, ALICE), (made.key_id, ALICE)]
    assert rotated.revokes.revoke_at > datetime.now(UTC)
    assert result(report_key.sync(client=alice, body=ReportKeyRequest(key=rotated.key_secret))).received
    assert result(get_user_key.sync(ALICE, rotated.key_id, client=alice)).blocked
    for key_id in (made.key_id, rotated.key_id):
        assert delete_user_key.sync_detailed(ALICE, key_id, client=alice).status_code == 204
    with pytest.raises(OrchestratorError) as gone:
        result(get_user_key.sync(ALICE, made.key_id, client=alice))
    assert (gone.value.name, gone.value.status) == ("NotFoundError", 404)


def test_a_team_has_a_key_for_its_component(alice: Client) -> None:
    """Created with its owner, rotated twice under one id, and found by that id in versions and usage."""
    managed = result(get_users.sync(client=alice, managed_by=Manager.ME, kind=OwnerKind.COMPONENT))
    candidates = [] if isinstance(managed.candidates, Unset) else managed.candidates
    assert ASSISTANT in [row.user_id for row in (*managed.users, *candidates)]
    wanted = CreateUserKeyRequest(alias=f"python {uuid4().hex[:8]}")
    made = result(create_user_key.sync(ASSISTANT, client=alice, body=wanted))
    assert isinstance(made.id, str)
    for version in (2, 3):
        rotated = result(regenerate_user_key.sync(ASSISTANT, made.id, client=alice, body=RegenerateUserKeyRequest()))
        assert (rotated.id, rotated.version) == (made.id, version)
    known = result(get_user_key_versions.sync(ASSISTANT, made.id, client=alice))
    assert [row.version for row in known.versions] == [3, 2, 1]
    result(get_user_usage.sync(ASSISTANT, client=alice, group_by=UsageGrouping.KEY))
    assert delete_user_key.sync_detailed(ASSISTANT, made.id, client=alice).status_code == 204


def test_a_member_sees_their_spending(alice: Client) -> None:
    """By model, with the rest of their budget."""
    usage = result(get_user_usage.sync(ALICE, client=alice, group_by=UsageGrouping.MODEL))
    assert usage.budget.remaining == (usage.budget.max_budget or 0) - usage.budget.spend
    assert [model.id for model in result(get_models.sync(client=alice)).models] != []


def test_a_member_is_refused_what_is_not_theirs(alice: Client) -> None:
    """As a value, with the name and the message of the error."""
    refused = get_user.sync(BOB, client=alice)
    assert isinstance(refused, ApiError)
    assert (refused.error.name, refused.response.status_code) == ("NotAllowedError", 403)
    assert "admin" in refused.error.message
    malformed = create_user_key.sync(ALICE, client=alice, body=CreateUserKeyRequest(budget_duration="soon"))
    assert isinstance(malformed, ApiError)
    assert malformed.error.name == "InputError"


def test_an_admin_manages_everybody(bob: Client) -> None:
    """The pages of users, a budget, and who did what."""
    users = [
        user for page in pages(lambda cursor: get_users.sync(client=bob, limit=1, cursor=cursor)) for user in page.users
    ]
    assert ALICE in [user.user_id for user in users]
    assert {user.status for user in users} <= set(UserStatus)
    changed = result(update_user.sync(ALICE, client=bob, body=UpdateUserRequest(max_budget=250)))
    assert changed.max_budget == 250
    events = result(get_audit.sync(client=bob, target=ALICE, limit=1)).events
    assert [(event.actor, event.action, event.outcome) for event in events] == [(BOB, "user.update", "done")]


@pytest.mark.skipif(not WORKLOAD_TOKEN, reason="there is no ORCHESTRATOR_WORKLOAD_TOKEN")
def test_a_workload_exchanges_its_token(bob: Client) -> None:
    """For a key of minutes of its component, which is seen by an admin; another token gets nothing."""
    workload = Client(os.environ["ORCHESTRATOR_URL"], event_hooks={"response": [accepted]})
    with workload.get_httpx_client():
        key = result(issue_token.sync(client=workload, body=exchange(PIPELINE, WORKLOAD_TOKEN)))
        assert key.access_token.startswith("sk-")
        assert 0 < key.expires_in <= 900
        again = result(issue_token.sync(client=workload, body=exchange(PIPELINE, WORKLOAD_TOKEN)))
        assert again.access_token == key.access_token
        with pytest.raises(TokenError) as refused:
            result(issue_token.sync(client=workload, body=exchange(PIPELINE, WORKLOAD_TOKEN[:-8] + "AAAAAAAA")))
        assert refused.value.error == "invalid_grant"
    [rule] = [row for row in result(get_workloads.sync(client=bob)).rules if row.name == PIPELINE]
    assert (rule.owner, rule.living_keys > 0) == (CHECKOUT, True)
    sources = [row.source for row in result(get_user_keys.sync(CHECKOUT, client=bob)).keys]
    assert f"workload:{PIPELINE}" in sources


def test_an_outsider_is_refused() -> None:
    """With the same error everywhere."""
    with (client := signed_in(CAROL)).get_httpx_client(), pytest.raises(OrchestratorError) as refused:
        result(get_me.sync(client=client))
    assert refused.value.status == 403
