"""A leaver whose keys have rows that this service, or LiteLLM itself, cannot read in full."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from domain.actions import Action, AuditFilters
from standalone.litellm import LiteLLMStandIn
from state.tables import change, offboarding
from tests.conftest import ALICE, BASE, BOB, MakeService, Service, user_path
from tests.support.keys import refusal
from tests.support.organisation import Organisation
from tests.support.upstreams import Overriding
from tests.support.user_list import listing

ODD: dict[str, dict[str, Any]] = {
    "models null": {"models": None},
    "an expiry that is no time": {"expires": "soon"},
    "no time of creation": {"created_at": None},
    "metadata that is no object": {"metadata": []},
    "a spend that is no number": {"spend": "much"},
    "a number beyond 64 bits": {"metadata": {"litellm_orchestrator": {}, "n": 10**23}},
    "blocked null": {"blocked": None},
    "upper-case hash": {"token": hashlib.sha256(b"x").hexdigest().upper()},
    "a name of its own": {"token": "custom-canary-0123456789"},
}
CANARY = "sk-canary-0123456789abcdef"


def distort(organisation: Organisation, key_id: str, fields: dict[str, Any]) -> str:
    """Another tool writes into a key's row. Returns the key's name in LiteLLM from then on."""
    row = organisation.litellm.rows.keys.pop(key_id) | fields
    organisation.litellm.rows.keys[row["token"]] = row
    return str(row["token"])


async def stored(organisation: Organisation) -> str:
    """All that the service keeps about leavers and changes."""
    async with organisation.orchestrator.foundation.database.reading() as connection:
        rows = [*await connection.execute(sa.select(offboarding)), *await connection.execute(sa.select(change))]
    return str([tuple(row) for row in rows])


@pytest.mark.parametrize("odd", ODD)
async def test_an_odd_row_protects_no_key(impatient: Organisation, odd: str, log: io.StringIO) -> None:
    """All keys are blocked in the first run and given back exactly; a leaver for good is deleted with them."""
    gone = impatient.leave("m0")
    name = distort(impatient, impatient.mint(gone), ODD[odd])
    others = impatient.mint(gone)
    impatient.litellm.rows.update_key(others, {"blocked": True})
    report = await impatient.run()
    assert (report["outcome"], report["done"]["keysBlocked"]) == ("done", 2)
    assert list(impatient.keys(gone).values()) == [True] * 3
    impatient.join("m0")
    assert (await impatient.run())["done"]["keysRestored"] == 2
    assert impatient.keys(gone) == {key: key == others for key in impatient.keys(gone)}
    impatient.leave("m0")
    await impatient.run()
    report = await impatient.run()
    assert (report["done"]["deleted"], report["done"]["keysDeleted"]) == ([gone], 3)
    assert impatient.keys(gone) == {}
    if "canary" in name:
        assert "canary" not in json.dumps(report) + log.getvalue() + await stored(impatient)


async def test_a_key_that_litellm_fails_to_block(organisation: Organisation) -> None:
    """It stops no other, and the audit log has both; the next run tries it again."""
    gone = organisation.leave("m0")
    for _ in range(2):
        organisation.mint(gone)
    asked: list[str] = []

    def fail_the_first(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content)["key"])
        if asked[-1] == asked[0]:
            return httpx.Response(500)
        return httpx.Response(200, json=organisation.litellm.rows.update_key(asked[-1], {"blocked": True}))

    organisation.to_litellm.answers["/key/block"] = fail_the_first
    report = await organisation.run()
    assert [row["userId"] for row in report["done"]["failed"]] == [gone]
    assert sorted(map(bool, organisation.keys(gone).values())) == [False, True, True]
    told = await organisation.orchestrator.foundation.events.page(AuditFilters(action=Action.USER_BLOCK), 10)
    assert [(row.outcome, row.after, row.detail) for row in told] == [
        ("failed", {"keys": 2}, "LiteLLM still has 1 unblocked keys of the user")
    ]
    organisation.to_litellm.answers.clear()
    assert (await organisation.run())["done"]["keysBlocked"] == 1


async def test_a_row_that_litellm_cannot_find(organisation: Organisation, log: io.StringIO) -> None:
    """Its name begins like a secret: the others are blocked, it is reported by number at each run, and goes in time."""
    gone = organisation.leave("m0")
    distort(organisation, organisation.mint(gone), {"token": CANARY})
    recorded: list[int] = []
    for _ in range(3):
        report = await organisation.run()
        failure = {"userId": gone, "error": "LiteLLM still has 1 unblocked keys of the user"}
        assert (report["outcome"], report["done"]["failed"]) == ("failed", [failure])
        assert sorted(organisation.keys(gone).values()) == [False, True]
        recorded.append(await organisation.recorded_changes())
        assert "canary" not in json.dumps(report) + log.getvalue() + await stored(organisation)
    assert recorded[0] == recorded[2], "what cannot be blocked is not tried again at every run"
    organisation.clock.advance(7 * 86400)
    assert (await organisation.run())["done"]["deleted"] == [gone]
    assert organisation.keys(gone) == {}


async def test_a_live_key_that_is_listed_by_its_secret(organisation: Organisation, log: io.StringIO) -> None:
    """It is blocked and given back by its hash; nobody learns the secret."""
    gone = organisation.leave("m0")
    row, secret = organisation.litellm.rows.add_key({"user_id": gone, "key": CANARY})

    def listed(request: httpx.Request) -> httpx.Response:
        keys = [key for key in organisation.litellm.rows.keys.values() if key["user_id"] == gone]
        shown = [key | {"token": secret} if key["token"] == row["token"] else key for key in keys]
        return httpx.Response(200, json={"keys": shown, "total_pages": 1})

    organisation.to_litellm.answers["/key/list"] = listed
    for blocks in (True, False):
        report = await organisation.run()
        assert set(organisation.keys(gone).values()) == {blocks}
        assert (report["outcome"], "canary" in json.dumps(report) + log.getvalue()) == ("done", False)
        assert "canary" not in await stored(organisation)
        organisation.join("m0")


async def test_a_row_that_litellm_cannot_read(impatient: Organisation) -> None:
    """LiteLLM answers 500 to every list with it: the others are blocked, and the report says how many are missing."""
    gone, other = impatient.leave("m0"), impatient.leave("m1")
    distort(impatient, impatient.mint(gone), {"expires": "20000-01-01T00:00:00Z"})
    unread = "LiteLLM does not show 1 keys of the user, so they could not be blocked"
    report = await impatient.run()
    assert report["done"]["failed"] == [{"userId": gone, "error": unread}]
    assert (sorted(impatient.keys(gone).values()), report["done"]["blocked"]) == ([False, True], [other])
    # LiteLLM cannot delete the user either, until somebody corrects the row.
    report = await impatient.run()
    assert ([row["userId"] for row in report["done"]["failed"]], report["done"]["deleted"]) == ([gone], [other])
    impatient.litellm.rows.keys.popitem()
    assert (await impatient.run())["done"]["deleted"] == [gone]


async def test_leavers_whom_litellm_fails_to_show(impatient: Organisation) -> None:
    """Their row protects neither them nor anybody else: all leavers' keys are blocked, and nobody is forgotten."""
    gone, other = impatient.leave("m0"), impatient.leave("m1")
    await impatient.orchestrator.sweep.run()
    impatient.litellm.rows.users[gone]["updated_at"] = "20000-01-01T00:00:00Z"
    report = await impatient.run()
    assert sorted(report["done"]["blocked"]) == [gone, other]
    assert (set(impatient.keys(gone).values()), set(impatient.keys(other).values())) == ({True}, {True})
    assert await impatient.orchestrator.foundation.directory.among([gone, other]) == {gone, other}


