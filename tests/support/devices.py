"""What a device, and the person who signs it in, ask of the service."""

from __future__ import annotations

from typing import Any

import httpx

from tests.conftest import BASE, Service

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
CLIENT = "litellm-key"


async def ask(client: httpx.AsyncClient, **more: str) -> dict[str, Any]:
    """The codes of a device that asks to be signed in."""
    form = {"client_id": CLIENT, "device_name": "laptop", "tool": "claude-code"} | more
    response = await client.post(f"{BASE}/oauth/device_authorization", data=form)
    assert response.status_code == 200, response.text
    return dict(response.json())


async def poll(client: httpx.AsyncClient, codes: dict[str, Any], **changes: str) -> httpx.Response:
    """Whether the device is approved."""
    form = {"grant_type": DEVICE_GRANT, "client_id": CLIENT, "device_code": codes["device_code"]}
    return await client.post(f"{BASE}/oauth/token", data=form | changes)


async def refresh(client: httpx.AsyncClient, token: str, **changes: str) -> httpx.Response:
    """Of a session."""
    form = {"grant_type": "refresh_token", "client_id": CLIENT, "refresh_token": token}
    return await client.post(f"{BASE}/oauth/token", data=form | changes)


async def revoke(client: httpx.AsyncClient, token: str, **more: str) -> httpx.Response:
    """Of a refresh token or a key."""
    return await client.post(f"{BASE}/oauth/revoke", data={"token": token, "client_id": CLIENT} | more)


def code_path(codes: dict[str, Any], action: str = "") -> str:
    """The path of a user code, or of what is done with it."""
    return f"{BASE}/device-codes/{codes['user_code']}" + (f"/{action}" if action else "")


async def approve(person: httpx.AsyncClient, codes: dict[str, Any], owner: str, **more: Any) -> httpx.Response:
    """On the console."""
    return await person.post(code_path(codes, "approval"), json={"owner": owner} | more)


async def sign_in(service: Service, person: str, owner: str | None = None, **more: Any) -> dict[str, Any]:
    """What a device has after its sign-in."""
    client = service.client()
    codes = await ask(client)
    approved = await approve(service.signed_in(person), codes, owner or person, **more)
    assert approved.status_code == 200, approved.text
    response = await poll(client, codes)
    assert response.status_code == 200, response.text
    return dict(response.json())


async def renewed(client: httpx.AsyncClient, token: str) -> dict[str, Any]:
    """What a device has after a refresh."""
    response = await refresh(client, token)
    assert response.status_code == 200, response.text
    return dict(response.json())


async def sessions(person: httpx.AsyncClient, of: str | None = None) -> list[dict[str, Any]]:
    """The signed-in devices of a person."""
    response = await person.get(f"{BASE}/sessions", params={} if of is None else {"userId": of})
    assert response.status_code == 200, response.text
    return list(response.json()["sessions"])
