"""Behind a real nginx: one that passes a path on as it came, and those that decode it."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from standalone.backstage import BackstageStandIn
from standalone.catalog import MEMBERS
from tests.conftest import ALICE, BASE, BOB, MakeService, keys_path
from tests.support.contract import operations
from tests.support.raw_http import free_port, serving
from tests.support.requests import NO_KEY, REQUESTS

pytestmark = pytest.mark.nginx
LOCATIONS = {
    "as it came": "location / { proxy_pass http://127.0.0.1:%d; }",
    "decoded": "location / { proxy_pass http://127.0.0.1:%d/; }",
    "decoded by a rewriting": "location / { rewrite ^/(.*)$ /$1 break; proxy_pass http://127.0.0.1:%d; }",
}
NAMES = [
    "alice", "keys", "usage", "alice@example.com", "alice+lab@example.com", "\u00fcnal", "\u738b\u5c0f\u660e", "a:b",
    "100%", "a?b#c", "o'brien", "\U0001f600", "x" * 254,
]  # fmt: skip
CONFIGURATION = """
daemon off; master_process off; pid {folder}/pid; error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; {location} }}
}}
"""


@asynccontextmanager
async def nginx(folder: Path, location: str) -> AsyncIterator[str]:
    """The origin of an nginx of our own, on loopback."""
    port = free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(folder=folder, port=port, location=location))
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    process = await asyncio.create_subprocess_exec(program, "-c", str(configuration), stderr=subprocess.PIPE)
    try:
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0)
            else:
                writer.close()
                break
        assert process.returncode is None, await process.communicate()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.communicate()


@pytest.fixture(params=LOCATIONS)
async def bob(
    request: pytest.FixtureRequest, make_service: MakeService, backstage: BackstageStandIn, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    """An admin, whose requests come through nginx."""
    service = make_service(creates_per_minute=100_000)
    service.client()
    async with (
        serving(service._app) as port,
        nginx(tmp_path, LOCATIONS[request.param] % port) as origin,
        httpx.AsyncClient(
            base_url=origin, headers={"Authorization": f"Bearer {backstage.user_token(BOB)}"}, timeout=60
        ) as client,
    ):
        yield client


@pytest.mark.parametrize("name", NAMES)
async def test_every_operation_is_reached(bob: httpx.AsyncClient, backstage: BackstageStandIn, name: str) -> None:
    """Clients encode the path. For people of any name, all that is below their path is theirs."""
    user_id = f"user:default/{name}"
    encoded = quote(user_id, safe="")
    backstage.org.users[user_id] = {MEMBERS}
    assert (await bob.post(f"{BASE}/users", json={"userId": user_id})).status_code == 201
    below = {operation for operation, (_, path, _) in operations().items() if "{userId}" in path}
    for operation in [*sorted(below - {"deleteUser"}), "deleteUser"]:
        method, path, options = REQUESTS[operation]
        key_id = (await bob.post(f"{BASE}/users/{encoded}/keys")).json()["keyId"]
        path = path.replace(quote(ALICE, safe=""), encoded).replace(NO_KEY, key_id)
        answer = await bob.request(method, path, **options)
        assert answer.is_success, (operation, answer.text)
        assert answer.status_code == 204 or answer.json().get("userId", user_id) == user_id


@pytest.mark.parametrize(
    "ref", ["user:default/bob/bob", "user:default", "bob", "group:default/admins", "user:default/a,b"]
)
async def test_what_is_no_ref_is_none(bob: httpx.AsyncClient, ref: str) -> None:
    """A 400 or a 404, and never another user or operation."""
    assert (await bob.get(f"{BASE}/users/{quote(ref, safe='')}")).status_code in (400, 404)


async def test_a_slash_at_the_end_makes_no_difference(bob: httpx.AsyncClient) -> None:
    """For the API, decoded or not."""
    assert (await bob.post(f"{BASE}/users/", json={"userId": ALICE})).status_code == 201
    plain = await bob.get(keys_path(ALICE))
    slashed = await bob.get(f"{keys_path(ALICE)}/")
    assert (slashed.status_code, slashed.text) == (200, plain.text)
    assert (await bob.head(f"{keys_path(ALICE)}/")).headers["etag"] == plain.headers["etag"]


@pytest.mark.parametrize("page", ["console", "docs"])
async def test_a_page_with_a_slash_leads_to_its_files(make_service: MakeService, tmp_path: Path, page: str) -> None:
    """Below a prefix that this service does not know."""
    service = make_service()
    service.client()
    location = "location /tools/keys/ { proxy_pass http://127.0.0.1:%d/api/litellm-orchestrator/; }"
    async with (
        serving(service._app) as port,
        nginx(tmp_path, location % port) as origin,
        httpx.AsyncClient(base_url=origin, follow_redirects=True) as browser,
    ):
        shown = await browser.get(f"/tools/keys/{page}/")
        assert (shown.status_code, shown.url.path) == (200, f"/tools/keys/{page}")
        [first, *others] = re.findall(r'<(?:script|link)\b[^>]* (?:src|href)="([^"]+)"', shown.text)
        for file in (first, *others):
            assert (await browser.get(shown.url.join(file))).status_code == 200
