"""Signing a device in (RFC 8628): what the device asks, and what its person does on the console."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import Any

import httpx
import pytest

from settings.model import BackstageSettings, CommandLineSettings
from standalone.backstage import BASE_URL, BackstageStandIn
from standalone.environment import CHECKOUT
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, CAROL, Clock, MakeService, Service, keys_path
from tests.support.audit import events, nothing_is_open
from tests.support.devices import CLIENT, DEVICE_GRANT, approve, ask, code_path, poll, sessions, sign_in
from tests.support.keys import chat
from tests.support.upstreams import answering, refuse

DAVE = "user:default/dave"
DEVICES = f"{BASE}/oauth/device_authorization"


async def error_of(response: httpx.Response) -> str:
    assert response.status_code == 400, response.text
    return str(response.json()["error"])


async def test_a_device_gets_codes(service: Service) -> None:
    """One for itself, and one for its person, of letters that cannot be misread."""
    response = await service.client().post(DEVICES, data={"client_id": CLIENT})
    codes = response.json()
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    assert re.fullmatch("[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}", codes["user_code"])
    assert len(codes["device_code"]) == len("lod_") + 43
    assert (codes["expires_in"], codes["interval"]) == (600, 5)
    page = f"http://orchestrator.standalone{BASE}/console#/devices"
    assert codes["verification_uri"] == page
    assert codes["verification_uri_complete"] == f"{page}/{codes['user_code']}"


async def test_nothing_comes_from_the_host_header(service: Service) -> None:
    """Neither an address in an answer nor one in the metadata."""
    forged = {"Host": "evil.example.com", "X-Forwarded-Host": "evil.example.com", "Forwarded": "host=evil.example.com"}
    asked = await service.client().post(DEVICES, data={"client_id": CLIENT}, headers=forged)
    told = await service.client().get(f"{BASE}/.well-known/oauth-authorization-server", headers=forged)
    assert "evil" not in asked.text + told.text


async def test_metadata_is_where_rfc_8414_wants_it_and_below(service: Service) -> None:
    """For an issuer with a path the well-known part stands before it."""
    there = await service.client().get(f"/.well-known/oauth-authorization-server{BASE}")
    below = await service.client().get(f"{BASE}/.well-known/oauth-authorization-server")
    issuer = f"http://orchestrator.standalone{BASE}"
    assert there.json() == below.json()
    assert there.json()["issuer"] == issuer
    assert there.json()["device_authorization_endpoint"] == f"{issuer}/oauth/device_authorization"
    assert there.json()["grant_types_supported"][1:] == [DEVICE_GRANT, "refresh_token"]


async def test_from_the_code_to_a_call(
    service: Service, alice: httpx.AsyncClient, litellm: LiteLLMStandIn, nobody: httpx.AsyncClient
) -> None:
    """Pending, approved on the console, a key that works, and the device among the signed-in ones."""
    codes = await ask(nobody)
    assert await error_of(await poll(nobody, codes)) == "authorization_pending"
    asked = (await alice.get(code_path(codes))).json()
    assert asked | {"requestedAt": "", "expiresAt": ""} == {
        "clientId": CLIENT,
        "deviceName": "laptop",
        "tool": "claude-code",
        "address": "127.0.0.1",
        "isSameNetwork": True,
        "requestedAt": "",
        "ageSeconds": 0,
        "expiresAt": "",
        "state": "pending",
        "owner": None,
        "keyLife": 43200,
        "longestLife": 30 * 86400,
    }
    approved = (await approve(alice, codes, ALICE)).json()
    assert (approved["state"], approved["owner"]) == ("approved", ALICE)
    response = await poll(nobody, codes)
    got = response.json()
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    assert got | {"access_token": "", "refresh_token": "", "session_id": ""} == {
        "access_token": "",
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "token_type": "Bearer",
        "expires_in": 43200,
        "refresh_token": "",
        "refresh_token_expires_in": 30 * 86400,
        "session_id": "",
        "principal": ALICE,
        "owner": ALICE,
        "litellm_url": "https://llm.example.com",
    }
    assert await chat(litellm, got["access_token"]) == 200
    (session,) = await sessions(alice)
    assert (session["id"], session["deviceName"], session["livingKeys"]) == (got["session_id"], "laptop", 1)
    await nothing_is_open(service)


async def test_its_key_is_a_short_one(service: Service, alice: httpx.AsyncClient) -> None:
    """Marked with its device, outside `maxKeys`, and neither rotated, changed nor transferred."""
    got = await sign_in(service, ALICE)
    (key,) = (await alice.get(keys_path(ALICE))).json()["keys"]
    assert (key["source"], key["key_alias"]) == (f"device:{got['session_id']}", "laptop claude-code")
    path = keys_path(ALICE, key["token"])
    for response in (
        await alice.post(f"{path}/regenerate", json={}),
        await alice.patch(path, json={"alias": "mine"}),
        await alice.post(f"{path}/transfer", json={"owner": CHECKOUT}),
    ):
        assert response.status_code in (403, 409), response.text
    assert (await alice.delete(path)).status_code == 204


async def test_a_key_lives_as_the_setting_says_within_the_tier(make_service: MakeService) -> None:
    """And no longer than its session."""
    plain = make_service()
    service = make_service(command_line=CommandLineSettings(key_life=7200))
    assert (await sign_in(service, ALICE))["expires_in"] == 7200
    assert (await sign_in(service, ALICE, life=600))["expires_in"] == 600
    tier = replace(plain.settings.litellm.user_defaults, max_key_life=900)
    tiered = make_service(litellm=replace(plain.settings.litellm, user_defaults=tier))
    assert (await sign_in(tiered, ALICE))["expires_in"] == 900


async def test_a_refused_device(alice: httpx.AsyncClient, nobody: httpx.AsyncClient) -> None:
    """It is told so, and what was decided stays so."""
    codes = await ask(nobody)
    assert (await alice.post(code_path(codes, "refusal"))).json()["state"] == "refused"
    assert await error_of(await poll(nobody, codes)) == "access_denied"
    assert (await approve(alice, codes, ALICE)).status_code == 409


async def test_an_expired_code(service: Service, nobody: httpx.AsyncClient, clock: Clock) -> None:
    """Nobody can approve it any more, and the device is told so; much later it is not known."""
    codes = await ask(nobody)
    clock.advance(601)
    assert (await approve(service.signed_in(ALICE), codes, ALICE)).status_code == 404
    assert await error_of(await poll(nobody, codes)) == "expired_token"
    clock.advance(3700)
    await service.run_background_jobs()
    assert await error_of(await poll(nobody, codes)) == "invalid_grant"


async def test_a_device_that_asks_too_often_slows_down(nobody: httpx.AsyncClient, clock: Clock) -> None:
    """Each time by five seconds, for good (RFC 8628, section 3.5)."""
    codes, told = await ask(nobody), []
    for wait in (0, 5, 2, 6, 15):
        clock.advance(wait)
        told.append(await error_of(await poll(nobody, codes)))
    assert told == [
        "authorization_pending", "authorization_pending", "slow_down", "slow_down", "authorization_pending",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"client_id": ""}, "invalid_request"),
        ({"client_id": "somebody-else"}, "invalid_client"),
        ({"device_code": ""}, "invalid_request"),
        ({"device_code": "lod_nobody-has-this-one"}, "invalid_grant"),
        ({"device_code": "x" * 2000}, "invalid_request"),
        ({"client_id": "another-tool"}, "invalid_grant"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
    ],
    ids=str,
)
async def test_what_a_device_is_refused(make_service: MakeService, changes: dict[str, str], error: str) -> None:
    """In the words of RFC 6749, section 5.2, and RFC 8628, section 3.5."""
    service = make_service(command_line=CommandLineSettings(clients=("another-tool",)))
    codes = await ask(service.client())
    await approve(service.signed_in(ALICE), codes, ALICE)
    assert await error_of(await poll(service.client(), codes, **changes)) == error
    assert (await poll(service.client(), codes)).status_code == 200


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "invalid_request"),
        ({"client_id": "somebody-else"}, "invalid_client"),
        ({"client_id": CLIENT, "scope": "all"}, "invalid_scope"),
        ({"client_id": CLIENT, "device_name": "x" * 65}, "invalid_request"),
        ({"client_id": CLIENT, "tool": "abc\u202edef"}, "invalid_request"),
        ({"client_id": CLIENT, "tool": "a\nb"}, "invalid_request"),
    ],
    ids=str,
)
async def test_what_a_device_may_not_ask(nobody: httpx.AsyncClient, form: dict[str, str], error: str) -> None:
    """Nor say of itself what the console would show as something else."""
    assert await error_of(await nobody.post(DEVICES, data=form)) == error


async def test_further_programs_of_the_settings_may_sign_in(make_service: MakeService) -> None:
    """By the names that they ask with."""
    service = make_service(command_line=CommandLineSettings(clients=("another-tool",)))
    assert (await service.client().post(DEVICES, data={"client_id": "another-tool"})).status_code == 200


async def test_without_a_token_for_the_catalog_both_grants_are_off(make_service: MakeService) -> None:
    """And the session is not said to be over, because it may be on again."""
    signed_in = await sign_in(make_service(), ALICE)
    service = make_service(backstage=BackstageSettings(BASE_URL), owners=())
    client = service.client()
    assert await error_of(await client.post(DEVICES, data={"client_id": CLIENT})) == "unauthorized_client"
    for form in (
        {"grant_type": DEVICE_GRANT, "device_code": "x"},
        {"grant_type": "refresh_token", "refresh_token": signed_in["refresh_token"]},
    ):
        answer = await client.post(f"{BASE}/oauth/token", data=form | {"client_id": CLIENT})
        assert await error_of(answer) == "unsupported_grant_type"
    told = await client.get(f"{BASE}/.well-known/oauth-authorization-server")
    assert told.json()["grant_types_supported"] == ["urn:ietf:params:oauth:grant-type:token-exchange"]


async def test_without_a_public_address_no_device_is_signed_in(make_service: MakeService) -> None:
    """Its person could not be told where to go."""
    client = make_service(public_url=None).client()
    answer = await client.post(DEVICES, data={"client_id": CLIENT})
    assert await error_of(answer) == "unauthorized_client"
    assert "litellmOrchestrator.publicUrl" in answer.json()["error_description"]


async def test_a_network_asks_thirty_times_a_minute(
    make_service: MakeService, clock: Clock, nobody: httpx.AsyncClient
) -> None:
    """And what a proxy says of the caller counts if the proxy is trusted, and only then."""
    service = make_service(trusted_proxies=("127.0.0.0/8",))

    async def asked(client: httpx.AsyncClient, forwarded: str) -> int:
        form = {"client_id": CLIENT}
        return (await client.post(DEVICES, data=form, headers={"X-Forwarded-For": forwarded})).status_code

    behind_a_proxy = service.client()
    assert {await asked(behind_a_proxy, "203.0.113.9, 192.0.2.7") for _ in range(30)} == {200}
    assert await asked(behind_a_proxy, "198.51.100.1, 192.0.2.9") == 429
    assert await asked(behind_a_proxy, "192.0.2.7, 203.0.113.9") == 200
    clock.advance(60)
    assert {await asked(nobody, f"203.0.{number}.9") for number in range(30)} == {200}
    assert await asked(nobody, "198.51.100.1") == 429


async def test_all_networks_ask_three_hundred_times_a_minute(make_service: MakeService) -> None:
    """So many codes at most are there to be guessed."""
    client = make_service(trusted_proxies=("127.0.0.1",)).client()
    statuses = []
    for number in range(301):
        headers = {"X-Forwarded-For": f"10.{number // 200}.{number % 200}.1"}
        statuses.append((await client.post(DEVICES, data={"client_id": CLIENT}, headers=headers)).status_code)
    assert statuses[:299] == [200] * 299
    assert statuses[-1] == 429


async def test_another_network_and_an_old_request_are_told(make_service: MakeService, clock: Clock) -> None:
    """The person is warned by the page then."""
    service = make_service(trusted_proxies=("127.0.0.1",))
    form = {"client_id": CLIENT}
    there = {"X-Forwarded-For": "192.0.2.7"}
    codes = (await service.client().post(DEVICES, data=form, headers=there)).json()
    clock.advance(61)
    alice = service.signed_in(ALICE)
    near = (await alice.get(code_path(codes), headers={"X-Forwarded-For": "192.0.2.200"})).json()
    far = (await alice.get(code_path(codes), headers={"X-Forwarded-For": "192.0.3.7"})).json()
    assert (near["isSameNetwork"], far["isSameNetwork"], far["ageSeconds"]) == (True, False, 61)
    assert (await alice.get(code_path(codes))).json()["isSameNetwork"] is False


async def test_five_wrong_guesses_lock_a_person_out_for_ten_minutes(
    service: Service, nobody: httpx.AsyncClient, clock: Clock
) -> None:
    """Whatever they do with codes, a right one too; nobody's code ends by it, and nobody else is locked out."""
    alice, bob, codes = service.signed_in(ALICE), service.signed_in(BOB), await ask(nobody)
    wrong = {"user_code": "BBBB-BBBB"}
    for action in ("", "approval", "refusal", "", ""):
        method = alice.post if action else alice.get
        options: dict[str, Any] = {"json": {"owner": ALICE}} if action == "approval" else {}
        assert (await method(code_path(wrong, action), **options)).status_code == 404
    refused = await alice.get(code_path(codes))
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "600")
    assert (await approve(alice, codes, ALICE)).status_code == 429
    assert (await bob.get(code_path(codes))).status_code == 200
    clock.advance(599)
    assert (await service.signed_in(ALICE).get(code_path(codes))).status_code == 429
    clock.advance(0.9)
    assert (await approve(service.signed_in(BOB), codes, BOB)).status_code == 200
    clock.advance(0.2)
    assert (await service.signed_in(ALICE).get(code_path(wrong))).status_code == 404


