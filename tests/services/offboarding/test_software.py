"""Groups and components that may have no keys any more."""

from __future__ import annotations

import httpx
import pytest

from services.offboarding.cleanup_report import report_as_json
from standalone.catalog import MEMBERS, Component
from state.figures import Figures
from tests.services.offboarding.conftest import MakeOrganisation
from tests.support.organisation import AT_ONCE, Organisation

TEAM = "group:default/team"


def component(name: str) -> str:
    return f"component:default/{name}"


@pytest.fixture
def organisation(make_organisation: MakeOrganisation) -> Organisation:
    """Three components of a team whose only member is m0, each with a key."""
    made = make_organisation(cleanup=AT_ONCE)
    made.org.groups[TEAM] = MEMBERS
    made.org.users["user:default/m0"].add(TEAM)
    made.org.components = {component(name): Component(TEAM) for name in ("a", "b", "c")}
    for ref in made.org.components:
        made.add_user(ref)
    return made


async def planned(organisation: Organisation) -> dict[str, tuple[str, str]]:
    plan = report_as_json(await organisation.dry_run())["plan"]
    return {row["userId"]: (row["action"], row["reason"]) for row in plan["entries"]}


async def test_a_component_that_is_gone_is_blocked_and_then_deleted(organisation: Organisation) -> None:
    """With its keys; the others keep theirs."""
    del organisation.org.components[component("a")]
    assert await planned(organisation) == {
        component("a"): ("block", "not in the catalog any more: their keys are blocked")
    }
    await organisation.run()
    assert organisation.blocked() == {component("a")}
    await organisation.run()
    assert component("a") not in organisation.litellm.rows.users
    assert component("b") in organisation.litellm.rows.users


async def test_a_component_that_no_entry_matches_any_more(organisation: Organisation) -> None:
    """Its type was changed: it goes, with that reason, and comes back exactly."""
    before = organisation.everything()
    organisation.org.components[component("a")] = Component(TEAM, type="library")
    assert (await planned(organisation))[component("a")][1].startswith("no entry of litellmOrchestrator.owners matches")
    await organisation.run()
    assert organisation.blocked() == {component("a")}
    organisation.org.components[component("a")] = Component(TEAM)
    report = await organisation.run()
    assert (report["done"]["restored"], organisation.blocked()) == ([component("a")], set())
    assert organisation.everything()["keys"].keys() == before["keys"].keys()


async def test_a_component_that_was_registered_anew_is_blocked_until_an_admin_accepts_it(
    organisation: Organisation,
) -> None:
    """Then the next run restores it."""
    organisation.org.uids[component("a")] = "anew"
    assert (await planned(organisation))[component("a")][1].startswith("registered again: an admin may accept its uid")
    await organisation.run()
    assert organisation.blocked() == {component("a")}
    await organisation.orchestrator.foundation.litellm.annotate_user(component("a"), "anew")
    await organisation.run()
    assert organisation.blocked() == set()


async def test_a_component_in_its_grace_period_still_says_why(make_organisation: MakeOrganisation) -> None:
    """An admin who looks at a later plan learns that its uid may be accepted."""
    organisation = make_organisation()
    organisation.org.components = {component("a"): Component(MEMBERS)}
    organisation.add_user(component("a"))
    organisation.org.uids[component("a")] = "anew"
    await organisation.run()
    action, reason = (await planned(organisation))[component("a")]
    assert action == "hold"
    assert reason.startswith("registered again: an admin may accept its uid; within the grace period until")


@pytest.mark.parametrize("gone", [1, 2, 3])
async def test_more_than_half_of_the_components_at_once_is_a_refusal(organisation: Organisation, gone: int) -> None:
    """Two of three are more than half: a rebuilt catalog has new uids for all, and takes nobody's keys."""
    await organisation.run()
    for ref in list(organisation.org.components)[:gone]:
        organisation.org.uids[ref] = "rebuilt"
    report = await organisation.run()
    assert (report["outcome"], len(organisation.blocked())) == (("done", 1) if gone == 1 else ("refused", 0))
    if gone > 1:
        assert "components with keys, less than half of the 3" in report["reason"]


async def test_an_incomplete_list_of_components_is_a_refusal(organisation: Organisation) -> None:
    """Nobody is blocked, nor are people who left."""
    organisation.leave("m1")

    def answer(request: httpx.Request) -> httpx.Response:
        is_of_software = "kind=component" in request.url.params["filter"]
        people = (
            [] if is_of_software else [{"kind": "User", "metadata": {"name": name}} for name in ("m0", "m2", "boss")]
        )
        return httpx.Response(200, json={"items": people, "totalItems": 3, "pageInfo": {}})

    organisation.to_backstage.answers["/api/catalog/entities/by-query"] = answer
    report = await organisation.run()
    assert (report["outcome"], "returned 0 of 3 entities" in report["reason"]) == ("refused", True)
    assert organisation.blocked() == set()


async def test_an_owner_that_nobody_manages_is_a_finding_and_stays(organisation: Organisation) -> None:
    """A team without members, one that does not exist, and one whose members have no role."""
    organisation.org.components[component("b")] = Component("group:default/gone")
    organisation.org.components[component("c")] = Component("group:default/others")
    organisation.org.groups["group:default/others"] = None
    organisation.org.users["user:default/visitor"] = {"group:default/others"}
    organisation.org.users["user:default/m0"].discard(TEAM)
    report = await organisation.run()
    unmanaged = {row["userId"] for row in report["findings"] if row["kind"] == "unmanaged"}
    assert (unmanaged, organisation.blocked()) == ({component(name) for name in ("a", "b", "c")}, set())
    figures = await Figures(organisation.orchestrator.foundation.database).read()
    assert figures.unmanaged_owners == 3


async def test_a_person_manages_what_the_catalog_says_is_theirs(organisation: Organisation) -> None:
    """One with a role is enough; what belongs to somebody without a role is a finding."""
    organisation.org.users["user:default/visitor"] = set()
    organisation.org.components[component("b")] = Component("user:default/m0")
    organisation.org.components[component("c")] = Component("user:default/visitor")
    report = await organisation.run()
    unmanaged = {row["userId"]: row["message"] for row in report["findings"] if row["kind"] == "unmanaged"}
    assert unmanaged.keys() == {component("c")}
    assert "(user:default/visitor)" in unmanaged[component("c")]


async def test_a_person_who_leaves_takes_no_key_of_software(organisation: Organisation) -> None:
    """Only their own; that nobody is left is a finding."""
    organisation.leave("m0")
    await organisation.run()
    assert organisation.blocked() == {"user:default/m0"}


async def test_software_that_this_service_did_not_create_is_left_alone(organisation: Organisation) -> None:
    """A user of LiteLLM with the ref of a group and no uid is a stranger, as before."""
    organisation.litellm.rows.add_user({"user_id": "group:default/elsewhere"})
    organisation.litellm.rows.add_key({"user_id": "group:default/elsewhere"})
    await organisation.run()
    assert organisation.blocked() == set()
