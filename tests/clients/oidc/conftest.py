"""Verification of foreign tokens, on an issuer whose answers the test may change."""

from __future__ import annotations

import pytest

from clients.oidc.issuers import Issuers
from domain.errors import UnverifiedTokenError
from tests.conftest import Clock
from tests.support.issuers import SigningIssuer, issuers_of


@pytest.fixture
def issuer(clock: Clock) -> SigningIssuer:
    """One that signs with ES256."""
    return SigningIssuer(clock)


@pytest.fixture
def issuers(issuer: SigningIssuer) -> Issuers:
    """Those of settings that have this one, named `ci`."""
    return issuers_of(issuer)


async def refused(issuers: Issuers, token: str) -> str:
    """Why `token` does not verify; its holder does not hear it."""
    with pytest.raises(UnverifiedTokenError) as raised:
        await issuers.verify("ci", token)
    assert raised.value.message == "The token cannot be verified"
    return raised.value.reason
