"""The processes of a run: the stub, the pass-through, a Backstage stand-in that signs tokens, and the service."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
import urllib.request
import uuid
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from domain.directory import DirectoryEntry
from standalone.backstage import BackstageStandIn
from standalone.catalog import ADMINS, CATALOG_TOKEN, MEMBERS, Component, Org
from standalone.issuer import AUDIENCE, SUBJECT, URL, IssuerStandIn
from state.database import Database
from state.directory import Directory

ROOT = Path(__file__).parent.parent
BASE = "/api/litellm-orchestrator"
_TICKS = os.sysconf("SC_CLK_TCK")
_UVICORN = ["-m", "uvicorn", "--factory", "--http", "httptools", "--loop", "uvloop", "--no-access-log"]
MANAGER, SOFTWARE, SOFTWARE_UID = "user:default/manager", "component:default/u10", "uid-of-the-component"
_SOFTWARE = DirectoryEntry(SOFTWARE, SOFTWARE, is_over_budget=False, entity_uid=SOFTWARE_UID)


@dataclass
class Server:
    """A process that listens. `start_seconds` is the time until it accepted a connection."""

    process: Process
    port: int
    start_seconds: float

    @property
    def origin(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        """CPU time, user and system, of the process and its workers so far."""
        return sum(_cpu_seconds(pid) for pid in self._pids())

    def memory_mib(self) -> float:
        """Resident memory of the process and its workers."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self._pids())
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def peak_mib(self) -> float:
        """The most resident memory of the process and its workers so far."""
        states = [Path(f"/proc/{pid}/status").read_text() for pid in self._pids()]
        return sum(int(state.partition("VmHWM:")[2].split()[0]) for state in states) / 1024

    def _pids(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def serving(
    arguments: list[str], port: int, log: Path, *, python: str = sys.executable, **environment: str
) -> AsyncIterator[Server]:
    """A Python process from its start until the end of the block, once it accepts connections on `port`.

    Its log goes to the file `log`, as a service's log goes somewhere.
    """
    started = time.perf_counter()
    with log.open("wb") as written:
        process = await asyncio.create_subprocess_exec(
            python, *arguments, cwd=ROOT, stdout=DEVNULL, stderr=written, env=os.environ | environment
        )
    try:
        while not _accepts(port):
            if process.returncode is not None or time.perf_counter() - started > 60:
                raise RuntimeError(f"{' '.join(arguments)} did not start: see {log}")
            await asyncio.sleep(0.01)
        yield Server(process, port, time.perf_counter() - started)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _uvicorn(factory: str) -> tuple[list[str], int]:
    """The arguments that serve what a function of this file makes, with uvicorn in its fastest form, and the port."""
    port = free_port()
    return [*_UVICORN, "--port", str(port), f"bench.processes:{factory}"], port


@dataclass
class Bench:
    """What a run measures, and the tokens of its callers."""

    stub: Server
    backstage: Server
    pass_through: Server
    services: Mapping[str, Server]
    issuer: IssuerStandIn

    def exchanges(self, number: int) -> Iterator[str]:
        """As many forms for `POST /oauth/token`, each with another token of a workload."""
        for _ in range(number):
            token = self.issuer.token(jti=uuid.uuid4().hex)
            yield urlencode(
                {
                    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
                    "client_id": "bench",
                    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
                    "subject_token": token,
                }
            )

    def token(self, user_id: str, group: str = MEMBERS) -> str:
        """A genuine Backstage user token (ES256) of a member of `group`."""
        query = f"user={quote(user_id)}&raw=1&ent={quote(user_id)}&ent={quote(group)}"
        with urllib.request.urlopen(f"{self.backstage.origin}/api/auth/test/refresh?{query}") as answer:  # noqa: S310  # a loopback address
            return str(json.load(answer)["backstageIdentity"]["token"])


@asynccontextmanager
async def bench(databases: Mapping[str, str], folder: Path, *, workers: int = 1, own: str = "") -> AsyncIterator[Bench]:
    """All processes. One service for each of `databases`, a name and an SQLAlchemy URL; each is migrated before.

    `own` are further lines of `litellmOrchestrator`. SERVICE_PYTHON in the environment is another interpreter for the
    services: one with only what they need weighs what they weigh in production.
    """
    async with AsyncExitStack() as stack:

        async def start(
            name: str, arguments: list[str], port: int, *, python: str = sys.executable, **environment: str
        ) -> Server:
            server = serving(arguments, port, folder / f"{name}.log", python=python, **environment)
            return await stack.enter_async_context(server)

        stub = await start("stub", *_uvicorn("stub"))
        backstage = await start("backstage", *_uvicorn("backstage"))
        bare = await start("pass_through", *_uvicorn("pass_through"), BENCH_STUB=stub.origin)
        services, issuer = {}, IssuerStandIn()
        for name, url in databases.items():
            async with aclosing(Database(url)) as database:
                await database.migrate()
                async with database.transaction() as connection:
                    await Directory(database).put(connection, [_SOFTWARE])
            port = free_port()
            config = folder / f"{name}.yaml"
            config.write_text(_configuration(stub, backstage, issuer, url) + own)
            command = ["-m", "cli", "serve", "--config", str(config), "--workers", str(workers), "--port", str(port)]
            services[name] = await start(name, command, port, python=os.environ.get("SERVICE_PYTHON", sys.executable))
        yield Bench(stub, backstage, bare, services, issuer)


def _configuration(stub: Server, backstage: Server, issuer: IssuerStandIn, database_url: str) -> str:
    return f"""
liteLLM:
  baseUrl: {stub.origin}
  masterKey: sk-bench
  allowedGroup: {MEMBERS}
  adminGroup: {ADMINS}
backend: {{baseUrl: '{backstage.origin}', listen: '127.0.0.1:0'}}
litellmOrchestrator:
  database: {{url: '{database_url}'}}
  rateLimit: {{createsPerMinute: 100000, changesPerMinute: 100000}}
  backstage: {{catalogToken: {CATALOG_TOKEN}}}
  membership: token
  cleanup: {{enabled: false}}
  owners: [{{kind: component, filter: {{spec.type: service}}}}]
  workloads:
    issuers: [{{name: bench, url: '{URL}', audience: {AUDIENCE}, jwks: {{inline: {json.dumps(issuer.jwks)}}}}}]
    rules:
      - name: bench
        issuer: bench
        owner: {SOFTWARE}
        match: {{sub: '{SUBJECT}'}}
        perMinute: 100000
        maxLiving: 100000
"""


def stub() -> object:
    """The stub of LiteLLM, for uvicorn."""
    from bench import stub as module  # noqa: PLC0415  # each process loads only what it serves

    return module.app


def pass_through() -> object:
    """The pass-through, for uvicorn."""
    from bench import pass_through as module  # noqa: PLC0415  # each process loads only what it serves

    return module.app


def backstage() -> object:
    """The Backstage stand-in, for uvicorn: MANAGER owns a thousand components, one of which has keys."""
    org = Org(users={MANAGER: {MEMBERS}})
    org.components = {f"component:default/c{number:03}": Component(MANAGER) for number in range(999)}
    org.components[SOFTWARE] = Component(MANAGER)
    org.uids[SOFTWARE] = SOFTWARE_UID
    return BackstageStandIn(org=org).app
