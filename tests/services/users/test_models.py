"""Models as callers see them: what they may use, and what a user, a tier and a key may be limited to."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from clients.litellm.served_models import LiteLLMModels
from clients.upstream import Upstream
from domain.models import ServedModel, ServedModels
from domain.users import Tier
from services.users.models import warn_of_models_not_served
from settings.model import Timeouts
from standalone.litellm import MASTER_KEY, LiteLLMStandIn
from standalone.litellm_models import TWO_MODELS, Deployments
from tests.conftest import ALICE, BASE, BOB, Clock, MakeService, keys_path, no_sleep, user_path
from tests.support.keys import chat, made, refusal, tiered
from tests.support.upstreams import Answer, Overriding, respond

CONFIGURED = yaml.safe_load((Path(__file__).parents[2] / "support" / "litellm_models.yaml").read_text())
GROUPS = "access groups: all-chat, beta-models, first-half, second-half"


@pytest.fixture(autouse=True)
def litellm(litellm: LiteLLMStandIn) -> LiteLLMStandIn:
    """A LiteLLM with access groups, wildcards, and names with spaces."""
    litellm.deployments = Deployments(CONFIGURED)
    return litellm


async def names(client: httpx.AsyncClient) -> list[str]:
    return [row["id"] for row in (await client.get(f"{BASE}/models")).json()["models"]]


async def test_all_models_of_the_caller_by_default(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Alice sees the two models of a plain LiteLLM, though she has no user yet."""
    litellm.deployments = Deployments(TWO_MODELS)
    assert await names(alice) == ["claude-fake", "gpt-fake"]
    assert litellm.rows.users == {}


@pytest.mark.parametrize(
    ("models", "usable"),
    [
        (["gpt-fake", "gpt-gone"], ["gpt-fake"]),
        (["claude-*"], ["claude-fake"]),
        (["all-chat"], ["claude-fake", "gpt-fake"]),
        (["LLM Tier 1"], ["LLM Tier 1"]),
        (["openai/*"], ["gpt-4o", "openai/gpt-fake"]),
        (["no-default-models"], []),
        (["no-default-models", "all-proxy-models"], []),
        (["all-team-models"], []),
        (["all-proxy-models"], ["LLM Tier 1", "claude-fake", "gpt-4o", "gpt-fake", "openai/gpt-fake", "own-price",
                                "two-deployments"]),
    ],
)  # fmt: skip
async def test_the_list_is_what_calls_reach(
    alice: httpx.AsyncClient, litellm: LiteLLMStandIn, models: list[str], usable: list[str]
) -> None:
    """Access groups and wildcards of alice's user are expanded, and a call with her key reaches just these."""
    litellm.rows.add_user({"user_id": ALICE, "models": models})
    assert await names(alice) == usable
    secret = litellm.rows.add_key({"user_id": ALICE})[1]
    served = litellm.deployments.names(with_wildcards=False)
    assert [name for name in sorted(served) if await chat(litellm, secret, name) == 200] == usable


async def test_the_models_of_a_tier_before_there_is_a_user(make_service: MakeService) -> None:
    """Alice's tier is limited to an access group and a wildcard."""
    service = tiered(make_service, Tier(models=("beta-models", "LLM*")))
    assert await names(service.signed_in(ALICE)) == ["LLM Tier 1", "gpt-fake"]


async def test_what_is_said_about_a_model(alice: httpx.AsyncClient) -> None:
    """Its groups, provider, context window and prices; null is what LiteLLM does not say."""
    rows = {row["id"]: row for row in (await alice.get(f"{BASE}/models")).json()["models"]}
    assert rows["gpt-fake"] == {
        "id": "gpt-fake",
        "groups": ["all-chat", "beta-models"],
        "provider": "openai",
        "contextWindow": 128_000,
        "inputPricePerMillion": 2.5,
        "outputPricePerMillion": 10,
    }
    assert rows["own-price"] == {
        "id": "own-price",
        "groups": [],
        "provider": "openai",
        "contextWindow": None,
        "inputPricePerMillion": 1,
        "outputPricePerMillion": 2.5,
    }


USED = ["gpt-fake", "LLM Tier 1", "beta-models", "gpt-*", "openai/*", "*", "own/anything"]


