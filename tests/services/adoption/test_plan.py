"""The plan: who is whose, and who is left as they are, with the reason."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from domain.adoption import AdoptionOrder
from standalone.backstage import BackstageStandIn
from standalone.catalog import MEMBERS
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BOB, CAROL, MakeService
from tests.services.offboarding.conftest import MakeOrganisation
from tests.services.offboarding.conftest import make_organisation as _make_organisation
from tests.support.adoption import LIMITS, OLD, add_account, adopted, alice_was_there, conflicts_in, planned
from tests.support.upstreams import Overriding

make_organisation = _make_organisation
UUID = "0b0e7a0e-6f3c-4c0a-9c3e-2f1f7a1d9b11"


async def test_a_dry_run_says_all_and_changes_nothing(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Who, which keys, which limits and spend; ids and addresses are compared without regard to case."""
    secrets = alice_was_there(litellm)
    add_account(litellm, UUID, user_email="bob@EXAMPLE.com", keys=1, spend=0.5)
    before = repr((litellm.rows.users, litellm.rows.keys))
    report = await planned(bob)
    assert (report["outcome"], report["dryRun"], report["by"], report["done"]) == ("planned", True, "email", None)
    alices, bobs = report["plan"]["entries"]
    assert alices == {
        "userId": ALICE, "account": OLD, "match": "email", "keys": sorted(secrets), "spend": 3.5,
        "models": ["gpt-fake"], "maxBudget": 10, "budgetDuration": "30d", "tpmLimit": 500, "rpmLimit": 50,
        "maxParallelRequests": 4,
    }  # fmt: skip
    assert (bobs["userId"], bobs["account"], len(bobs["keys"]), bobs["maxBudget"]) == (BOB, UUID, 1, None)
    assert repr((litellm.rows.users, litellm.rows.keys)) == before