@pytest.mark.parametrize("row", [{"token": None}, {"token": 5}, {"token": ""}], ids=str)
async def test_a_row_without_a_name(organisation: Organisation, row: dict[str, Any]) -> None:
    """It stops no other."""
    gone = organisation.leave("m0")

    def listed(request: httpx.Request) -> httpx.Response:
        keys = [*organisation.litellm.rows.keys.values(), {"user_id": gone, **row}]
        return httpx.Response(200, json={"keys": keys, "total_pages": 1})

    organisation.to_litellm.answers["/key/list"] = listed
    report = await organisation.run()
    assert report["done"]["failed"] == [
        {"userId": gone, "error": "LiteLLM does not show 1 keys of the user, so they could not be blocked"}
    ]
    assert list(organisation.keys(gone).values()) == [True]


@pytest.mark.parametrize("odd", ODD)
async def test_an_admin_deletes_a_user_with_an_odd_key(service: Service, odd: str) -> None:
    """200: deleting needs even less than blocking."""
    await service.signed_in(ALICE).get(user_path(ALICE))
    row, _ = service.litellm.rows.add_key({"user_id": ALICE})
    service.litellm.rows.keys[row["token"]] |= {name: value for name, value in ODD[odd].items() if name != "token"}
    answer = await service.signed_in(BOB).delete(user_path(ALICE))
    assert (answer.status_code, answer.json()["keysDeleted"]) == (200, 1)
    assert (ALICE in service.litellm.rows.users, service.litellm.rows.keys) == (False, {})


