"""Refreshing what a signed-in device has."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from settings.model import CommandLineSettings
from standalone.backstage import BackstageStandIn
from standalone.catalog import ADMINS, MEMBERS
from standalone.environment import CHECKOUT
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, Clock, MakeService, Service, keys_path, user_path
from tests.services.tokens.test_devices import DAVE, error_of
from tests.support.audit import events, nothing_is_open
from tests.support.devices import approve, ask, poll, refresh, renewed, revoke, sessions, sign_in
from tests.support.keys import chat
from tests.support.kill_points import Killed, KillSwitch
from tests.support.requests import run_cleanup
from tests.support.upstreams import Gate, answering, hang, refuse, respond

_MOST_STEPS = 60
_DAY = 86400.0
_PATIENCE = 60


async def test_both_are_renewed(
    service: Service, nobody: httpx.AsyncClient, clock: Clock, litellm: LiteLLMStandIn
) -> None:
    """A new key and a new refresh token; the old key lives to its own end."""
    first = await sign_in(service, ALICE)
    clock.advance(3600)
    second = await renewed(nobody, first["refresh_token"])
    assert second["refresh_token"] != first["refresh_token"]
    assert second["session_id"] == first["session_id"]
    assert (second["expires_in"], second["refresh_token_expires_in"]) == (43200, 30 * _DAY)
    assert [await chat(litellm, row["access_token"]) for row in (first, second)] == [200, 200]


async def test_a_session_has_at_most_two_keys(
    service: Service, nobody: httpx.AsyncClient, clock: Clock, litellm: LiteLLMStandIn
) -> None:
    """A third one ends the oldest, and no key of another device."""
    other, got = await sign_in(service, ALICE), await sign_in(service, ALICE)
    given = [got["access_token"]]
    for _ in range(3):
        clock.advance(60)
        got = await renewed(nobody, got["refresh_token"])
        given.append(got["access_token"])
    assert [await chat(litellm, secret) for secret in given] == [401, 401, 200, 200]
    assert await chat(litellm, other["access_token"]) == 200


async def test_a_lost_answer_is_given_again(service: Service, nobody: httpx.AsyncClient, clock: Clock) -> None:
    """The same old token within 30 seconds gets the same key and token, and nothing is made twice."""
    old = (await sign_in(service, ALICE))["refresh_token"]
    first = await renewed(nobody, old)
    clock.advance(30)
    again = await renewed(nobody, old)
    assert again == first | {name: again[name] for name in ("expires_in", "refresh_token_expires_in")}
    assert again["expires_in"] == first["expires_in"] - 30
    await renewed(nobody, again["refresh_token"])
    assert len(service.litellm.rows.keys) == 3 - 1


async def test_no_answer_with_a_key_is_kept(service: Service, nobody: httpx.AsyncClient, tmp_path: Path) -> None:
    """Not even sealed, as that of an exchange is: no other request gets it."""
    got = await sign_in(service, ALICE)
    await renewed(nobody, got["refresh_token"])
    with closing(sqlite3.connect(tmp_path / "state.sqlite3")) as database:
        assert database.execute("select resource_id from kept_answer").fetchall() == []


async def test_later_it_is_theft(
    service: Service, nobody: httpx.AsyncClient, clock: Clock, litellm: LiteLLMStandIn
) -> None:
    """The session ends for both, its keys are blocked, also for the owner, and an event says so."""
    first = await sign_in(service, ALICE)
    second = await renewed(nobody, first["refresh_token"])
    clock.advance(30.1)
    assert await error_of(await refresh(nobody, first["refresh_token"])) == "invalid_grant"
    assert await error_of(await refresh(nobody, second["refresh_token"])) == "invalid_grant"
    assert [await chat(litellm, row["access_token"]) for row in (first, second)] == [401, 401]
    alice = service.signed_in(ALICE)
    assert await sessions(alice) == []
    (event,) = await events(service.signed_in(BOB), action="session.end")
    assert (event["actor"], event["target"], event["outcome"]) == ("sessions", ALICE, "done")
    device = {"session": first["session_id"], "owner": ALICE, "device": "laptop", "tool": "claude-code"}
    assert event["requested"] == device | {"reason": "a refresh token was used again"}
    assert len(event["after"]["blocked"]) == 2
    for key_id in event["after"]["blocked"]:
        assert litellm.rows.keys[key_id]["blocked"] is True
        assert (await alice.patch(keys_path(ALICE, key_id), json={"blocked": False})).status_code in (403, 409)
    clock.advance(43300)
    await service.run_background_jobs()
    assert litellm.rows.keys == {}


async def test_a_token_of_long_ago_is_theft_too(service: Service, nobody: httpx.AsyncClient, clock: Clock) -> None:
    """However often the session was renewed since."""
    got = first = await sign_in(service, ALICE)
    for _ in range(3):
        clock.advance(_DAY)
        got = await renewed(nobody, got["refresh_token"])
        await service.run_background_jobs()
    assert await error_of(await refresh(nobody, first["refresh_token"])) == "invalid_grant"
    assert await error_of(await refresh(nobody, got["refresh_token"])) == "invalid_grant"


@pytest.mark.parametrize("fault", [refuse, hang, respond(500)])
async def test_theft_while_litellm_is_away(
    make_service: MakeService, service: Service, clock: Clock, litellm: LiteLLMStandIn, fault: object
) -> None:
    """The session ends at once; its keys are blocked as soon as that is possible."""
    first = await sign_in(service, ALICE)
    await renewed(service.client(), first["refresh_token"])
    clock.advance(31)
    away = make_service(ports={"litellm": answering(fault)})  # type: ignore[arg-type]  # one of three
    assert (await refresh(away.client(), first["refresh_token"])).status_code >= 500
    assert await sessions(service.signed_in(ALICE)) == []
    clock.advance(400)
    await service.run_background_jobs()
    assert [row["blocked"] for row in litellm.rows.keys.values()] == [True, True]
    await nothing_is_open(service)


async def sign_out(service: Service, got: dict[str, Any]) -> None:
    path = f"{BASE}/sessions/{got['session_id']}"
    assert (await service.signed_in(ALICE).delete(path)).status_code == 204


async def revoked(service: Service, got: dict[str, Any]) -> None:
    assert (await revoke(service.client(), got["refresh_token"])).status_code == 200


async def off_boarded(service: Service, _got: dict[str, Any]) -> None:
    service.backstage.org.users[ALICE].clear()
    await run_cleanup(service.signed_in(BOB))


@pytest.mark.parametrize("finish", [sign_out, revoked, off_boarded])
async def test_a_stolen_session_whose_end_is_finished_by_somebody_else(
    make_service: MakeService,
    service: Service,
    clock: Clock,
    litellm: LiteLLMStandIn,
    finish: Callable[[Service, dict[str, Any]], Awaitable[None]],
) -> None:
    """LiteLLM was away when it ended: its keys are blocked as leaked, not deleted like those of a sign-out."""
    first = await sign_in(service, ALICE)
    second = await renewed(service.client(), first["refresh_token"])
    clock.advance(31)
    away = make_service(ports={"litellm": answering(refuse)})
    await refresh(away.client(), first["refresh_token"])
    await finish(service, second)
    assert [row["blocked"] for row in litellm.rows.keys.values()] == [True, True]
    clock.advance(400)
    await service.run_background_jobs()
    keys = (await service.signed_in(BOB).get(keys_path(ALICE))).json()["keys"]
    assert [(row["blocked"], row["blockedBy"]) for row in keys] == [(True, "report")] * 2
    await nothing_is_open(service)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"refresh_token": ""}, "invalid_request"),
        ({"refresh_token": "lor_nobody-has-this-one"}, "invalid_grant"),
        ({"client_id": ""}, "invalid_request"),
        ({"client_id": "somebody-else"}, "invalid_client"),
        ({"client_id": "another-tool"}, "invalid_grant"),
        ({"scope": "all"}, "invalid_scope"),
        ({"grant_type": "refresh"}, "unsupported_grant_type"),
    ],
    ids=str,
)
async def test_what_is_refused(make_service: MakeService, changes: dict[str, str], error: str) -> None:
    """In the words of RFC 6749, section 5.2; the token is good afterwards."""
    service = make_service(command_line=CommandLineSettings(clients=("another-tool",)))
    token = (await sign_in(service, ALICE))["refresh_token"]
    assert await error_of(await refresh(service.client(), token, **changes)) == error
    await renewed(service.client(), token)


async def test_a_key_is_no_refresh_token(service: Service, nobody: httpx.AsyncClient) -> None:
    """Nor is a device code, or half of a token."""
    got = await sign_in(service, ALICE)
    for token in (got["access_token"], got["refresh_token"][:-1], got["session_id"]):
        assert await error_of(await refresh(nobody, token)) == "invalid_grant"


async def test_a_session_lasts_as_long_as_it_is_used(service: Service, nobody: httpx.AsyncClient, clock: Clock) -> None:
    """Thirty days from the last use on; then it is gone with its tokens."""
    got = await sign_in(service, ALICE)
    for _ in range(3):
        clock.advance(29 * _DAY)
        await service.run_background_jobs()
        got = await renewed(nobody, got["refresh_token"])
    clock.advance(30 * _DAY + 1)
    assert await error_of(await refresh(nobody, got["refresh_token"])) == "invalid_grant"
    await service.run_background_jobs()
    assert await error_of(await refresh(nobody, got["refresh_token"])) == "invalid_grant"
    assert await sessions(service.signed_in(ALICE)) == []


async def test_every_refresh_asks_the_catalog(
    service: Service, nobody: httpx.AsyncClient, backstage: BackstageStandIn
) -> None:
    """Also right after another one, and whatever is remembered for other requests."""
    got = await sign_in(service, ALICE)
    person = "GET /api/catalog/entities/by-name/user/default/alice"
    for _ in range(3):
        before = backstage.requests.count(person)
        got = await renewed(nobody, got["refresh_token"])
        assert backstage.requests.count(person) > before


async def test_a_leaver_gets_invalid_grant(
    service: Service, nobody: httpx.AsyncClient, backstage: BackstageStandIn, litellm: LiteLLMStandIn
) -> None:
    """At the next refresh, although the catalog said a moment ago that they are a member; who comes back goes on."""
    got = await renewed(nobody, (await sign_in(service, ALICE))["refresh_token"])
    groups = backstage.org.users.pop(ALICE)
    before = len(litellm.rows.keys)
    assert await error_of(await refresh(nobody, got["refresh_token"])) == "invalid_grant"
    assert len(litellm.rows.keys) == before
    backstage.org.users[ALICE] = groups
    await renewed(nobody, got["refresh_token"])
    minted = await events(service.signed_in(BOB), action="key.mint")
    (denied,) = [event for event in minted if event["outcome"] == "denied"]
    assert (denied["actor"], denied["target"]) == (f"device:{got['session_id']}", ALICE)
    device = {"session": got["session_id"], "person": ALICE, "device": "laptop", "tool": "claude-code"}
    assert (denied["requested"], ALICE in denied["detail"]) == (device, True)


async def tries_again_without(
    group: str, got: dict[str, Any], client: httpx.AsyncClient, backstage: BackstageStandIn, clock: Clock
) -> None:
    """While the catalog lacks the group, a refresh is a 503; once it is back, the same token is renewed."""
    children = backstage.org.groups.pop(group)
    clock.advance(61)
    answer = await refresh(client, got["refresh_token"])
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
    backstage.org.groups[group] = children
    await renewed(client, got["refresh_token"])


async def test_a_group_that_the_catalog_lacks_signs_nobody_out(
    service: Service, nobody: httpx.AsyncClient, backstage: BackstageStandIn, clock: Clock
) -> None:
    """Somebody removed it by mistake: devices try again until it is back."""
    got = await sign_in(service, ALICE)
    await tries_again_without(MEMBERS, got, nobody, backstage, clock)


async def test_without_the_group_of_admins_a_device_of_an_admin_tries_again(
    service: Service, nobody: httpx.AsyncClient, backstage: BackstageStandIn, clock: Clock
) -> None:
    """Bob is a member, too, but has the component as an admin only."""
    backstage.org.users[BOB].add("group:default/litellm-users")
    got = await sign_in(service, BOB, CHECKOUT)
    await tries_again_without(ADMINS, got, nobody, backstage, clock)


async def test_who_does_not_manage_the_owner_any_more_gets_invalid_grant(
    service: Service, nobody: httpx.AsyncClient, backstage: BackstageStandIn
) -> None:
    """They are still a member, and another device of theirs goes on."""
    backstage.org.users[DAVE].add("group:default/litellm-users")
    own, shared = await sign_in(service, DAVE), await sign_in(service, DAVE, CHECKOUT)
    backstage.org.users[DAVE].discard("group:default/team-a")
    assert await error_of(await refresh(nobody, shared["refresh_token"])) == "invalid_grant"
    await renewed(nobody, own["refresh_token"])


@pytest.mark.parametrize("fault", [refuse, hang, respond(500)])
async def test_while_the_catalog_is_away_nobody_is_signed_out(
    make_service: MakeService, service: Service, fault: object
) -> None:
    """No old answer of it counts, and no refusal is made up: the device tries again."""
    got = await sign_in(service, ALICE)
    away = make_service(ports={"backstage": answering(fault)})  # type: ignore[arg-type]  # one of three
    answer = await refresh(away.client(), got["refresh_token"])
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
    await renewed(service.client(), got["refresh_token"])


async def test_ten_at_once_make_one_key(
    make_service: MakeService, litellm: LiteLLMStandIn, database_settings: dict[str, Any]
) -> None:
    """Over two replicas: all that get an answer get the same one, and the others may try again."""
    first, second = make_service(**database_settings), make_service(**database_settings)
    old = (await sign_in(first, ALICE))["refresh_token"]
    clients = [first.client(), second.client()]
    answers = await asyncio.gather(*(refresh(clients[number % 2], old) for number in range(10)))
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert len({answer.json()["refresh_token"] for answer in answers if answer.status_code == 200}) == 1
    assert len(litellm.rows.keys) == 2
    assert len(await sessions(first.signed_in(ALICE))) == 1


async def test_each_step_at_another_replica(make_service: MakeService, database_settings: dict[str, Any]) -> None:
    """A code of the one is approved and shown at the other, and a lost answer is given again by it."""
    first, second = make_service(**database_settings), make_service(**database_settings)
    codes = await ask(first.client())
    assert (await approve(second.signed_in(ALICE), codes, ALICE)).status_code == 200
    old = (await poll(second.client(), codes)).json()["refresh_token"]
    assert (await poll(first.client(), codes)).json()["refresh_token"] == old
    new = await renewed(second.client(), old)
    again = await renewed(first.client(), old)
    assert {name: again[name] for name in ("access_token", "refresh_token")}.items() <= new.items()
    assert (await revoke(second.client(), new["refresh_token"])).status_code == 200
    assert await error_of(await refresh(first.client(), new["refresh_token"])) == "invalid_grant"


async def test_one_replica_renews_what_the_other_gave(make_service: MakeService, clock: Clock) -> None:
    """And finds the theft of what the other has renewed."""
    first, second = make_service(), make_service()
    old = (await sign_in(first, ALICE))["refresh_token"]
    new = (await renewed(second.client(), old))["refresh_token"]
    assert (await renewed(first.client(), old))["refresh_token"] == new
    clock.advance(31)
    assert await error_of(await refresh(first.client(), old)) == "invalid_grant"
    assert await error_of(await refresh(second.client(), new)) == "invalid_grant"


async def test_off_boarding_ends_sessions(
    make_service: MakeService, litellm: LiteLLMStandIn, database_settings: dict[str, Any]
) -> None:
    """Those of the person, and their keys, whoever owns them; who signs in again is somebody else's decision."""
    service = make_service(**database_settings)
    nobody = service.client()
    own, shared = await sign_in(service, DAVE), await sign_in(service, DAVE, CHECKOUT)
    others = await sign_in(service, BOB, CHECKOUT)
    bob = service.signed_in(BOB)
    assert (await bob.delete(user_path(DAVE))).status_code == 200
    for got in (own, shared):
        assert await error_of(await refresh(nobody, got["refresh_token"])) == "invalid_grant"
        assert await chat(litellm, got["access_token"]) == 401
    assert await sessions(bob, DAVE) == []
    await renewed(nobody, others["refresh_token"])
    assert await chat(litellm, others["access_token"]) == 200


