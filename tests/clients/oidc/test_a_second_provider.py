"""Tokens of an OpenID provider that is nobody's here: PyPI's `oidc-provider-mock`, as a process.

Unlike npm's `oidc-provider` (`tests/live/test_issuers.py`), it names no key in its tokens, and its audience is a list.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from clients.oidc.issuers import Issuers
from domain.errors import UnverifiedTokenError, UpstreamUnavailableError
from domain.workloads import Match, Rule, mismatch
from settings.model import Issuer, Timeouts
from tests.support.issuers import AUDIENCE
from tests.support.raw_http import free_port

_PATIENCE, _POLL = 60, 0.05
_LONGER_THAN_A_KEY_IS_AWAITED = 61


@asynccontextmanager
async def provider(port: int) -> AsyncIterator[httpx.AsyncClient]:
    """A way to it, once it answers. It has another key after each start."""
    command = (sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(port))
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=_PATIENCE) as client:
            for _ in range(int(_PATIENCE / _POLL)):
                try:
                    await client.get("/jwks")
                    break
                except httpx.ConnectError:
                    await asyncio.sleep(_POLL)
            yield client
    finally:
        process.terminate()
        await process.wait()


async def token(client: httpx.AsyncClient, audience: str = AUDIENCE) -> str:
    """An ID token of alice, who signs in for the client `audience`."""
    redirect = "http://127.0.0.1/callback"
    asked = {"client_id": audience, "response_type": "code", "scope": "openid", "redirect_uri": redirect, "state": "s"}
    signed_in = await client.post("/oauth2/authorize", params=asked, data={"sub": "alice"})
    (code,) = parse_qs(urlsplit(signed_in.headers["location"]).query)["code"]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect}
    answer = await client.post("/oauth2/token", auth=(audience, "any"), data=form)
    return str(answer.json()["id_token"])


def issuers_at(url: str, ahead: list[float]) -> Issuers:
    """The issuers of settings with the one at `url`, over the network, on a clock that may be `ahead`."""
    issuer = Issuer(name="ci", url=url, audience=AUDIENCE)
    return Issuers([issuer], timeouts=Timeouts(), now=lambda: time.time() + sum(ahead))


async def test_its_tokens_verify() -> None:
    """By discovery, without the name of a key; one for another service is refused, and so is one that was altered."""
    async with provider(free_port()) as client:
        ahead = list[float]()
        issuers = issuers_at(str(client.base_url), ahead)
        genuine = await token(client)
        verified = await issuers.verify("ci", genuine)
        assert mismatch(Rule("build", "ci", "user:default/alice", Match("alice")), verified) is None
        content, _, signature = genuine.rpartition(".")
        for refused in (await token(client, "vault"), f"{content}.{signature[::-1]}"):
            ahead.append(_LONGER_THAN_A_KEY_IS_AWAITED)
            with pytest.raises(UnverifiedTokenError):
                await issuers.verify("ci", refused)


async def test_its_outage_and_its_next_key() -> None:
    """Known keys go on while it is away; after its return with another one, new tokens verify and old ones do not."""
    port, ahead = free_port(), list[float]()
    async with provider(port) as client:
        issuers, untried = (issuers_at(str(client.base_url), ahead) for _ in range(2))
        before = await token(client)
        await issuers.verify("ci", before)
    await issuers.verify("ci", before)
    with pytest.raises(UpstreamUnavailableError):
        await untried.verify("ci", before)
    async with provider(port) as client:
        after = await token(client)
        ahead.append(_LONGER_THAN_A_KEY_IS_AWAITED)
        await issuers.verify("ci", after)
        with pytest.raises(UnverifiedTokenError):
            await issuers.verify("ci", before)
