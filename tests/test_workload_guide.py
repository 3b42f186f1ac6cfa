"""The guide to workloads and the action for GitHub, tried."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import yaml

from settings.parse import from_app_config
from standalone.environment import PIPELINE, TOKEN_PATH
from tests.conftest import BASE
from tests.settings.test_model import config
from tests.standalone.pasting import pasted
from tests.support.processes import ROOT, listening

GUIDE = (ROOT / "docs" / "workloads.md").read_text()
ACTION = ROOT / "deploy" / "github-action"


def code(section: str, language: str) -> str:
    """The first code of a section."""
    return GUIDE.partition(f"## {section}\n")[2].partition(f"```{language}\n")[2].partition("```")[0]


def test_the_settings_of_the_guide_are_read() -> None:
    """With an issuer and a rule for each platform that it is about."""
    ours = yaml.safe_load(code("The settings", "yaml"))["litellmOrchestrator"]
    token = {"backstage": {"catalogToken": "catalog-token"}}
    read = from_app_config(config(litellmOrchestrator=ours | token)).workloads
    assert [issuer.name for issuer in read.issuers] == ["github", "gitlab", "cluster"]
    assert [rule.name for rule in read.rules] == ["shop-main", "shop-gitlab", "shop-pod"]


async def test_the_curl_of_the_guide_exchanges_a_token(tmp_path: Path) -> None:
    """As it is, with another address, rule and file."""
    async with listening("--port", "0", program="standalone") as running, httpx.AsyncClient() as http:
        (tmp_path / "token").write_text((await http.get(running.origin + TOKEN_PATH)).text)
        script = code("Anything with curl", "sh")
        for given, here in (
            ("https://portal.example.com/api/litellm-orchestrator", running.origin + BASE),
            ("shop-pod", PIPELINE),
            ("/var/run/litellm/token", str(tmp_path / "token")),
        ):
            assert script.count(given) == 1
            script = script.replace(given, here)
        assert re.search(r'"access_token": ?"sk-', await pasted(script))


class Forge(ThreadingHTTPServer):
    """Gives the job of a workflow its token, and `busy` times a 503 before it; the same as a service, with a key.

    `retry_after`: what the 503 asks for, in seconds. `given` is the answer of the service.
    """

    token, busy, retry_after = "", 0, 0
    given = b'{"access_token": "sk-later", "expires_in": 900}'

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.asked: list[tuple[str | None, list[str]]] = []


class _Answer(BaseHTTPRequestHandler):
    server: Forge

    def do_GET(self) -> None:
        audience = parse_qs(urlsplit(self.path).query)["audience"]
        self.server.asked.append((self.headers["Authorization"], audience))
        self._send(b'{"value": "%s"}' % self.server.token.encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._send(self.server.given)

    def _send(self, answer: bytes) -> None:
        is_busy, self.server.busy = self.server.busy > 0, self.server.busy - 1
        self.send_response(503 if is_busy else 200)
        if is_busy and self.server.retry_after:
            self.send_header("Retry-After", str(self.server.retry_after))
        self.end_headers()
        self.wfile.write(b'{"error": "temporarily_unavailable"}' if is_busy else answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def forge() -> Iterator[Forge]:
    with Forge() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


async def step(folder: Path, **environment: str) -> tuple[int, str]:
    """Exit code and output of the action's step."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("ACTIONS_")}
    files = {"GITHUB_ENV": str(folder / "env"), "GITHUB_OUTPUT": str(folder / "output")}
    process = await asyncio.create_subprocess_exec(
        ACTION / "exchange", env=given | files | environment, stdout=-1, stderr=-2
    )
    printed, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, printed.decode()


def inputs(forge: Forge, url: str, rule: str = PIPELINE) -> dict[str, str]:
    return {
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"http://127.0.0.1:{forge.server_port}/token?api-version=2.0",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of-the-job",
        "SERVICE_URL": url,
        "RULE": rule,
        "AUDIENCE": "litellm & co",
    }


async def test_the_action_masks_and_exports_a_key(tmp_path: Path, forge: Forge) -> None:
    """It is in the environment and the output of the step, and in the log only to be masked."""
    async with listening("--port", "0", program="standalone") as running, httpx.AsyncClient() as http:
        forge.token = (await http.get(running.origin + TOKEN_PATH)).text
        code, printed = await step(tmp_path, **inputs(forge, running.origin + BASE))
    assert code == 0, printed
    [variable] = (tmp_path / "env").read_text().splitlines()
    name, _, key = variable.partition("=")
    assert (name, key[:3]) == ("LITELLM_API_KEY", "sk-")
    output = dict(line.split("=", 1) for line in (tmp_path / "output").read_text().splitlines())
    assert output["key"] == key
    assert 0 < int(output["expires-in"]) <= 900
    assert printed.splitlines() == [f"::add-mask::{forge.token}", f"::add-mask::{key}"]
    assert forge.asked == [("Bearer of-the-job", ["litellm & co"])]


