"""People whose names are not of letters and digits: from their token to the day they leave."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from standalone.backstage import BackstageStandIn
from standalone.catalog import MEMBERS
from standalone.litellm import LiteLLMStandIn
from tests.conftest import BASE, BOB, Service

NAMES = [
    "alice@example.com", "alice+lab@example.com", "\u00fcnal", "\u738b\u5c0f\u660e", "o'brien", "a:b", "100%", "keys",
    "\u03bf\u03b4\u03bf\u03c2", "i\u0307nci", "\U0001f600", "...", "-", "%2f", "a?b#c",
]  # fmt: skip


def path_of(user_id: str) -> str:
    return f"{BASE}/users/{quote(user_id, safe='')}"


@pytest.mark.parametrize("name", NAMES)
async def test_a_genuine_token_of_any_name(service: Service, backstage: BackstageStandIn, name: str) -> None:
    """Signs in, creates the user and a key, and is found by an admin, in a list and in the audit log."""
    user_id = f"user:default/{name}"
    backstage.org.users[user_id] = {MEMBERS}
    them, bob = service.signed_in(user_id), service.signed_in(BOB)
    assert (await them.get(f"{BASE}/me")).json()["subject"] == user_id
    created = (await them.post(f"{path_of(user_id)}/keys")).json()
    assert created["userId"] == user_id
    page = (await bob.get(f"{BASE}/users", params={"query": name})).json()
    assert [row["userId"] for row in page["users"]] == [user_id]
    for path in (user_id, user_id.upper()) if user_id.upper().lower() == user_id else (user_id,):
        assert (await bob.get(path_of(path))).json()["userId"] == user_id
    events = (await bob.get(f"{BASE}/audit", params={"target": user_id, "actor": user_id})).json()["events"]
    assert [row["action"] for row in events] == ["key.create", "user.create"]
    assert (await bob.delete(f"{path_of(user_id)}/keys/{created['keyId']}")).status_code == 204


@pytest.mark.parametrize("name", ["Alice", "\u212aarl", "\u00dcnal", "\u039f\u0394\u039f\u03a3"])
async def test_one_person_is_one_user(
    service: Service, backstage: BackstageStandIn, litellm: LiteLLMStandIn, name: str
) -> None:
    """However a token or a path spells them."""
    user_id = f"user:default/{name.lower()}"
    backstage.org.users[user_id] = {MEMBERS}
    for spelled in (f"user:default/{name}", user_id):
        client = service.client(backstage.user_token(user_id, sub=spelled))
        assert (await client.post(f"{path_of(spelled)}/keys")).json()["userId"] == user_id
    assert list(litellm.rows.users) == [user_id]


@pytest.mark.parametrize("name", ["a,b", "a b", "..", "", "a/b", "\u0378", "x" * 255, "\u2028"])
async def test_what_is_no_name_is_no_token(service: Service, backstage: BackstageStandIn, name: str) -> None:
    """401: nobody could be off-boarded who could not be named."""
    answer = await service.client(backstage.user_token("user:default/alice", sub=f"user:default/{name}")).get(
        f"{BASE}/me"
    )
    assert (answer.status_code, answer.json()["error"]["message"]) == (401, "The token's sub is not a user entity ref")