async def test_who_is_nobodys(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Other people's accounts, and those of people in neither group, are counted and left; refs are served already."""
    for user_id, email in (("svc-ci", None), (UUID, "someone@elsewhere.org"), ("carols", "carol@example.com")):
        add_account(litellm, user_id, user_email=email, keys=1)
    add_account(litellm, "User:Default/Carol", keys=1)
    add_account(litellm, ALICE, keys=1, user_email="bob@example.com")
    report = await planned(bob)
    assert (report["plan"]["entries"], report["plan"]["conflicts"]) == ([], [])
    assert report["plan"]["unmatched"] == 4


async def test_two_accounts_of_one_person(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Neither is adopted: nobody knows which limits are theirs."""
    for user_id in (OLD, "User:default/Alice"):
        add_account(litellm, user_id, keys=1)
    report = await planned(bob)
    assert conflicts_in(report) == [(OLD, ALICE, "twoAccounts"), ("User:default/Alice", ALICE, "twoAccounts")]
    assert f"{OLD} may be {ALICE}'s too" in report["plan"]["conflicts"][1]["message"]
    assert report["plan"]["entries"] == []


@pytest.mark.parametrize("other", [BOB, CAROL], ids=["both in the groups", "one of them is in no group"])
async def test_an_address_that_two_have(
    bob: httpx.AsyncClient, litellm: LiteLLMStandIn, backstage: BackstageStandIn, other: str
) -> None:
    """It is nobody's, also where only one of the two is in a group: the account may be the other's."""
    backstage.org.profiles[other] = {"email": "alice@example.com "}
    add_account(litellm, keys=1)
    report = await planned(bob)
    assert (conflicts_in(report), report["plan"]["entries"]) == ([(OLD, None, "sharedAddress")], [])


async def test_an_id_and_an_address_of_two_people(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Nobody knows which of the two it is."""
    add_account(litellm, OLD, user_email="bob@example.com", keys=1)
    report = await planned(bob)
    assert (conflicts_in(report), report["plan"]["entries"]) == ([(OLD, None, "sharedAddress")], [])


COLUMNS: dict[str, tuple[dict[str, Any], str]] = {
    "a proxy admin": ({"user_role": "proxy_admin"}, "role"),
    "a model's budget": ({"model_max_budget": {"gpt-fake": {"budget_limit": 1}}}, "settings"),
    "a policy": ({"policies": ["strict"]}, "settings"),
    "an organisation": ({"organization_memberships": [{"organization_id": "o"}]}, "settings"),
    "a permission": ({"object_permission_id": "p"}, "settings"),
    "an odd number": ({"max_parallel_requests": "4"}, "settings"),
    "an odd spend": ({"spend": "much"}, "odd"),
    "an odd limit": ({"tpm_limit": "5"}, "odd"),
    "a time that LiteLLM fails to show": ({"created_at": "12026-01-01T00:00:00Z"}, "odd"),
}


@pytest.mark.parametrize("case", COLUMNS)
async def test_what_cannot_be_carried_over(bob: httpx.AsyncClient, litellm: LiteLLMStandIn, case: str) -> None:
    """Is a conflict: nobody gets more, or other things, than they had."""
    columns, kind = COLUMNS[case]
    add_account(litellm, keys=1, **columns)
    report = await planned(bob)
    if case == "a time that LiteLLM fails to show":
        assert (report["outcome"], report["plan"]) == ("failed", None)
        assert report["reason"] == "LiteLLM does not show 1 of its users"
    else:
        assert (conflicts_in(report), report["plan"]["entries"]) == ([(OLD, ALICE, kind)], [])


async def test_a_row_that_is_older_than_the_column(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Has no time of creation, and is adopted all the same."""
    add_account(litellm, keys=1, created_at=None)
    assert [row["userId"] for row in (await planned(bob))["plan"]["entries"]] == [ALICE]


async def test_keys_that_stop_it(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """One in a team, and one that has no hash."""
    add_account(litellm, keys=1)
    litellm.rows.add_key({"user_id": OLD, "team_id": "search"})
    row, _ = litellm.rows.add_key({"user_id": OLD})
    litellm.rows.keys["sk-odd"] = litellm.rows.keys.pop(row["token"]) | {"token": "sk-odd"}
    report = await planned(bob)
    assert conflicts_in(report) == [(OLD, ALICE, "odd"), (OLD, ALICE, "teamKey")]
    assert "sk-odd" not in repr(report)


async def test_an_odd_key_of_who_was_adopted(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Stops what is left of their account: LiteLLM does not show all that they have."""
    alice_was_there(litellm)
    await adopted(bob)
    litellm.rows.add_key({"user_id": OLD})
    row, _ = litellm.rows.add_key({"user_id": ALICE})
    litellm.rows.keys["sk-odd"] = litellm.rows.keys.pop(row["token"]) | {"token": "sk-odd"}
    report = await planned(bob)
    assert (conflicts_in(report), report["plan"]["entries"]) == ([(OLD, ALICE, "odd")], [])


OWNERS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "equal": (LIMITS, []),
    "with a key": (LIMITS | {"keys": 1}, ["ownerHasKeys"]),
    "with a key in a team": (LIMITS, ["ownerHasKeys"]),
    "with a larger budget": (LIMITS | {"max_budget": 11.0}, ["ownerHasOtherLimits"]),
    "without a limit": ({}, ["ownerHasOtherLimits"]),
    "an admin of LiteLLM": (LIMITS | {"user_role": "proxy_admin"}, ["role"]),
    "odd": (LIMITS | {"rpm_limit": "x"}, ["odd", "ownerHasOtherLimits"]),
}


@pytest.mark.parametrize("case", OWNERS)
async def test_a_user_of_the_ref(bob: httpx.AsyncClient, litellm: LiteLLMStandIn, case: str) -> None:
    """Who exists already is in the way, unless they have no keys and the same limits."""
    alice_was_there(litellm)
    columns, kinds = OWNERS[case]
    add_account(litellm, ALICE, **columns)
    if case == "with a key in a team":
        litellm.rows.add_key({"user_id": ALICE, "team_id": "search"})
    report = await planned(bob)
    assert [kind for _, _, kind in conflicts_in(report)] == kinds
    assert len(report["plan"]["entries"]) == (not kinds)


@pytest.mark.parametrize("leaving", ["user:default/m0", "User:Default/M0"])
async def test_somebody_who_is_being_off_boarded(make_organisation: MakeOrganisation, leaving: str) -> None:
    """Neither as the owner nor as the account: the off-boarding goes on until it has ended."""
    organisation = make_organisation()
    organisation.leave("m0")
    organisation.litellm.rows.users[leaving] = organisation.litellm.rows.users.pop("user:default/m0") | {
        "user_id": leaving
    }
    await organisation.run()
    organisation.join("m0")
    adoption = organisation.orchestrator.adoption
    assert adoption is not None
    if leaving == "user:default/m0":
        add_account(organisation.litellm, "User:Default/M0", keys=1)
    report = await adoption.plan(await adoption.begin("test", AdoptionOrder(), None))
    assert report.plan is not None
    assert "offboarding" in [row.kind for row in report.plan.conflicts]
    assert report.plan.entries == ()


async def test_all_of_litellms_users_are_read(
    bob: httpx.AsyncClient, litellm: LiteLLMStandIn, backstage: BackstageStandIn
) -> None:
    """Also behind the first pages: the plan has everybody once."""
    for number in range(250):
        backstage.org.users[f"user:default/p{number:03}"] = {MEMBERS}
        add_account(litellm, f"User:default/p{number:03}")
    report = await planned(bob, by="spelling")
    assert [row["userId"] for row in report["plan"]["entries"]] == [f"user:default/p{n:03}" for n in range(250)]


FAILING = httpx.Response(503, json={"error": {"name": "ServiceUnavailableError"}})


@pytest.mark.parametrize("path", ["/key/list", "/user/list", "/api/catalog/entities/by-query"])
async def test_a_plan_is_complete_or_none(
    make_service: MakeService, litellm: LiteLLMStandIn, backstage: BackstageStandIn, path: str
) -> None:
    """A page of LiteLLM or of the catalog that does not come, or is not whole, is a failure."""
    add_account(litellm, keys=1)
    is_catalog = path.startswith("/api")
    inner = httpx.ASGITransport(backstage.app if is_catalog else litellm.app)
    wire = Overriding(inner, {path: _truncated if is_catalog else lambda _: FAILING})
    service = make_service(ports={"backstage" if is_catalog else "litellm": wire})
    report = await planned(service.signed_in(BOB))
    assert (report["outcome"], report["plan"]) == ("failed", None)
    assert report["reason"]


def _truncated(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"items": [], "totalItems": 1, "pageInfo": {}})


async def test_the_hash_covers_what_would_be_done(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """The same state has the same hash; a key, a limit, an option or a person more has another."""
    alice_was_there(litellm)
    seen = [(await planned(bob))["plan"]["hash"]]
    assert (await planned(bob))["plan"]["hash"] == seen[0]
    litellm.rows.users[OLD]["spend"] = 9.0
    assert (await planned(bob))["plan"]["hash"] == seen[0]
    seen.append((await planned(bob, deleteEmptied=True))["plan"]["hash"])
    litellm.rows.add_key({"user_id": OLD})
    seen.append((await planned(bob))["plan"]["hash"])
    litellm.rows.users[OLD]["rpm_limit"] = 51
    seen.append((await planned(bob))["plan"]["hash"])
    add_account(litellm, "User:default/Bob")
    seen.append((await planned(bob))["plan"]["hash"])
    assert len({*seen}) == 5
    assert (await adopted(bob, seen[-1]))["outcome"] == "done"


async def test_the_hash_covers_which_account_is_whose(
    bob: httpx.AsyncClient, litellm: LiteLLMStandIn, backstage: BackstageStandIn
) -> None:
    """Another account of the same person, the same one of another person, and an owner who has a user by now."""
    add_account(litellm, UUID, user_email="alice@example.com")
    seen = [(await planned(bob))["plan"]["hash"]]
    add_account(litellm, ALICE)
    seen.append((await planned(bob))["plan"]["hash"])
    del litellm.rows.users[ALICE]
    litellm.rows.users[UUID]["user_email"] = "bob@example.com"
    seen.append((await planned(bob))["plan"]["hash"])
    del litellm.rows.users[UUID]
    add_account(litellm)
    report = await planned(bob)
    assert [row["userId"] for row in report["plan"]["entries"]] == [ALICE]
    assert len({*seen, report["plan"]["hash"]}) == 4
