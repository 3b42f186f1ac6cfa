"""A second process of the real LiteLLM, on the database of the first, with a configuration of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

_PATIENCE_SECONDS = 300
_MODELS: Sequence[Mapping[str, Any]] = [
    {"model_name": name, "litellm_params": {"model": model, "api_key": "none", "mock_response": "hi"}}
    for name, model in {"gpt-fake": "openai/gpt-4o", "claude-fake": "anthropic/claude-sonnet-4-5"}.items()
]


def _environment(home: Path) -> dict[str, str]:
    """What the starter of the first process sets for its database engine, which is built of the same parts."""
    [extras] = home.glob("venv/lib/python*/site-packages/litellm_proxy_extras")
    engines = ("QUERY_ENGINE_BINARY", "SCHEMA_ENGINE_BINARY", "QUERY_ENGINE_LIBRARY", "FMT_BINARY")
    postgresql = os.environ["STATE_DATABASE_URL"].rpartition("/")[0]
    return {
        **os.environ,
        **{f"PRISMA_{name}": str(home / "bin" / "query-engine") for name in engines},
        "PRISMA_CLI_QUERY_ENGINE_TYPE": "binary",
        "PRISMA_DML_PATH": str(extras / "schema.prisma"),
        "SHIM_NODE_MODULES": str(home / "bin" / "node_modules"),
        "DATABASE_URL": f"{postgresql}/litellm",
        "DISABLE_SCHEMA_UPDATE": "true",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_TELEMETRY": "False",
        "LITELLM_SALT_KEY": "sk-live-salt",
    }


@contextmanager
def second_litellm(
    folder: Path,
    settings: Mapping[str, Any],
    models: Sequence[Mapping[str, Any]] = _MODELS,
    general: Mapping[str, Any] | None = None,
) -> Iterator[str]:
    """Starts the process with `settings` as its `litellm_settings` and `models` as its `model_list`.

    `general` is what it has in `general_settings` besides the master key. Yields its address.
    Its files are in `folder`.
    """
    home = Path(os.environ.get("LITELLM_HOME", Path.home() / ".cache" / "litellm-live"))
    config = {
        "model_list": list(models),
        "general_settings": {"master_key": "os.environ/LITELLM_MASTER_KEY", **(general or {})},
        "litellm_settings": {"telemetry": False, **settings},
    }
    (folder / "litellm.yaml").write_text(yaml.safe_dump(config))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    arguments = ["--config", str(folder / "litellm.yaml"), "--host", "127.0.0.1", "--port", port]
    with (folder / "litellm.log").open("wb") as log:
        process = subprocess.Popen(
            [home / "venv/bin/litellm", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(home),
            start_new_session=True,
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}", process, folder / "litellm.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        # Its database engine is a process of its own, in the same group.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/health/liveliness").status_code == 200:
                return
        time.sleep(0.5)
    pytest.fail(f"LiteLLM does not answer: {log.read_text()[-2000:]}")
