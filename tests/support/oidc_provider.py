"""A real OpenID provider: npm's `oidc-provider`, which the OpenID Foundation has certified."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.raw_http import free_port

AUDIENCE, SUBJECT = "litellm-orchestrator", "repo:acme/shop:ref:refs/heads/main"
# Not the folder of a provider that others use: it is stopped here.
HOME = Path.home() / ".cache" / "oidc-live-of-tests"
_CLIENT = ("pipeline", "pipeline-secret")


class Provider:
    """The provider, on a port of its own. It has new keys after each start."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Starts it, and installs it before if it is not there."""
        await self._run("up")

    async def stop(self) -> None:
        """Stops it."""
        await self._run("stop")

    async def tokens(self, number: int, **claims: Any) -> list[str]:
        """As many tokens."""
        form = {"grant_type": "client_credentials", "claims": json.dumps(claims), "sub": SUBJECT}
        form |= {"audience": AUDIENCE, "alg": "ES256"}
        async with httpx.AsyncClient(base_url=self.url, auth=_CLIENT, timeout=60) as client:
            answers = [await client.post("/token", data=form) for _ in range(number)]
        return [str(answer.json()["access_token"]) for answer in answers]

    async def token(self, algorithm: str, audience: str = AUDIENCE) -> str:
        """A token that it signs with `algorithm`."""
        claims = json.dumps({"repository_owner_id": "65", "kubernetes.io": {"namespace": "ci"}})
        return await self._run("token", claims, SUBJECT, audience, algorithm)

    async def _run(self, *arguments: str) -> str:
        environment = os.environ | {"OIDC_PORT": str(self.port), "OIDC_HOME": str(HOME)}
        started = await asyncio.create_subprocess_exec(
            os.environ["OIDC_START"], *arguments, env=environment, stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await started.communicate()
        assert started.returncode == 0
        return printed.decode().strip()


@asynccontextmanager
async def running_provider() -> AsyncIterator[Provider]:
    """Running until the end of the block."""
    real = Provider()
    await real.start()
    try:
        yield real
    finally:
        await real.stop()
