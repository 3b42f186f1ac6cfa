"""What a list of names allows in LiteLLM, and what LiteLLM says about its models."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator

import httpx
import pytest

from clients.litellm.served_models import LiteLLMModels
from clients.upstream import Upstream
from domain.models import ServedModel
from settings.model import Timeouts
from standalone.litellm import MASTER_KEY, LiteLLMStandIn
from standalone.litellm_models import Deployments
from tests.conformance.conftest import MODELS, PATIENCE, Proxy
from tests.conftest import no_sleep
from tests.support.litellm_versions import version_of
from tests.support.model_lists import CALLS, CASES, Case


@pytest.fixture
async def models(request: pytest.FixtureRequest, *, is_real: bool) -> AsyncIterator[Proxy]:
    """A LiteLLM with these models: the stand-in, and the real one."""
    if is_real:
        transport, url, key = None, request.getfixturevalue("second"), os.environ["LITELLM_MASTER_KEY"]
    else:
        stand_in = LiteLLMStandIn()
        stand_in.deployments = Deployments(MODELS)
        transport, url, key = httpx.ASGITransport(stand_in.app), "http://litellm", MASTER_KEY
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=url, transport=transport, headers=headers, timeout=PATIENCE) as http:
        yield Proxy(http, uuid.uuid4().hex[:8], await version_of(http))


def client(proxy: Proxy) -> LiteLLMModels:
    """Our client of the same LiteLLM."""
    token = proxy.http.headers["authorization"].removeprefix("Bearer ")
    upstream = Upstream(
        "LiteLLM",
        str(proxy.http.base_url),
        token=token,
        timeouts=Timeouts(),
        transport=proxy.http._transport,
        sleep=no_sleep,
    )
    return LiteLLMModels(upstream)


@pytest.mark.parametrize("holder", ["user", "key"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: ",".join(case.names) or "empty")
async def test_what_a_list_of_names_allows(models: Proxy, case: Case, holder: str) -> None:
    """To a user and to a key, for real calls."""
    lists = {holder: list(case.names)}
    user_id = await models.user("a", models=lists.get("user", []))
    secret = (await models.key(user_id, models=lists.get("key", [])))["key"]
    reached = {model for model in CALLS if await models.chat(secret, model) == 200}
    await models.post("/user/delete", user_ids=[user_id])
    assert reached == (case.user if holder == "user" else case.key)


async def test_a_wildcard_that_is_no_expression_stops_its_user(models: Proxy) -> None:
    """LiteLLM makes regular expressions of wildcards: so ours are checked before."""
    user_id = await models.user("a", models=["[*", "gpt-fake"])
    assert await models.chat((await models.key(user_id))["key"], "claude-fake") == 401
    await models.post("/user/delete", user_ids=[user_id])


async def test_any_name_under_a_served_wildcard(models: Proxy) -> None:
    """It goes somewhere, even the wildcard itself; a name that is not served does not."""
    user_id = await models.user("a")
    secret = (await models.key(user_id))["key"]
    statuses = [await models.chat(secret, model) for model in ("own/whatever", "own/*", "gone", "all-chat", "*")]
    await models.post("/user/delete", user_ids=[user_id])
    assert statuses == [200, 200, 400, 400, 400]


async def test_what_is_served(models: Proxy) -> None:
    """Each name with what is known about it, the wildcards, and the access groups."""
    served = await client(models).served()
    known = {model.id: model for model in served.models}
    assert set(CALLS) <= known.keys()
    assert served.wildcards == ("own/*",)
    assert served.groups == ("all-chat", "beta-models", "first-half", "second-half")
    assert known["gpt-fake"] == ServedModel("gpt-fake", ("all-chat", "beta-models"), "openai", 128_000, 2.5, 10)
    assert known["gpt-4o"] == ServedModel("gpt-4o", (), "openai", 128_000, 2.5, 10, own_name="openai/gpt-4o")
    assert known["own-price"] == ServedModel("own-price", (), "openai", None, 1, 2.5)
    # Two deployments, of two providers: what holds for both.
    assert known["two-deployments"] == ServedModel(
        "two-deployments", ("first-half", "second-half"), None, 128_000, 3, 15
    )


async def test_our_decision_is_that_of_litellm(models: Proxy) -> None:
    """For what LiteLLM itself says that it serves, each list reaches the same models."""
    served = await client(models).served()
    for case in CASES:
        assert {model.id for model in served.reached(case.names)} & {*CALLS} == case.user, case.names
