"""What somebody hostile, or a race, can do to a sign-in, a refresh and a session."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import httpx
import pytest
import sqlalchemy as sa

from domain.sessions import CodeDecision, CodeState, Device, DeviceAuthorization, Session, SessionTokens
from domain.workloads import IssuedSession, IssuedToken
from services.tokens.codes import hash_of_user_code
from services.tokens.session_ends import SessionEnds
from standalone.backstage import BackstageStandIn
from standalone.environment import CHECKOUT
from standalone.litellm import LiteLLMStandIn
from state.database import Database
from state.device_codes import DeviceCodes
from state.due import DueQueue
from state.root import Root
from state.sessions import KnownToken, Sessions
from state.tables import session_token
from tests.conftest import ALICE, BASE, BOB, Clock, MakeService, Service, keys_path, stored_in, user_path
from tests.services.tokens.test_devices import DAVE, DEVICES, error_of
from tests.support.audit import events, nothing_is_open
from tests.support.devices import CLIENT, approve, ask, code_path, poll, refresh, renewed, revoke, sessions, sign_in
from tests.support.keys import chat
from tests.support.metrics import metrics_of
from tests.support.upstreams import Gate, Holding, Overriding, answering, refuse, respond

_PATIENCE = 60
DEVICE = Device("litellm-key", None, None, None)
NEVER = Session("ses_1", DAVE, CHECKOUT, DEVICE, 3600, 0, 0, 0, 3600)


def session_path(got: dict[str, Any]) -> str:
    return f"{BASE}/sessions/{got['session_id']}"


async def test_a_device_code_is_no_refresh_token(service: Service, nobody: httpx.AsyncClient, clock: Clock) -> None:
    """It gives no answer again, ends nothing by being used twice, and revokes nothing."""
    codes = await ask(nobody)
    await approve(service.signed_in(ALICE), codes, ALICE)
    got = (await poll(nobody, codes)).json()
    assert await error_of(await refresh(nobody, codes["device_code"])) == "invalid_grant"
    clock.advance(31)
    assert await error_of(await refresh(nobody, codes["device_code"])) == "invalid_grant"
    assert (await revoke(nobody, codes["device_code"])).status_code == 200
    assert len(await sessions(service.signed_in(ALICE))) == 1
    await renewed(nobody, got["refresh_token"])


async def test_a_refresh_token_is_no_device_code(service: Service, nobody: httpx.AsyncClient) -> None:
    """Neither grant takes what is the other's."""
    got = await sign_in(service, ALICE)
    assert await error_of(await poll(nobody, {"device_code": got["refresh_token"]})) == "invalid_grant"
    await renewed(nobody, got["refresh_token"])


@pytest.mark.parametrize(("after", "is_theft"), [(29.9, False), (30, False), (30.1, True)])
async def test_when_the_old_token_is_theft(
    service: Service, nobody: httpx.AsyncClient, clock: Clock, *, after: float, is_theft: bool
) -> None:
    """After thirty seconds, and not before."""
    old = (await sign_in(service, ALICE))["refresh_token"]
    await renewed(nobody, old)
    clock.advance(after)
    assert (await refresh(nobody, old)).status_code == (400 if is_theft else 200)
    assert (await sessions(service.signed_in(ALICE)) == []) is is_theft


async def test_the_old_token_after_the_newer_one_was_used_is_theft_at_once(
    service: Service, nobody: httpx.AsyncClient, clock: Clock, litellm: LiteLLMStandIn
) -> None:
    """Its answer was not lost: somebody used what was in it."""
    old = (await sign_in(service, ALICE))["refresh_token"]
    newer = (await renewed(nobody, old))["refresh_token"]
    clock.advance(1)
    newest = (await renewed(nobody, newer))["refresh_token"]
    assert (await renewed(nobody, newer))["refresh_token"] == newest
    clock.advance(1)
    assert await error_of(await refresh(nobody, old)) == "invalid_grant"
    assert await sessions(service.signed_in(ALICE)) == []
    assert {row["blocked"] for row in litellm.rows.keys.values()} == {True}
    assert await error_of(await refresh(nobody, newest)) == "invalid_grant"


