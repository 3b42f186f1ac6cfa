"""What Backstage's auth does, as far as this service relies on it."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest

ALICE = "user:default/alice"


def decoded(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims."""
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2])
    return header, claims


async def user_token(portal: httpx.AsyncClient, ref: str = ALICE) -> str:
    answer = await portal.get("/api/auth/test/refresh", params={"user": ref})
    return str(answer.json()["backstageIdentity"]["token"])


async def ask(portal: httpx.AsyncClient, path: str, token: str = "") -> httpx.Response:
    return await portal.get(path, headers={"Authorization": f"Bearer {token}"} if token else {})


async def test_a_user_token(portal: httpx.AsyncClient) -> None:
    """ES256, typed, for an hour; older releases put the ownership into it, the newest leaves it out."""
    header, claims = decoded(await user_token(portal))
    assert (header["typ"], header["alg"]) == ("vnd.backstage.user", "ES256")
    assert (claims["sub"], claims["aud"], claims["exp"] - claims["iat"]) == (ALICE, "backstage", 3600)
    assert claims.get("ent") in (None, [ALICE, "group:default/litellm-users"])
    assert claims["iss"].endswith("/api/auth")
    assert "uip" in claims


async def test_refs_are_in_lower_case(portal: httpx.AsyncClient) -> None:
    """Whatever the entity's own case is."""
    assert decoded(await user_token(portal, "user:default/Erin.Mixed"))[1]["sub"] == "user:default/erin.mixed"


async def test_ownership_counts_direct_groups_only(portal: httpx.AsyncClient) -> None:
    """Dave is in a nested group, and owns that one."""
    token = await user_token(portal, "user:default/dave")
    claims = (await ask(portal, "/api/auth/v1/userinfo", token)).json()["claims"]
    assert claims["ent"] == ["user:default/dave", "group:default/team-a"]


async def test_the_signing_keys(portal: httpx.AsyncClient) -> None:
    """The key that signed a token is published, as P-256."""
    header, _ = decoded(await user_token(portal))
    keys = (await portal.get("/api/auth/.well-known/jwks.json")).json()["keys"]
    key = next(row for row in keys if row["kid"] == header["kid"])
    assert (key["kty"], key["crv"], key["alg"], "d" in key) == ("EC", "P-256", "ES256", False)


async def test_userinfo(portal: httpx.AsyncClient) -> None:
    """For user tokens and limited ones; 401 for anything else."""
    token = await user_token(portal)
    limited = (await ask(portal, "/api/tokens/limited", token)).json()["token"]
    for accepted in (token, limited):
        answer = await ask(portal, "/api/auth/v1/userinfo", accepted)
        assert answer.json() == {"claims": {"sub": ALICE, "ent": [ALICE, "group:default/litellm-users"]}}
    plugin = (await ask(portal, "/api/tokens/service")).json()["token"]
    for refused in (plugin, "not-a-token", ""):
        assert (await ask(portal, "/api/auth/v1/userinfo", refused)).status_code == 401


async def test_a_plugin_token(portal: httpx.AsyncClient) -> None:
    """Signed by its plugin, whose keys are published under its id."""
    header, claims = decoded((await ask(portal, "/api/tokens/service")).json()["token"])
    assert (header["typ"], header["alg"]) == ("vnd.backstage.plugin", "ES256")
    assert (claims["sub"], claims["aud"], "obo" in claims, "iss" in claims) == (
        "tokens",
        "litellm-orchestrator",
        False,
        False,
    )
    keys = (await portal.get("/api/tokens/.backstage/auth/v1/jwks.json")).json()["keys"]
    assert header["kid"] in {row["kid"] for row in keys}
    assert (await portal.get("/api/no-such-plugin/.backstage/auth/v1/jwks.json")).status_code == 404


async def test_a_token_on_behalf_of_a_user(portal: httpx.AsyncClient) -> None:
    """It carries that user's limited token, which the auth plugin signed."""
    token = await user_token(portal)
    _, claims = decoded((await ask(portal, "/api/tokens/on-behalf-of", token)).json()["token"])
    header, limited = decoded(claims["obo"])
    assert header["typ"] == "vnd.backstage.limited-user"
    assert (limited["sub"], "ent" in limited) == (ALICE, False)
    assert header["kid"] == decoded(token)[0]["kid"]


@pytest.mark.parametrize("ref", ["user:default/nobody"])
async def test_errors(portal: httpx.AsyncClient, ref: str) -> None:
    """The body that every Backstage client parses."""
    answer = await portal.get("/api/auth/test/refresh", params={"user": ref})
    body = answer.json()
    assert (answer.status_code, body["error"]["name"], body["response"]) == (404, "NotFoundError", {"statusCode": 404})
    assert body["request"]["method"] == "GET"