@pytest.mark.parametrize("path", ["/key/block", "/key/list"])
async def test_an_admin_deletes_a_user_whose_keys_cannot_be_blocked(
    make_service: MakeService, litellm: LiteLLMStandIn, path: str
) -> None:
    """Deleting takes the keys away, too; the audit log says that blocking failed."""
    transport = Overriding(httpx.ASGITransport(litellm.app), {})
    service = make_service(ports={"litellm": transport})
    await service.signed_in(ALICE).get(user_path(ALICE))
    service.litellm.rows.add_key({"user_id": ALICE})
    transport.answers[path] = lambda _: httpx.Response(500)
    bob = service.signed_in(BOB)
    assert (await bob.delete(user_path(ALICE))).status_code == 200
    assert (ALICE in service.litellm.rows.users, service.litellm.rows.keys) == (False, {})
    transport.answers.clear()
    assert (await refusal(await bob.get(user_path(ALICE))))[0] == 404
    events = (await bob.get(f"{BASE}/audit", params={"target": ALICE})).json()["events"]
    assert [(row["action"], row["actor"], row["requested"], row["outcome"]) for row in events[:2]] == [
        ("user.delete", BOB, None, "done"),
        ("user.block", BOB, None, "failed" if path == "/key/block" else None),
    ]


async def test_an_admin_deletes_a_user_while_litellm_cannot_list_users(
    make_service: MakeService, litellm: LiteLLMStandIn
) -> None:
    """The keys are blocked all the same, so that the user is out; that they are not deleted is said."""
    transport = Overriding(httpx.ASGITransport(litellm.app), {})
    service = make_service(ports={"litellm": transport})
    await service.signed_in(ALICE).get(user_path(ALICE))
    row, _ = litellm.rows.add_key({"user_id": ALICE})
    transport.answers["/user/list"] = lambda _: httpx.Response(500)
    assert (await service.signed_in(BOB).delete(user_path(ALICE))).status_code == 502
    assert (ALICE in litellm.rows.users, litellm.rows.keys[row["token"]]["blocked"]) == (True, True)


async def test_an_admin_deletes_a_user_whom_litellm_does_not_list(
    make_service: MakeService, litellm: LiteLLMStandIn
) -> None:
    """It has them when it is asked for them alone: they are deleted with their keys, whose number it does not say."""
    service = make_service(
        ports={"litellm": Overriding(httpx.ASGITransport(litellm.app), {"/user/list": listing(list)})}
    )
    litellm.rows.add_user({"user_id": ALICE})
    litellm.rows.add_key({"user_id": ALICE})
    answer = await service.signed_in(BOB).delete(user_path(ALICE))
    assert (answer.status_code, answer.json()["keysDeleted"]) == (200, 0)
    assert (litellm.rows.users, litellm.rows.keys) == ({}, {})
