"""No secret is found where it must not be, whatever is done: logs at debug level, errors, metrics, audit, database."""

from __future__ import annotations

import gc
import io
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from app import Orchestrator
from settings.model import BackstageSettings, ServiceToken
from standalone.backstage import BASE_URL, BackstageStandIn
from standalone.litellm import MASTER_KEY
from tests.conftest import ALICE, BASE, BOB, Clock, MakeService, Service, keys_path, user_path
from tests.proof.conftest import Cells
from tests.support.devices import ask, poll, refresh
from tests.support.processes import listening, output
from tests.support.requests import API, REQUESTS
from tests.support.traces import Traces
from tests.support.upstreams import answering

# Nothing in these looks like a key or a token: only care keeps them out, and not a pattern.
SERVICE_TOKEN, CATALOG_TOKEN = "canary.of.the.service", "canary.of.the.catalog"
CLAIM = "canary of a claim"
"""What a workload's token says beyond what its rule compares."""
FAULTS = {
    "none": None,
    "refused": httpx.ConnectError(f"refused {MASTER_KEY}"),
    "echoes": httpx.Response(500, json={"error": {"message": f"{MASTER_KEY} {CATALOG_TOKEN} {SERVICE_TOKEN}"}}),
    "page": httpx.Response(200, html=f"<p>{MASTER_KEY}</p>"),
}
OURSELVES = "http://orchestrator/"
OURS = {"domain", "settings"}
LOGGERS = ["", "connexion", "httpx", "httpcore", "aiohttp", "sqlalchemy", "sqlalchemy.engine", "aiosqlite", "asyncio"]


