"""What a run leaves as it is, and an admin should look at."""

from __future__ import annotations

from typing import Any

from settings.model import DirectorySettings
from standalone.catalog import ADMINS, MEMBERS, TEAM_A
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, MakeService, Service, user_path
from tests.services.offboarding.conftest import MakeOrganisation
from tests.support.organisation import Organisation
from tests.support.requests import ended

FROM_SSO = "0a1b2c3d-4e5f-6789-abcd-ef0123456789"
TEAM_B = "group:default/team-b"


def of(report: Any, kind: str) -> list[str]:
    """The users or groups that the findings of a kind name."""
    return [row["userId"] for row in report["findings"] if row["kind"] == kind]


async def test_a_leaver_has_another_user_by_sso(organisation: Organisation) -> None:
    """The same address in any case: named as long as the leaver is there, and nothing happens to it."""
    rows = organisation.litellm.rows
    gone = organisation.leave("m0")
    rows.users[gone]["user_email"] = "m0@example.com"
    rows.users[organisation.ref("m1")]["user_email"] = "m1@example.com"
    rows.add_user({"user_id": FROM_SSO, "user_email": "M0@Example.com"})
    key = organisation.mint(FROM_SSO)
    for user_id, address in {"svc-ci": None, "of-a-member": "m1@example.com", "of-nobody": "x@example.com"}.items():
        rows.add_user({"user_id": user_id, "user_email": address})
    for _ in range(2):
        report = await organisation.run()
        assert of(report, "sameAddress") == [FROM_SSO]
        assert gone in report["findings"][0]["message"]
    assert rows.keys[key]["blocked"] is None
    rows.users[FROM_SSO]["user_email"] = None
    assert of(await organisation.run(), "sameAddress") == []


async def test_an_address_that_was_taken_before_the_leaver_came(service: Service) -> None:
    """LiteLLM has it once, with the user of its single sign-on; this service remembers whose it is."""
    service.litellm.rows.add_user({"user_id": FROM_SSO, "user_email": "alice@example.com"})
    await service.signed_in(ALICE).get(user_path(ALICE))
    assert service.litellm.rows.users[ALICE]["user_email"] is None
    service.backstage.org.users[ALICE] = set()
    report = (await service.signed_in(BOB).post(f"{BASE}/cleanup")).json()
    assert [row["userId"] for row in report["plan"]["entries"]] == [ALICE]
    assert of(report, "sameAddress") == [FROM_SSO]


async def test_an_address_stays_known_when_limits_change(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """Also where there are so many users that a dry run reads none of them again."""
    service = make_service(directory=DirectorySettings(full_sweep_users=1))
    litellm.rows.add_user({"user_id": FROM_SSO, "user_email": "alice@example.com"})
    await service.signed_in(ALICE).get(user_path(ALICE))
    bob = service.signed_in(BOB)
    await bob.post(f"{BASE}/cleanup", json={"dryRun": False})
    await ended(bob)
    assert (await bob.patch(user_path(ALICE), json={"maxBudget": 7})).status_code == 200
    service.backstage.org.users[ALICE] = set()
    assert of((await bob.post(f"{BASE}/cleanup")).json(), "sameAddress") == [FROM_SSO]


async def test_a_leaver_in_two_spellings_neither_of_which_is_served(organisation: Organisation) -> None:
    """Only one of them can be renamed, so each is named with the other."""
    for user_id in ("user:default/Zoe", "user:default/ZOE"):
        organisation.add_user(user_id)
    report = await organisation.run()
    assert of(report, "twoSpellings") == ["user:default/ZOE", "user:default/Zoe"]
    assert of(report, "spelling") == []
    assert "user:default/Zoe" in report["findings"][0]["message"]


async def test_a_group_whose_child_groups_the_catalog_does_not_show(make_organisation: MakeOrganisation) -> None:
    """Their members seem to have left, so the group is named; one that is shown is enough for none."""
    organisation = make_organisation()
    organisation.org.groups |= {TEAM_A: MEMBERS, TEAM_B: MEMBERS}
    organisation.org.hidden |= {TEAM_A, TEAM_B}
    report = await organisation.run()
    assert of(report, "childGroups") == [MEMBERS]
    assert f"{TEAM_A}, {TEAM_B}" in report["findings"][0]["message"]
    organisation.org.hidden.remove(TEAM_B)
    assert of(await organisation.run(), "childGroups") == []


async def test_child_groups_that_do_not_count(make_organisation: MakeOrganisation) -> None:
    """Nobody is looked for in them, so nothing is missing."""
    organisation = make_organisation(include_nested_groups=False)
    organisation.org.groups |= {TEAM_A: MEMBERS, ADMINS: None}
    organisation.org.hidden.add(TEAM_A)
    assert of(await organisation.run(), "childGroups") == []
