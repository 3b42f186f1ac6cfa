"""A good request for each operation."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from standalone.catalog import MEMBERS
from standalone.environment import PIPELINE
from tests.conftest import ALICE, BASE, BOB, keys_path, user_path
from tests.support.contract import operations

NO_KEY, NO_CODE, NO_SESSION = "0" * 64, "BBBB-BBBB", "ses_0000"
WELL_KNOWN = "/.well-known/oauth-authorization-server"
DAVE = "user:default/dave"
EXCHANGE = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "client_id": PIPELINE,
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
}
"""An exchange without its token."""

REQUESTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "getMe": ("GET", f"{BASE}/me", {}),
    "getModels": ("GET", f"{BASE}/models", {}),
    "getUsers": ("GET", f"{BASE}/users", {}),
    "createUser": ("POST", f"{BASE}/users", {"json": {"userId": DAVE}}),
    "getUser": ("GET", user_path(ALICE), {}),
    "updateUser": ("PATCH", user_path(ALICE), {"json": {"maxBudget": 5}}),
    "deleteUser": ("DELETE", user_path(ALICE), {}),
    "getKnownSecrets": ("GET", f"{user_path(ALICE)}/known-secrets", {}),
    "getOwners": ("GET", f"{BASE}/owners", {}),
    "getUserUsage": ("GET", f"{user_path(ALICE)}/usage", {}),
    "createUserKey": ("POST", keys_path(ALICE), {"json": {}}),
    "getUserKeys": ("GET", keys_path(ALICE), {}),
    "getUserKey": ("GET", keys_path(ALICE, NO_KEY), {}),
    "getUserKeyVersions": ("GET", f"{keys_path(ALICE, NO_KEY)}/versions", {}),
    "updateUserKey": ("PATCH", keys_path(ALICE, NO_KEY), {"json": {"alias": "a"}}),
    "deleteUserKey": ("DELETE", keys_path(ALICE, NO_KEY), {}),
    "regenerateUserKey": ("POST", f"{keys_path(ALICE, NO_KEY)}/regenerate", {"json": {}}),
    "transferUserKey": ("POST", f"{keys_path(ALICE, NO_KEY)}/transfer", {"json": {"owner": MEMBERS}}),
    "reportKey": ("POST", f"{BASE}/keys/report", {"json": {"key": "sk-nobody-has-this"}}),
    "issueToken": ("POST", f"{BASE}/oauth/token", {"data": EXCHANGE | {"subject_token": "no-token"}}),
    "getWorkloads": ("GET", f"{BASE}/workloads", {}),
    "testWorkload": ("POST", f"{BASE}/workloads/test", {"json": {"claims": {"sub": "repo:acme/checkout:main"}}}),
    "authorizeDevice": ("POST", f"{BASE}/oauth/device_authorization", {"data": {"client_id": "litellm-key"}}),
    "revokeToken": ("POST", f"{BASE}/oauth/revoke", {"data": {"token": "lor_nobody-has-this-one"}}),
    "getAuthorizationMetadata": ("GET", f"{BASE}{WELL_KNOWN}", {}),
    "getAuthorizationMetadataAtRoot": ("GET", f"{WELL_KNOWN}{BASE}", {}),
    "getDeviceCode": ("GET", f"{BASE}/device-codes/{NO_CODE}", {}),
    "approveDeviceCode": ("POST", f"{BASE}/device-codes/{NO_CODE}/approval", {"json": {"owner": BOB}}),
    "refuseDeviceCode": ("POST", f"{BASE}/device-codes/{NO_CODE}/refusal", {}),
    "getSessions": ("GET", f"{BASE}/sessions", {}),
    "endSession": ("DELETE", f"{BASE}/sessions/{NO_SESSION}", {}),
    "getAudit": ("GET", f"{BASE}/audit", {}),
    "getCleanup": ("GET", f"{BASE}/cleanup", {}),
    "getCleanupRun": ("GET", f"{BASE}/cleanup/runs/1", {}),
    "runCleanup": ("POST", f"{BASE}/cleanup", {"json": {"dryRun": True}}),
    "startAdoption": ("POST", f"{BASE}/adoptions", {"json": {"dryRun": True}}),
    "getAdoption": ("GET", f"{BASE}/adoptions/1", {}),
    "getOpenapiYaml": ("GET", f"{BASE}/openapi.yaml", {}),
    "getOpenapiJson": ("GET", f"{BASE}/openapi.json", {}),
    "getDocs": ("GET", f"{BASE}/docs", {}),
    "getDocsAsset": ("GET", f"{BASE}/docs/swagger-ui.css", {}),
    "getConsole": ("GET", f"{BASE}/console", {}),
    "getConsoleSettings": ("GET", f"{BASE}/console/settings", {}),
    "getConsoleAsset": ("GET", f"{BASE}/console/{'0' * 16}/main.js", {}),
    "getLiveness": ("GET", "/.backstage/health/v1/liveness", {}),
    "getReadiness": ("GET", "/.backstage/health/v1/readiness", {}),
    "getMetrics": ("GET", "/metrics", {}),
}
"""A good request for each operation, as bob the admin may send it."""

OPEN = [name for name, (_, _, row) in operations().items() if row.get("security") == []]
API = sorted(set(REQUESTS) - set(OPEN))
WITH_BODY = [name for name, (_, _, row) in operations().items() if "requestBody" in row]
PAGES = [name for name, (_, _, row) in operations().items() if "308" in row["responses"]]
CONDITIONAL = [name for name, (_, _, row) in operations().items() if "304" in row["responses"]]


async def let_others_run() -> None:
    """What goes on in this process gets fifty turns, which cost less than a request that asks whether it has ended."""
    for _ in range(50):
        await asyncio.sleep(0)


async def ended(bob: httpx.AsyncClient) -> Any:
    """The status of the cleanup once no run is in progress."""
    for _ in range(5000):
        await let_others_run()
        status = (await bob.get(f"{BASE}/cleanup")).json()
        if not status["running"]:
            return status
    pytest.fail("the run does not end")


async def run_cleanup(bob: httpx.AsyncClient) -> None:
    """A whole run."""
    assert (await bob.post(f"{BASE}/cleanup", json={"dryRun": False})).status_code == 202
    await ended(bob)


async def exchange(client: httpx.AsyncClient, token: str, **changes: str) -> httpx.Response:
    """Of a workload's token for a key."""
    return await client.post(f"{BASE}/oauth/token", data=EXCHANGE | {"subject_token": token} | changes)


async def send(client: httpx.AsyncClient, operation: str, **changes: Any) -> httpx.Response:
    method, path, options = REQUESTS[operation]
    return await client.request(method, path, **(options | changes))
