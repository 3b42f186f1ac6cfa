"""What keys of groups and components cost in calls of Backstage's catalog."""

from __future__ import annotations

import httpx
import pytest

from standalone.backstage import BackstageStandIn
from standalone.catalog import MEMBERS
from tests.conftest import BASE, Clock, Service, keys_path, user_path
from tests.support.keys import made

DAVE, CHECKOUT = "user:default/dave", "component:default/checkout"
_MINUTE = 61.0


def catalog_calls(backstage: BackstageStandIn) -> list[str]:
    return [request for request in backstage.requests if "/api/catalog/" in request]


@pytest.mark.parametrize("owner", [CHECKOUT, MEMBERS])
async def test_keys_of_software_cost_no_call_while_cached(
    service: Service, backstage: BackstageStandIn, clock: Clock, owner: str
) -> None:
    """Not one, whatever is done to the keys, within a minute of the first request; after it, some for the first."""
    dave = service.signed_in(DAVE)
    key_id = await made(dave, owner)
    backstage.requests.clear()
    await dave.get(user_path(owner))
    await dave.get(keys_path(owner))
    await dave.get(f"{user_path(owner)}/usage")
    another = await made(dave, owner, maxBudget=1)
    await dave.patch(keys_path(owner, key_id), json={"maxBudget": 2})
    rotated = (await dave.post(f"{keys_path(owner, key_id)}/regenerate", json={})).json()["keyId"]
    await dave.get(f"{keys_path(owner, rotated)}/versions")
    await dave.post(f"{keys_path(owner, rotated)}/transfer", json={"owner": DAVE})
    assert (await dave.delete(keys_path(owner, another))).status_code == 204
    assert catalog_calls(backstage) == []
    clock.advance(_MINUTE)
    await dave.get(keys_path(owner))
    asked = len(catalog_calls(backstage))
    await dave.get(keys_path(owner))
    assert 0 < asked == len(catalog_calls(backstage))


async def test_the_page_of_what_one_manages_costs_no_call_while_cached(
    service: Service, backstage: BackstageStandIn
) -> None:
    """Nor does a page after it."""
    dave: httpx.AsyncClient = service.signed_in(DAVE)
    first = (await dave.get(f"{BASE}/users", params={"managedBy": "me", "limit": 2})).json()
    backstage.requests.clear()
    await dave.get(f"{BASE}/users", params={"managedBy": "me", "limit": 2})
    await dave.get(f"{BASE}/users", params={"managedBy": "me", "limit": 2, "cursor": first["nextCursor"]})
    assert catalog_calls(backstage) == []
