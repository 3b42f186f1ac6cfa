"""People on hold cost nothing while nothing changes, and a key that is made for them does not live for long."""

from __future__ import annotations

from typing import Any

import httpx
import sqlalchemy as sa

from settings.model import DirectorySettings
from state.tables import cleanup_run, offboarding
from tests.services.offboarding.conftest import MakeOrganisation
from tests.support.organisation import INTERVAL, Organisation


async def rest(organisation: Organisation, names: list[str]) -> list[str]:
    """Those people are on hold, and have been looked at."""
    gone = sorted(organisation.leave(name) for name in names)
    assert (await organisation.run())["done"]["blocked"] == gone
    assert (await organisation.run())["done"]["held"] == gone
    return gone


def looks(organisation: Organisation) -> int:
    """How often the last run read the keys of one user."""
    listed = [url for url in organisation.to_litellm.urls if url.path == "/key/list"]
    return sum("user_id" in url.params for url in listed)


def replace_a_key(organisation: Organisation, ref: str) -> None:
    """Somebody deletes a key and makes another: the number of keys stays."""
    organisation.litellm.rows.delete_key(next(iter(organisation.keys(ref))))
    organisation.mint(ref)


def bury(organisation: Organisation) -> None:
    """A member makes so many keys that older ones are not on the first page with the newest."""
    for _ in range(100):
        organisation.mint(organisation.ref("m5"))


async def test_ten_thousand_people_on_hold(make_organisation: MakeOrganisation) -> None:
    """A run asks for a hundred of them in one call, for the newest keys, and for nobody alone."""
    rolling = DirectorySettings(full_sweep_users=100)
    organisation = make_organisation(members=20, directory=rolling)
    gone = [organisation.add_user(f"user:default/gone{number:05}") for number in range(10_000)]
    for key in organisation.litellm.rows.keys.values():
        key["blocked"] = "gone" in key["user_id"]
    organisation.clock.advance(3600)
    now, held = organisation.clock(), {"confirmed": False, "blocked_keys": [], "key_count": 1}
    async with organisation.orchestrator.foundation.database.transaction() as connection:
        rows = [held | {"user_id": ref, "since": now, "looked_at": now} for ref in gone]
        await connection.execute(sa.insert(offboarding), rows)
        mark = {"trigger": "schedule", "owner": "test", "outcome": "done", "newest_key_at": now, "started_at": now}
        await connection.execute(sa.insert(cleanup_run), mark)
    report = await organisation.run()
    assert (report["outcome"], len(report["done"]["held"]), looks(organisation)) == ("done", 10_000, 0)
    assert len(organisation.to_litellm.requests) <= 120


async def test_a_new_key_is_blocked_in_the_next_run(make_organisation: MakeOrganisation) -> None:
    """Whoever made it; the others on hold are not asked for."""
    organisation = make_organisation(members=9)
    gone = await rest(organisation, ["m0", "m1", "m2"])
    organisation.mint(gone[1])
    report = await organisation.run()
    assert (report["done"]["held"], report["done"]["keysBlocked"], looks(organisation)) == (gone, 1, 2)
    assert all(organisation.keys(gone[1]).values())
    for _ in range(3):
        assert ((await organisation.run())["done"]["keysBlocked"], looks(organisation)) == (0, 0)


async def test_a_look_that_finds_nothing(make_organisation: MakeOrganisation) -> None:
    """A key fewer shows in their number: one look is made, which blocks and records nothing, and no second."""
    organisation = make_organisation(members=9)
    gone = await rest(organisation, ["m0", "m1"])
    organisation.litellm.rows.delete_key(next(iter(organisation.keys(gone[0]))))
    recorded = await organisation.recorded_changes()
    for looked in (1, 0):
        assert ((await organisation.run())["done"]["keysBlocked"], looks(organisation)) == (0, looked)
    assert await organisation.recorded_changes() == recorded


