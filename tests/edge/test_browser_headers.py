"""What a browser is told about each page and each answer, and that no page needs anything from elsewhere."""

from __future__ import annotations

import re

import httpx
import pytest

from settings.model import ConsoleSettings
from tests.conftest import ALICE, BASE, BOB, MakeService, keys_path, user_path
from tests.support.contract import operations, resolved
from tests.support.requests import REQUESTS

HTML = sorted(
    name
    for name, (_, _, row) in operations().items()
    if "text/html" in resolved(row["responses"].get("200", {})).get("content", {})
)
OURS = {"'self'", "'none'", "data:"}
ELSEWHERE = re.compile(r"""(?:src|href|action)\s*=\s*["']?\s*(?:[a-z]+:)?//""", re.IGNORECASE)


def policy_of(response: httpx.Response) -> dict[str, set[str]]:
    """The directives, each with its sources."""
    parts = [part.split() for part in response.headers["content-security-policy"].split(";")]
    return {name: set(sources) for name, *sources in parts}


def test_the_pages_are_known() -> None:
    """A new page is found by its media type, and tested below."""
    assert HTML == ["getConsole", "getDocs"]


@pytest.mark.parametrize("page", HTML)
async def test_a_page_runs_nothing_but_what_this_service_serves(nobody: httpx.AsyncClient, page: str) -> None:
    """No script of its own text or of another origin, no frame around it, no form, no other base of its addresses."""
    response = await nobody.get(REQUESTS[page][1])
    policy = policy_of(response)
    fallback = policy["default-src"]
    assert policy.get("script-src", fallback) == {"'self'"}
    assert policy.get("object-src", fallback) <= {"'self'", "'none'"}
    assert [policy[name] for name in ("base-uri", "form-action", "frame-ancestors")] == [{"'none'"}] * 3
    loading = {name: sources for name, sources in policy.items() if name.endswith("-src") and name != "style-src"}
    assert set().union(*loading.values()) <= OURS
    assert not ELSEWHERE.search(response.text)
    assert re.findall(r"<script(?![^>]*\bsrc=)", response.text) == []
    assert re.findall(r"<[^>]*\son\w+\s*=", response.text) == []


async def test_the_console_calls_one_other_origin_at_most(make_service: MakeService) -> None:
    """Backstage's, which renews a session, where an operator configured it; nothing else is loaded from there."""
    settings = ConsoleSettings(refresh_url="https://backstage.example/api/auth/x/refresh?env=production")
    response = await make_service(console=settings).client().get(f"{BASE}/console")
    elsewhere = {name: sources - OURS for name, sources in policy_of(response).items() if name.endswith("-src")}
    named = {name: sources for name, sources in elsewhere.items() if sources}
    assert named == {"connect-src": {"https://backstage.example"}}


@pytest.mark.parametrize("operation", sorted(REQUESTS))
async def test_each_answer_is_what_it_says_it_is(
    nobody: httpx.AsyncClient, bob: httpx.AsyncClient, operation: str
) -> None:
    """No browser guesses another type, and no other site learns the address; also of an error, signed in or not."""
    method, path, options = REQUESTS[operation]
    for client in (nobody, bob):
        response = await client.request(method, path, **options)
        assert response.headers.get_list("x-content-type-options") == ["nosniff"]
        assert response.headers.get_list("referrer-policy") == ["no-referrer"]
        assert not response.content or "content-type" in response.headers


async def test_what_is_personal_is_not_kept(alice: httpx.AsyncClient) -> None:
    """A shared browser or a proxy does not show it to the next one: keys with their secrets, users and errors."""
    created, listed = await alice.post(keys_path(ALICE), json={}), await alice.get(keys_path(ALICE))
    user, refused = await alice.get(user_path(ALICE)), await alice.get(user_path(BOB))
    assert [each.headers["cache-control"] for each in (created, listed, user, refused)] == ["no-store"] * 4
