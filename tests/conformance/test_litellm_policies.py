"""What LiteLLM refuses and fills in where its operator has configured it, and what this service makes of it."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from clients.litellm.client import LiteLLM
from clients.upstream import Upstream
from domain.errors import ValuesRefusedError
from domain.keys import KeyAnnotations, NewKey
from domain.users import NewUser, UserChanges
from settings.model import Timeouts
from standalone.litellm import MASTER_KEY, LiteLLMStandIn
from standalone.litellm_policy import Policy
from tests.support.litellm_process import second_litellm
from tests.support.litellm_versions import BUDGET_DURATIONS, version_from

CAPS = {"max_budget": 5, "duration": "30d", "tpm_limit": 1000}
DEFAULTS = {"max_budget": 10, "budget_duration": "30d", "models": ["gpt-fake"]}
PATTERN = "^[a-z]+$"
SETTINGS = {
    "upperbound_key_generate_params": CAPS,
    "default_internal_user_params": DEFAULTS,
    "key_alias_pattern": PATTERN,
}
LAPTOP = KeyAnnotations("laptop", {}, "3f9a2c1b5e")
DAYS = 86400


@pytest.fixture(scope="module")
def real_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real LiteLLM with caps, defaults and a pattern."""
    with second_litellm(tmp_path_factory.mktemp("litellm"), SETTINGS) as url:
        yield url


@pytest.fixture
async def configured(request: pytest.FixtureRequest, *, is_real: bool) -> AsyncIterator[LiteLLM]:
    """The client of a LiteLLM with caps, defaults and a pattern: the stand-in, and the real one."""
    timeouts = Timeouts(read=60, deadline=60)
    if is_real:
        url, token, transport = request.getfixturevalue("real_url"), os.environ["LITELLM_MASTER_KEY"], None
    else:
        stand_in = LiteLLMStandIn()
        stand_in.policy = Policy(CAPS, DEFAULTS, PATTERN)
        url, token, transport = "http://litellm", MASTER_KEY, httpx.ASGITransport(stand_in.app)
    client = LiteLLM(Upstream("LiteLLM", url, timeouts=timeouts, token=token, transport=transport))
    yield client
    await client.aclose()


@pytest.fixture
async def owner(configured: LiteLLM) -> AsyncIterator[str]:
    """A user, who is deleted in the end."""
    user_id = f"user:default/{uuid.uuid4().hex[:8]}"
    await configured.create_user(user_id, NewUser())
    yield user_id
    await configured.delete_user(user_id)


async def test_what_a_configured_litellm_refuses_and_fills_in(configured: LiteLLM, owner: str) -> None:
    """Caps and patterns are refusals of values with LiteLLM's own figures; what is left out is filled in."""
    user = await configured.read_user(owner)
    assert user is not None
    assert (user.max_budget, user.budget_duration, user.models) == (10, "30d", ("gpt-fake",))
    changes = UserChanges(max_budget=None, budget_duration=None, models=None)
    await configured.update_user(owner, changes)
    user = await configured.read_user(owner)
    assert user is not None
    # LiteLLM 1.90 ignores null there.
    kept = None if version_from(await configured.version()) >= BUDGET_DURATIONS else "30d"
    assert (user.max_budget, user.budget_duration, user.models) == (None, kept, ())

    for new, message in (
        (NewKey(LAPTOP, max_budget=50), "LiteLLM allows at most 5 USD a key"),
        (NewKey(LAPTOP, life=31 * DAYS), "LiteLLM allows a key to live at most 30d"),
        (NewKey(LAPTOP, tpm_limit=5000), "LiteLLM allows at most 1000 tokens per minute a key"),
    ):
        with pytest.raises(ValuesRefusedError) as refused:
            await configured.create_key(owner, new)
        assert refused.value.message == message
    # `alice.laptop.3f9a2c1b` does not match the pattern, so LiteLLM gets no alias.
    created = await configured.create_key(owner, NewKey(LAPTOP))
    assert (created.max_budget, created.models) == (5, [])
    assert created.expires_at is not None
    [key] = await configured.list_keys(owner)
    assert (key.alias, key.fields["tpm_limit"]) == ("laptop", 1000)
    with pytest.raises(ValuesRefusedError, match="at most 5 USD a key"):
        await configured.update_key(key, {"max_budget": 50}, LAPTOP)


async def test_an_alias_that_is_taken_is_no_reason_to_refuse_a_key(configured: LiteLLM, owner: str) -> None:
    """LiteLLM's aliases are unique across all users, and nothing here depends on them."""
    new = NewKey(KeyAnnotations("laptop", {}, "0123456789"), max_budget=1, life=DAYS, tpm_limit=1)
    first, second = await configured.create_key(owner, new), await configured.create_key(owner, new)
    assert first.key_id != second.key_id
