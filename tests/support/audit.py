"""The audit log, as an admin reads it."""

from __future__ import annotations

from typing import Any

import httpx

from tests.conftest import BASE, BOB, Service

AUDIT = f"{BASE}/audit"


async def events(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    """The newest first."""
    answer = await client.get(AUDIT, params=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["events"])


async def nothing_is_open(service: Service) -> None:
    """Asserts that every change has an outcome."""
    assert [event for event in await events(service.signed_in(BOB), limit=100) if event["outcome"] is None] == []