async def test_a_key_in_place_of_another(make_organisation: MakeOrganisation) -> None:
    """The number of keys is the same: it is found among the newest, before or behind two hundred of others."""
    organisation = make_organisation(members=9)
    gone = await rest(organisation, ["m0", "m1", "m2"])
    for ref in gone[:2]:
        organisation.litellm.rows.delete_key(next(iter(organisation.keys(ref))))
    organisation.mint(gone[0])
    for _ in range(250):
        organisation.mint(organisation.ref("m5"))
    organisation.clock.advance(1)
    organisation.mint(gone[1])
    assert (await organisation.run())["done"]["keysBlocked"] == 2
    assert all(all(organisation.keys(ref).values()) for ref in gone)


async def test_a_key_that_is_made_in_the_middle_of_a_run(make_organisation: MakeOrganisation) -> None:
    """After the newest were read, by a replica of LiteLLM whose clock is five minutes behind: the next run finds it."""
    organisation = make_organisation(members=9)
    gone = await rest(organisation, ["m0", "m1"])
    organisation.clock.advance(3600)
    leaving = organisation.leave("m2")
    bury(organisation)
    answers = organisation.to_litellm.answers

    def while_blocking(_: httpx.Request) -> httpx.Response:
        del answers["/key/block"]
        organisation.litellm.rows.delete_key(next(iter(organisation.keys(gone[1]))))
        made = organisation.mint(gone[1])
        # The run began an interval after the newest key was made.
        organisation.litellm.rows.keys[made]["created_at"] = organisation.litellm.rows.stamp(-INTERVAL * 1.2 - 300)
        (key,) = organisation.keys(leaving)
        return httpx.Response(200, json=organisation.litellm.rows.update_key(key, {"blocked": True}))

    answers["/key/block"] = while_blocking
    assert (await organisation.run())["done"]["blocked"] == [leaving]
    assert False in organisation.keys(gone[1]).values()
    assert ((await organisation.run())["done"]["keysBlocked"], looks(organisation)) == (1, 2)
    assert all(organisation.keys(gone[1]).values())


async def test_a_litellm_whose_clock_is_behind(make_organisation: MakeOrganisation) -> None:
    """By an hour: a key is new by LiteLLM's clock, not by ours."""
    organisation = make_organisation(members=9)
    rows = organisation.litellm.rows
    rows._now = lambda: organisation.clock() - 3600
    for key in rows.keys.values():
        key["created_at"] = rows.stamp()
    gone = await rest(organisation, ["m0", "m1"])
    replace_a_key(organisation, gone[0])
    organisation.clock.advance(1)
    bury(organisation)
    assert (await organisation.run())["done"]["keysBlocked"] == 1


async def test_after_an_upgrade_everybody_on_hold_is_looked_at(make_organisation: MakeOrganisation) -> None:
    """No run before has said how far it read, so new keys may be anywhere."""
    organisation = make_organisation(members=9)
    gone = await rest(organisation, ["m0", "m1"])
    async with organisation.orchestrator.foundation.database.transaction() as connection:
        await connection.execute(sa.update(cleanup_run).values(newest_key_at=None))
    replace_a_key(organisation, gone[0])
    organisation.clock.advance(1)
    bury(organisation)
    assert (await organisation.run())["done"]["keysBlocked"] == 1


async def test_keys_are_read_once(make_organisation: MakeOrganisation) -> None:
    """However many were made since the last run: the next one begins where this one ended."""
    organisation = make_organisation(members=9)
    await organisation.run()
    for _ in range(3):
        bury(organisation)
    organisation.clock.advance(3600)
    organisation.mint(organisation.ref("m6"))
    for pages in (4, 1, 1):
        await organisation.run()
        assert organisation.to_litellm.requests.count("/key/list") == pages


async def test_keys_without_a_time(make_organisation: MakeOrganisation) -> None:
    """LiteLLM lists them first, however many: they neither hide a new key nor cost a call for each page of them."""
    organisation = make_organisation(members=9)
    other = organisation.ref("m5")
    for _ in range(1500):
        organisation.litellm.rows.keys[organisation.mint(other)]["created_at"] = None
    gone = await rest(organisation, ["m0", "m1"])
    replace_a_key(organisation, gone[0])
    assert (await organisation.run())["done"]["keysBlocked"] == 1
    organisation.clock.advance(3600)
    await organisation.run()
    assert (looks(organisation), organisation.to_litellm.requests.count("/key/list") <= 7) == (0, True)


