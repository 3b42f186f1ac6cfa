"""The image as a cluster runs it: its own command, a user without rights, a read-only root, PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import uuid
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from app import contract
from bench.postgresql import database_url
from standalone.backstage import BackstageStandIn
from standalone.catalog import CATALOG_TOKEN
from standalone.litellm import MASTER_KEY, LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, keys_path
from tests.support.contract import checked_client
from tests.support.processes import ROOT
from tests.support.raw_http import serving

pytestmark = pytest.mark.image

_PATIENCE_SECONDS = 180
ROOTS = ("BASE_ROOT", "IMAGE_ROOT")
STATE = "/var/lib/litellm-orchestrator"
CONFIG = "/etc/litellm-orchestrator"


@dataclass
class Image:
    """The built image, with its settings and its file system."""

    settings: dict[str, Any]
    root: str
    folder: Path

    async def run(self, *command: str, **environment: str) -> Process:
        """Starts `command`, or what the image starts by itself, as the image's user, with its environment."""
        variables = dict(row.split("=", 1) for row in self.settings["Env"]) | environment
        user, group = self.settings["User"].split(":")
        return await asyncio.create_subprocess_exec(
            "bwrap",
            *("--ro-bind", self.root, "/", "--tmpfs", "/tmp", "--proc", "/proc", "--dev", "/dev"),  # noqa: S108  # a container's own
            *("--bind", str(self.folder / "state"), STATE, "--ro-bind", str(self.folder / "config"), CONFIG),
            *("--unshare-user", "--uid", user, "--gid", group, "--unshare-pid", "--as-pid-1", "--die-with-parent"),
            *("--chdir", self.settings["WorkingDir"], "--clearenv"),
            *(word for name, value in variables.items() for word in ("--setenv", name, value)),
            *(command or [*self.settings["Entrypoint"], *self.settings["Cmd"]]),
            stdout=PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def output(self, *command: str) -> tuple[int | None, str]:
        """The exit code and output of a command in the image."""
        process = await self.run(*command)
        printed, _ = await asyncio.wait_for(process.communicate(), _PATIENCE_SECONDS)
        return process.returncode, printed.decode()


@dataclass
class Container:
    """The running image."""

    process: Process
    litellm: LiteLLMStandIn
    backstage: BackstageStandIn
    database: str

    def caller(self, ref: str) -> httpx.AsyncClient:
        return checked_client("http://127.0.0.1:7007", self.backstage.user_token(ref))

    def terminate(self) -> None:
        """What a cluster does: SIGTERM to the first process in the container."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)


@pytest.fixture
def image(tmp_path: Path) -> Image:
    for name in ("state", "config"):
        (tmp_path / name).mkdir(mode=0o777)
        (tmp_path / name).chmod(0o777)
    return Image(json.loads(os.environ["IMAGE_SETTINGS"]), os.environ["IMAGE_ROOT"], tmp_path)


def empty_database() -> str:
    """The URL of a new database."""
    # A container has no /etc/hosts until its runtime makes one.
    return database_url(f"image_{uuid.uuid4().hex}").replace("+psycopg", "").replace("@localhost:", "@127.0.0.1:")


@asynccontextmanager
async def started(
    image: Image, *arguments: str, on: tuple[LiteLLMStandIn, BackstageStandIn, str] | None = None
) -> AsyncIterator[Container]:
    """The image's own command with `arguments`, once it is healthy.

    It runs on these stand-ins and this database, or else on new ones.
    """
    litellm, backstage, database = on or (LiteLLMStandIn(), BackstageStandIn(), empty_database())
    async with AsyncExitStack() as stack:
        litellm_port = await stack.enter_async_context(serving(litellm.app))
        backstage_port = await stack.enter_async_context(serving(backstage.app))
        (image.folder / "config" / "app-config.yaml").write_text(
            f"""
            liteLLM:
              baseUrl: http://127.0.0.1:{litellm_port}
              masterKey: ${{LITELLM_MASTER_KEY}}
              adminGroup: admins
              allowedGroup: litellm-users
            backend: {{baseUrl: 'http://127.0.0.1:{backstage_port}'}}
            litellmOrchestrator:
              backstage: {{catalogToken: '{CATALOG_TOKEN}'}}
              database: {{url: '{database}'}}
              rateLimit: {{createsPerMinute: 100000}}
            """
        )
        command = [*image.settings["Entrypoint"], *image.settings["Cmd"], *arguments]
        process = await image.run(*command, LITELLM_MASTER_KEY=MASTER_KEY)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while (await image.output(*image.settings["Healthcheck"]["Test"][1:]))[0]:
                    assert process.returncode is None, (await process.communicate())[0].decode()
            yield Container(process, litellm, backstage, database)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def test_the_story(image: Image) -> None:
    """Alice gets, repeats, rotates and deletes keys; bob sees who did what; nothing was written beside the database."""
    async with started(image) as container, container.caller(ALICE) as alice, container.caller(BOB) as bob:
        named = {"Idempotency-Key": "one"}
        first, again = [await alice.post(keys_path(ALICE), json={"alias": "a"}, headers=named) for _ in range(2)]
        assert (first.status_code, first.json()) == (201, again.json())
        path = keys_path(ALICE, first.json()["keyId"])
        assert (await alice.post(f"{path}/regenerate", json={})).status_code == 201
        assert [key["key_alias"] for key in (await alice.get(keys_path(ALICE))).json()["keys"]] == ["a"]
        assert (await bob.post(f"{BASE}/cleanup", json={"dryRun": True})).json()["outcome"] == "planned"
        events = (await bob.get(f"{BASE}/audit", params={"target": ALICE})).json()["events"]
        assert {event["outcome"] for event in events} == {"done"}
        assert (await bob.get("/.backstage/health/v1/readiness")).json()["status"] == "ok"
        assert "litellm_orchestrator_changes_total" in (await bob.get("/metrics")).text
        assert (await bob.get(f"{BASE}/docs")).status_code == 200
    assert list((image.folder / "state").iterdir()) == []


async def test_it_stops_under_load_without_losing_anything(image: Image) -> None:
    """SIGTERM while sixteen callers create keys: each answer is a 201, and no key exists that nobody received."""
    async with started(image, "--workers", "2") as container:
        received, answers = [], Counter[int]()

        async def create(number: int) -> None:
            async with container.caller(ALICE if number % 2 else BOB) as caller:
                while True:
                    try:
                        answer = await caller.post(keys_path(ALICE if number % 2 else BOB))
                    except httpx.TransportError:
                        return
                    answers[answer.status_code] += 1
                    received.append(answer.json()["keyId"])
                    if len(received) == 40:
                        container.terminate()

        await asyncio.gather(*(create(number) for number in range(16)))
        printed, _ = await asyncio.wait_for(container.process.communicate(), _PATIENCE_SECONDS)
        assert container.process.returncode == 0, printed.decode()
        assert set(answers) == {201}
        rows = await keys_of(container.litellm)
        assert rows == set(received)
        async with await psycopg.AsyncConnection.connect(container.database) as connection:
            [open_changes] = await (
                await connection.execute("select count(*) from change where outcome is null")
            ).fetchone() or [None]
        assert open_changes == 0
        print(f"\nSIGTERM after 40 keys: {len(received)} in all, {dict(answers)}")


async def keys_of(litellm: LiteLLMStandIn) -> set[str]:
    """The ids of all keys."""
    headers = {"Authorization": f"Bearer {MASTER_KEY}"}
    transport = httpx.ASGITransport(litellm.app)
    found: set[str] = set()
    async with httpx.AsyncClient(transport=transport, base_url="http://litellm", headers=headers) as client:
        for user_id in (ALICE, BOB):
            page = 1
            while keys := (await client.get("/key/list", params={"user_id": user_id, "page": page})).json()["keys"]:
                found |= set(keys)
                page += 1
    return found


def test_it_is_small() -> None:
    """Less than 200 MB over its base."""
    sizes = {name: int(subprocess.check_output(["du", "-sb", os.environ[name]]).split()[0]) for name in ROOTS}
    megabytes = (sizes["IMAGE_ROOT"] - sizes["BASE_ROOT"]) / 1e6
    print(f"\nthe image is {megabytes:.0f} MB over its base")
    assert megabytes < 200


def test_its_bill_of_materials(image: Image) -> None:
    """It names each package of Debian and of Python that is in the image, with its version."""
    bill = json.loads((Path(image.root) / "app/bill-of-materials.cdx.json").read_text())
    status = (Path(image.root) / "var/lib/dpkg/status").read_text()
    installed = [package for package in status.split("\n\n") if "\nStatus: install ok installed\n" in package]
    debian = {tuple(re.findall(r"^(?:Package|Version): (.+)$", package, re.MULTILINE)) for package in installed}
    folders = (Path(image.root) / "opt/orchestrator/lib").glob("python3*/site-packages/*.dist-info")
    found = [folder.stem.rsplit("-", 1) for folder in folders]
    python = {(re.sub("[-_.]+", "-", name).lower(), version) for name, version in found}
    listed: dict[str, set[tuple[str, str]]] = {"deb": set(), "pypi": set(), "generic": set()}
    for row in bill["components"]:
        listed[row["purl"].removeprefix("pkg:").partition("/")[0]].add((row["name"], row["version"]))
    assert listed["deb"] == debian
    assert listed["pypi"] == python
    assert [name for name, _ in listed["generic"]] == ["python"]
    assert bill["metadata"]["component"]["version"] == contract()["info"]["version"]


async def test_it_can_do_no_harm(image: Image) -> None:
    """No rights, nothing to write to, nothing to install with."""
    code, printed = await image.output("python3", "-c", "import os; print(os.getuid(), os.access('/app', os.W_OK))")
    assert (code, printed.split()) == (0, ["10001", "False"])
    assert (await image.output("python3", "-m", "pip", "--version"))[0] == 1
    assert (await image.output("python3", "-c", "open('/app/x', 'w')"))[0] == 1


async def test_it_says_what_is_wrong_with_its_settings(image: Image) -> None:
    """In the log of the container, without a traceback."""
    (image.folder / "config" / "app-config.yaml").write_text("liteLLM: {}")
    code, printed = await image.output(*image.settings["Entrypoint"], *image.settings["Cmd"])
    assert code == 2
    assert "liteLLM.baseUrl" in printed
    assert "Traceback" not in printed


async def test_nobody_signs_in_as_anybody(image: Image) -> None:
    """The stand-ins, and the program that serves on them, are not in it."""
    code, printed = await image.output("python3", "-m", "standalone")
    assert (code, "No module named standalone" in printed) == (1, True)
    code, printed = await image.output(*image.settings["Entrypoint"], "standalone")
    assert (code, "No such command 'standalone'" in printed) == (2, True)


async def test_it_is_also_the_command_line(image: Image) -> None:
    """`check`, `cleanup` and `config print` are arguments of the same image."""
    code, printed = await image.output(*image.settings["Entrypoint"], "--help")
    assert code == 0
    for command in ("serve", "check", "cleanup", "config"):
        assert command in printed


async def test_the_commands_of_the_operations_page(image: Image) -> None:
    """A backup of the running service, restored into an empty database, has its audit log, its keys and its answers."""
    backup, _, restore, _ = re.findall(r"```sh\n(.*?)\n```", (ROOT / "docs/operations.md").read_text(), re.DOTALL)
    environment = os.environ | {"LC_ALL": "C.UTF-8"}
    named = {"Idempotency-Key": "one"}
    async with started(image) as container:
        async with container.caller(ALICE) as alice:
            first = await alice.post(keys_path(ALICE), headers=named)
        subprocess.run(  # noqa: ASYNC221  # nothing else runs meanwhile
            ["bash", "-c", backup], check=True, cwd=image.folder, env=environment | {"DATABASE": container.database}
        )
        litellm, backstage = container.litellm, container.backstage
    restored = empty_database()
    subprocess.run(  # noqa: ASYNC221
        ["bash", "-c", restore], check=True, cwd=image.folder, env=environment | {"EMPTY_DATABASE": restored}
    )
    async with started(image, on=(litellm, backstage, restored)) as container, container.caller(ALICE) as alice:
        assert (await alice.post(keys_path(ALICE), headers=named)).json() == first.json()
        events = (await alice.get(f"{BASE}/audit")).json()["events"]
        assert [event["action"] for event in events] == ["key.create", "user.create"]


async def test_an_older_version_refuses_the_database_of_a_newer_one(image: Image) -> None:
    """In one sentence, before it serves."""
    async with started(image) as container:
        database = container.database
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    command = [*image.settings["Entrypoint"], *image.settings["Cmd"]]
    process = await image.run(*command, LITELLM_MASTER_KEY=MASTER_KEY)
    printed, _ = await asyncio.wait_for(process.communicate(), _PATIENCE_SECONDS)
    assert process.returncode == 1
    assert "cannot be used: a newer version has migrated it to 9999, and this one knows" in printed.decode()
    assert "Traceback" not in printed.decode()
