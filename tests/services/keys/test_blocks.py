"""Whose block a key has: it is known without our database, and nobody weakens it by repeating it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from clients.litellm.fields import KeyRow
from clients.litellm.rows import ANNOTATIONS, key_from
from domain.keys import Block, Blocker
from standalone.backstage import BackstageStandIn
from standalone.environment import CHECKOUT
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, Clock, MakeService, Service, keys_path
from tests.support.keys import made, refusal
from tests.support.requests import DAVE
from tests.support.upstreams import Overriding, Slow, refuse

BLOCK, UNBLOCK = {"blocked": True}, {"blocked": False}
NOW, LATER = "2027-01-15T08:00:00Z", "2027-01-15T08:01:00Z"


def shown(row: Any) -> tuple[bool, str | None, str | None]:
    return row["blocked"] is True, row["blockedBy"], row["blockedAt"]


async def test_an_admins_block_is_theirs_whatever_was_before(
    service: Service, alice: httpx.AsyncClient, bob: httpx.AsyncClient, clock: Clock
) -> None:
    """Alice blocks her key, bob the admin blocks it: alice cannot unblock it, bob can; the audit log has both."""
    path = keys_path(ALICE, await made(alice))
    assert shown((await alice.patch(path, json=BLOCK)).json()) == (True, "owner", NOW)
    clock.advance(60)
    assert shown((await bob.patch(path, json=BLOCK)).json()) == (True, "admin", LATER)
    assert await refusal(await alice.patch(path, json=UNBLOCK)) == (
        403,
        "Only an admin may unblock a key that its owner did not block here",
    )
    listed = (await alice.get(keys_path(ALICE))).json()["keys"]
    assert [shown(row) for row in listed] == [(True, "admin", LATER)]
    assert shown((await bob.patch(path, json=UNBLOCK)).json()) == (False, None, None)
    events = (await bob.get(f"{BASE}/audit", params={"action": "key.update"})).json()["events"]
    changes = [(event["before"]["blocked_by"], event["after"]["blocked_by"]) for event in events if event["after"]]
    assert changes == [("admin", None), ("owner", "admin"), (None, "owner")]


async def test_an_owner_does_not_take_over_a_block(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """Neither an admin's nor one from elsewhere; blocking it again changes nothing, and gives no right to unblock."""
    by_bob, elsewhere = await made(alice), await made(alice)
    await bob.patch(keys_path(ALICE, by_bob), json=BLOCK)
    litellm.rows.update_key(elsewhere, BLOCK)
    clock.advance(60)
    for key_id, expected in ((by_bob, (True, "admin", NOW)), (elsewhere, (True, None, None))):
        path = keys_path(ALICE, key_id)
        assert shown((await alice.patch(path, json=BLOCK | {"alias": f"a{key_id[:4]}"})).json()) == expected
        assert (await alice.patch(path, json=UNBLOCK)).status_code == 403


