"""LiteLLM says no: what a caller reads, what the log has, and how the change ends."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from domain.users import Tier
from settings.model import LiteLLMSettings
from standalone.litellm import MASTER_KEY, LiteLLMStandIn
from standalone.litellm_policy import Policy
from tests.conftest import ALICE, BASE, BOB, MakeService, keys_path, user_path
from tests.support.upstreams import Overriding

CAPS = Policy({"max_budget": 5, "duration": "30d"}, alias_pattern="^[a-z]+$")
PLAIN_TEXT = "The hook of carol@example.com forbids team-secret"


def answering(status: int, message: str, kind: str = "bad_request_error") -> Callable[[httpx.Request], httpx.Response]:
    body = {"message": message, "type": kind, "param": None, "code": str(status)}
    return lambda _: httpx.Response(status, json={"error": body})


async def outcomes(client: httpx.AsyncClient, action: str) -> list[str | None]:
    events = (await client.get(f"{BASE}/audit", params={"action": action})).json()["events"]
    return [event["outcome"] for event in events]


async def test_a_cap_is_the_callers_to_respect(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """What LiteLLM's configuration forbids is a 400 with LiteLLM's own figures, and the change has failed at once."""
    litellm.policy = CAPS
    refused = await alice.post(keys_path(ALICE), json={"alias": "laptop", "maxBudget": 50})
    assert (refused.status_code, refused.json()["error"]["message"]) == (400, "LiteLLM allows at most 5 USD a key")
    assert await outcomes(alice, "key.create") == ["failed"]
    created = (await alice.post(keys_path(ALICE), json={"alias": "laptop"})).json()
    assert (created["maxBudget"], created["models"], created["expiresAt"] is None) == (5, [], False)
    path = keys_path(ALICE, created["keyId"])
    refused = await alice.patch(path, json={"maxBudget": 50})
    assert (refused.status_code, refused.json()["error"]["message"]) == (400, "LiteLLM allows at most 5 USD a key")
    assert (await alice.get(path)).json()["key_alias"] == "laptop"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (answering(400, PLAIN_TEXT), (400, "policy refuses")),
        (answering(403, PLAIN_TEXT), (400, "policy refuses")),
        (answering(403, "only available for LiteLLM Enterprise users: tags. You must"), (400, "a licence for tags")),
        (answering(500, "tags are an Enterprise feature"), (400, "a licence for this")),
        (
            answering(400, "Authentication Error, Error occurred during query execution", "auth_error"),
            (503, "database"),
        ),
        (answering(400, "No connected db.", "no_db_connection"), (503, "database")),
        (answering(401, "Authentication Error, Invalid proxy server token passed"), (502, "master key")),
        (answering(403, "Only proxy admin can be used to generate. Your role=internal_user"), (502, "master key")),
        (answering(500, PLAIN_TEXT), (502, "status 500")),
        (answering(422, PLAIN_TEXT), (502, "status 422")),
        (lambda _: httpx.Response(403, text="<h1>a gateway</h1>"), (502, "before LiteLLM refused the call")),
        (lambda _: httpx.Response(400, json=["a", "gateway"]), (502, "status 400")),
    ],
    ids=[
        *("a hook says 400", "a hook says 403", "a licence", "a licence as 500", "no database", "no database, newer"),
        *("our key", "our role", "broken", "malformed", "a gateway's page", "another form"),
    ],
)
async def test_whose_fault_a_no_of_litellm_is(
    make_service: MakeService, litellm: LiteLLMStandIn, log: io.StringIO, answer: Any, expected: tuple[int, str]
) -> None:
    """The caller's values are a 400, a missing database is a 503, everything else a 502; never in LiteLLM's words."""
    status, says = expected
    wire = Overriding(httpx.ASGITransport(litellm.app), {})
    alice = make_service(ports={"litellm": wire}).signed_in(ALICE)
    assert (await alice.get(user_path(ALICE))).status_code == 200
    wire.answers["/key/generate"] = answer
    refused = await alice.post(keys_path(ALICE), json={})
    assert (refused.status_code, says in refused.json()["error"]["message"]) == (status, True), refused.text
    assert "carol" not in refused.text
    if "policy refuses" in says:
        assert refused.headers["X-Request-Id"] in refused.json()["error"]["message"]
        assert PLAIN_TEXT in log.getvalue()
    assert await outcomes(alice, "key.create") == ["failed" if status == 400 else None]


async def test_an_admin_reads_in_the_audit_log_what_litellm_said(
    make_service: MakeService, litellm: LiteLLMStandIn
) -> None:
    """Beside what the key was before; the member, whose change it was, reads neither name nor policy there."""
    wire = Overriding(httpx.ASGITransport(litellm.app), {})
    service = make_service(ports={"litellm": wire})
    alice = service.signed_in(ALICE)
    key_id = (await alice.post(keys_path(ALICE), json={"alias": "laptop"})).json()["keyId"]
    wire.answers["/key/update"] = answering(400, PLAIN_TEXT)
    assert (await alice.patch(keys_path(ALICE, key_id), json={"maxBudget": 2})).status_code == 400
    events = {}
    for who in (ALICE, BOB):
        page = await service.signed_in(who).get(f"{BASE}/audit", params={"action": "key.update"})
        (events[who],) = page.json()["events"]
    assert events[BOB]["before"]["key_alias"] == events[ALICE]["before"]["key_alias"] == "laptop"
    assert (events[BOB]["after"], events[ALICE]["after"]) == ({"litellmSaid": PLAIN_TEXT}, None)


async def test_no_limit_of_the_tier_means_no_limit(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """What LiteLLM's own defaults fill in for new users is taken away again, for a first request too."""
    litellm.policy = Policy(user_defaults={"max_budget": 10, "budget_duration": "30d", "models": ["gpt-fake"]})
    unlimited = LiteLLMSettings("http://litellm.standalone", MASTER_KEY, Tier())
    alice = make_service(litellm=unlimited).signed_in(ALICE)
    user = (await alice.get(user_path(ALICE))).json()
    assert (user["maxBudget"], user["budgetDuration"], user["models"]) == (None, None, [])
    assert (await alice.get(f"{BASE}/me")).json()["limits"]["maxBudget"] is None


async def test_what_litellm_insists_on_is_what_the_caller_reads(
    make_service: MakeService, litellm: LiteLLMStandIn
) -> None:
    """If LiteLLM refuses the tier's limits, the user exists with those in force, and the answer says so."""
    litellm.policy = Policy(user_defaults={"max_budget": 10})
    wire = Overriding(httpx.ASGITransport(litellm.app), {"/user/update": answering(400, "{'error': 'never'}")})
    tier = replace(Tier(), max_budget=None)
    service = make_service(ports={"litellm": wire}, litellm=LiteLLMSettings("http://litellm", MASTER_KEY, tier))
    user = await service.signed_in(ALICE).post(f"{BASE}/users", json={"userId": ALICE})
    assert (user.status_code, user.json()["maxBudget"]) == (201, 10)
