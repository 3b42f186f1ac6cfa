"""A kill between any two steps is repaired by the next run."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from domain.errors import ConflictError
from state.lease import LeaseLostError
from tests.services.offboarding.conftest import MakeCompany
from tests.support.organization import LEASE, Company, Crash

_MOST_REQUESTS = 40


async def killed(company: Company, where: str, number: int) -> bool:
    """Start a run and kill it before or after its request of that number. Whether it came that far."""
    company.clock.advance(360)
    company.to_litellm.requests.clear()
    setattr(company.to_litellm, f"crash_{where}", number)
    try:
        await company.cleanup.run(await company.cleanup.take(None), "schedule")
    except Crash:
        return True
    finally:
        setattr(company.to_litellm, f"crash_{where}", None)
    return False


def two_leave(company: Company) -> None:
    """m0 with three keys, one of them blocked by somebody else; m1 with one."""
    gone = company.leave("m0")
    company.mint(gone)
    theirs = company.mint(gone)
    company.litellm.rows.update_key(theirs, {"blocked": True, "metadata": {"by": "somebody else"}})
    company.leave("m1")


def somebody_elses(company: Company) -> list[str]:
    return [token for token, row in company.litellm.rows.keys.items() if row["metadata"].get("by")]


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("ending", ["they stay away", "they come back"])
async def test_killed_while_blocking(make_company: MakeCompany, where: str, ending: str) -> None:
    """At every step: they end up gone, or with exactly the keys back that this service blocked."""
    for number in range(_MOST_REQUESTS):
        company = make_company(members=6)
        two_leave(company)
        if not await killed(company, where, number):
            assert number > 5
            await company.parts.aclose()
            return
        await company.restart()
        if ending == "they stay away":
            await company.run()
            report = await company.run()
            assert report["outcome"] == "done"
            assert sorted(company.litellm.rows.users) == [
                company.ref(name) for name in ("boss", "m2", "m3", "m4", "m5")
            ]
        else:
            company.join("m0")
            company.join("m1")
            assert (await company.run())["outcome"] == "done"
            blocked = [
                token for ref in company.litellm.rows.users for token, is_so in company.keys(ref).items() if is_so
            ]
            assert blocked == somebody_elses(company)
        await forget(company)
    pytest.fail("a run of two leavers never came to its end")


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("second", [two_leave, lambda company: [company.join(name) for name in ("m0", "m1")]])
async def test_killed_while_deleting_or_restoring(
    make_company: MakeCompany, where: str, second: Callable[[Company], object]
) -> None:
    """At every step of the second run: the third carries it to its end."""
    for number in range(_MOST_REQUESTS):
        company = make_company(members=6)
        two_leave(company)
        await company.run()
        if second is not two_leave:
            second(company)
        if not await killed(company, where, number):
            assert number > 3
            await company.parts.aclose()
            return
        await company.restart()
        assert (await company.run())["outcome"] == "done"
        away = second is two_leave
        assert ("user:default/m0" in company.litellm.rows.users) is not away
        blocked = [token for ref in company.litellm.rows.users for token, is_so in company.keys(ref).items() if is_so]
        assert blocked == somebody_elses(company)
        assert (await company.cleanup.plan("test"))["plan"]["entries"] == []
        await forget(company)
    pytest.fail("the second run never came to its end")


async def forget(company: Company) -> None:
    """The next company starts with an empty database."""
    await company.parts.aclose()
    (company.folder / "state.sqlite3").unlink()


async def test_a_killed_run_is_noted_as_died(company: Company) -> None:
    """By the next, which another replica takes when the lease has run out, and not before."""
    company.leave("m0")
    assert await killed(company, "before", 1)
    company.clock.advance(LEASE - 2)
    with pytest.raises(ConflictError):
        await company.cleanup.take(None)
    await company.restart()
    assert (await company.run())["outcome"] == "done"


async def test_a_holder_that_slept_through_its_lease_touches_nothing_more(company: Company) -> None:
    """Another replica took over meanwhile: the first stops before its next step."""
    gone = company.leave("m0")
    asleep = await company.cleanup.take(None)
    company.clock.advance(LEASE)
    other = await company.cleanup.take(None)
    report = await company.cleanup.run(asleep, "schedule")
    assert (report["outcome"], report["reason"]) == ("failed", "Another replica took over")
    assert company.to_litellm.changes == []
    assert (await company.cleanup.run(other, "schedule"))["done"]["blocked"] == [gone]


async def test_a_large_group_does_not_outlast_the_lease(make_company: MakeCompany) -> None:
    """However long its pages take in all: the lease is renewed between them, and nobody else gets it meanwhile."""
    company = make_company(members=2)
    company.leave("m0")
    people = [{"kind": "User", "metadata": {"name": name}} for name in ("m1", "boss", "x", "y")]
    held = await company.cleanup.take(None)
    lives: list[float] = []

    def slow_page(request: httpx.Request) -> httpx.Response:
        company.clock.advance(LEASE * 0.7)
        number = int(request.url.params.get("cursor", "0"))
        page = {"nextCursor": str(number + 1)} if number + 1 < len(people) else {}
        return httpx.Response(200, json={"items": [people[number]], "totalItems": len(people), "pageInfo": page})

    async def still_ours() -> None:
        # One that ran out could still be renewed while nobody wants it; here somebody always does.
        assert (await company.lease.schedule()).running
        await company.lease.renew(held)
        lives.append(company.clock())

    company.to_backstage.answers["/api/catalog/entities/by-query"] = slow_page
    assert company.parts.catalog is not None
    await still_ours()
    await company.parts.catalog.members_of("group:default/litellm-users", still_ours)
    assert len(lives) == len(people)


async def test_only_the_holder_may_write(company: Company) -> None:
    """What a former holder would note is refused by the database."""
    former = await company.cleanup.take(None)
    company.clock.advance(LEASE)
    await company.cleanup.take(None)
    with pytest.raises(LeaseLostError):
        await company.offboardings.begin(former, "user:default/m0", confirmed=False)
    assert await company.offboardings.all() == {}
