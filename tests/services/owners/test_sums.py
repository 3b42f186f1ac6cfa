"""What groups and components may spend in sum."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from domain.owners import OwnerEntry
from domain.users import Tier
from standalone.backstage import BackstageStandIn
from standalone.catalog import MEMBERS, TEAM_A, Component
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, MakeService, Service, user_path
from tests.support.keys import made

DAVE = "user:default/dave"
CHECKOUT, ASSISTANT, DAVES = (f"component:default/{name}" for name in ("checkout", "assistant", "daves"))


async def sums(bob: httpx.AsyncClient) -> dict[str, Any]:
    answer = await bob.get(f"{BASE}/owners")
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def figures(owners: int, budget: float | None, spend: float) -> dict[str, Any]:
    return {"owners": owners, "maxBudget": budget, "spend": spend}


async def test_each_entry_and_group_in_sum(
    service: Service, bob: httpx.AsyncClient, litellm: LiteLLMStandIn, backstage: BackstageStandIn
) -> None:
    """Components by who owns them, groups by their parents; what has no LiteLLM user does not count."""
    backstage.org.components |= {"component:default/api": Component(TEAM_A), DAVES: Component(DAVE)}
    for owner in (CHECKOUT, "component:default/api", ASSISTANT, DAVES, TEAM_A, MEMBERS):
        await made(bob, owner)
    for owner, spend in ((CHECKOUT, 0.125), ("component:default/api", 0.25), (TEAM_A, 7.0), (DAVES, 0.5)):
        litellm.rows.users[owner]["spend"] = spend
    await service.signed_in(ALICE).get(user_path(ALICE))
    answer = await sums(bob)
    components, groups = answer["entries"]
    assert answer["unmatched"] == figures(0, 0.0, 0.0)
    assert components == {
        "tier": "component spec.type=service",
        "kind": "component",
        "maxOwners": 10,
        "total": figures(4, 200.0, 0.875),
        "groups": [
            {"group": MEMBERS, "figures": figures(1, 50.0, 0.0)},
            {"group": TEAM_A, "figures": figures(2, 100.0, 0.375)},
            {"group": DAVE, "figures": figures(1, 50.0, 0.5)},
        ],
    }
    assert (groups["maxOwners"], groups["total"]) == (None, figures(2, 400.0, 7.0))
    assert groups["groups"] == [{"group": MEMBERS, "figures": figures(1, 200.0, 7.0)}]


async def test_one_without_a_budget_has_no_sum(bob: httpx.AsyncClient) -> None:
    """Its group may spend any amount; 0 is a budget."""
    await made(bob, CHECKOUT)
    await bob.patch(user_path(CHECKOUT), json={"maxBudget": 0})
    assert (await sums(bob))["entries"][0]["total"] == figures(1, 0.0, 0.0)
    await made(bob, ASSISTANT)
    await bob.patch(user_path(ASSISTANT), json={"maxBudget": None})
    entry = (await sums(bob))["entries"][0]
    assert entry["total"] == figures(2, None, 0.0)
    assert [row["figures"]["maxBudget"] for row in entry["groups"]] == [None, 0.0]


async def test_an_owner_is_summed_up_with_the_first_entry_that_it_meets(make_service: MakeService) -> None:
    """As it is counted by `maxOwners`."""
    both = ("component", "spec.type=service"), ("component", "spec.lifecycle=experimental")
    entries = tuple(OwnerEntry("component", (condition,), None, Tier(max_budget=5)) for _, condition in both)
    bob = make_service(owners=entries).signed_in(BOB)
    await made(bob, ASSISTANT)
    first, second = (await sums(bob))["entries"]
    assert (first["total"], second["total"], second["groups"]) == (figures(1, 5.0, 0.0), figures(0, 0.0, 0.0), [])


async def test_what_no_entry_matches_is_not_left_out(
    bob: httpx.AsyncClient, backstage: BackstageStandIn, litellm: LiteLLMStandIn
) -> None:
    """Gone from the catalog, or a library by now; it has its budget until the cleanup blocks it."""
    await made(bob, CHECKOUT)
    await made(bob, ASSISTANT)
    litellm.rows.users[CHECKOUT]["spend"] = 3.0
    del backstage.org.components[CHECKOUT]
    backstage.org.components[ASSISTANT] = Component(MEMBERS, type="library")
    answer = await sums(bob)
    assert [row["total"]["owners"] for row in answer["entries"]] == [0, 0]
    assert answer["unmatched"] == figures(2, 100.0, 3.0)


async def test_without_entries_there_is_nothing_to_sum_up(
    make_service: MakeService, backstage: BackstageStandIn
) -> None:
    """And nobody to ask the catalog about."""
    bob = make_service(owners=()).signed_in(BOB)
    await bob.get(f"{BASE}/me")
    backstage.requests.clear()
    assert await sums(bob) == {"entries": [], "unmatched": figures(0, 0.0, 0.0)}
    assert backstage.requests == []


@pytest.mark.parametrize("caller", [ALICE, DAVE])
async def test_members_see_no_sums(service: Service, litellm: LiteLLMStandIn, caller: str) -> None:
    """Nor those who manage an owner: the other groups are not theirs."""
    await made(service.signed_in(DAVE), CHECKOUT)
    litellm.requests.clear()
    assert (await service.signed_in(caller).get(f"{BASE}/owners")).status_code == 403
    assert litellm.requests == []
