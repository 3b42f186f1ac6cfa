"""Tokens of workloads, on a real OpenID provider: npm's `oidc-provider`, which the OpenID Foundation has certified."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from clients.oidc.issuers import Issuers
from domain.errors import UnverifiedTokenError, UpstreamFaultError, UpstreamUnavailableError
from domain.workloads import Match, Rule, mismatch
from settings.model import Issuer, Timeouts
from tests.support.oidc_provider import AUDIENCE, SUBJECT, Provider, running_provider

pytestmark = pytest.mark.live


class Passing:
    """A clock that the test may advance. Seconds since the epoch."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """Running."""
    async with running_provider() as real:
        yield real


@pytest.fixture
def clock() -> Passing:
    """That of the machine."""
    return Passing()


def issuers_at(url: str, clock: Passing) -> Issuers:
    """The issuers of settings, with the one at `url`, over the network."""
    return Issuers([Issuer(name="ci", url=url, audience=AUDIENCE)], timeouts=Timeouts(), now=clock)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_a_token_of_a_real_provider(provider: Provider, clock: Passing, algorithm: str) -> None:
    """Found by discovery and verified; one for another service is refused, and so is one that was altered."""
    issuers = issuers_at(provider.url, clock)
    genuine = await provider.token(algorithm)
    token = await issuers.verify("ci", genuine)
    claims = ((("repository_owner_id",), "65"), (("kubernetes.io", "namespace"), "ci"))
    assert mismatch(Rule("build", "ci", "user:default/alice", Match("repo:acme/shop:*", claims)), token) is None
    assert await issuers.algorithms("ci") == {"RS256", "ES256"}
    assert issuers.health("ci").count == 2
    content, _, signature = genuine.rpartition(".")
    for refused in (await provider.token(algorithm, audience="vault"), f"{content}.{signature[::-1]}"):
        with pytest.raises(UnverifiedTokenError):
            await issuers.verify("ci", refused)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_a_rotation_and_an_outage(provider: Provider, clock: Passing, algorithm: str) -> None:
    """Known keys go on while the provider is down; once it is up again, its new keys count, and the old ones do not."""
    issuers = issuers_at(provider.url, clock)
    before = await provider.token(algorithm)
    await issuers.verify("ci", before)
    await provider.stop()
    with pytest.raises(UpstreamUnavailableError):
        await issuers_at(provider.url, clock).algorithms("ci")
    await issuers.verify("ci", before)
    await provider.start()
    after = await provider.token(algorithm)
    clock.ahead += 10  # how often the keys are asked for at most
    assert (await issuers.verify("ci", after)).subject == SUBJECT
    clock.ahead += 10
    with pytest.raises(UnverifiedTokenError):
        await issuers.verify("ci", before)


async def test_a_document_of_another_issuer(provider: Provider, clock: Passing) -> None:
    """`localhost` is the same machine, and not the issuer by its own word."""
    issuers = issuers_at(provider.url.replace("127.0.0.1", "localhost"), clock)
    with pytest.raises(UpstreamFaultError, match="a discovery document of another issuer than its url"):
        await issuers.algorithms("ci")