async def test_the_old_token_is_theft_whatever_the_clock_says(
    service: Service, nobody: httpx.AsyncClient, clock: Clock, litellm: LiteLLMStandIn
) -> None:
    """The clock was set back before the newer one was used, which is after the old one all the same."""
    old = (await sign_in(service, ALICE))["refresh_token"]
    newer = (await renewed(nobody, old))["refresh_token"]
    clock.advance(-3600)
    await renewed(nobody, newer)
    assert await error_of(await refresh(nobody, old)) == "invalid_grant"
    assert await sessions(service.signed_in(ALICE)) == []
    assert {row["blocked"] for row in litellm.rows.keys.values()} == {True}


@pytest.mark.parametrize(
    ("all_these", "and_this", "but_not_this"),
    [
        ([f"2001:db8::{number:x}" for number in range(1, 31)], "2001:db8::ffff:1", "2001:db8:0:1::1"),
        ([f"2001:db8:1::{number:x}" for number in range(1, 31)], "[2001:db8:1::7]:443", "2001:db8:2::7"),
        ([f"::ffff:192.0.2.{number}" for number in range(1, 31)], "192.0.2.200", "192.0.3.1"),
    ],
    ids=["a /64", "with a port", "IPv4 within IPv6"],
)
async def test_a_network_is_one_whatever_addresses_it_has(
    make_service: MakeService, all_these: list[str], and_this: str, but_not_this: str
) -> None:
    """What is before the last address is the word of a stranger, and changes nothing."""
    client = make_service(trusted_proxies=("127.0.0.1",)).client()

    async def asked(address: str) -> int:
        headers = {"X-Forwarded-For": f"203.0.113.9, 127.0.0.1, {address}"}
        return (await client.post(DEVICES, data={"client_id": CLIENT}, headers=headers)).status_code

    assert {await asked(address) for address in all_these} == {200}
    assert (await asked(and_this), await asked(but_not_this)) == (429, 200)


async def test_sign_ins_are_counted(service: Service, nobody: httpx.AsyncClient, clock: Clock) -> None:
    """By grant and result, with what people decided, and thefts on their own."""
    codes, refused = await ask(nobody), await ask(nobody)
    await poll(nobody, codes)
    await approve(service.signed_in(ALICE), codes, ALICE)
    await service.signed_in(ALICE).post(code_path(refused, "refusal"))
    old = (await poll(nobody, codes)).json()["refresh_token"]
    await poll(nobody, refused)
    await renewed(nobody, old)
    clock.advance(31)
    await refresh(nobody, old)
    found = await metrics_of(service)
    expected = {
        'token_requests_total{grant="device_code",result="authorization_pending"}': 1,
        'token_requests_total{grant="device_code",result="issued"}': 1,
        'token_requests_total{grant="device_code",result="access_denied"}': 1,
        'token_requests_total{grant="refresh_token",result="issued"}': 1,
        'token_requests_total{grant="refresh_token",result="invalid_grant"}': 1,
        'changes_total{action="session.approve",outcome="done"}': 1,
        'changes_total{action="session.refuse",outcome="done"}': 1,
        'changes_total{action="session.end",outcome="done"}': 1,
        "stolen_sessions_total": 1,
    }
    assert {name: found.get(name) for name in expected} == expected


async def test_a_clock_that_steps_back(service: Service, nobody: httpx.AsyncClient, clock: Clock) -> None:
    """An hour, by its operator: nobody is signed out by it, and a lost answer is given again."""
    old = (await sign_in(service, ALICE))["refresh_token"]
    newer = (await renewed(nobody, old))["refresh_token"]
    clock.advance(-3600)
    assert (await renewed(nobody, old))["refresh_token"] == newer
    await service.run_background_jobs()
    await renewed(nobody, newer)
    assert len(await sessions(service.signed_in(ALICE))) == 1


