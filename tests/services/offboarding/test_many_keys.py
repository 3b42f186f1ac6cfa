"""A leaver with many keys: each write of the database waits for its turn on a busy one, so keys share them."""

from __future__ import annotations

import asyncio
import json

import httpx

from tests.support.organisation import Organisation

_KEYS, _AT_ONCE = 25, 10


async def test_keys_are_blocked_ten_at_a_time(organisation: Organisation) -> None:
    """Each is recorded as ours before, so that a crash leaves none that nobody gives back."""
    gone = organisation.leave("m0")
    for _ in range(_KEYS - 1):
        organisation.mint(gone)
    inner, groups, waiting = organisation.to_litellm._inner, list[int](), list[asyncio.Event]()

    async def together(request: httpx.Request) -> httpx.Response:
        if request.url.path not in {"/key/block", "/key/update"}:
            return await inner.handle_async_request(request)
        [offboarding] = (await organisation.offboardings.all()).values()
        assert json.loads(request.content)["key"] in offboarding.blocked_keys
        waiting.append(asyncio.Event())
        own = waiting[-1]
        if len(waiting) == min(_AT_ONCE, _KEYS - sum(groups)):
            groups.append(len(waiting))
            for each in waiting:
                each.set()
            waiting.clear()
        await own.wait()
        return await inner.handle_async_request(request)

    organisation.to_litellm._inner = httpx.MockTransport(together)
    report = await organisation.run()
    assert report["done"]["keysBlocked"] == _KEYS
    assert groups == [10, 10, 5]
    assert all(organisation.keys(gone).values())


async def test_the_others_of_ten_are_blocked_although_one_call_gets_no_answer(organisation: Organisation) -> None:
    """The run says so, and the next one blocks what is left."""
    gone = organisation.leave("m0")
    for _ in range(_AT_ONCE - 1):
        organisation.mint(gone)
    asked: list[str] = []

    def lose_the_first(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content)["key"])
        if asked[-1] == asked[0]:
            raise httpx.ReadTimeout("lost", request=request)
        return httpx.Response(200, json=organisation.litellm.rows.update_key(asked[-1], {"blocked": True}))

    organisation.to_litellm.answers["/key/block"] = lose_the_first
    report = await organisation.run()
    assert [row["userId"] for row in report["done"]["failed"]] == [gone]
    assert sorted(map(bool, organisation.keys(gone).values())) == [False] + [True] * (_AT_ONCE - 1)
    organisation.to_litellm.answers.clear()
    assert (await organisation.run())["done"]["keysBlocked"] == 1
