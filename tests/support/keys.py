"""Keys as a caller makes, replaces and uses them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx

from domain.users import Tier
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, MakeService, Service, keys_path

NAMED = {"Idempotency-Key": "rotate-once"}
LAPTOP: dict[str, Any] = {
    "alias": "laptop",
    "models": ["gpt-fake"],
    "maxBudget": 5,
    "budgetDuration": "7d",
    "expiresIn": 3600,
    "tpmLimit": 1000,
    "rpmLimit": 10,
    "metadata": {"team": "search"},
}
TIER = Tier(max_budget=10, models=("gpt-fake",), tpm_limit=1000, rpm_limit=10, max_keys=2, max_key_life=86_400)


def tiered(make_service: MakeService, tier: Tier = TIER) -> Service:
    """A service whose members have this tier."""
    plain = make_service()
    return make_service(litellm=replace(plain.settings.litellm, user_defaults=tier))


async def made(client: httpx.AsyncClient, owner: str = ALICE, **body: Any) -> str:
    """The id of a new key."""
    response = await client.post(keys_path(owner), json=body)
    assert response.status_code == 201, response.text
    return str(response.json()["keyId"])


async def transferred(client: httpx.AsyncClient, owner: str, key_id: str, to: str) -> None:
    """Gives the key to another owner."""
    response = await client.post(f"{keys_path(owner, key_id)}/transfer", json={"owner": to})
    assert response.status_code == 200, response.text


def id_of(key_id: str) -> str:
    """The id, which outlives rotations, of the key whose first version has this hash."""
    return f"key_{key_id[:32]}"


async def refusal(response: httpx.Response) -> tuple[int, str]:
    """Its status, and what it says."""
    return response.status_code, response.json()["error"]["message"]


async def rotated(client: httpx.AsyncClient, key_id: str, **body: Any) -> Any:
    """What the caller gets for a key of alice's that they replace."""
    response = await client.post(f"{keys_path(ALICE, key_id)}/regenerate", json=body)
    assert response.status_code == 201, response.text
    return response.json()


async def chat(litellm: LiteLLMStandIn, secret: str, model: str = "gpt-fake") -> int:
    """The status of a call to a model with this key."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(litellm.app), base_url="http://litellm") as caller:
        answer = await caller.post(
            "/v1/chat/completions", json={"model": model}, headers={"Authorization": f"Bearer {secret}"}
        )
    return answer.status_code


def signed_in_there(litellm: LiteLLMStandIn, user_id: str) -> tuple[str, str]:
    """The id and the secret of the key that LiteLLM makes when the user signs in to its pages."""
    row, secret = litellm.rows.add_key({"user_id": user_id, "team_id": "litellm-dashboard", "duration": "24h"})
    return str(row["token"]), secret


def alive(litellm: LiteLLMStandIn) -> list[str]:
    """The ids of the keys that work."""
    return [key_id for key_id, row in litellm.rows.keys.items() if not row["blocked"]]