async def test_the_cleanup_ends_the_sessions_of_who_left(
    service: Service, nobody: httpx.AsyncClient, backstage: BackstageStandIn, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """When it blocks their keys, not only when it deletes them; being back later does not bring the device back."""
    await service.signed_in(ALICE).post(keys_path(ALICE), json={"alias": "lasting"})
    got = await sign_in(service, ALICE)
    groups = backstage.org.users.pop(ALICE)
    await run_cleanup(service.signed_in(BOB))
    assert ALICE in litellm.rows.users
    assert await sessions(service.signed_in(BOB), ALICE) == []
    assert await chat(litellm, got["access_token"]) == 401
    backstage.org.users[ALICE] = groups
    await run_cleanup(service.signed_in(BOB))
    assert await error_of(await refresh(nobody, got["refresh_token"])) == "invalid_grant"
    clock.advance(11)  # for so long a replica remembers who left
    await sign_in(service, ALICE)


async def test_off_boarding_a_component_ends_its_sessions(service: Service, nobody: httpx.AsyncClient) -> None:
    """The person's other devices stay signed in."""
    own, shared = await sign_in(service, DAVE), await sign_in(service, DAVE, CHECKOUT)
    assert (await service.signed_in(BOB).delete(user_path(CHECKOUT))).status_code == 200
    assert await error_of(await refresh(nobody, shared["refresh_token"])) == "invalid_grant"
    await renewed(nobody, own["refresh_token"])
    assert [row["id"] for row in await sessions(service.signed_in(DAVE))] == [own["session_id"]]


@asynccontextmanager
async def being_renewed(
    make_service: MakeService, litellm: LiteLLMStandIn, token: str
) -> AsyncIterator[asyncio.Task[httpx.Response]]:
    """A key that LiteLLM has made already, for whose answer the service waits until the end of the block."""
    gate = Gate(litellm, "/key/generate", after=True)
    task = asyncio.create_task(refresh(make_service(ports={"litellm": gate}).client(), token))
    async with asyncio.timeout(_PATIENCE):
        await gate.reached.wait()
    try:
        yield task
    finally:
        gate.open.set()
        await asyncio.wait([task])


@pytest.mark.parametrize("owner", [DAVE, CHECKOUT])
async def test_an_off_boarding_during_a_refresh(
    make_service: MakeService, service: Service, backstage: BackstageStandIn, litellm: LiteLLMStandIn, owner: str
) -> None:
    """The key that was being made is deleted, also one of software, which does not go with the leaver."""
    got = await sign_in(service, DAVE, owner)
    async with being_renewed(make_service, litellm, got["refresh_token"]) as renewing:
        backstage.org.users[DAVE].clear()
        await run_cleanup(service.signed_in(BOB))
    assert await error_of(renewing.result()) == "invalid_grant"
    assert [key for key, row in litellm.rows.keys.items() if not row.get("blocked")] == []
    await nothing_is_open(service)


async def test_an_off_boarding_that_began_and_ended_during_a_sign_in(
    make_service: MakeService, service: Service, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """No session begins, although nothing of it was there to be ended."""
    await sign_in(service, DAVE)
    codes = await ask(service.client())
    await approve(service.signed_in(DAVE), codes, CHECKOUT)
    await sign_in(service, BOB, CHECKOUT)
    gate = Gate(litellm, "/key/generate", after=True)
    task = asyncio.create_task(poll(make_service(ports={"litellm": gate}).client(), codes))
    async with asyncio.timeout(_PATIENCE):
        await gate.reached.wait()
    assert (await service.signed_in(BOB).delete(user_path(DAVE))).status_code == 200
    gate.open.set()
    await asyncio.wait([task])
    assert await error_of(task.result()) == "invalid_grant"
    assert await sessions(service.signed_in(BOB), DAVE) == []
    assert len(litellm.rows.keys) == 1


async def test_the_end_of_a_session_during_a_refresh(
    make_service: MakeService, service: Service, litellm: LiteLLMStandIn
) -> None:
    """The key that was being made is deleted."""
    got = await sign_in(service, ALICE)
    async with being_renewed(make_service, litellm, got["refresh_token"]) as renewing:
        ended_it = await service.signed_in(ALICE).delete(f"/api/litellm-orchestrator/sessions/{got['session_id']}")
        assert ended_it.status_code == 204
    assert await error_of(renewing.result()) == "invalid_grant"
    assert litellm.rows.keys == {}


async def test_the_end_of_a_session_during_a_refresh_with_litellm_away(
    make_service: MakeService, service: Service, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """Its row is still there, for the keys that are to be deleted; no key is made for it all the same."""
    got = await sign_in(service, ALICE)
    away = make_service(ports={"litellm": answering(refuse)})
    async with being_renewed(make_service, litellm, got["refresh_token"]) as renewing:
        ended_it = await away.signed_in(ALICE).delete(f"/api/litellm-orchestrator/sessions/{got['session_id']}")
        assert ended_it.status_code == 503
    assert await error_of(renewing.result()) == "invalid_grant"
    assert len(litellm.rows.keys) == 1
    clock.advance(61)
    await service.run_background_jobs()
    assert litellm.rows.keys == {}


async def test_a_refresh_that_hung_for_longer_than_its_lease(
    make_service: MakeService, service: Service, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """Another replica has renewed the token meanwhile: its key is deleted, and nobody is signed out."""
    got = await sign_in(service, ALICE)
    async with being_renewed(make_service, litellm, got["refresh_token"]) as renewing:
        clock.advance(31)
        second = await renewed(service.client(), got["refresh_token"])
    if renewing.result().status_code == 200:
        assert renewing.result().json()["refresh_token"] == second["refresh_token"]
    third = await renewed(service.client(), second["refresh_token"])
    clock.advance(301)
    await service.run_background_jobs()
    assert [await chat(litellm, row["access_token"]) for row in (second, third)] == [200, 200]
    assert len(litellm.rows.keys) == 2


async def test_a_session_is_limited(service: Service, nobody: httpx.AsyncClient) -> None:
    """Thirty keys a minute; the token is good afterwards."""
    got, statuses = await sign_in(service, ALICE), []
    for _ in range(31):
        answer = await refresh(nobody, got["refresh_token"])
        statuses.append(answer.status_code)
        got = answer.json() if answer.status_code == 200 else got
    assert statuses[-3:] == [200, 429, 429]


@pytest.mark.parametrize("during", [False, True], ids=["before a request", "after LiteLLM did it"])
async def test_killed_at_every_step(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock, *, during: bool
) -> None:
    """The token is not lost: the next process renews it, and no key stays that nobody was given."""
    plain = make_service()
    for step in range(_MOST_STEPS):
        got = await sign_in(plain, ALICE)
        kill_switch = KillSwitch(litellm.app, step, during=during)
        killed = make_service(ports={"litellm": kill_switch})
        await killed.client().get("/api/litellm-orchestrator/openapi.json")
        try:
            with kill_switch.watching():
                answer = await refresh(killed.client(), got["refresh_token"])
        except Killed:
            clock.advance(31)
            again = await refresh(plain.client(), got["refresh_token"])
            # What was committed may have been given: then it is too late for the same answer.
            assert again.status_code in (200, 400), again.text
            clock.advance(301)
            await plain.run_background_jobs()
            await nothing_is_open(plain)
            await plain.signed_in(BOB).delete(user_path(ALICE))
            clock.advance(100)
            await plain.run_background_jobs()
            assert litellm.rows.keys == {}, f"after step {step}"
        else:
            assert (answer.status_code, step) == (200, 2 if during else 4)
            return
    pytest.fail("a refresh never came to its end")
