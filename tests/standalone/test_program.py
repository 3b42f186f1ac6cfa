"""`make run`: a program of its own, which is not deployed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib

from standalone.litellm_usage import CALL_COST
from tests.standalone.pasting import answers_of
from tests.support.processes import ROOT, listening

_IMPORTED = "import cli.main, sys; print([name for name in sys.modules if name.partition('.')[0] == 'standalone'])"


async def test_the_printed_lines_work() -> None:
    """Pasted from top to bottom: alice, a key, her keys; a call; a pipeline; bob's view of it all; no carol."""
    async with listening("--port", "0", program="standalone", imports=True) as running:
        lines = [line for line in running.printed if line.startswith(("curl ", "KEY="))]
        answers = [json.loads(answer) for answer in await answers_of(lines)]
        user, created, keys, me, call, usage, exchanged, seen, audit, refused = answers
        assert (user["userId"], me["roles"], refused["name"]) == ("user:default/alice", ["member"], "NotAllowedError")
        assert keys["keys"][0]["token"] == created["keyId"]
        assert call["choices"][0]["message"]["content"] == "hi"
        assert usage["budget"]["spend"] > user["spend"]
        assert [key["spend"] for key in seen["keys"][:2]] == [CALL_COST, 0]
        assert [event["action"] for event in audit["events"][:2]] == ["key.mint", "user.create"]
        assert (exchanged["access_token"][:3], exchanged["token_type"]) == ("sk-", "Bearer")
        printed = await running.stop()
    assert running.process.returncode == 0
    assert created["keySecret"] not in printed


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
