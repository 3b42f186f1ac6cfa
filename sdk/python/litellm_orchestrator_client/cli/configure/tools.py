"""The tools, and the settings by which their documentation lets them ask a command for a key."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from litellm_orchestrator_client.cli.errors import UnreachableError
from litellm_orchestrator_client.cli.session import Tokens
from litellm_orchestrator_client.cli.wire import http_client

from .change import Wanted

if TYPE_CHECKING:
    from litellm_orchestrator_client.cli.machine import Machine

_PROVIDER = "litellm-key"
_TIME_LIMIT_MS = 20_000
_REFRESH_MS = 300_000


@dataclass(frozen=True, slots=True)
class Call:
    """The command that a tool shall run, and the key by which LiteLLM is asked for its models now.

    `owner` is None if the tool shall use the last sign-in at `service`.
    """

    program: str
    service: str
    owner: str | None
    tokens: Tokens

    @property
    def arguments(self) -> list[str]:
        """Behind the program."""
        return ["token", "--service", self.service, *(["--for", self.owner] if self.owner else [])]


@dataclass(frozen=True, slots=True)
class Tool:
    """`wanted` may raise UnreachableError. `next_step` is what the person does then."""

    name: str
    wanted: Callable[[Machine, Call], list[Wanted]]
    next_step: str
    in_the_way: tuple[str, ...] = ()


def _claude_code(machine: Machine, call: Call) -> list[Wanted]:
    """`apiKeyHelper`: run by /bin/sh every five minutes and after a 401; what it prints is sent as the key."""
    folder = Path(machine.environ.get("CLAUDE_CONFIG_DIR") or machine.home / ".claude")
    values: dict[tuple[str, ...], str] = {
        ("apiKeyHelper",): json.dumps(shlex.join([call.program, *call.arguments])),
        ("env", "ANTHROPIC_BASE_URL"): json.dumps(call.tokens.litellm_url),
    }
    return [Wanted(folder / "settings.json", "json", values)]


def _codex(machine: Machine, call: Call) -> list[Wanted]:
    """`model_providers.….auth`: run every `refresh_interval_ms` and after a 401, for `timeout_ms` at most."""
    folder = Path(machine.environ.get("CODEX_HOME") or machine.home / ".codex")
    auth = {
        "command": call.program,
        "args": call.arguments,
        "timeout_ms": _TIME_LIMIT_MS,
        "refresh_interval_ms": _REFRESH_MS,
    }
    provider = {"name": "LiteLLM", "base_url": f"{call.tokens.litellm_url}/v1", "wire_api": "responses", "auth": auth}
    values: dict[tuple[str, ...], str] = {
        ("model_provider",): json.dumps(_PROVIDER),
        ("model_providers", _PROVIDER): json.dumps(provider),
    }
    return [Wanted(folder / "config.toml", "toml", values)]


def _opencode(machine: Machine, call: Call) -> list[Wanted]:
    """A provider with LiteLLM's models, and a plugin that sets each request's key: the settings know no command."""
    folder = Path(machine.environ.get("XDG_CONFIG_HOME") or machine.home / ".config") / "opencode"
    settings = next((folder / name for name in ("opencode.jsonc", "opencode.json") if (folder / name).exists()), None)
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "LiteLLM",
        "options": {"baseURL": f"{call.tokens.litellm_url}/v1"},
        "models": {name: {} for name in _models(machine, call.tokens)},
    }
    plugin = _PLUGIN % {
        "provider": json.dumps(_PROVIDER),
        "program": json.dumps(call.program),
        "arguments": json.dumps(call.arguments),
        "limit": _TIME_LIMIT_MS,
    }
    values: dict[tuple[str, ...], str] = {("provider", _PROVIDER): json.dumps(provider, indent=2)}
    return [
        Wanted(settings or folder / "opencode.json", "json", values),
        Wanted(folder / "plugins" / "litellm-key.js", "whole", {(): json.dumps(plugin)}),
    ]


def _models(machine: Machine, tokens: Tokens) -> list[str]:
    """Those that the key may use."""
    try:
        with http_client(httpx.Timeout(10.0), machine.transport) as http:
            answer = http.get(f"{tokens.litellm_url}/v1/models", headers={"Authorization": f"Bearer {tokens.key}"})
        rows: list[dict[str, Any]] = answer.raise_for_status().json()["data"]
        return sorted({str(row["id"]) for row in rows})
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise UnreachableError(f"{tokens.litellm_url} did not say which models there are") from error


_PLUGIN = """\
// Written by `litellm-key configure opencode`, and removed by `litellm-key configure opencode --undo`.
import { execFile } from "node:child_process"
import { promisify } from "node:util"

const run = promisify(execFile)

export const LiteLLMKey = async () => ({
  "chat.headers": async ({ model }, { headers }) => {
    if (model?.providerID !== %(provider)s) return
    const { stdout } = await run(%(program)s, %(arguments)s, { timeout: %(limit)d })
    headers.Authorization = `Bearer ${stdout.trim()}`
  },
})
"""

TOOLS = {
    tool.name: tool
    for tool in (
        Tool(
            "claude-code", _claude_code, "Start claude again. A model of yours: claude --model NAME",
            ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
        ),
        Tool("codex", _codex, "Start codex again, with a model of LiteLLM: codex --model NAME"),
        Tool("opencode", _opencode, f"Start opencode again; its models begin with {_PROVIDER}/"),
    )
}  # fmt: skip