async def test_the_action_says_why_there_is_no_key(tmp_path: Path, forge: Forge) -> None:
    """Nothing is exported, and the step fails with an annotation."""
    forge.token = "no.token.atall"
    async with listening("--port", "0", program="standalone") as running:
        url = running.origin + BASE
        for changes, says in (
            ({}, "The service answered 400: invalid_grant The token is not accepted for this client_id"),
            ({"RULE": "nobody"}, "The service answered 400: invalid_client"),
            ({"RULE": ""}, "The input for RULE is empty"),
            ({"SERVICE_URL": "http://portal.example.com"}, "url must begin with https://"),
            ({"VARIABLE": "A=B"}, "variable must be the name of an environment variable"),
            ({"ACTIONS_ID_TOKEN_REQUEST_URL": ""}, "permissions: {id-token: write}"),
            ({"SERVICE_URL": "http://localhost:1/"}, "cannot be reached"),
        ):
            code, printed = await step(tmp_path, **(inputs(forge, url) | changes))
            assert (code, "::error title=No LiteLLM key::" in printed, says in printed) == (1, True, True), printed
    assert not (tmp_path / "env").exists()
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize("asks", ["GitHub", "the service"])
async def test_the_action_tries_again(tmp_path: Path, forge: Forge, asks: str) -> None:
    """What a 503 said, which curl prints as well, is not read together with the answer that follows."""
    forge.token = "the.jobs.token"
    environment = inputs(forge, f"http://127.0.0.1:{forge.server_port}")
    if asks == "GitHub":
        forge.busy = 1
        code, printed = await step(tmp_path, **environment)
    else:
        with Forge() as service:
            service.busy = 1
            Thread(target=service.serve_forever, daemon=True).start()
            here = {"SERVICE_URL": f"http://127.0.0.1:{service.server_port}"}
            code, printed = await step(tmp_path, **(environment | here))
            service.shutdown()
    assert code == 0, printed
    assert (tmp_path / "env").read_text() == "LITELLM_API_KEY=sk-later\n"


async def test_the_action_does_not_wait_for_an_hour(tmp_path: Path, forge: Forge) -> None:
    """As long as a rule with too many living keys may ask for: the job would be paid for, and its token over."""
    forge.token = "the.jobs.token"
    with Forge() as service:
        service.busy, service.retry_after = 9, 3600
        Thread(target=service.serve_forever, daemon=True).start()
        async with asyncio.timeout(30):
            code, printed = await step(tmp_path, **inputs(forge, f"http://127.0.0.1:{service.server_port}"))
        service.shutdown()
    assert (code, "The service answered 503: temporarily_unavailable" in printed) == (1, True), printed


@pytest.mark.parametrize(
    ("given", "output"),
    [
        ({"error": "x\n::stop-commands::abc", "error_description": "y\r\n::warning::z\u2028w"}, None),
        ({"access_token": True, "expires_in": 900}, None),
        ({"access_token": "sk-a\nPATH=/evil", "expires_in": 900}, None),
        ({"access_token": "sk-a", "expires_in": "900\nkey=evil"}, ["key=sk-a", "expires-in=900 key=evil"]),
    ],
)
async def test_what_the_service_answers_is_one_line(
    tmp_path: Path, forge: Forge, given: dict[str, object], output: list[str] | None
) -> None:
    """Whatever answers in its place: for GitHub a new line may be a command, or another output."""
    forge.token = "the.jobs.token"
    with Forge() as service:
        service.given = json.dumps(given).encode()
        Thread(target=service.serve_forever, daemon=True).start()
        _, printed = await step(tmp_path, **inputs(forge, f"http://127.0.0.1:{service.server_port}"))
        service.shutdown()
    assert not [line for line in printed.splitlines() if not line.startswith(("::add-mask::", "::error title=No"))]
    written = tmp_path / "output"
    assert (written.read_text().splitlines() if written.exists() else None) == output


async def test_a_runner_without_python(tmp_path: Path, forge: Forge) -> None:
    """The annotation says what is missing."""
    for name in ("bash", "curl"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    code, printed = await step(tmp_path, **inputs(forge, "http://localhost:1") | {"PATH": str(tmp_path)})
    assert (code, printed) == (1, "::error title=No LiteLLM key::This runner has no python3\n")


def test_the_action_runs_that_step() -> None:
    """With each input under the name that the step reads."""
    action = yaml.safe_load((ACTION / "action.yml").read_text())
    [only] = action["runs"]["steps"]
    assert only["run"] == '"$GITHUB_ACTION_PATH/exchange"'
    read = {name: re.search(r"inputs\.(\w+)", value) for name, value in only["env"].items()}
    assert {found[1] for found in read.values() if found} == set(action["inputs"])