async def test_slow_guesses_are_those_of_ten_minutes(service: Service, clock: Clock) -> None:
    """Who is wrong four times, and again much later, is not locked out."""
    wrong = {"user_code": "BBBB-BBBB"}
    for _ in range(3):
        alice = service.signed_in(ALICE)
        assert {(await alice.get(code_path(wrong))).status_code for _ in range(4)} == {404}
        clock.advance(601)


async def test_a_lock_outlasts_the_cleaning_of_the_table(service: Service, clock: Clock) -> None:
    """Also if the first of the five was ten minutes ago."""
    alice, wrong = service.signed_in(ALICE), {"user_code": "BBBB-BBBB"}
    await alice.get(code_path(wrong))
    clock.advance(599)
    alice = service.signed_in(ALICE)
    assert {(await alice.get(code_path(wrong))).status_code for _ in range(4)} == {404}
    clock.advance(100)
    await service.run_background_jobs()
    assert (await alice.get(code_path(wrong))).headers["retry-after"] == "500"


async def test_an_answer_that_is_kept_no_more(service: Service, nobody: httpx.AsyncClient, clock: Clock) -> None:
    """A clock that went ahead for a while had it deleted: nobody is robbed, and the newer token is good."""
    old = (await sign_in(service, ALICE))["refresh_token"]
    newer = (await renewed(nobody, old))["refresh_token"]
    clock.advance(61)
    await service.run_background_jobs()
    clock.advance(-61)
    assert await error_of(await refresh(nobody, old)) == "invalid_grant"
    await renewed(nobody, newer)


async def test_the_list_says_from_where_a_device_was_used_last(make_service: MakeService) -> None:
    """A refresh is a use."""
    service = make_service(trusted_proxies=("127.0.0.1",))
    got, alice = await sign_in(service, ALICE), service.signed_in(ALICE)
    assert [row["address"] for row in await sessions(alice)] == ["127.0.0.1"]
    elsewhere = service.client()
    elsewhere.headers["X-Forwarded-For"] = "192.0.2.7"
    await renewed(elsewhere, got["refresh_token"])
    assert [row["address"] for row in await sessions(alice)] == ["192.0.2.7"]


