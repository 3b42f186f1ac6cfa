"""`make run`: a program of its own, which is not deployed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from itertools import pairwise

import httpx

from tests.support.processes import ROOT, listening

_IMPORTED = "import cli.main, sys; print([name for name in sys.modules if name.partition('.')[0] == 'standalone'])"


def pasted(line: str) -> httpx.Request:
    """The request that a printed curl line makes."""
    words = shlex.split(line)
    options = dict(pairwise(words))
    name, value = options["-H"].split(": ", 1)
    return httpx.Request(options.get("-X", "GET"), words[-1], headers={name: value})


async def test_the_printed_curl_lines_work() -> None:
    """Pasted from top to bottom: alice's user, a key, her keys, herself; bob's view of them and of it all; no carol."""
    async with listening("--port", "0", program="standalone") as running:
        lines = [line for line in running.printed if line.startswith("curl ")]
        async with httpx.AsyncClient() as client:
            answers = [await client.send(pasted(line.replace("localhost", "127.0.0.1"))) for line in lines]
        assert [answer.status_code for answer in answers] == [200, 201, 200, 200, 200, 200, 403]
        assert answers[2].json() == answers[4].json()
        assert [event["action"] for event in answers[5].json()["events"]] == ["key.create", "user.create"]
        assert [key["token"] for key in answers[2].json()["keys"]] == [answers[1].json()["keyId"]]
        printed = await running.stop()
    assert running.process.returncode == 0
    assert answers[1].json()["keySecret"] not in printed


def test_what_is_deployed_has_no_sign_in_as_anybody() -> None:
    """The command line does not load the stand-ins, and the image and the wheel have everything but them."""
    loaded = subprocess.run([sys.executable, "-c", _IMPORTED], cwd=ROOT, check=True, capture_output=True, text=True)
    assert loaded.stdout.strip() == "[]"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    deployed = set(project["importlinter"]["root_packages"]) - {"standalone"}
    wheel = project["hatch"]["build"]["targets"]["wheel"]
    copied = re.findall(r"^COPY (\S+) /app/\1$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    offered = re.findall(r"^!(\w+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert set(wheel["packages"]) == deployed
    assert set(wheel["only-include"]) == deployed | {"openapi.yaml", "console/page"}
    assert set(copied) == deployed | {"console/page"}
    assert set(offered) == deployed | {"console"}