async def test_an_admin_takes_over_a_block_from_elsewhere(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """Then it is known whose it is."""
    key_id = await made(alice)
    litellm.rows.update_key(key_id, BLOCK)
    assert shown((await bob.patch(keys_path(ALICE, key_id), json=BLOCK)).json()) == (True, "admin", NOW)


async def test_since_when_is_not_moved_by_blocking_again(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient, clock: Clock
) -> None:
    """It is the time since which the key has been blocked so; another change of the key keeps it, too."""
    hers, his = keys_path(ALICE, await made(alice)), keys_path(ALICE, await made(alice))
    await alice.patch(hers, json=BLOCK)
    await bob.patch(his, json=BLOCK)
    clock.advance(60)
    assert shown((await alice.patch(hers, json=BLOCK)).json()) == (True, "owner", NOW)
    assert shown((await bob.patch(his, json=BLOCK)).json()) == (True, "admin", NOW)
    assert shown((await alice.patch(his, json={"alias": "renamed"})).json()) == (True, "admin", NOW)
    await alice.patch(hers, json=UNBLOCK)
    assert shown((await alice.patch(hers, json=BLOCK)).json()) == (True, "owner", LATER)


async def test_an_admin_blocks_their_own_key_as_its_owner(bob: httpx.AsyncClient) -> None:
    """And unblocks it."""
    path = keys_path(BOB, await made(bob, BOB))
    assert shown((await bob.patch(path, json=BLOCK)).json()) == (True, "owner", NOW)
    assert shown((await bob.patch(path, json=UNBLOCK)).json()) == (False, None, None)


async def test_a_key_that_was_unblocked_elsewhere_has_nobodys_block(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """The annotation is still there, and does not count; the owner's next block is the owner's."""
    key_id = await made(alice)
    path = keys_path(ALICE, key_id)
    await bob.patch(path, json=BLOCK)
    litellm.rows.update_key(key_id, UNBLOCK)
    assert shown((await alice.get(path)).json()) == (False, None, None)
    assert shown((await alice.patch(path, json=BLOCK)).json()) == (True, "owner", NOW)
    assert (await alice.patch(path, json=UNBLOCK)).status_code == 200


@pytest.mark.parametrize(("subject", "blocker", "status"), [(ALICE, "owner", 200), (BOB, "admin", 403)])
async def test_annotations_of_earlier_versions_count(
    alice: httpx.AsyncClient, litellm: LiteLLMStandIn, subject: str, blocker: str, status: int
) -> None:
    """They say only who blocked the key: its owner, or an admin."""
    key_id = await made(alice)
    row = litellm.rows.keys[key_id]
    row["metadata"][ANNOTATIONS]["blocked_by"] = subject
    row["blocked"] = True
    path = keys_path(ALICE, key_id)
    assert shown((await alice.get(path)).json()) == (True, blocker, None)
    assert (await alice.patch(path, json=UNBLOCK)).status_code == status


@pytest.mark.parametrize("blocker", ["report", "offboarding", "somethingnew", "No Name!", 5, ""])
@pytest.mark.parametrize("since", [1e300, "soon", True, -1])
async def test_other_blocks_are_not_an_owners(
    alice: httpx.AsyncClient, litellm: LiteLLMStandIn, blocker: Any, since: Any
) -> None:
    """Whatever stands there, also what a later version wrote or somebody broke: the key is shown and stays blocked."""
    key_id = await made(alice)
    row = litellm.rows.keys[key_id]
    row["metadata"][ANNOTATIONS] |= {"blocked_by": ALICE, "blocked_as": blocker, "blocked_at": since}
    row["blocked"] = True
    path = keys_path(ALICE, key_id)
    known = isinstance(blocker, str) and blocker.isalpha() and blocker.islower()
    assert shown((await alice.get(path)).json()) == (True, blocker if known else "admin", None)
    assert (await alice.patch(path, json=UNBLOCK)).status_code == 403


def test_the_stronger_block_takes_over() -> None:
    """A report over an admin's, that over off-boarding's, that over the owner's; none over one that nobody knows."""
    blocks = [Block(ALICE, blocker) for blocker in Blocker]
    for place, block in enumerate(blocks):
        assert [block.takes_over(other) for other in blocks] == [place > other for other in range(len(blocks))]
        assert block.takes_over(Block(ALICE, "somethingnew")) is False
    assert [block.takes_over(None) for block in blocks] == [False, False, True, True]


async def test_blocking_and_the_annotation_are_one_call(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """So there is no moment at which a key is blocked and nobody knows by whom."""
    wire = Overriding(httpx.ASGITransport(litellm.app), {})
    alice = make_service(ports={"litellm": wire}).signed_in(ALICE)
    key_id = await made(alice)
    wire.seen.clear()
    await alice.patch(keys_path(ALICE, key_id), json=BLOCK)
    (change,) = [request for request in wire.seen if request.method == "POST"]
    sent = json.loads(change.content)
    assert (change.url.path, sent["blocked"]) == ("/key/update", True)
    row = KeyRow(token=key_id, user_id=ALICE, models=[], spend=0, blocked=True, metadata=sent["metadata"])
    assert key_from(row, ALICE).block == Block(ALICE, "owner", 1_800_000_000.0)


@pytest.mark.parametrize("first", ["alice", "bob"])
async def test_an_owner_who_unblocks_does_not_outrun_an_admin_who_blocks(
    make_service: MakeService, litellm: LiteLLMStandIn, first: str
) -> None:
    """At two replicas, in either order: in the end the key is blocked, by the admin."""
    replicas = [make_service(ports={"litellm": Slow(litellm)}) for _ in range(2)]
    alice, bob = replicas[0].signed_in(ALICE), replicas[1].signed_in(BOB)
    for _ in range(5):
        path = keys_path(ALICE, await made(alice))
        await alice.patch(path, json=BLOCK)
        changes = {"alice": alice.patch(path, json=UNBLOCK), "bob": bob.patch(path, json=BLOCK)}
        order = [changes.pop(first), *changes.values()]
        answers = await asyncio.gather(*order)
        # The owner may have waited too long for the admin's turn.
        assert {answer.status_code for answer in answers} <= {200, 403, 503}
        assert shown((await bob.get(path)).json()) == (True, "admin", NOW)


async def test_an_owner_who_unblocks_does_not_outrun_a_report(
    make_service: MakeService, litellm: LiteLLMStandIn
) -> None:
    """A report does not wait for the owner's turn: a key that it marks while it is unblocked is blocked again."""
    wire = Overriding(httpx.ASGITransport(litellm.app), {})
    service = make_service(ports={"litellm": wire})
    alice = service.signed_in(ALICE)
    key = (await alice.post(keys_path(ALICE))).json()
    path = keys_path(ALICE, key["keyId"])
    await alice.patch(path, json=BLOCK)
    reported: list[int] = []

    class Reporting(httpx.AsyncBaseTransport):
        """Reports the key at the moment at which LiteLLM is asked to unblock it."""

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path == "/key/update":
                answer = await service.signed_in(BOB).post(f"{BASE}/keys/report", json={"key": key["keySecret"]})
                reported.append(answer.status_code)
            return await httpx.ASGITransport(litellm.app).handle_async_request(request)

    racing = make_service(ports={"litellm": Reporting()}).signed_in(ALICE)
    status, message = await refusal(await racing.patch(path, json=UNBLOCK))
    assert (status, "reported as leaked" in message, reported) == (403, True, [202])
    assert litellm.rows.keys[key["keyId"]]["blocked"] is True


async def test_an_admins_block_waits_for_no_catalog(
    make_service: MakeService, service: Service, backstage: BackstageStandIn
) -> None:
    """Of a key of software whose tier nobody has asked for yet: it limits neither blocks nor admins."""
    path = keys_path(CHECKOUT, await made(service.signed_in(DAVE), CHECKOUT))
    way = Overriding(httpx.ASGITransport(backstage.app), {})
    bob = make_service(ports={"backstage": way}).signed_in(BOB)
    await bob.get(f"{BASE}/me")
    way.answers["/api/catalog/entities/by-query"] = refuse
    for change in (BLOCK, UNBLOCK, {"maxBudget": 50}):
        answer = await bob.patch(path, json=change)
        assert answer.status_code == 200, answer.text
