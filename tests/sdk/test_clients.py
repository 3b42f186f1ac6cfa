"""The clients as their users have them: installed, type-checked, and used against the running service.

`make sdk-test` builds them first. The stories run twice: directly, and through Prism, which compares each response with
the contract.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from standalone.backstage import BackstageStandIn
from standalone.catalog import CATALOG_TOKEN
from standalone.environment import TOKEN_PATH
from standalone.litellm import MASTER_KEY, LiteLLMStandIn
from tests.conftest import ALICE, BASE
from tests.support.clients import (
    DIST,
    SDK,
    command_tests,
    install_package,
    install_wheel,
    python_story,
    run,
    typescript_story,
)
from tests.support.command_line import Machine, signed_in
from tests.support.processes import ROOT, listening
from tests.support.raw_http import free_port, serving

pytestmark = pytest.mark.sdk

PRISM = ROOT / "spec" / "node_modules" / ".bin" / "prism"
TOKEN = 'mock-user-token:{"sub":"user:default/alice"}'


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the wheel is installed."""
    return install_wheel(tmp_path_factory.mktemp("python"))


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has the tarball, the tests of the client, and the example of its README."""
    code = f"const backstageToken = () => {TOKEN!r};\n" + example("typescript", "ts")
    return install_package(tmp_path_factory.mktemp("typescript"), example=code)


def example(language: str, marker: str) -> str:
    """The first code of a client's README, with the address and the sign-in that the mock has."""
    text = (SDK / language / "README.md").read_text()
    code = text.split(f"```{marker}\n")[1].split("```")[0]
    address = "https://portal.example.com/api/litellm-orchestrator"
    assert code.count(f'"{address}"') == 1
    environment = 'os.environ["ORCHESTRATOR_URL"]' if language == "python" else "process.env.ORCHESTRATOR_URL!"
    return code.replace(f'"{address}"', environment)


@asynccontextmanager
async def through_prism(upstream: str, port: int) -> AsyncIterator[str]:
    """A proxy in front of the service that reports responses which violate the contract."""
    prism = await asyncio.create_subprocess_exec(
        PRISM, "proxy", "openapi.yaml", upstream, "--port", str(port), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert prism.stdout is not None
    try:
        while b"is listening" not in (line := await asyncio.wait_for(prism.stdout.readline(), 60)):
            assert line, "prism ended"
        yield f"http://127.0.0.1:{port}"
    finally:
        prism.terminate()
        await prism.communicate()


@pytest.fixture(params=["directly", "through Prism"])
def proxied(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "through Prism")


async def test_the_whole_story(wheel: Path, package: Path, proxied: bool, unused_tcp_port: int) -> None:
    """In Python and in TypeScript, with no response that violates the contract."""
    mock = listening("--port", "0", "--seed", "docs/mock.yaml", program="standalone")
    async with mock as running, httpx.AsyncClient() as http:
        url = running.origin + BASE
        async with AsyncExitStack() as stack:
            address = await stack.enter_async_context(through_prism(url, unused_tcp_port)) if proxied else url
            for story, client in ((python_story, wheel), (typescript_story, package)):
                token = (await http.get(running.origin + TOKEN_PATH)).text
                await asyncio.to_thread(story, client, address, None, token)


def test_the_command(wheel: Path) -> None:
    """`litellm-key` against a stand-in of the service's wire, as a person and as tools call it."""
    assert "failed" not in command_tests(wheel)


def test_the_wheel_needs_what_it_declares(tmp_path: Path) -> None:
    """In an environment of its own, each module can be imported; the command without its extra says what it needs."""
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path, cwd=tmp_path)
    python, key = (tmp_path / "bin" / name for name in ("python", "litellm-key"))
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "install", "--quiet")
    [built] = DIST.glob("*.whl")
    run(*pip, built, cwd=tmp_path)
    with pytest.raises(AssertionError, match=r"pip install 'litellm-orchestrator-client\[cli\]'"):
        run(key, "token", cwd=tmp_path)
    run(*pip, f"{built}[cli]", cwd=tmp_path)
    assert "litellm-key, version" in run(key, "--version", cwd=tmp_path)
    imports = """if True:
        import pkgutil, litellm_orchestrator_client as package
        modules = list(pkgutil.walk_packages(package.__path__, "litellm_orchestrator_client."))
        print(len([__import__(module.name) for module in modules]))
    """
    assert int(run(python, "-W", "error", "-c", imports, cwd=tmp_path)) > 80


