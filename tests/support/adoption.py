"""People whom LiteLLM had before, under other ids, and adoptions of them."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE
from tests.support.requests import let_others_run

ADOPTIONS = f"{BASE}/adoptions"
OLD = "Alice@Example.com"
"""The id of alice's old account: her address in the catalog, in another case."""
LIMITS: dict[str, Any] = {
    "models": ["gpt-fake"],
    "max_budget": 10.0,
    "budget_duration": "30d",
    "tpm_limit": 500,
    "rpm_limit": 50,
    "max_parallel_requests": 4,
}


def add_account(litellm: LiteLLMStandIn, user_id: str = OLD, *, keys: int = 0, **columns: Any) -> dict[str, str]:
    """A user with `columns`, and so many keys: their secrets by their ids."""
    role = {"user_role": "internal_user"}
    row = litellm.rows.add_user({"user_id": user_id} | role)
    row |= columns
    made = [litellm.rows.add_key({"user_id": user_id}) for _ in range(keys)]
    return {str(key["token"]): secret for key, secret in made}


def alice_was_there(litellm: LiteLLMStandIn) -> dict[str, str]:
    """Alice's old account, with every limit, 3.5 USD spent, and three keys, the last of which is blocked."""
    secrets = add_account(litellm, keys=3, spend=3.5, user_email="ALICE@example.com", metadata={"cost": "42"}, **LIMITS)
    litellm.rows.keys[[*secrets][2]]["blocked"] = True
    return secrets


def owners_of(litellm: LiteLLMStandIn, secrets: dict[str, str]) -> set[str]:
    """Whose these keys are."""
    return {litellm.rows.keys[key_id]["user_id"] for key_id in secrets}


async def finished(client: httpx.AsyncClient, adoption_id: int, *, wait: float = 0) -> Any:
    """The report of an adoption that has ended. `wait` is in seconds: for the real products."""
    for _ in range(5000):
        await let_others_run()
        report = (await client.get(f"{ADOPTIONS}/{adoption_id}")).json()
        if report["outcome"] != "running":
            return report
        await asyncio.sleep(wait)
    pytest.fail("the adoption does not end")


async def planned(client: httpx.AsyncClient, *, wait: float = 0, **body: Any) -> Any:
    """The report of a dry run."""
    begun = await client.post(ADOPTIONS, json={"by": "email", **body})
    assert begun.status_code == 202, begun.text
    return await finished(client, begun.json()["adoptionId"], wait=wait)


async def adopted(client: httpx.AsyncClient, plan_hash: str | None = None, *, wait: float = 0, **body: Any) -> Any:
    """The report of a run: of the plan with this hash, or of one that a dry run makes now."""
    chosen = plan_hash or (await planned(client, **body))["plan"]["hash"]
    begun = await client.post(ADOPTIONS, json={"by": "email", "dryRun": False, "planHash": chosen, **body})
    assert begun.status_code == 202, begun.text
    return await finished(client, begun.json()["adoptionId"], wait=wait)


def conflicts_in(report: Any) -> list[tuple[str, str | None, str]]:
    """Each conflict of a plan: account, owner, kind."""
    return [(row["account"], row["userId"], row["kind"]) for row in report["plan"]["conflicts"]]


def is_alices(litellm: LiteLLMStandIn, secrets: dict[str, str], *, spend: Any = 3.5) -> list[str]:
    """What is wrong with alice's user after an adoption of what she had."""
    user = litellm.rows.users.get(ALICE, {})
    wrong = [f"{name}: {user.get(name)}" for name, value in LIMITS.items() if user.get(name) != value]
    wrong += [] if user.get("spend") == spend else [f"spend: {user.get('spend')}"]
    wrong += [] if owners_of(litellm, secrets) == {ALICE} else [f"keys of {owners_of(litellm, secrets)}"]
    blocked = [bool(litellm.rows.keys[key_id]["blocked"]) for key_id in secrets]
    return wrong + ([] if blocked == [False, False, True] else [f"blocked: {blocked}"])
