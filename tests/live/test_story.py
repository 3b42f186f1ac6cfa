"""The whole story with genuine tokens and keys."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.conftest import ALICE, BASE, BOB, CAROL, ERIN, SERVICE_TOKEN, keys_path, user_path
from tests.live.conftest import Live

pytestmark = pytest.mark.live


async def test_alice_serves_herself(live: Live) -> None:
    """alice, a member, gets a key, calls a model with it, deletes it, and it is dead."""
    async with live.caller(await live.products.token("alice")) as alice:
        user = (await alice.get(user_path(ALICE))).json()
        assert (user["userId"], user["maxBudget"], user["budgetDuration"], user["spend"]) == (ALICE, 100, "365d", 0)
        minted = await alice.post(keys_path(ALICE))
        assert minted.status_code == 201
        key = minted.json()
        assert await live.products.chat(key["keySecret"]) == 200
        listed = (await alice.get(keys_path(ALICE))).json()["keys"]
        assert [row["token"] for row in listed] == [key["keyId"]]
        assert (await alice.delete(keys_path(ALICE, key["keyId"]))).status_code == 204
        assert await live.products.chat(key["keySecret"]) == 401
        assert (await alice.delete(keys_path(ALICE, key["keyId"]))).status_code == 404
        assert (await alice.post(f"{BASE}/users", json={"userId": ALICE})).status_code == 409


async def test_a_key_cannot_manage(live: Live) -> None:
    """A key is for models only: LiteLLM's management refuses it."""
    async with live.caller(await live.products.token("alice")) as alice:
        secret = (await alice.post(keys_path(ALICE))).json()["keySecret"]
    own = await live.products.litellm.post("/key/generate", json={}, headers={"Authorization": f"Bearer {secret}"})
    live.products.narrate(f"  POST /key/generate on LiteLLM with that key -> {own.status_code}")
    assert own.status_code in (401, 403)


async def test_bob_acts_for_alice(live: Live) -> None:
    """bob, an admin, creates alice, gives her a key, sees it and takes it away; before that she is a 404."""
    async with live.caller(await live.products.token("bob")) as bob:
        assert (await bob.get(user_path(ALICE))).status_code == 404
        assert (await bob.post(keys_path(ALICE))).status_code == 404
        assert (await bob.post(f"{BASE}/users", json={"userId": ALICE})).status_code == 201
        key = (await bob.post(keys_path(ALICE), json={})).json()
        assert await live.products.chat(key["keySecret"]) == 200
        assert len((await bob.get(keys_path(ALICE))).json()["keys"]) == 1
        assert (await bob.delete(keys_path(ALICE, key["keyId"]))).status_code == 204


async def test_carol_is_refused(live: Live) -> None:
    """carol, in neither group, is refused everything, and nobody without a token gets anywhere."""
    async with live.caller(await live.products.token("carol")) as carol, live.caller(None) as nobody:
        assert (await carol.get(user_path(CAROL))).status_code == 403
        assert (await carol.post(keys_path(CAROL))).status_code == 403
        assert (await nobody.get(user_path(ALICE))).status_code == 401
        assert (await nobody.get(f"{BASE}/openapi.yaml")).status_code == 200
    gone = await live.products.litellm.get("/v2/user/info", params={"user_id": CAROL})
    assert gone.status_code == 404


async def test_erins_upper_case(live: Live) -> None:
    """Erin.Mixed is user:default/erin.mixed, however she is written."""
    async with live.caller(await live.products.token("Erin.Mixed")) as erin:
        assert (await erin.get(user_path("user:default/Erin.Mixed"))).json()["userId"] == ERIN
        key = (await erin.post(keys_path("User:Default/ERIN.mixed"))).json()
        assert (await erin.delete(keys_path(ERIN, key["keyId"]))).status_code == 204


async def test_alice_cannot_delete_bobs_key(live: Live) -> None:
    """Neither through her own path nor through his; it goes on working."""
    async with (
        live.caller(await live.products.token("alice")) as alice,
        live.caller(await live.products.token("bob")) as bob,
    ):
        key = (await bob.post(keys_path(BOB))).json()
        assert (await alice.delete(keys_path(ALICE, key["keyId"]))).status_code == 404
        assert (await alice.delete(keys_path(BOB, key["keyId"]))).status_code == 403
        assert (await alice.get(keys_path(BOB))).status_code == 403
        assert await live.products.chat(key["keySecret"]) == 200


async def test_tokens_of_other_kinds(live: Live) -> None:
    """On behalf of alice works, a service token works, a plugin alone is refused, a limited token is none."""
    bearer = {"Authorization": f"Bearer {await live.products.token('alice')}"}

    async def issued(kind: str) -> str:
        return str((await live.products.backstage.get(f"/api/tokens/{kind}", headers=bearer)).json()["token"])

    async with live.caller(await issued("on-behalf-of")) as on_behalf:
        assert (await on_behalf.get(user_path(ALICE))).json()["userId"] == ALICE
        assert (await on_behalf.get(user_path(BOB))).status_code == 403
    async with live.caller(SERVICE_TOKEN) as service:
        assert (await service.get(user_path(ALICE))).status_code == 200
    for kind, status in (("service", 403), ("limited", 401), ("on-behalf-of?target=catalog", 401)):
        async with live.caller(await issued(kind)) as refused:
            assert (await refused.get(user_path(ALICE))).status_code == status


async def test_through_backstages_own_proxy(live: Live) -> None:
    """A browser that stays on Backstage's origin: the proxy passes token and encoded path through."""
    proxied = f"/api/proxy/litellm-orchestrator/users/{user_path(ALICE).rpartition('/')[2]}/keys"
    async with live.caller(await live.products.token("alice"), origin=str(live.products.backstage.base_url)) as browser:
        key = (await browser.post(proxied)).json()
        assert key["userId"] == ALICE
        assert [row["token"] for row in (await browser.get(proxied)).json()["keys"]] == [key["keyId"]]
        assert (await browser.delete(f"{proxied}/{key['keyId']}")).status_code == 204


async def test_fifty_first_requests(live: Live) -> None:
    """Alice opens fifty pages at once before she has a user: all are answered."""
    token = await live.products.token("alice")
    async with httpx.AsyncClient(
        base_url=live.running.origin, headers={"Authorization": f"Bearer {token}"}, timeout=60
    ) as alice:
        answers = await asyncio.gather(*(alice.get(keys_path(ALICE)) for _ in range(50)))
    live.products.narrate(f"  50 x GET …/keys -> {sorted({answer.status_code for answer in answers})}")
    assert {answer.status_code for answer in answers} == {200}


async def test_readiness(live: Live) -> None:
    """Both neighbours are up, and the service says so."""
    async with live.caller(None) as probe:
        ready = await probe.get("/.backstage/health/v1/readiness")
    assert ready.json() == {
        "status": "ok",
        "dependencies": {"litellm": "up", "backstage": "up", "database": "up"},
        "circuits": {"litellm": "closed", "backstage": "closed"},
    }
