"""Signing a device in (RFC 8628): what the device asks, and what its person does on the console."""

from __future__ import annotations

from tests.conftest import ALICE, Service
from tests.support.devices import sign_in


async def test_smoke(service: Service) -> None:
    """Smoke."""
    got = await sign_in(service, ALICE)
    print(got)
