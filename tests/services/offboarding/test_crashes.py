"""A kill between any two steps is repaired by the next run."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from domain.errors import BusyError, ConflictError
from domain.offboarding import Step
from state.lease import LeaseLostError
from tests.services.offboarding.conftest import MakeOrganisation
from tests.support.organisation import AT_ONCE, LEASE, Crash, Organisation

_MOST_REQUESTS = 40


async def killed(organisation: Organisation, where: str, number: int) -> bool:
    """Starts a run and kills it before request `number`, or after change `number`. Returns whether it got that far.

    A kill after LiteLLM was only read leaves the same as one before.
    """
    organisation.clock.advance(360)
    organisation.to_litellm.requests.clear()
    setattr(organisation.to_litellm, f"crash_{where}", number)
    try:
        await organisation.run_as(await organisation.cleanup.take(None))
    except Crash:
        return True
    finally:
        setattr(organisation.to_litellm, f"crash_{where}", None)
    return False


def two_leave(organisation: Organisation) -> None:
    """m0 with three keys, one of them blocked by somebody else; m1 with one."""
    gone = organisation.leave("m0")
    organisation.mint(gone)
    theirs = organisation.mint(gone)
    organisation.litellm.rows.update_key(theirs, {"blocked": True, "metadata": {"by": "somebody else"}})
    organisation.leave("m1")


def somebody_elses(organisation: Organisation) -> list[str]:
    return [token for token, row in organisation.litellm.rows.keys.items() if row["metadata"].get("by")]


@pytest.mark.parametrize("where", ["before", "after_change"])
@pytest.mark.parametrize("ending", ["they stay away", "they come back"])
async def test_killed_while_blocking(make_organisation: MakeOrganisation, where: str, ending: str) -> None:
    """At every step: the users are off-boarded, or get exactly the keys back that this service blocked."""
    for number in range(_MOST_REQUESTS):
        organisation = make_organisation(members=6, cleanup=AT_ONCE)
        two_leave(organisation)
        if not await killed(organisation, where, number):
            assert number == (10 if where == "before" else 3)
            await organisation.orchestrator.aclose()
            return
        await organisation.restart()
        if ending == "they stay away":
            await organisation.run()
            report = await organisation.run()
            assert report["outcome"] == "done"
            assert sorted(organisation.litellm.rows.users) == [
                organisation.ref(name) for name in ("boss", "m2", "m3", "m4", "m5")
            ]
        else:
            organisation.join("m0")
            organisation.join("m1")
            assert (await organisation.run())["outcome"] == "done"
            blocked = [
                token
                for ref in organisation.litellm.rows.users
                for token, is_so in organisation.keys(ref).items()
                if is_so
            ]
            assert blocked == somebody_elses(organisation)
        await forget(organisation)
    pytest.fail("a run of two leavers never came to its end")


@pytest.mark.parametrize("where", ["before", "after_change"])
@pytest.mark.parametrize("second", [two_leave, lambda organisation: [organisation.join(name) for name in ("m0", "m1")]])
async def test_killed_while_deleting_or_restoring(
    make_organisation: MakeOrganisation, where: str, second: Callable[[Organisation], object]
) -> None:
    """At every step of the second run: the third completes it."""
    for number in range(_MOST_REQUESTS):
        organisation = make_organisation(members=6, cleanup=AT_ONCE)
        two_leave(organisation)
        await organisation.run()
        if second is not two_leave:
            second(organisation)
        away = second is two_leave
        if not await killed(organisation, where, number):
            changes, requests = (2, 7) if away else (3, 8)
            assert number == (requests if where == "before" else changes)
            await organisation.orchestrator.aclose()
            return
        await organisation.restart()
        assert (await organisation.run())["outcome"] == "done"
        assert ("user:default/m0" in organisation.litellm.rows.users) is not away
        blocked = [
            token for ref in organisation.litellm.rows.users for token, is_so in organisation.keys(ref).items() if is_so
        ]
        assert blocked == somebody_elses(organisation)
        plan = (await organisation.dry_run()).plan
        assert plan is not None
        assert plan.entries == ()
        await forget(organisation)
    pytest.fail("the second run never came to its end")


async def forget(organisation: Organisation) -> None:
    """The next organisation starts with an empty database."""
    await organisation.orchestrator.aclose()
    (organisation.folder / "state.sqlite3").unlink()


async def test_a_killed_run_is_marked_as_died(organisation: Organisation) -> None:
    """By the next run, once the lease has expired and not before."""
    organisation.leave("m0")
    assert await killed(organisation, "before", 1)
    organisation.clock.advance(LEASE - 2)
    with pytest.raises(ConflictError):
        await organisation.cleanup.take(None)
    await organisation.restart()
    assert (await organisation.run())["outcome"] == "done"


async def test_a_holder_that_lost_its_lease_changes_nothing_more(organisation: Organisation) -> None:
    """Another replica took over, so the first one stops before its next step."""
    gone = organisation.leave("m0")
    asleep = await organisation.cleanup.take(None)
    organisation.clock.advance(LEASE)
    other = await organisation.cleanup.take(None)
    report = await organisation.run_as(asleep)
    assert (report.outcome, report.reason) == ("failed", "Another replica took over")
    assert organisation.to_litellm.changes == []
    result = (await organisation.run_as(other)).result
    assert result is not None
    assert result.users[Step.BLOCK] == [gone]


async def test_a_large_group_does_not_outlast_the_lease(make_organisation: MakeOrganisation) -> None:
    """The lease is renewed between the pages, however long they take together."""
    organisation = make_organisation(members=2)
    organisation.leave("m0")
    people = [{"kind": "User", "metadata": {"name": name}} for name in ("m1", "boss", "x", "y")]
    held = await organisation.cleanup.take(None)
    lives: list[float] = []

    def slow_page(request: httpx.Request) -> httpx.Response:
        organisation.clock.advance(LEASE * 0.7)
        number = int(request.url.params.get("cursor", "0"))
        page = {"nextCursor": str(number + 1)} if number + 1 < len(people) else {}
        return httpx.Response(200, json={"items": [people[number]], "totalItems": len(people), "pageInfo": page})

    async def still_ours() -> None:
        # One that ran out could still be renewed while nobody wants it; here somebody always does.
        assert (await organisation.lease.schedule()).running
        await organisation.lease.renew(held)
        lives.append(organisation.clock())

    organisation.to_backstage.answers["/api/catalog/entities/by-query"] = slow_page
    assert organisation.orchestrator.foundation.catalog is not None
    await still_ours()
    await organisation.orchestrator.foundation.catalog.members_of("group:default/litellm-users", still_ours)
    assert len(lives) == len(people)


async def test_a_run_that_reads_for_long_keeps_its_lease(organisation: Organisation) -> None:
    """Another replica that wants to run meanwhile gets no lease, however slowly LiteLLM answers."""
    gone = organisation.leave("m0")
    inner, wanted = organisation.to_litellm._inner, []

    async def slow(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/user/list" or (
            request.url.path == "/key/list" and "user_id" not in request.url.params
        ):
            organisation.clock.advance(LEASE * 0.7)
            with pytest.raises(BusyError):
                await organisation.lease.acquire()
            wanted.append(request.url.path)
        return await inner.handle_async_request(request)

    organisation.to_litellm._inner = httpx.MockTransport(slow)
    assert (await organisation.run())["done"]["blocked"] == [gone]
    assert len(wanted) >= 3


async def test_only_the_holder_may_write(organisation: Organisation) -> None:
    """The database refuses a write by a former holder."""
    former = await organisation.cleanup.take(None)
    organisation.clock.advance(LEASE)
    await organisation.cleanup.take(None)
    with pytest.raises(LeaseLostError):
        await organisation.offboardings.begin(former, "user:default/m0", confirmed_by=None)
    assert await organisation.offboardings.all() == {}
