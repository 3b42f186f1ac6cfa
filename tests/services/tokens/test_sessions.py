"""Signed-in devices: listing and ending them, and revoking tokens (RFC 7009)."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from standalone.issuer import IssuerStandIn
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, CAROL, Clock, MakeService, Service, keys_path
from tests.services.tokens.test_devices import error_of
from tests.support.audit import events, nothing_is_open
from tests.support.devices import CLIENT, refresh, renewed, revoke, sessions, sign_in
from tests.support.keys import chat
from tests.support.requests import exchange
from tests.support.upstreams import Gate, answering, refuse


def session_path(got: dict[str, str]) -> str:
    return f"{BASE}/sessions/{got['session_id']}"


async def test_the_last_used_device_is_the_first(service: Service, nobody: httpx.AsyncClient, clock: Clock) -> None:
    """With the time of its last use, which a refresh is."""
    first = await sign_in(service, ALICE)
    clock.advance(60)
    await sign_in(service, ALICE)
    clock.advance(60)
    await renewed(nobody, first["refresh_token"])
    listed = await sessions(service.signed_in(ALICE))
    assert listed[0]["id"] == first["session_id"]
    assert listed[0]["createdAt"] < listed[1]["createdAt"] < listed[0]["lastUsedAt"]
    assert [row["livingKeys"] for row in listed] == [2, 1]


async def test_people_see_their_own_devices_and_admins_those_of_anybody(service: Service) -> None:
    """An outsider sees nothing."""
    await sign_in(service, ALICE)
    assert len(await sessions(service.signed_in(BOB), ALICE)) == 1
    assert await sessions(service.signed_in(BOB)) == []
    refused = await service.signed_in(ALICE).get(f"{BASE}/sessions", params={"userId": BOB})
    assert refused.status_code == 403
    assert (await service.signed_in(CAROL).get(f"{BASE}/sessions")).status_code == 403


async def test_ending_a_session_deletes_its_keys_at_once(
    service: Service, nobody: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """Those of this device, and no others."""
    got, other = await sign_in(service, ALICE), await sign_in(service, ALICE)
    newer = await renewed(nobody, got["refresh_token"])
    alice = service.signed_in(ALICE)
    response = await alice.delete(session_path(got))
    assert (response.status_code, response.headers["effective-within"]) == (204, "60")
    assert [await chat(litellm, row["access_token"]) for row in (got, newer, other)] == [401, 401, 200]
    assert len(litellm.rows.keys) == 1
    assert await error_of(await refresh(nobody, newer["refresh_token"])) == "invalid_grant"
    assert [row["id"] for row in await sessions(alice)] == [other["session_id"]]
    (event,) = await events(alice, action="session.end")
    assert (event["actor"], event["target"], len(event["after"]["deleted"])) == (ALICE, ALICE, 2)
    device = {"session": got["session_id"], "owner": ALICE, "device": "laptop", "tool": "claude-code"}
    assert event["requested"] == device
    assert (await alice.delete(session_path(got))).status_code == 404
    await nothing_is_open(service)


async def test_the_end_of_a_session_waits_for_no_other_change(
    make_service: MakeService, litellm: LiteLLMStandIn
) -> None:
    """Of the same person: a device that was lost is signed out at once."""
    gate = Gate(litellm, "/key/generate")
    gate.open.set()
    service = make_service(ports={"litellm": gate})
    alice, got = service.signed_in(ALICE), await sign_in(service, ALICE)
    gate.open.clear()
    creating = asyncio.create_task(alice.post(keys_path(ALICE)))
    await gate.reached.wait()
    assert (await alice.delete(session_path(got))).status_code == 204
    assert not creating.done()
    gate.open.set()
    assert (await creating).status_code == 201


async def test_an_admin_ends_a_session_of_a_user(service: Service) -> None:
    """Named by whose it is; a member does so for nobody else, and learns nothing."""
    alices, bobs = await sign_in(service, ALICE), await sign_in(service, BOB)
    bob, alice = service.signed_in(BOB), service.signed_in(ALICE)
    assert (await bob.delete(session_path(alices))).status_code == 404
    assert (await alice.delete(session_path(bobs))).status_code == 404
    assert (await alice.delete(session_path(bobs), params={"userId": BOB})).status_code == 403
    assert (await bob.delete(session_path(alices), params={"userId": ALICE})).status_code == 204
    assert await sessions(alice) == []


async def test_with_litellm_away_it_ends_all_the_same(
    make_service: MakeService, service: Service, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """The device gets nothing any more, and its keys are deleted as soon as that is possible."""
    got = await sign_in(service, ALICE)
    away = make_service(ports={"litellm": answering(refuse)})
    assert (await away.signed_in(ALICE).delete(session_path(got))).status_code == 503
    assert await error_of(await refresh(service.client(), got["refresh_token"])) == "invalid_grant"
    assert await sessions(service.signed_in(ALICE)) == []
    clock.advance(61)
    await service.run_background_jobs()
    assert litellm.rows.keys == {}
    clock.advance(301)
    await service.run_background_jobs()
    await nothing_is_open(service)


async def test_revoking_a_refresh_token_signs_the_device_out(
    service: Service, nobody: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """Its keys are deleted at once; the person did it, says the audit log."""
    got = await sign_in(service, ALICE)
    response = await revoke(nobody, got["refresh_token"], token_type_hint="refresh_token")
    assert (response.status_code, response.content) == (200, b"")
    assert (response.headers["cache-control"], response.headers["effective-within"]) == ("no-store", "60")
    assert litellm.rows.keys == {}
    assert await error_of(await refresh(nobody, got["refresh_token"])) == "invalid_grant"
    assert [event["actor"] for event in await events(service.signed_in(BOB), action="session.end")] == [ALICE]


async def test_revoking_an_old_refresh_token_signs_the_device_out_too(
    service: Service, nobody: httpx.AsyncClient
) -> None:
    """Who had it does not want the session to go on."""
    got = await sign_in(service, ALICE)
    newer = await renewed(nobody, got["refresh_token"])
    assert (await revoke(nobody, got["refresh_token"])).status_code == 200
    assert await error_of(await refresh(nobody, newer["refresh_token"])) == "invalid_grant"


async def test_revoking_a_key_deletes_that_key(
    service: Service, nobody: httpx.AsyncClient, litellm: LiteLLMStandIn, issuer: IssuerStandIn
) -> None:
    """The device stays signed in; a workload's key is revoked by its secret, too."""
    got = await sign_in(service, ALICE)
    workloads = (await exchange(nobody, issuer.token())).json()["access_token"]
    for secret in (got["access_token"], workloads):
        assert (await revoke(nobody, secret)).status_code == 200
        assert await chat(litellm, secret) == 401
    assert litellm.rows.keys == {}
    await renewed(nobody, got["refresh_token"])
    await nothing_is_open(service)


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"token": "lor_nobody-has-this-one"}, 200),
        ({"token": "sk-nobody-has-this-one"}, 200),
        ({"token": "x", "token_type_hint": "no such type"}, 200),
        ({"token": "x", "client_id": "somebody-else"}, 200),
        ({"token": "x", "hello": "world"}, 200),
        ({"token": "\u00e9\U0001f600"}, 200),
        ({"token": ""}, 400),
        ({"client_id": CLIENT}, 400),
    ],
    ids=str,
)
async def test_revoking_says_nothing_of_a_token(nobody: httpx.AsyncClient, form: dict[str, str], status: int) -> None:
    """RFC 7009, sections 2.1 and 2.2: an invalid token is no error, a request without one is."""
    response = await nobody.post(f"{BASE}/oauth/revoke", data=form)
    assert response.status_code == status
    assert (status == 400) == (response.content != b"")


async def test_revoking_again_is_a_200(service: Service, nobody: httpx.AsyncClient) -> None:
    """And nothing happens twice."""
    got = await sign_in(service, ALICE)
    for _ in range(2):
        assert (await revoke(nobody, got["refresh_token"])).status_code == 200
    assert len(await events(service.signed_in(BOB), action="session.end")) == 1


async def test_a_lasting_key_is_not_revoked_by_its_secret(
    service: Service, nobody: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """It is no token of this endpoint: who finds one reports it."""
    made = (await service.signed_in(ALICE).post(keys_path(ALICE), json={})).json()
    assert (await revoke(nobody, made["keySecret"])).status_code == 200
    assert await chat(litellm, made["keySecret"]) == 200
