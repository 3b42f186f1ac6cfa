"""Keys that LiteLLM makes for sign-ins to its own pages: in the lists of old releases, and hidden by later ones."""

from __future__ import annotations

import pytest

from domain.users import Tier
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, CAROL, MakeService, keys_path
from tests.support.keys import made, refusal, signed_in_there, tiered


@pytest.mark.parametrize("is_listed", [True, False])
async def test_a_sign_in_takes_no_room(make_service: MakeService, litellm: LiteLLMStandIn, *, is_listed: bool) -> None:
    """A user who signed in to LiteLLM's pages may have as many keys as before, and no more."""
    litellm.lists_sessions = is_listed
    alice = tiered(make_service, Tier(max_keys=2)).signed_in(ALICE)
    await made(alice)
    for _ in range(3):
        signed_in_there(litellm, ALICE)
    await made(alice)
    taken = (409, "The user has 2 keys; the tier userDefaults allows 2")
    assert await refusal(await alice.post(keys_path(ALICE))) == taken


async def test_a_sign_in_is_marked(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """In the list and alone, so that nobody takes it for a key of a program."""
    litellm.lists_sessions = True
    alice = make_service().signed_in(ALICE)
    key_id = await made(alice)
    session, _ = signed_in_there(litellm, ALICE)
    listed = (await alice.get(keys_path(ALICE))).json()["keys"]
    assert {row["token"]: row["isSession"] for row in listed} == {key_id: False, session: True}
    assert (await alice.get(keys_path(ALICE, session))).json()["isSession"] is True


async def test_a_leaked_sign_in_is_blocked(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """Also by a LiteLLM that lists it for nobody."""
    service = make_service()
    await made(service.signed_in(ALICE))
    session, secret = signed_in_there(litellm, ALICE)
    reported = await service.signed_in(CAROL).post(f"{BASE}/keys/report", json={"key": secret})
    assert (reported.status_code, litellm.rows.keys[session]["blocked"]) == (202, True)
