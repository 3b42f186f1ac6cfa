"""A kill between any two steps is repaired by the next run."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from domain.errors import ConflictError
from domain.offboarding import Step
from state.lease import LeaseLostError
from tests.services.offboarding.conftest import MakeOrganization
from tests.support.organization import LEASE, Crash, Organization

_MOST_REQUESTS = 40


async def killed(organization: Organization, where: str, number: int) -> bool:
    """Starts a run and kills it before or after request `number`. Returns whether it got that far."""
    organization.clock.advance(360)
    organization.to_litellm.requests.clear()
    setattr(organization.to_litellm, f"crash_{where}", number)
    try:
        await organization.cleanup.run(await organization.cleanup.take(None), "schedule")
    except Crash:
        return True
    finally:
        setattr(organization.to_litellm, f"crash_{where}", None)
    return False


def two_leave(organization: Organization) -> None:
    """m0 with three keys, one of them blocked by somebody else; m1 with one."""
    gone = organization.leave("m0")
    organization.mint(gone)
    theirs = organization.mint(gone)
    organization.litellm.rows.update_key(theirs, {"blocked": True, "metadata": {"by": "somebody else"}})
    organization.leave("m1")


def somebody_elses(organization: Organization) -> list[str]:
    return [token for token, row in organization.litellm.rows.keys.items() if row["metadata"].get("by")]


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("ending", ["they stay away", "they come back"])
async def test_killed_while_blocking(make_organization: MakeOrganization, where: str, ending: str) -> None:
    """At every step: the users are removed, or get exactly the keys back that this service blocked."""
    for number in range(_MOST_REQUESTS):
        organization = make_organization(members=6)
        two_leave(organization)
        if not await killed(organization, where, number):
            assert number > 5
            await organization.orchestrator.aclose()
            return
        await organization.restart()
        if ending == "they stay away":
            await organization.run()
            report = await organization.run()
            assert report["outcome"] == "done"
            assert sorted(organization.litellm.rows.users) == [
                organization.ref(name) for name in ("boss", "m2", "m3", "m4", "m5")
            ]
        else:
            organization.join("m0")
            organization.join("m1")
            assert (await organization.run())["outcome"] == "done"
            blocked = [
                token
                for ref in organization.litellm.rows.users
                for token, is_so in organization.keys(ref).items()
                if is_so
            ]
            assert blocked == somebody_elses(organization)
        await forget(organization)
    pytest.fail("a run of two leavers never came to its end")


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("second", [two_leave, lambda organization: [organization.join(name) for name in ("m0", "m1")]])
async def test_killed_while_deleting_or_restoring(
    make_organization: MakeOrganization, where: str, second: Callable[[Organization], object]
) -> None:
    """At every step of the second run: the third completes it."""
    for number in range(_MOST_REQUESTS):
        organization = make_organization(members=6)
        two_leave(organization)
        await organization.run()
        if second is not two_leave:
            second(organization)
        if not await killed(organization, where, number):
            assert number > 3
            await organization.orchestrator.aclose()
            return
        await organization.restart()
        assert (await organization.run())["outcome"] == "done"
        away = second is two_leave
        assert ("user:default/m0" in organization.litellm.rows.users) is not away
        blocked = [
            token for ref in organization.litellm.rows.users for token, is_so in organization.keys(ref).items() if is_so
        ]
        assert blocked == somebody_elses(organization)
        plan = (await organization.cleanup.plan("test")).plan
        assert plan is not None
        assert plan.entries == ()
        await forget(organization)
    pytest.fail("the second run never came to its end")


async def forget(organization: Organization) -> None:
    """The next organization starts with an empty database."""
    await organization.orchestrator.aclose()
    (organization.folder / "state.sqlite3").unlink()


async def test_a_killed_run_is_marked_as_died(organization: Organization) -> None:
    """By the next run, once the lease has expired and not before."""
    organization.leave("m0")
    assert await killed(organization, "before", 1)
    organization.clock.advance(LEASE - 2)
    with pytest.raises(ConflictError):
        await organization.cleanup.take(None)
    await organization.restart()
    assert (await organization.run())["outcome"] == "done"


async def test_a_holder_that_lost_its_lease_changes_nothing_more(organization: Organization) -> None:
    """Another replica took over, so the first one stops before its next step."""
    gone = organization.leave("m0")
    asleep = await organization.cleanup.take(None)
    organization.clock.advance(LEASE)
    other = await organization.cleanup.take(None)
    report = await organization.cleanup.run(asleep, "schedule")
    assert (report.outcome, report.reason) == ("failed", "Another replica took over")
    assert organization.to_litellm.changes == []
    result = (await organization.cleanup.run(other, "schedule")).result
    assert result is not None
    assert result.users[Step.BLOCK] == [gone]


async def test_a_large_group_does_not_outlast_the_lease(make_organization: MakeOrganization) -> None:
    """The lease is renewed between the pages, however long they take together."""
    organization = make_organization(members=2)
    organization.leave("m0")
    people = [{"kind": "User", "metadata": {"name": name}} for name in ("m1", "boss", "x", "y")]
    held = await organization.cleanup.take(None)
    lives: list[float] = []

    def slow_page(request: httpx.Request) -> httpx.Response:
        organization.clock.advance(LEASE * 0.7)
        number = int(request.url.params.get("cursor", "0"))
        page = {"nextCursor": str(number + 1)} if number + 1 < len(people) else {}
        return httpx.Response(200, json={"items": [people[number]], "totalItems": len(people), "pageInfo": page})

    async def still_ours() -> None:
        # One that ran out could still be renewed while nobody wants it; here somebody always does.
        assert (await organization.lease.schedule()).running
        await organization.lease.renew(held)
        lives.append(organization.clock())

    organization.to_backstage.answers["/api/catalog/entities/by-query"] = slow_page
    assert organization.orchestrator.foundation.catalog is not None
    await still_ours()
    await organization.orchestrator.foundation.catalog.members_of("group:default/litellm-users", still_ours)
    assert len(lives) == len(people)


async def test_only_the_holder_may_write(organization: Organization) -> None:
    """The database refuses a write by a former holder."""
    former = await organization.cleanup.take(None)
    organization.clock.advance(LEASE)
    await organization.cleanup.take(None)
    with pytest.raises(LeaseLostError):
        await organization.offboardings.begin(former, "user:default/m0", confirmed=False)
    assert await organization.offboardings.all() == {}
