"""Auditors read everything that an admin reads, and change nothing."""

from __future__ import annotations

import pytest

from domain.identity import GroupRefs
from standalone.backstage import BackstageStandIn
from standalone.catalog import ADMINS, MEMBERS
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, MakeService, Service, keys_path, user_path

FRANK, AUDITORS = "user:default/frank", "group:default/auditors"
GROUPS = GroupRefs(allowed=(MEMBERS,), admin=(ADMINS,), auditor=(AUDITORS,))


@pytest.fixture
def audited(make_service: MakeService, backstage: BackstageStandIn) -> Service:
    """A service with auditors; frank is one."""
    backstage.org.users[FRANK], backstage.org.groups[AUDITORS] = {AUDITORS}, None
    return make_service(groups=GROUPS)


async def test_an_auditor_has_nothing_of_their_own(audited: Service, litellm: LiteLLMStandIn) -> None:
    """They get no user on first use and no key, and `GET /me` says what they may do."""
    frank = audited.signed_in(FRANK)
    me = (await frank.get(f"{BASE}/me")).json()
    assert (me["roles"], {row["scope"] for row in me["permissions"]}) == (["auditor"], {"any"})
    assert (await frank.get(user_path(FRANK))).status_code == 404
    assert (await frank.get(keys_path(FRANK))).json() == {"keys": []}
    refused = await frank.post(keys_path(FRANK), json={})
    assert (refused.status_code, refused.json()["message"]) == (
        403,
        "An auditor changes nothing; this takes a member of the allowed group, or an admin",
    )
    assert litellm.rows.users == {}


async def test_an_auditor_who_is_a_member_too(
    audited: Service, backstage: BackstageStandIn, litellm: LiteLLMStandIn
) -> None:
    """They have keys of their own, and still only read those of others."""
    backstage.org.users[FRANK].add(MEMBERS)
    frank, alice = audited.signed_in(FRANK), audited.signed_in(ALICE)
    assert (await frank.post(keys_path(FRANK), json={})).status_code == 201
    theirs = (await alice.post(keys_path(ALICE), json={})).json()["keyId"]
    assert (await frank.get(keys_path(ALICE, theirs))).status_code == 200
    assert (await frank.patch(keys_path(ALICE, theirs), json={"blocked": True})).status_code == 403
    assert litellm.rows.keys[theirs]["blocked"] is not True


async def test_an_auditor_sees_events_whole(audited: Service) -> None:
    """Also what a change of somebody else did, and the refusal of their own."""
    alice, frank = audited.signed_in(ALICE), audited.signed_in(FRANK)
    key_id = (await alice.post(keys_path(ALICE), json={})).json()["keyId"]
    await alice.patch(keys_path(ALICE, key_id), json={"maxBudget": 5})
    await frank.delete(keys_path(ALICE, key_id))
    denied, changed, *_ = (await frank.get(f"{BASE}/audit")).json()["events"]
    assert (denied["action"], denied["actor"], denied["outcome"]) == ("key.delete", FRANK, "denied")
    assert (changed["action"], changed["after"]["max_budget"]) == ("key.update", 5)


async def test_an_auditor_plans_and_confirms_nothing(audited: Service, litellm: LiteLLMStandIn) -> None:
    """A dry run changes nothing; its plan is for an admin to confirm."""
    litellm.rows.add_user({"user_id": "user:default/gone"})
    frank = audited.signed_in(FRANK)
    plan = (await frank.post(f"{BASE}/cleanup", json={"dryRun": True})).json()["plan"]
    assert [entry["userId"] for entry in plan["entries"]] == ["user:default/gone"]
    confirmed = await frank.post(f"{BASE}/cleanup", json={"dryRun": False, "planHash": plan["hash"]})
    assert (confirmed.status_code, confirmed.json()["message"]) == (403, "Only an admin may do this")
    assert (await frank.get(f"{BASE}/cleanup")).json()["running"] is False


async def test_an_auditor_who_left_the_members_is_off_boarded(audited: Service, litellm: LiteLLMStandIn) -> None:
    """Their role gives them no keys, so those they had as a member go."""
    litellm.rows.add_user({"user_id": FRANK})
    plan = (await audited.signed_in(FRANK).post(f"{BASE}/cleanup", json={"dryRun": True})).json()["plan"]
    assert [(entry["userId"], entry["action"]) for entry in plan["entries"]] == [(FRANK, "block")]


async def test_the_token_may_say_who_is_an_auditor(make_service: MakeService, backstage: BackstageStandIn) -> None:
    """Where no catalog is asked, the ownership in the token counts, as it does for members and admins."""
    service = make_service(groups=GROUPS, membership="token")
    frank = service.client(backstage.user_token(FRANK, ent=[FRANK, AUDITORS]))
    assert (await frank.get(f"{BASE}/users")).status_code == 200
    assert (await frank.delete(user_path(ALICE))).status_code == 403
