"""What docs/backstage.md says: both ways to this service, from Backstage's backend and a browser; the catalog."""

from __future__ import annotations

import asyncio
import json
import os
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium.webdriver import Chrome
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from tests.conftest import ALICE, BASE, user_path
from tests.live.conftest import Live
from tests.support.processes import ROOT
from tests.support.raw_http import serving
from tests.support.real_products import RealProducts

pytestmark = pytest.mark.live

PORTAL_PORT = 3000
"""Where Backstage's frontend is in development: the one origin that CORS allows in these settings."""
FETCH = """
const [address, token, done] = arguments;
const headers = {Authorization: `Bearer ${token}`, 'Content-Type': 'application/json'};
fetch(address, {method: 'PATCH', headers, body: '{}'})
    .then(async answer => done([answer.status, answer.headers.get('ETag'), await answer.json()]))
    .catch(error => done([0, null, `${error}`]));
"""
CATALOG_SECONDS = 60


async def test_a_backend_plugin_finds_it_by_discovery(live: Live) -> None:
    """`discovery.endpoints` leads there, and Backstage's token on behalf of alice is accepted."""
    bearer = {"Authorization": f"Bearer {await live.products.token('alice')}"}
    token = (await live.products.backstage.get("/api/tokens/on-behalf-of", headers=bearer)).json()["token"]
    folder = Path(os.environ["BACKSTAGE_ORG"]).parent
    ports = {"BACKSTAGE_PORT": str(live.products.backstage.base_url.port), "ORCHESTRATOR_PORT": str(live.running.port)}
    script, path = str(ROOT / "tests/live/discovery.mjs"), user_path(ALICE).removeprefix(f"{BASE}/")
    node = await asyncio.create_subprocess_exec(
        *("node", script, str(folder / "app-config.yaml"), token, path),
        cwd=folder,
        env=os.environ | ports,
        stdout=PIPE,
    )
    answer = json.loads((await node.communicate())[0].splitlines()[-1])
    live.products.narrate(f"  discovery -> {answer['address']} -> {answer['status']}")
    assert answer["address"] == f"{live.running.origin}{BASE}"
    assert (answer["status"], answer["body"]["userId"]) == (200, ALICE)


async def test_a_browser_gets_there_directly_and_through_the_proxy(live: Live, browser: Chrome) -> None:
    """Directly after a preflight of `backend.cors`, through the proxy with Backstage's; other origins are refused."""
    portal = Starlette(routes=[Route("/", lambda _: HTMLResponse("<title>portal</title>"))])
    token = await live.products.token("bob")
    path = user_path(ALICE).removeprefix(BASE)
    proxy = f"{live.products.backstage.base_url}/api/proxy/litellm-orchestrator"
    routes = [f"{live.running.origin}{BASE}{path}", f"{proxy}{path}"]
    async with live.caller(await live.products.token("alice")) as alice:
        await alice.get(user_path(ALICE))

    async def called(origin: str, address: str) -> Any:
        await asyncio.to_thread(browser.get, origin)
        return await asyncio.to_thread(browser.execute_async_script, FETCH, address, token)

    async with serving(portal, port=PORTAL_PORT) as port:
        for address in routes:
            status, etag, body = await called(f"http://localhost:{port}", address)
            live.products.narrate(f"  fetch PATCH {address} -> {status}")
            assert (status, body["userId"]) == (200, ALICE), body
            assert etag is not None or "proxy" in address
        assert (await called(f"http://127.0.0.1:{port}", routes[0]))[0] == 0


@pytest.mark.skipif("CATALOG_INFO" not in os.environ, reason="Backstage was started without catalog-info.yaml")
async def test_the_catalog_ingests_the_component_and_its_api(products: RealProducts) -> None:
    """With this contract as the definition of the API, and the relation between both."""
    catalog = {"Authorization": f"Bearer {os.environ['BACKSTAGE_CATALOG_TOKEN']}"}
    repository = Starlette(routes=[Mount("/", StaticFiles(directory=ROOT))])

    async def entity(kind: str) -> Any:
        path = f"/api/catalog/entities/by-name/{kind}/default/litellm-orchestrator"
        return (await products.backstage.get(path, headers=catalog)).json()

    async with serving(repository, port=urlsplit(os.environ["CATALOG_INFO"]).port or 80):
        async with asyncio.timeout(CATALOG_SECONDS):
            while "relations" not in (api := await entity("api")):  # noqa: ASYNC110  # another process has no event
                await asyncio.sleep(0.5)
        component = await entity("component")
    assert api["spec"]["definition"] == (ROOT / "openapi.yaml").read_text()
    assert ("providesApi", "api:default/litellm-orchestrator") in related(component)
    assert ("apiProvidedBy", "component:default/litellm-orchestrator") in related(api)
    products.narrate(f"  catalog: {component['metadata']['name']}, API of {len(api['spec']['definition'])} bytes")


def related(entity: Any) -> list[tuple[str, str]]:
    return [(row["type"], row["targetRef"]) for row in entity["relations"]]
