"""Keys for software with the real catalog and the real LiteLLM."""

from __future__ import annotations

import pytest

from tests.conftest import ALICE, BASE, keys_path, user_path
from tests.live.conftest import ASSISTANT, CHECKOUT, DAVE, TEAM_A, Live

pytestmark = pytest.mark.live

ABANDONED = "component:default/abandoned"


async def test_a_team_has_keys_for_its_component(live: Live) -> None:
    """The team of dave owns checkout: its first key creates the owner, and calls a model."""
    async with live.caller(await live.products.token("dave")) as dave:
        page = (await dave.get(f"{BASE}/users", params={"managedBy": "me"})).json()
        assert {row["userId"]: row["limits"]["maxBudget"] for row in page["candidates"]} == {
            CHECKOUT: 20.0,
            ASSISTANT: 20.0,
            TEAM_A: 10.0,
            "group:default/litellm-users": 10.0,
        }
        created = await dave.post(keys_path(CHECKOUT), json={"alias": "ci"})
        assert created.status_code == 201
        assert await live.products.chat(created.json()["keySecret"]) == 200
        user = (await dave.get(user_path(CHECKOUT))).json()
        assert (user["kind"], user["maxBudget"], user["tier"].split(" ")[0]) == ("component", 20, "component")
        assert user["entityUid"] is not None
        assert (await dave.post(keys_path(ABANDONED))).status_code == 403
    async with live.caller(await live.products.token("alice")) as alice:
        assert (await alice.get(keys_path(CHECKOUT))).status_code == 403
        assert (await alice.post(keys_path(ASSISTANT))).status_code == 201


async def test_a_key_moves_from_a_person_to_the_component(live: Live) -> None:
    """The secret goes on working, and counts for the component."""
    async with live.caller(await live.products.token("dave")) as dave:
        key = (await dave.post(keys_path(DAVE), json={"alias": "ci"})).json()
        moved = await dave.post(f"{keys_path(DAVE, key['keyId'])}/transfer", json={"owner": CHECKOUT})
        assert (moved.status_code, moved.json()["user_id"]) == (200, CHECKOUT)
        assert await live.products.chat(key["keySecret"]) == 200
        assert (await dave.get(keys_path(DAVE))).json()["keys"] == []
        assert [row["token"] for row in (await dave.get(keys_path(CHECKOUT))).json()["keys"]] == [key["keyId"]]
    async with live.caller(await live.products.token("bob")) as bob:
        known = (await bob.get(f"{user_path(DAVE)}/known-secrets")).json()
        assert [(row["owner"], row["keyId"]) for row in known["keys"]] == [(CHECKOUT, key["keyId"])]


async def test_another_uid_has_to_be_accepted(live: Live) -> None:
    """Nobody but an admin touches what was registered again; accepting takes the uid that the catalog has."""
    async with live.caller(await live.products.token("dave")) as dave:
        await dave.post(keys_path(CHECKOUT))
        uid = (await dave.get(user_path(CHECKOUT))).json()["entityUid"]
        async with live.caller(await live.products.token("bob")) as bob:
            refused = await bob.patch(user_path(CHECKOUT), json={"entityUid": "another"})
            assert (refused.status_code, uid in refused.text) == (409, True)
            accepted = await bob.patch(user_path(CHECKOUT), json={"entityUid": uid, "maxBudget": 30})
            assert (accepted.json()["entityUid"], accepted.json()["maxBudget"]) == (uid, 30)
            assert (await bob.get(user_path(ALICE))).status_code == 404