@pytest.mark.parametrize("name", USED)
async def test_what_may_limit_users_and_keys(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient, litellm: LiteLLMStandIn, name: str
) -> None:
    """Served names, also with spaces, access groups, wildcards, and names of a served wildcard."""
    key_id = await made(alice, models=[name])
    assert litellm.rows.keys[key_id]["models"] == [name]
    await alice.patch(keys_path(ALICE, key_id), json={"models": None})
    assert (await alice.patch(keys_path(ALICE, key_id), json={"models": [name]})).json()["models"] == [name]
    rotated = await alice.post(f"{keys_path(ALICE, key_id)}/regenerate", json={"models": [name]})
    assert litellm.rows.keys[rotated.json()["keyId"]]["models"] == [name]
    assert (await bob.patch(user_path(ALICE), json={"models": [name]})).json()["models"] == [name]


@pytest.mark.parametrize(
    "name", ["gpt-9", "GPT-FAKE", "all-team-models", "no-default-models", "[*", "a*b*c", " gpt-fake"]
)
async def test_what_may_not_limit_users_and_keys(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient, litellm: LiteLLMStandIn, name: str
) -> None:
    """400 that lists what may; nothing changes."""
    key_id = await made(alice)
    before = (dict(litellm.rows.users[ALICE]), dict(litellm.rows.keys[key_id]))
    for answer in (
        await alice.post(keys_path(ALICE), json={"models": ["gpt-fake", name]}),
        await alice.patch(keys_path(ALICE, key_id), json={"models": [name]}),
        await alice.post(f"{keys_path(ALICE, key_id)}/regenerate", json={"models": [name]}),
        await bob.patch(user_path(ALICE), json={"models": [name]}),
    ):
        status, message = await refusal(answer)
        assert (status, GROUPS in message, "serves: LLM Tier 1, claude-fake, gpt-4o, gpt" in message) == (
            400,
            True,
            True,
        )
    assert (litellm.rows.users[ALICE], litellm.rows.keys[key_id]) == before
    assert list(litellm.rows.keys) == [key_id]


@pytest.mark.parametrize("name", ["a\tb", "gpt-fake\n", "", "x" * 129, 5, "a\x7f"])
async def test_what_is_no_name(alice: httpx.AsyncClient, litellm: LiteLLMStandIn, name: Any) -> None:
    """400 before LiteLLM is asked."""
    assert (await alice.post(keys_path(ALICE), json={"models": [name]})).status_code == 400
    assert litellm.requests == []


