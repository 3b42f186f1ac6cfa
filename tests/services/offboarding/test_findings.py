"""What a run leaves as it is, and an admin should look at."""

from __future__ import annotations

from typing import Any

import pytest

from domain.owners import CatalogOwner, KnownSecret, Owner, OwnerEntry
from services.offboarding.findings import hidden_groups, known_secrets, unmanaged_owners
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


def owned_by(*refs: str, name: str = "checkout") -> Owner:
    entity = CatalogOwner(f"component:default/{name}", "uid", name, frozenset(refs))
    return Owner(entity, OwnerEntry("component", ()))


async def unmanaged(organisation: Organisation, *owners: Owner, people: frozenset[str]) -> list[tuple[str, str]]:
    async def each_page() -> None:
        pass

    catalog = organisation.cleanup.snapshots.catalog
    found = await unmanaged_owners(catalog, owners, people, each_page)
    return [(row.user_id, row.message) for row in found]


@pytest.mark.parametrize(("people", "is_unmanaged"), [({"m0"}, False), ({"boss"}, False), ({"nobody"}, True)])
async def test_one_of_several_managers_is_enough(
    organisation: Organisation, people: set[str], *, is_unmanaged: bool
) -> None:
    """A component of a group and a person is unmanaged if neither is or has anybody with a role."""
    owner = owned_by(MEMBERS, organisation.ref("boss"))
    found = await unmanaged(organisation, owner, people=frozenset(map(organisation.ref, people)))
    message = f"Nobody with a role manages it ({MEMBERS}, user:default/boss); give it to a group with members, or"
    assert [(ref, text.removesuffix(" off-board it")) for ref, text in found] == (
        [("component:default/checkout", message)] if is_unmanaged else []
    )


async def test_an_owner_that_belongs_to_nobody(organisation: Organisation) -> None:
    """The catalog may say so."""
    ((ref, message),) = await unmanaged(organisation, owned_by(), people=frozenset({organisation.ref("m0")}))
    assert (ref, "(no group)" in message) == ("component:default/checkout", True)


async def test_a_hundred_unmanaged_owners_are_named(organisation: Organisation) -> None:
    """However many there are, each group is asked for once."""
    organisation.to_backstage.requests.clear()
    owners = [owned_by("group:default/gone", name=f"n{number:03}") for number in range(102)]
    found = await unmanaged(organisation, *owners, people=frozenset({organisation.ref("m0")}))
    assert [ref for ref, _ in found] == [owner.entity.ref for owner in owners[:100]]
    assert len(organisation.to_backstage.requests) == 1


def test_a_hundred_hidden_groups_are_named() -> None:
    """The first by name."""
    hidden = {f"group:default/g{number:03}": ["group:default/child"] for number in reversed(range(101))}
    assert [row.user_id for row in hidden_groups(hidden)] == sorted(hidden)[:100]


def test_a_hundred_known_secrets_are_named() -> None:
    """The newest; a key without a name by its id."""
    known = [KnownSecret("user:default/m0", MEMBERS, f"h{n}", f"key_{n}", n * "a" or None, 0) for n in range(101)]
    found = known_secrets(known)
    assert (len(found), {(row.kind, row.user_id) for row in found}) == (100, {("knownSecret", "user:default/m0")})
    assert [row.message for row in found[:2]] == [
        f"They received the secret of the key {name} of {MEMBERS}; rotate it" for name in ("h0", "a")
    ]
