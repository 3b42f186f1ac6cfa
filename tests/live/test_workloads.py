"""Exchanges of real tokens for real keys: a certified OpenID provider, the real catalog, the real LiteLLM."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import keys_path, user_path
from tests.live.conftest import CHECKOUT, Live
from tests.support.oidc_provider import AUDIENCE, SUBJECT, Provider, running_provider
from tests.support.requests import exchange

pytestmark = pytest.mark.live

EXCHANGES = int(os.environ.get("EXCHANGES", "100"))
"""`EXCHANGES=1000 make live` for more."""
LIFE_SECONDS = 60
_TOKENS_AT_ONCE = 50
_GONE_WITHIN_SECONDS = 180
_DELETED_WITHIN_SECONDS = 180
RULE = "shop"


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """Running."""
    async with running_provider() as real:
        yield real


@pytest.fixture
def config(config: Path, provider: Provider) -> Path:
    """With a rule for the tokens of the provider."""
    config.write_text(
        config.read_text().rstrip()
        + f"""
          workloads:
            issuers: [{{name: real, url: '{provider.url}', audience: {AUDIENCE}}}]
            rules:
              - name: {RULE}
                issuer: real
                owner: {CHECKOUT}
                match: {{sub: '{SUBJECT}', claims: {{repository_id: '74'}}}}
                key: {{life: {LIFE_SECONDS}, maxBudget: 1}}
                perMinute: 6000
                maxLiving: 5000
        """
    )
    return config


async def given(caller: httpx.AsyncClient, token: str) -> str:
    response = await exchange(caller, token, client_id=RULE)
    assert response.status_code == 200, response.text
    return str(response.json()["access_token"])


async def test_keys_work_end_and_leave_nothing(live: Live, provider: Provider) -> None:
    """Many in a row: each works, stops at its end, and is gone from LiteLLM's table within a minute after it."""
    secrets: list[str] = []
    async with live.caller(None) as nobody:
        while len(secrets) < EXCHANGES:  # a token lives for some minutes only
            tokens = await provider.tokens(min(_TOKENS_AT_ONCE, EXCHANGES - len(secrets)), repository_id="74")
            secrets += [await given(nobody, token) for token in tokens]
        last_at = time.monotonic()
        assert len(set(secrets)) == EXCHANGES
        assert await live.products.chat(secrets[-1]) == 200
    async with live.caller(await live.products.token("bob")) as bob:
        await asyncio.sleep(LIFE_SECONDS + 1 - (time.monotonic() - last_at))
        assert await live.products.chat(secrets[-1]) == 401
        while (left := (await bob.get(keys_path(CHECKOUT))).json()["keys"]) != []:
            assert time.monotonic() - last_at < _GONE_WITHIN_SECONDS, f"{len(left)} keys are still there"
            await asyncio.sleep(2)


async def test_a_token_of_another_repository_gets_nothing(live: Live, provider: Provider) -> None:
    """Genuine, of the same issuer, with the same name of the repository and another number."""
    (token,) = await provider.tokens(1, repository_id="75")
    async with live.caller(None) as nobody:
        refused = await exchange(nobody, token, client_id=RULE)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


async def test_no_key_escapes_an_off_boarding(live: Live, provider: Provider) -> None:
    """An admin deletes the owner while a hundred callers exchange tokens: no key that anybody got works afterwards."""
    tokens = await provider.tokens(101, repository_id="74")
    async with live.caller(None) as nobody, live.caller(await live.products.token("bob")) as bob:
        secrets = [await given(nobody, tokens.pop())]
        exchanges = [asyncio.create_task(exchange(nobody, token, client_id=RULE)) for token in tokens]
        await asyncio.wait(exchanges, return_when=asyncio.FIRST_COMPLETED)
        # A hundred at once may be more than LiteLLM answers in time: an admin asks again; nobody got those keys.
        began = time.monotonic()
        while (deleted := await bob.delete(user_path(CHECKOUT))).status_code in (503, 504):
            assert time.monotonic() - began < _DELETED_WITHIN_SECONDS
            await asyncio.sleep(int(deleted.headers.get("Retry-After", 1)))
        assert deleted.status_code in (200, 204)
        answers = await asyncio.gather(*exchanges)
        assert {answer.status_code for answer in answers} <= {200, 400, 503}
        secrets += [answer.json()["access_token"] for answer in answers if answer.status_code == 200]
        assert {await live.products.chat(secret) for secret in secrets} == {401}