async def test_a_long_list_is_cut(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """A LiteLLM may serve thousands of models."""
    many = [{"model_name": f"model-{number:04}", "litellm_params": {"model": "openai/x"}} for number in range(1234)]
    litellm.deployments = Deployments(many)
    _, message = await refusal(await alice.post(keys_path(ALICE), json={"models": ["gpt-9"]}))
    assert ("model-0099 and 1134 more;" in message, "model-0100" in message) == (True, False), message


@pytest.mark.parametrize(
    ("tier", "asked", "status"),
    [
        (["gpt-*"], ["gpt-fake"], 201),
        (["gpt-*"], ["gpt-4*"], 201),
        (["gpt-*"], ["beta-models"], 201),
        (["gpt-*"], ["claude-fake"], 403),
        (["gpt-*"], ["*"], 403),
        (["all-chat"], ["claude-fake", "beta-models"], 201),
        (["all-chat"], ["LLM Tier 1"], 403),
        (["LLM Tier 1"], ["LLM Tier 1"], 201),
        (["gpt-fake"], ["gpt-*"], 403),
        (["no-default-models"], ["gpt-fake"], 403),
        (["all-proxy-models"], ["gpt-fake"], 201),
    ],
)
async def test_a_key_asks_for_what_its_tier_allows(
    make_service: MakeService, tier: list[str], asked: list[str], status: int
) -> None:
    """Decided as LiteLLM decides about calls; the refusal names the tier's list."""
    alice = tiered(make_service, Tier(models=tuple(tier))).signed_in(ALICE)
    answer = await alice.post(keys_path(ALICE), json={"models": asked})
    assert answer.status_code == status, answer.text
    if status == 403:
        message = answer.json()["error"]["message"]
        assert message == f"models must be among {', '.join(tier)} (tier userDefaults)"


async def test_the_list_is_asked_for_once_a_minute(
    alice: httpx.AsyncClient, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """Two calls of LiteLLM, then none for a minute."""
    for _ in range(3):
        await names(alice)
    assert [request for request in litellm.requests if "model" in request] == ["GET /models", "GET /model/info"]
    clock.advance(61)
    await names(alice)
    assert [request for request in litellm.requests if "model" in request] == ["GET /models", "GET /model/info"] * 2


def source(litellm: LiteLLMStandIn, answers: dict[str, Answer]) -> LiteLLMModels:
    upstream = Upstream(
        "LiteLLM",
        "http://litellm",
        token=MASTER_KEY,
        timeouts=Timeouts(),
        transport=Overriding(httpx.ASGITransport(litellm.app), answers),
        sleep=no_sleep,
    )
    return LiteLLMModels(upstream)


@pytest.mark.parametrize("odd", ["a text", True, -1, None, {}, []])
async def test_an_odd_fact_is_no_fact(litellm: LiteLLMStandIn, odd: Any) -> None:
    """What an operator wrote about one model does not hide the others."""
    facts = (
        "access_groups",
        "litellm_provider",
        "key",
        "max_input_tokens",
        "input_cost_per_token",
        "output_cost_per_token",
    )
    row = {"model_name": "gpt-fake", "model_info": {**dict.fromkeys(facts, odd), "litellm_provider": odd}}
    answers = {
        "/models": respond(200, json={"data": [{"id": "gpt-fake"}, {"id": "alias"}]}),
        "/model/info": respond(200, json={"data": [row]}),
    }
    [alias, model] = (await source(litellm, answers).served()).models
    assert alias == ServedModel("alias")
    provider = "a text" if odd == "a text" else None
    assert model == ServedModel("gpt-fake", provider=provider)


async def test_a_litellm_without_models(litellm: LiteLLMStandIn) -> None:
    """It fails when asked about them, so it is not asked."""
    answers = {"/models": respond(200, json={"data": []}), "/model/info": respond(500, json={})}
    assert await source(litellm, answers).served() == ServedModels()


@pytest.mark.parametrize("path", ["/models", "/model/info"])
@pytest.mark.parametrize("body", [{"data": {}}, {"data": [5]}, {"data": [{}]}, {}, [], "x"])
async def test_an_unexpected_response_is_a_fault(
    make_service: MakeService, litellm: LiteLLMStandIn, path: str, body: Any
) -> None:
    """502, rather than a list that is wrong."""
    odd = Overriding(httpx.ASGITransport(litellm.app), {path: respond(200, json=body)})
    answer = await make_service(ports={"litellm": odd}).signed_in(BOB).get(f"{BASE}/models")
    assert answer.status_code == 502


async def test_the_start_warns_of_tiers_with_models_that_are_not_served(
    litellm: LiteLLMStandIn, log: io.StringIO
) -> None:
    """Once LiteLLM can be asked; access groups, wildcards and LiteLLM's own words are fine."""
    tiers = [Tier(models=("gpt-fake", "beta-models", "gpt-*", "gpt-9")), Tier(models=("no-default-models", "Gpt-Fake"))]
    failures = iter([503, 500])

    def at_first_not(_: httpx.Request) -> httpx.Response:
        status = next(failures, 200)
        return httpx.Response(status, json={"data": [{"id": name} for name in ("gpt-fake", "claude-fake")]})

    await warn_of_models_not_served(tiers, source(litellm, {"/models": at_first_not}), no_sleep)
    [line] = map(json.loads, log.getvalue().splitlines())
    assert (line["level"], line["event"]) == ("warning", "tiers name models that LiteLLM does not serve")
    assert line["models"] == ["Gpt-Fake", "gpt-9"]


async def test_the_start_does_not_ask_if_no_tier_names_models(litellm: LiteLLMStandIn, log: io.StringIO) -> None:
    """And says nothing if all are served."""
    await warn_of_models_not_served([Tier()], source(litellm, {}), no_sleep)
    assert litellm.requests == []
    await warn_of_models_not_served([Tier(models=("LLM Tier 1",))], source(litellm, {}), no_sleep)
    assert log.getvalue() == ""