async def test_guesses_at_once_are_counted_one_after_the_other(
    make_service: MakeService, database_settings: dict[str, Any]
) -> None:
    """Nobody has more than five because they did not wait for the answers."""
    alice, wrong = make_service(**database_settings).signed_in(ALICE), {"user_code": "BBBB-BBBB"}
    answers = await asyncio.gather(*(alice.get(code_path(wrong)) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [404] * 5 + [429] * 15


async def test_guesses_of_all_people_are_limited_too(
    service: Service, backstage: BackstageStandIn, nobody: httpx.AsyncClient
) -> None:
    """Above a hundred a minute a right code has the same answer as a wrong one."""
    codes, wrong = await ask(nobody), {"user_code": "BBBB-BBBB"}
    statuses = []
    for number in range(26):
        ref = f"user:default/guesser-{number}"
        backstage.org.users[ref] = {"group:default/litellm-users"}
        person = service.signed_in(ref)
        statuses += [(await person.get(code_path(wrong))).status_code for _ in range(4)]
    assert statuses == [404] * 100 + [429] * 4
    assert (await service.signed_in(ALICE).get(code_path(codes))).status_code == 429


async def test_a_code_is_taken_as_people_type_it(alice: httpx.AsyncClient, nobody: httpx.AsyncClient) -> None:
    """In small letters, and without the dash."""
    codes = await ask(nobody)
    typed = {"user_code": codes["user_code"].replace("-", "").lower()}
    assert (await alice.get(code_path(typed))).status_code == 200


async def test_an_outsider_cannot_approve(service: Service, nobody: httpx.AsyncClient) -> None:
    """Nor look, refuse, or find out whether there is such a code."""
    codes, carol = await ask(nobody), service.signed_in(CAROL)
    for answer in (
        await carol.get(code_path(codes)),
        await carol.get(code_path({"user_code": "BBBB-BBBB"})),
        await approve(carol, codes, CAROL),
        await carol.post(code_path(codes, "refusal")),
    ):
        assert answer.status_code == 403
    assert await error_of(await poll(nobody, codes)) == "authorization_pending"
    denied = await events(service.signed_in(BOB), action="session.approve")
    assert [(event["actor"], event["outcome"]) for event in denied] == [(CAROL, "denied")]


async def test_approving_for_an_owner_that_one_does_not_manage_is_a_403(
    service: Service, nobody: httpx.AsyncClient
) -> None:
    """Dave manages the component, alice does not; nobody, not even an admin, approves for another person."""
    codes = await ask(nobody)
    assert (await approve(service.signed_in(ALICE), codes, CHECKOUT)).status_code == 403
    assert (await approve(service.signed_in(ALICE), codes, BOB)).status_code == 403
    assert (await approve(service.signed_in(BOB), codes, ALICE)).status_code == 403
    assert await error_of(await poll(nobody, codes)) == "authorization_pending"
    got = await sign_in(service, DAVE, CHECKOUT)
    assert (got["principal"], got["owner"]) == (DAVE, CHECKOUT)
    assert (await sign_in(service, BOB, CHECKOUT))["owner"] == CHECKOUT


async def test_a_life_beyond_the_setting_is_refused(service: Service, nobody: httpx.AsyncClient) -> None:
    """And a shorter one is that of the session."""
    codes, alice = await ask(nobody), service.signed_in(ALICE)
    assert (await approve(alice, codes, ALICE, life=30 * 86400 + 1)).status_code == 400
    unassigned = await approve(alice, codes, "component:default/\U000e0526")
    assert (unassigned.status_code, unassigned.json()["message"][:14]) == (400, "owner must be ")
    assert (await approve(alice, codes, ALICE, life=86400)).status_code == 200
    assert (await poll(nobody, codes)).json()["refresh_token_expires_in"] == 86400


async def test_who_left_between_approval_and_the_first_key_gets_none(
    service: Service, backstage: BackstageStandIn, nobody: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """The catalog is asked again, although it was asked a moment ago."""
    codes = await ask(nobody)
    await approve(service.signed_in(ALICE), codes, ALICE)
    backstage.org.users[ALICE].clear()
    assert await error_of(await poll(nobody, codes)) == "invalid_grant"
    assert litellm.rows.keys == {}


async def test_a_lost_answer_is_given_again(nobody: httpx.AsyncClient, service: Service, clock: Clock) -> None:
    """To the same device code, within 30 seconds."""
    codes = await ask(nobody)
    await approve(service.signed_in(ALICE), codes, ALICE)
    first = (await poll(nobody, codes)).json()
    clock.advance(30)
    again = (await poll(nobody, codes)).json()
    assert {name for name in first if first[name] != again[name]} == {"expires_in", "refresh_token_expires_in"}
    clock.advance(0.1)
    assert await error_of(await poll(nobody, codes)) == "invalid_grant"
    assert len(await sessions(service.signed_in(ALICE))) == 1


async def test_a_code_is_used_once_whatever_happens_at_once(
    make_service: MakeService, litellm: LiteLLMStandIn, database_settings: dict[str, Any]
) -> None:
    """Over two replicas: one session, one key."""
    first, second = make_service(**database_settings), make_service(**database_settings)
    codes = await ask(first.client())
    await approve(second.signed_in(ALICE), codes, ALICE)
    clients = [first.client(), second.client()]
    answers = await asyncio.gather(*(poll(clients[number % 2], codes) for number in range(10)))
    given = {answer.json()["refresh_token"] for answer in answers if answer.status_code == 200}
    assert len(given) == 1
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert len(litellm.rows.keys) == len(await sessions(first.signed_in(ALICE))) == 1


async def test_with_litellm_out_of_reach_the_device_asks_again(make_service: MakeService, service: Service) -> None:
    """That is no refusal."""
    codes = await ask(service.client())
    await approve(service.signed_in(ALICE), codes, ALICE)
    failing = make_service(ports={"litellm": answering(refuse)})
    answer = await poll(failing.client(), codes)
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
    assert (await poll(service.client(), codes)).status_code == 200


async def test_the_audit_log_says_who_signed_which_device_in(service: Service) -> None:
    """And that a key was made for it; of codes and tokens it has nothing."""
    got = await sign_in(service, DAVE, CHECKOUT)
    bob = service.signed_in(BOB)
    (approved,) = await events(bob, action="session.approve")
    assert (approved["actor"], approved["target"], approved["outcome"]) == (DAVE, CHECKOUT, "done")
    assert approved["requested"] == {
        "client": CLIENT,
        "device": "laptop",
        "tool": "claude-code",
        "address": "127.0.0.1",
        "session": got["session_id"],
        "life": 30 * 86400,
    }
    (minted,) = await events(bob, action="key.mint")
    assert (minted["actor"], minted["target"]) == (f"device:{got['session_id']}", CHECKOUT)
    device = {"session": got["session_id"], "person": DAVE, "device": "laptop", "tool": "claude-code"}
    assert minted["requested"] == device
