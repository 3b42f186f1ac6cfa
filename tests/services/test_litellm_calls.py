"""What each operation costs in calls of LiteLLM, which are most of what its caller waits for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx

from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, MakeService, keys_path, user_path
from tests.support.organisation import AT_ONCE, Organisation
from tests.support.processes import ROOT

DAVE = "user:default/dave"
_DOCUMENT = (ROOT / "docs" / "performance.md").read_text()
TABLE = _DOCUMENT.split("<!-- table: calls -->\n")[1].split("<!-- end of table -->")[0]


class Counting(httpx.AsyncBaseTransport):
    """Passes requests on. `rounds` are those that began when no other one was waiting for its answer."""

    def __init__(self, litellm: LiteLLMStandIn) -> None:
        self._inner = httpx.ASGITransport(litellm.app)
        self._waiting = self.calls = self.rounds = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        self.rounds += self._waiting == 0
        self._waiting += 1
        try:
            await asyncio.sleep(0)
            return await self._inner.handle_async_request(request)
        finally:
            self._waiting -= 1


async def test_no_operation_makes_more_calls_than_documented(
    make_service: MakeService, litellm: LiteLLMStandIn, tmp_path: Path
) -> None:
    """The table in `docs/performance.md` is what happens."""
    counting, table = Counting(litellm), ["| operation | calls | in sequence |", "|---|---|---|"]
    ports = {"litellm": counting, "new_id": iter(f"op{number:06}" for number in range(1000)).__next__}
    service = make_service(ports=ports, creates_per_minute=1000)
    alice, bob = service.signed_in(ALICE), service.signed_in(BOB)

    async def send(what: str | None, client: httpx.AsyncClient, method: str, path: str, body: Any = None) -> Any:
        counting.calls = counting.rounds = 0
        answer = await client.request(method, path, **({} if body is None else {"json": body}))
        assert answer.is_success, (what, answer.text)
        if what is not None:
            table.append(f"| {what} | {counting.calls} | {counting.rounds} |")
        return answer.json() if answer.content else None

    await send("`GET /me`", alice, "GET", f"{BASE}/me")
    await send("a member's first request", alice, "GET", keys_path(ALICE))
    await send("get a user", alice, "GET", user_path(ALICE))
    await send("list a user's keys", alice, "GET", keys_path(ALICE))
    plain = await send("create a key", alice, "POST", keys_path(ALICE))
    one = keys_path(ALICE, plain["keyId"])
    await send("create a key with an alias", alice, "POST", keys_path(ALICE), {"alias": "one"})
    await send("create a key for somebody else", bob, "POST", keys_path(ALICE))
    await send("get a key", alice, "GET", one)
    await send("change a key", alice, "PATCH", one, {"maxBudget": 1})
    await send("change a key's alias", alice, "PATCH", one, {"alias": "two"})
    await send("block a key", alice, "PATCH", one, {"blocked": True})
    await send(None, alice, "PATCH", one, {"blocked": False})
    await send("rotate a key", alice, "POST", f"{one}/regenerate", {"overlap": 60})
    newest = await send(None, alice, "POST", keys_path(ALICE))
    newest = await send(
        "rotate a key, without an overlap", alice, "POST", f"{keys_path(ALICE, newest['keyId'])}/regenerate", {}
    )
    await send("delete a key", alice, "DELETE", keys_path(ALICE, newest["keyId"]))
    await send("report a leaked key", bob, "POST", f"{BASE}/keys/report", {"key": plain["keySecret"]})
    await send("get a user's usage", alice, "GET", f"{user_path(ALICE)}/usage")
    await send(None, alice, "GET", f"{BASE}/models")
    await send("list the models", alice, "GET", f"{BASE}/models")
    await send(None, bob, "GET", f"{BASE}/users")
    await send("list users", bob, "GET", f"{BASE}/users")
    await send("create a user", bob, "POST", f"{BASE}/users", {"userId": DAVE})
    await send("change a user", bob, "PATCH", user_path(DAVE), {"maxBudget": 5})
    await send(None, bob, "POST", keys_path(DAVE))
    await send("delete a user who has one key", bob, "DELETE", user_path(DAVE))

    organisation = Organisation(tmp_path, 9, cleanup=AT_ONCE)

    async def run() -> int:
        organisation.to_litellm.requests.clear()
        await organisation.run()
        return len(organisation.to_litellm.requests)

    await run()
    idle = await run()
    organisation.leave("m1")
    for what in ("block", "delete"):
        calls = await run() - idle
        table.append(f"| off-boarding: {what} a leaver who has one key | {calls} | {calls} |")
    await organisation.orchestrator.aclose()
    assert "\n".join(table) == TABLE.strip()