@pytest.fixture
def debug(log: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """The log, with everything that any library has to say."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        monkeypatch.setattr(logger, "level", logging.DEBUG)
        monkeypatch.setattr(logger, "disabled", False)
    logging.Logger.manager._clear_cache()  # type: ignore[attr-defined]  # levels are cached
    return log


class Story:
    """Everything that is done to the service, and what it said. `secrets` grows with each key."""

    def __init__(self, backstage: BackstageStandIn) -> None:
        self.secrets = {MASTER_KEY, SERVICE_TOKEN, CATALOG_TOKEN, CLAIM}
        self.codes: set[str] = set()
        self.said: list[str] = []
        self.tokens = {ref: backstage.user_token(ref) for ref in (ALICE, BOB)}
        self.secrets |= set(self.tokens.values()) | {"sk-leaked-canary-0123456789"}

    async def request(self, client: httpx.AsyncClient, method: str, path: str, **options: Any) -> httpx.Response:
        response = await client.request(method, path, **options)
        if response.status_code == 201 and "keySecret" in response.json():
            self.secrets.add(response.json()["keySecret"])
        elif response.status_code == 200 and path == f"{BASE}/oauth/token":
            self.secrets.add(response.json()["access_token"])
        elif response.status_code == 200 and path == f"{BASE}/oauth/device_authorization":
            self.codes.add(response.json()["user_code"])
            self.secrets |= {response.json()["device_code"]} | self.codes
        else:
            self.said.append(f"{response.headers} {response.text}")
        return response

    async def tell(self, service: Service) -> None:
        """Each operation, as alice, as bob, as the service, and as somebody with half of a token."""
        callers = [service.client(token) for token in (*self.tokens.values(), SERVICE_TOKEN)]
        callers += [service.client(token[:-3]) for token in self.tokens.values()]
        for client in callers:
            for operation in API:
                await self.request(client, *REQUESTS[operation][:2], **REQUESTS[operation][2])

    async def exchange(self, service: Service) -> None:
        """Tokens of workloads, for keys and to be tried: genuine, genuine once more, of another subject, forged."""
        genuine = service.issuer.token(note=CLAIM, jti=CLAIM)
        another = service.issuer.token(note=CLAIM, sub="repo:mallory/x:main")
        forged = service.issuer.token(note=CLAIM, aud="elsewhere")
        bob, (method, path, options) = service.client(self.tokens[BOB]), REQUESTS["issueToken"]
        for token in (genuine, genuine, another, forged, genuine[:-3]):
            self.secrets.add(token)
            await self.request(service.client(), method, path, data=options["data"] | {"subject_token": token})
            await self.request(bob, "POST", f"{BASE}/workloads/test", json={"token": token})
            form = options["data"] | {"subject_token": "x", "client_id": token, "audience": token}
            await self.request(service.client(), method, path, data=form)
            await self.request(service.client(), method, f"{path}?{urlencode({'subject_token': token})}", data=form)
            await self.request(service.client(token), *REQUESTS["getMe"][:2])

    async def sign_devices_in(self, service: Service) -> None:
        """A device of alice's, approved and renewed; a stolen token; and codes where none belongs."""
        device, alice = service.client(), service.client(self.tokens[ALICE])
        codes = await ask(device)
        self.codes |= {codes["user_code"], codes["user_code"].replace("-", "")}
        self.secrets |= {codes["device_code"]} | self.codes
        path = f"{BASE}/device-codes/{codes['user_code']}"
        await self.request(device, "POST", f"{BASE}/oauth/token", data=codes)
        await self.request(alice, "GET", path)
        await self.request(device, "GET", path)
        await self.request(alice, "GET", f"{path}/nowhere")
        await self.request(alice, "POST", f"{path}/approval", json={"owner": ALICE})
        got = (await poll(device, codes)).json()
        tokens = [codes["device_code"]]
        while "refresh_token" in got and len(tokens) < 3:  # with LiteLLM failing there are none
            tokens.append(got["refresh_token"])
            self.secrets |= {got["access_token"], got["refresh_token"]}
            got = (await refresh(device, got["refresh_token"])).json()
        self.secrets |= {got[name] for name in ("access_token", "refresh_token") if name in got}
        self.said += [str(got)] if "error" in got else []
        for token in tokens:
            await self.request(alice, "GET", keys_path(ALICE, token))
            await self.request(alice, "POST", keys_path(ALICE), json={"alias": token[:64]})
            await self.request(device, "POST", f"{BASE}/oauth/token?x={token}", data={"client_id": token})
            await self.request(service.client(token), "GET", f"{BASE}/me")
            await self.request(device, "POST", f"{BASE}/oauth/revoke", data={"token": token, "client_id": token})
            form = {"client_id": "litellm-key", "device_name": token[:64], "tool": token[:64]}
            await self.request(device, "POST", f"{BASE}/oauth/device_authorization", data=form)

    async def misplace(self, service: Service) -> None:
        """Secrets where none belongs: in a path, a query, an alias, a note, a header, and where they are reported."""
        alice = service.client(self.tokens[ALICE])
        # What somebody else's key or token looks like. The operator's own have no form that a caller's text could lack.
        # Nor has a user code: it is known by its place in a path.
        for secret in sorted(self.secrets - {SERVICE_TOKEN, CATALOG_TOKEN, CLAIM} - self.codes):
            await self.request(alice, "GET", keys_path(ALICE, secret))
            await self.request(alice, "DELETE", keys_path(ALICE, secret))
            await self.request(alice, "GET", f"{user_path(ALICE)}/{secret}")
            await self.request(alice, "GET", f"{BASE}/audit", params={"cursor": secret})
            await self.request(alice, "POST", keys_path(ALICE), json={"alias": secret[:64]})
            await self.request(alice, "POST", keys_path(ALICE), json={"metadata": {"note": secret[:256]}})
            await self.request(alice, "POST", keys_path(ALICE), json={"budgetDuration": secret})
            await self.request(alice, "POST", keys_path(ALICE), json={secret: 1})
            await self.request(alice, "POST", f"{BASE}/keys/report", json={"key": secret})
            await self.request(alice, "GET", user_path(ALICE), headers={"Authorization": f"Basic {secret}"})

    def found_in(self, text: str) -> list[str]:
        return sorted(secret[:30] for secret in self.secrets if secret in text)


def stored_in(folder: Path) -> str:
    """The bytes of the database and of its log."""
    return b"".join(path.read_bytes() for path in folder.glob("state.sqlite3*")).decode("latin-1")


def arguments_of(process_id: int) -> str:
    """What the process list shows of a process."""
    return Path(f"/proc/{process_id}/cmdline").read_text()


@pytest.mark.parametrize("fault", FAULTS)
async def test_secrets_stay_where_they_belong(  # noqa: PLR0917
    make_service: MakeService,
    backstage: BackstageStandIn,
    debug: io.StringIO,
    tmp_path: Path,
    clock: Clock,
    fault: str,
    cells: Cells,
) -> None:
    """With LiteLLM working, out of reach, and repeating our secrets in its errors."""
    answer = FAULTS[fault]
    traces = Traces()
    ports = {"tracing": traces.tracing} | ({} if answer is None else {"litellm": answering(answer)})
    # The catalog refuses the token that is a canary, and then there would be no key for a token.
    exchanging = make_service(ports=ports)
    service = make_service(
        ports=ports,
        service_tokens=(ServiceToken(SERVICE_TOKEN, "service:ci", "admin"),),
        backstage=replace(BackstageSettings(BASE_URL), catalog_token=CATALOG_TOKEN),
        creates_per_minute=100_000,
    )
    story = Story(backstage)
    await story.tell(service)
    known = len(story.secrets)
    await story.exchange(exchanging)
    assert len(story.secrets) - known == (5 if answer is None else 4)
    await story.sign_devices_in(exchanging)
    owners_own = len(story.said)
    await story.misplace(service)
    clock.advance(60)
    await service.run_background_jobs()
    audit = (await service.client(story.tokens[BOB]).get(f"{BASE}/audit", params={"limit": 100})).text
    metrics = "".join([(await each.client().get("/metrics")).text for each in (service, exchanging)])
    orchestrator = Orchestrator(service.settings, service.ports)
    reprs = [repr(service.settings), repr(service.ports), *map(repr, orchestrator.services)]
    reprs += [repr(each) for each in gc.get_objects() if str(type(each).__module__).split(".")[0] in OURS]
    await orchestrator.aclose()
    stored = stored_in(tmp_path)
    # The callers of this test are in the same process, and their library says what they ask.
    lines = [line for line in debug.getvalue().splitlines() if "HTTP Request: " not in line or OURSELVES not in line]
    cells.record("log", story.found_in("\n".join(lines)))
    cells.record("responses", story.found_in("\n".join(story.said[:owners_own])))
    cells.record("errors", story.found_in("\n".join(text for text in story.said[owners_own:] if '"error"' in text)))
    cells.record("metrics", story.found_in(metrics))
    cells.record("traces", story.found_in(str(traces)))
    cells.record("audit", story.found_in(audit))
    cells.record("reprs", story.found_in("\n".join(reprs)))
    cells.record("database", story.found_in(stored))
    assert debug.getvalue().count("\n") > 1000
    assert cells.failed == {}


async def test_a_database_that_refuses_is_named_without_its_password(tmp_path: Path) -> None:
    """By what the command line prints before it ends."""
    config = tmp_path / "app-config.yaml"
    config.write_text(
        """
        liteLLM: {baseUrl: 'http://127.0.0.1:9', masterKey: sk-x, adminGroup: a, allowedGroup: b}
        backend: {baseUrl: 'http://127.0.0.1:9'}
        litellmOrchestrator: {database: {url: 'postgresql://user:canary-of-the-database@127.0.0.1:9/state'}}
        """
    )
    code, printed = await output("serve", "--config", str(config))
    assert (code, "127.0.0.1:9/state cannot be used" in printed) == (1, True), printed
    assert "canary-of-the-database" not in printed


async def test_the_process_list_has_no_secret(tmp_path: Path) -> None:
    """Settings are read from files and from the environment, never from arguments."""
    config = tmp_path / "app-config.yaml"
    config.write_text(
        f"""
        liteLLM: {{baseUrl: 'http://127.0.0.1:9', masterKey: '{MASTER_KEY}', adminGroup: a, allowedGroup: b}}
        backend: {{baseUrl: 'http://127.0.0.1:9', listen: '127.0.0.1:0'}}
        litellmOrchestrator:
          database: {{url: 'sqlite:///{tmp_path}/state.sqlite3'}}
          backstage: {{catalogToken: '{CATALOG_TOKEN}'}}
          serviceTokens: [{{token: '{SERVICE_TOKEN}', subject: 'service:ci', role: admin}}]
        """
    )
    async with listening("serve", "--config", str(config), imports=True) as running:
        arguments = arguments_of(running.process.pid)
        printed = "".join(running.printed)
    assert "serve" in arguments
    for secret in (MASTER_KEY, CATALOG_TOKEN, SERVICE_TOKEN):
        assert secret not in arguments
        assert secret not in printed
