"""The variables by which programs find LiteLLM and the key."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from .session import Tokens


def variables(tokens: Tokens) -> dict[str, str]:
    """Those of OpenAI's and Anthropic's libraries, and LiteLLM's own.

    OpenAI's libraries append `/chat/completions` to their base URL, Anthropic's `/v1/messages`.
    """
    return {
        "OPENAI_API_KEY": tokens.key,
        "OPENAI_BASE_URL": f"{tokens.litellm_url}/v1",
        "ANTHROPIC_AUTH_TOKEN": tokens.key,
        "ANTHROPIC_BASE_URL": tokens.litellm_url,
        "LITELLM_API_KEY": tokens.key,
    }


def as_shell(values: Mapping[str, str], shell: str) -> str:
    """Lines that a shell reads: `sh` (also bash and zsh), `fish`, `powershell`."""
    if shell == "powershell":
        quoted = {name: value.replace("'", "''") for name, value in values.items()}
        return "\n".join(f"$env:{name} = '{value}'" for name, value in quoted.items())
    if shell == "fish":  # a backslash means something there, also between apostrophes
        quoted = {name: value.replace("\\", "\\\\").replace("'", "\\'") for name, value in values.items()}
        return "\n".join(f"set -gx {name} '{value}'" for name, value in quoted.items())
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items())