async def test_no_key_has_a_time(make_organisation: MakeOrganisation) -> None:
    """There is no newest one then, and nobody on hold is looked at in every run for that."""
    organisation = make_organisation()
    for key in organisation.litellm.rows.keys.values():
        key["created_at"] = None
    await rest(organisation, ["m0"])
    await organisation.run()
    assert looks(organisation) == 0


async def test_a_key_from_the_future_hides_none(make_organisation: MakeOrganisation) -> None:
    """A clock that was wrong for a while wrote it."""
    organisation = make_organisation(members=9)
    future = organisation.mint(organisation.ref("m5"))
    organisation.litellm.rows.keys[future]["created_at"] = "2099-01-01T00:00:00.000000Z"
    gone = await rest(organisation, ["m0", "m1"])
    organisation.clock.advance(3600)
    await organisation.run()
    replace_a_key(organisation, gone[0])
    bury(organisation)
    assert (await organisation.run())["done"]["keysBlocked"] == 1


async def test_a_key_that_somebody_unblocked_elsewhere(make_organisation: MakeOrganisation) -> None:
    """Neither the number of keys nor the newest show it: everybody is looked at once a day, not all in one run."""
    organisation = make_organisation(members=40)
    gone = await rest(organisation, [f"m{number}" for number in range(10, 20)])
    organisation.clock.advance(3600)
    bury(organisation)
    organisation.clock.advance(3600)
    organisation.mint(organisation.ref("m20"))
    await organisation.run()
    for ref in gone:
        for key in organisation.keys(ref):
            organisation.litellm.rows.update_key(key, {"blocked": False})
    looked: list[int] = []
    for _ in range(25):
        organisation.clock.advance(3600 - INTERVAL * 1.2)
        assert (await organisation.run())["outcome"] == "done"
        looked.append(looks(organisation) // 2)
    assert all(all(organisation.keys(ref).values()) for ref in gone)
    assert (sum(looked[:9]), max(looked) < 10) == (0, True)


async def test_a_look_that_fails_is_made_again(make_organisation: MakeOrganisation) -> None:
    """In the next run, although the number of keys and the newest do not tell any more."""
    organisation = make_organisation(members=9)
    gone = await rest(organisation, ["m0"])
    replace_a_key(organisation, gone[0])
    organisation.clock.advance(3600)
    bury(organisation)
    organisation.clock.advance(3600)
    organisation.mint(organisation.ref("m5"))
    organisation.to_litellm.answers["/key/block"] = lambda _: httpx.Response(500)
    assert [row["userId"] for row in (await organisation.run())["done"]["failed"]] == gone
    organisation.to_litellm.answers.clear()
    organisation.clock.advance(3600)
    assert (await organisation.run())["done"]["keysBlocked"] == 1


async def test_newest_keys_that_litellm_cannot_show(make_organisation: MakeOrganisation) -> None:
    """A row that it cannot read is among them: the number of keys still tells, and nobody is looked at in vain."""
    organisation = make_organisation(members=9)
    gone = await rest(organisation, ["m0", "m1"])
    broken = organisation.mint(organisation.ref("m5"))
    organisation.litellm.rows.keys[broken]["expires"] = "20000-01-01T00:00:00Z"
    organisation.mint(gone[0])
    assert (await organisation.run())["done"]["keysBlocked"] == 1
    organisation.litellm.rows.delete_key(next(iter(organisation.keys(gone[1]))))
    organisation.mint(gone[1])
    organisation.clock.advance(1)
    bury(organisation)
    organisation.clock.advance(3600)
    broken_too = organisation.mint(organisation.ref("m5"))
    organisation.litellm.rows.keys[broken_too]["expires"] = "20000-01-01T00:00:00Z"
    report: Any = await organisation.run()
    assert (report["outcome"], report["done"]["keysBlocked"], looks(organisation)) == ("done", 0, 0)
    organisation.clock.advance(3600)
    for key in (broken, broken_too):
        organisation.litellm.rows.delete_key(key)
    assert (await organisation.run())["done"]["keysBlocked"] == 1, (
        "the next run that can be shown them asks further back"
    )