async def test_keys_that_cannot_be_deleted_stop_no_off_boarding(
    make_service: MakeService, service: Service, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """Keys of software that a leaver's devices have are deleted as soon as that is possible."""
    await sign_in(service, DAVE)
    got = await sign_in(service, DAVE, CHECKOUT)
    stuck = Overriding(httpx.ASGITransport(litellm.app), {"/key/delete": respond(500, json={})})
    answer = await make_service(ports={"litellm": stuck}).signed_in(BOB).delete(user_path(DAVE))
    assert (answer.status_code, DAVE in litellm.rows.users) == (200, False), answer.text
    assert await error_of(await refresh(service.client(), got["refresh_token"])) == "invalid_grant"
    clock.advance(61)
    await service.run_background_jobs()
    assert litellm.rows.keys == {}


async def test_a_lock_outlasts_no_clock_that_steps_back(service: Service, clock: Clock) -> None:
    """Ten minutes are ten minutes, and the limit of all guesses is that of a minute."""
    alice, wrong = service.signed_in(ALICE), {"user_code": "BBBB-BBBB"}
    assert {(await alice.get(code_path(wrong))).status_code for _ in range(5)} == {404}
    clock.advance(-3600)
    assert (await service.signed_in(ALICE).get(code_path(wrong))).headers["retry-after"] == "600"
    assert (await service.signed_in(BOB).get(code_path(wrong))).status_code == 404


async def test_what_a_leaver_approved_gives_nothing(
    service: Service, nobody: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """Off-boarding refuses it, also while the catalog still has the person, for keys of any owner."""
    await sign_in(service, DAVE)
    first, second, others = await ask(nobody), await ask(nobody), await ask(nobody)
    await approve(service.signed_in(DAVE), first, DAVE)
    await approve(service.signed_in(DAVE), second, CHECKOUT)
    await approve(service.signed_in(BOB), others, CHECKOUT)
    assert (await service.signed_in(BOB).delete(user_path(DAVE))).status_code == 200
    for codes in (first, second):
        assert await error_of(await poll(nobody, codes)) == "access_denied"
    assert await sessions(service.signed_in(BOB), DAVE) == []
    assert litellm.rows.keys == {}
    assert (await poll(nobody, others)).status_code == 200


async def test_a_sign_in_that_commits_while_its_person_is_off_boarded(
    make_service: MakeService, database_settings: dict[str, Any], clock: Clock
) -> None:
    """Of two transactions at once, the later one sees the earlier one: no session begins that nobody ends."""
    settings = make_service(**database_settings).settings
    database = Database(settings.database_url, clock)
    codes, due = DeviceCodes(database), DueQueue(database)
    held = Sessions(database, due)
    ends = SessionEnds(changes=ANY, codes=codes, sessions=held, short_keys=ANY, due=ANY, issuer=ANY, leaked=ANY)
    async with database.transaction() as connection:
        assert await codes.add(connection, "device", "user", DEVICE, life=600, interval=5)
        await codes.decide(connection, "device", CodeDecision(CodeState.APPROVED, DAVE, CHECKOUT, 3600, "ses_1"))
    began = asyncio.Event()

    async def signing_in() -> None:
        async with database.transaction() as connection:
            assert await codes.sign_in(connection, "device")
            began.set()
            for _ in range(50):
                await asyncio.sleep(0)
            await held.add(connection, NEVER, code="device", token="token", sealed=b"")

    async def off_boarding() -> None:
        await began.wait()
        async with database.transaction() as connection:
            await ends.mark_of_leaver(connection, DAVE)

    await asyncio.gather(signing_in(), off_boarding())
    assert await held.ended(DAVE) == ["ses_1"]
    await database.aclose()


async def test_two_people_approve_at_once(make_service: MakeService, database_settings: dict[str, Any]) -> None:
    """Over two replicas one of them succeeds; the other gets a conflict, and does not see the owner."""
    first, second = make_service(**database_settings), make_service(**database_settings)
    codes = await ask(first.client())
    answers = await asyncio.gather(
        approve(first.signed_in(ALICE), codes, ALICE), approve(second.signed_in(BOB), codes, BOB)
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    winner = ALICE if answers[0].status_code == 200 else BOB
    assert (await poll(first.client(), codes)).json()["principal"] == winner
    seen = (await first.signed_in(BOB if winner == ALICE else ALICE).get(code_path(codes))).json()
    assert (seen["state"], seen["owner"]) == ("signed-in", None)


async def test_a_code_that_expires_between_the_look_and_the_click(
    make_service: MakeService, clock: Clock, litellm: LiteLLMStandIn, nobody: httpx.AsyncClient
) -> None:
    """It is approved in time, or not at all."""

    class Late(httpx.ASGITransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            clock.advance(601)
            return await super().handle_async_request(request)

    service = make_service(ports={"litellm": Late(litellm.app)})
    codes = await ask(nobody)
    answer = await approve(service.signed_in(ALICE), codes, ALICE)
    assert (answer.status_code, answer.json()["error"]["name"]) == (409, "ConflictError")
    assert await error_of(await poll(nobody, codes)) == "expired_token"
    await nothing_is_open(service)


async def test_an_approval_is_worth_as_long_as_its_code(
    service: Service, nobody: httpx.AsyncClient, clock: Clock
) -> None:
    """A device that comes later has to begin again."""
    codes = await ask(nobody)
    clock.advance(599)
    assert (await approve(service.signed_in(ALICE), codes, ALICE)).status_code == 200
    clock.advance(2)
    assert await error_of(await poll(nobody, codes)) == "expired_token"
    assert await sessions(service.signed_in(ALICE)) == []


async def test_an_owner_that_is_gone(
    service: Service, nobody: httpx.AsyncClient, backstage: BackstageStandIn, litellm: LiteLLMStandIn
) -> None:
    """Nobody gets keys of it any more, an admin neither; nobody's other devices are signed out."""
    own, managed, admins = await sign_in(service, DAVE), await sign_in(service, DAVE, CHECKOUT), None
    admins = await sign_in(service, BOB, CHECKOUT)
    backstage.org.components.pop(CHECKOUT)
    assert (await service.signed_in(BOB).delete(user_path(CHECKOUT))).status_code == 200
    before = len(litellm.rows.keys)
    for got in (managed, admins):
        assert await error_of(await refresh(nobody, got["refresh_token"])) == "invalid_grant"
    assert len(litellm.rows.keys) == before
    await renewed(nobody, own["refresh_token"])


async def test_a_sign_out_and_a_theft_at_once(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock, database_settings: dict[str, Any]
) -> None:
    """Over two replicas: whichever is first, no key works afterwards."""
    first, second = make_service(**database_settings), make_service(**database_settings)
    got = await sign_in(first, ALICE)
    newer = await renewed(first.client(), got["refresh_token"])
    clock.advance(31)
    if not database_settings:
        await asyncio.gather(
            first.signed_in(ALICE).delete(session_path(got)), refresh(second.client(), got["refresh_token"])
        )
    else:  # PostgreSQL has a clock of its own, by which it is no theft yet
        await asyncio.gather(
            first.signed_in(ALICE).delete(session_path(got)), revoke(second.client(), got["refresh_token"])
        )
    assert [await chat(litellm, row["access_token"]) for row in (got, newer)] == [401, 401]
    assert await sessions(first.signed_in(ALICE)) == []
    assert await error_of(await refresh(second.client(), newer["refresh_token"])) == "invalid_grant"
    await nothing_is_open(first)


async def test_sign_outs_against_refreshes(
    make_service: MakeService, litellm: LiteLLMStandIn, database_settings: dict[str, Any]
) -> None:
    """Five devices, each signed out while it renews, over two replicas: no key is left, and no session."""
    first, second = make_service(**database_settings), make_service(**database_settings)
    given = [await sign_in(first, ALICE) for _ in range(5)]
    alice, device = first.signed_in(ALICE), second.client()
    answers = await asyncio.gather(
        *(refresh(device, got["refresh_token"]) for got in given), *(alice.delete(session_path(got)) for got in given)
    )
    assert {answer.status_code for answer in answers[5:]} == {204}
    assert {answer.status_code for answer in answers[:5]} <= {200, 400}
    assert litellm.rows.keys == {}
    assert await sessions(alice) == []
    await nothing_is_open(first)


async def test_a_stolen_database(service: Service, nobody: httpx.AsyncClient, tmp_path: Path, clock: Clock) -> None:
    """Its file has no code, no token and no key, not even while it keeps the answer that may have been lost."""
    codes = await ask(nobody)
    await approve(service.signed_in(ALICE), codes, ALICE)
    first = (await poll(nobody, codes)).json()
    second = await renewed(nobody, first["refresh_token"])
    assert (await renewed(nobody, first["refresh_token"]))["access_token"] == second["access_token"]
    assert {len(got["refresh_token"]) for got in (first, second)} == {len("lor_") + 43}
    plain = codes["user_code"].replace("-", "")
    secrets = {codes["device_code"], codes["user_code"], plain}
    secrets |= {got[name] for got in (first, second) for name in ("access_token", "refresh_token")}
    stored = stored_in(tmp_path)
    assert second["session_id"].encode() in stored
    assert [secret for secret in secrets if secret.encode() in stored] == []
    clock.advance(61)
    await service.run_background_jobs()
    database = Database(service.settings.database_url, clock)
    async with database.reading() as connection:
        kept = await connection.execute(sa.select(session_token.c.hash).where(session_token.c.sealed.is_not(None)))
        assert kept.all() == []
    await database.aclose()


async def test_a_revocation_that_failed_is_done_when_it_is_asked_again(
    make_service: MakeService, service: Service, litellm: LiteLLMStandIn
) -> None:
    """Not only once the due queue comes to it, and it is one end of one session; no answer is given again meanwhile."""
    nobody, away = service.client(), make_service(ports={"litellm": answering(refuse)}).client()
    codes = await ask(nobody)
    await approve(service.signed_in(ALICE), codes, ALICE)
    token = (await poll(nobody, codes)).json()["refresh_token"]
    assert (await revoke(away, token)).status_code == 503
    assert await error_of(await poll(nobody, codes)) == "invalid_grant"
    assert await error_of(await refresh(nobody, token)) == "invalid_grant"
    assert len(litellm.rows.keys) == 1
    assert (await revoke(away, token)).status_code == 503
    answer = await revoke(nobody, token)
    assert (answer.status_code, answer.headers["effective-within"]) == (200, "60")
    assert litellm.rows.keys == {}
    assert len(await events(service.signed_in(BOB), action="session.end")) == 1


async def test_a_sign_out_that_failed_is_done_when_it_is_asked_again(
    make_service: MakeService, service: Service, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """By the same person, and by nobody else; afterwards there is no such device."""
    got, bob, alice = await sign_in(service, ALICE), service.signed_in(BOB), service.signed_in(ALICE)
    away = make_service(ports={"litellm": answering(refuse)}).signed_in(ALICE)
    assert [(await away.delete(session_path(got))).status_code for _ in range(2)] == [503, 503]
    assert (await sessions(alice), len(litellm.rows.keys)) == ([], 1)
    assert (await bob.delete(session_path(got))).status_code == 404
    assert (await alice.delete(session_path(got))).status_code == 204
    assert litellm.rows.keys == {}
    assert (await alice.delete(session_path(got))).status_code == 404
    assert len([event for event in await events(bob, action="session.end") if event["requested"]]) == 1
    unused = await sign_in(service, ALICE, life=3600)
    clock.advance(3601)
    assert (await service.signed_in(ALICE).delete(session_path(unused))).status_code == 404


async def test_a_code_that_expires_while_its_key_is_made(
    make_service: MakeService, service: Service, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """The key is deleted, and no session begins."""
    codes = await ask(service.client())
    await approve(service.signed_in(ALICE), codes, ALICE)
    gate = Gate(litellm, "/key/generate", after=True)
    task = asyncio.create_task(poll(make_service(ports={"litellm": gate}).client(), codes))
    async with asyncio.timeout(_PATIENCE):
        await gate.reached.wait()
    clock.advance(601)
    gate.open.set()
    assert await error_of(await task) == "expired_token"
    assert (litellm.rows.keys, await sessions(service.signed_in(ALICE))) == ({}, [])
    await nothing_is_open(service)


@pytest.mark.parametrize("grant", ["device_code", "refresh_token"])
async def test_nothing_is_made_for_a_token_that_was_used_meanwhile(
    make_service: MakeService, service: Service, litellm: LiteLLMStandIn, backstage: BackstageStandIn, grant: str
) -> None:
    """While the catalog was asked, another replica has answered: the same answer, and no key is made for nobody."""
    catalog = Holding(httpx.ASGITransport(backstage.app))
    slow, quick, codes = (
        make_service(ports={"backstage": catalog}).client(),
        service.client(),
        await ask(service.client()),
    )
    await approve(service.signed_in(ALICE), codes, ALICE)
    old = "" if grant == "device_code" else (await poll(quick, codes)).json()["refresh_token"]

    async def asked(client: httpx.AsyncClient) -> httpx.Response:
        return await (refresh(client, old) if old else poll(client, codes))

    catalog.held.add("/api/catalog/entities/by-name/user/default/alice")
    task = asyncio.create_task(asked(slow))
    async with asyncio.timeout(_PATIENCE):
        await catalog.arrived.wait()
    first = (await asked(quick)).json()
    made = litellm.requests.count("POST /key/generate")
    catalog.released.set()
    assert (await task).json() == first
    assert litellm.requests.count("POST /key/generate") == made


async def test_a_revoked_key_is_forgotten(service: Service, nobody: httpx.AsyncClient) -> None:
    """It counts for nothing any more, and is not revoked twice."""
    got = await sign_in(service, ALICE)
    for _ in range(2):
        assert (await revoke(nobody, got["access_token"])).status_code == 200
    assert [row["livingKeys"] for row in await sessions(service.signed_in(ALICE))] == [0]
    assert len(await events(service.signed_in(BOB), action="key.revoke")) == 1


async def test_keys_of_a_stolen_session_are_marked_as_leaked(
    service: Service, nobody: httpx.AsyncClient, clock: Clock
) -> None:
    """So that nothing unblocks them, an admin neither."""
    old = (await sign_in(service, ALICE))["refresh_token"]
    await renewed(nobody, old)
    clock.advance(31)
    await refresh(nobody, old)
    await service.run_background_jobs()
    bob = service.signed_in(BOB)
    keys = (await bob.get(keys_path(ALICE))).json()["keys"]
    assert [(row["blocked"], row["blockedBy"]) for row in keys] == [(True, "report")] * 2
    for row in keys:
        assert (await bob.patch(keys_path(ALICE, row["token"]), json={"blocked": False})).status_code == 403


async def test_the_same_code_means_nothing_elsewhere(tmp_path: Path) -> None:
    """Its hash takes the root of a database: a table of all codes is of no use for another one."""
    hashes = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        database = Database(f"sqlite+aiosqlite:///{tmp_path / name / 'state.sqlite3'}")
        hashes.add(await hash_of_user_code(Root(database), "WDJB-MJHT"))
        await database.aclose()
    assert len(hashes) == 2


async def test_no_repr_has_a_secret() -> None:
    """Nor would a traceback that shows one."""
    shown = repr(
        (
            DeviceAuthorization("lod_x", "WDJB-MJHT", "page", "page/WDJB-MJHT", 600, 5),
            SessionTokens("ses_1", "sk-x", 0.0, "lor_x", 0.0),
            IssuedToken("sk-x", 1, IssuedSession("lor_x", 1, "ses_1", ALICE, ALICE, None)),
            KnownToken(NEVER, None, b"sealed"),
        )
    )
    assert [secret for secret in ("lod_", "lor_", "sk-", "WDJB", "sealed'") if secret in shown] == []


async def test_no_redirect_comes_from_the_host_header(nobody: httpx.AsyncClient) -> None:
    """Whatever path leads to another one."""
    forged = {"Host": "evil.example.com", "X-Forwarded-Host": "evil.example.com", "X-Forwarded-Proto": "gopher"}
    for path in ("/console", "/console/", "/docs", "/docs/", "/sessions/", "/oauth/token/", "/.well-known/x/", "/"):
        for method in ("GET", "POST"):
            answer = await nobody.request(method, f"{BASE}{path}", headers=forged)
            assert "evil" not in answer.text + str(answer.headers), path


async def test_events_of_a_device_have_no_secret(service: Service, nobody: httpx.AsyncClient) -> None:
    """Of a whole life: signed in, renewed, used twice at once, signed out."""
    codes = await ask(nobody)
    await approve(service.signed_in(ALICE), codes, ALICE)
    first = (await poll(nobody, codes)).json()
    second = await renewed(nobody, first["refresh_token"])
    await revoke(nobody, second["refresh_token"])
    told = str(await events(service.signed_in(BOB)))
    secrets = {codes["device_code"], codes["user_code"], codes["user_code"].replace("-", "")}
    secrets |= {got[name] for got in (first, second) for name in ("access_token", "refresh_token")}
    assert [secret for secret in secrets if secret in told] == []