def test_the_package_imports_the_client_at_its_first_use(wheel: Path, tmp_path: Path) -> None:
    """Whatever is used first, it is there, with the modules that come with it; what does not exist is an error."""
    script = """if True:
        import sys, litellm_orchestrator_client as package
        assert "httpx" not in sys.modules
        assert {*package.__all__} <= {*dir(package)}
        print(package.models.User.__name__, package.client.__name__, package.types.__name__)
        print(*(getattr(package, name).__name__ for name in package.__all__), hasattr(package, "nobody"))
        from litellm_orchestrator_client import *
        assert Client is package.client.Client
    """
    assert run(sys.executable, "-c", script, cwd=tmp_path, PYTHONPATH=str(wheel)).splitlines() == [
        "User litellm_orchestrator_client.client litellm_orchestrator_client.types",
        "Client OrchestratorError TokenError async_pages exchange pages result False",
    ]


def test_python_code_that_uses_it_is_type_checked(wheel: Path, tmp_path: Path) -> None:
    """Its tests and the example of its README, strictly; a name or a field that does not exist is an error."""
    shutil.copytree(SDK / "python" / "tests", tmp_path / "tests")
    signed_in = f"import os\n\n\ndef backstage_token() -> str:\n    return {TOKEN!r}\n\n\n"
    (tmp_path / "example.py").write_text(signed_in + example("python", "python"))
    # What the build found out about other packages.
    shutil.copytree(DIST / "python" / ".mypy_cache", tmp_path / "cache")
    mypy = (sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache")
    assert "Success" in run(*mypy, "tests", "example.py", cwd=tmp_path, MYPYPATH=str(wheel))
    (tmp_path / "wrong.py").write_text(
        "from litellm_orchestrator_client import Nobody\n"
        "from litellm_orchestrator_client.models import User\n\nprint(User.budget, Nobody)\n"
    )
    with pytest.raises(AssertionError, match='"type\\[User\\]" has no attribute "budget"') as raised:
        run(*mypy, "wrong.py", cwd=tmp_path, MYPYPATH=str(wheel))
    assert 'Module "litellm_orchestrator_client" has no attribute "Nobody"' in str(raised.value)


async def test_the_examples_do_what_they_say(wheel: Path, package: Path, tmp_path: Path) -> None:
    """Pasted from the READMEs and run: a key is made and shown, and listed."""
    (tmp_path / "example.py").write_text(
        f"import os\n\nbackstage_token = lambda: {TOKEN!r}\n" + example("python", "python")
    )
    commands = {tmp_path: (sys.executable, "example.py"), package: ("node", "example.js")}
    nothing = tmp_path / "nothing.yaml"
    nothing.write_text("{}\n")
    for folder, command in commands.items():
        async with listening("--port", "0", "--seed", str(nothing), program="standalone") as running:
            environment = {"PYTHONPATH": str(wheel), "ORCHESTRATOR_URL": running.origin + BASE}
            made, listed = (await asyncio.to_thread(run, *command, cwd=folder, **environment)).splitlines()
            assert made.split()[1].startswith("sk-")
            assert listed.split()[:2] == ["laptop", "0"] or listed.split()[:2] == ["laptop", "0.0"]


class Balancer:
    """Passes each request on to the next of several services.

    `instead` has what is done with the answers of the next refreshes: None, "lost" for a connection that closes, or a
    status for a page of its own. `refreshed_at` lists who answered them.
    """

    def __init__(self) -> None:
        self.behind: Iterator[str] = iter(())
        self.instead: list[str | int | None] = []
        self.refreshed_at: list[str] = []
        self.app = Starlette(routes=[Route("/{path:path}", self._pass_on, methods=["GET", "POST", "DELETE"])])

    async def _pass_on(self, request: Request) -> Response:
        origin, body = next(self.behind), await request.body()
        kept = {name: value for name, value in request.headers.items() if name in {"authorization", "content-type"}}
        async with httpx.AsyncClient(base_url=origin) as http:
            answer = await http.request(request.method, request.url.path, content=body, headers=kept)
        instead = None
        if b"grant_type=refresh_token" in body:
            self.refreshed_at.append(origin)
            instead = self.instead.pop(0) if self.instead else None
        if isinstance(instead, int):
            return Response("<html>", instead)
        if instead == "lost":
            return StreamingResponse(_cut(answer.content), headers={"Content-Length": str(len(answer.content))})
        return Response(answer.content, answer.status_code, media_type=answer.headers.get("Content-Type"))


async def _cut(content: bytes) -> AsyncIterator[bytes]:
    yield content[:10]
    raise ConnectionAbortedError


def _outdate(home: Path) -> None:
    """The key that the command has is over."""
    [path] = home.glob(".local/share/litellm-key/sessions/*.json")
    body = json.loads(path.read_text())
    path.write_text(json.dumps(body | {"tokens": body["tokens"] | {"key_life": 0.0}}))


async def test_the_command_behind_two_replicas(wheel: Path, tmp_path: Path, litellm: LiteLLMStandIn) -> None:
    """Each request reaches the other process: signing in, renewals with and without an answer, signing out."""
    balancer, backstage, port = Balancer(), BackstageStandIn(), free_port()
    config = tmp_path / "app-config.yaml"
    command = tmp_path / "litellm-key"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={wheel} exec {sys.executable} -m litellm_orchestrator_client.cli "$@"\n')
    command.chmod(0o755)
    machine, origin = Machine(command, tmp_path), f"http://127.0.0.1:{port}"

    async with AsyncExitStack() as stack:
        behind = [await stack.enter_async_context(serving(app)) for app in (litellm.app, backstage.app)]
        await stack.enter_async_context(serving(balancer.app, port=port))
        config.write_text(
            f"""
            liteLLM:
              baseUrl: http://127.0.0.1:{behind[0]}
              publicUrl: http://127.0.0.1:{behind[0]}
              masterKey: {MASTER_KEY}
              adminGroup: admins
              allowedGroup: litellm-users
            backend: {{baseUrl: 'http://127.0.0.1:{behind[1]}', listen: '127.0.0.1:0'}}
            litellmOrchestrator:
              publicUrl: {origin}
              backstage: {{catalogToken: {CATALOG_TOKEN}}}
              database: {{url: 'sqlite:///{tmp_path}/state.sqlite3'}}
            """
        )
        starting = [stack.enter_async_context(listening("serve", "--config", str(config))) for _ in range(2)]
        replicas = [running.origin for running in await asyncio.gather(*starting)]
        balancer.behind = cycle(replicas)
        bearer = {"Authorization": f"Bearer {backstage.user_token(ALICE)}"}
        alice = await stack.enter_async_context(httpx.AsyncClient(base_url=origin, headers=bearer, timeout=60))
        process, _, code = await machine.asks(origin)
        assert (await alice.get(f"{BASE}/device-codes/{code}")).status_code == 200
        assert (await alice.post(f"{BASE}/device-codes/{code}/approval", json={"owner": ALICE})).status_code == 200
        await signed_in(process)
        keys = [(await machine.runs("token")).strip()]
        for instead in (None, "lost", 502):
            balancer.instead = [instead]
            _outdate(tmp_path)
            keys.append((await machine.runs("token")).strip())
            assert len(litellm.rows.keys) == 2
        assert len(set(keys)) == 4
        assert len(balancer.refreshed_at) == 5
        assert all(one != other for one, other in (balancer.refreshed_at[1:3], balancer.refreshed_at[3:]))
        await machine.runs("logout")
        assert litellm.rows.keys == {}
        assert [(await alice.get(f"{BASE}/sessions")).json() for _ in replicas] == [{"sessions": []}] * 2
