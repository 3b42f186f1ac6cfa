"""`exchange`: where a workload's own token comes from, and a file with a key that stays fresh."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import click
import httpx

from . import files
from .clock import Clock
from .errors import CommandError, RefusedError, UnreachableError
from .wire import http_client

_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0


def token_source(
    environ: Mapping[str, str], audience: str, file: str | None, transport: httpx.BaseTransport | None
) -> Callable[[], str]:
    """Reads the token anew at each call: platforms renew it. Raises CommandError if there is none here."""
    if file is not None:
        return lambda: _from_file(file)
    if environ.get("ACTIONS_ID_TOKEN_REQUEST_URL") and environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN"):
        return lambda: _from_github(environ, audience, transport)
    if environ.get("GITLAB_CI"):
        return lambda: _from_gitlab(environ, audience)
    hint = "GitHub gives a job one with permissions: {id-token: write}. " if environ.get("GITHUB_ACTIONS") else ""
    raise CommandError(f"There is no token of a platform here. {hint}Elsewhere, use --token-file.")


def _from_file(name: str) -> str:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text("utf-8")
    except (OSError, ValueError) as error:
        raise CommandError(f"{name} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}") from error
    if not text.strip():
        raise CommandError(f"{name} is empty")
    return text.strip()


def _from_github(environ: Mapping[str, str], audience: str, transport: httpx.BaseTransport | None) -> str:
    """Asks GitHub for the token of the job (`permissions: {id-token: write}`)."""
    headers = {"Authorization": f"Bearer {environ['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}"}
    url = httpx.URL(environ["ACTIONS_ID_TOKEN_REQUEST_URL"]).copy_merge_params({"audience": audience})
    try:
        with http_client(httpx.Timeout(10.0), transport) as http:
            response = http.get(url, headers=headers)
        if response.status_code == 200:
            return str(response.json()["value"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise UnreachableError("GitHub's token could not be fetched") from error
    raise UnreachableError(f"GitHub's token could not be fetched: it answered {response.status_code}")


def _from_gitlab(environ: Mapping[str, str], audience: str) -> str:
    """The variable of the job's `id_tokens` that is for this audience, whatever it is called."""
    found = {value for value in environ.values() if audience in _audiences(value)}
    if len(found) != 1:
        some = "more than one" if found else "no"
        raise CommandError(
            f"This job has {some} token for the audience {audience}: "
            f"it needs id_tokens: {{LITELLM_TOKEN: {{aud: {audience}}}}}"
        )
    return found.pop()


def _audiences(text: str) -> list[str]:
    """Those of a JSON Web Token; none for any other text."""
    parts = text.split(".")
    if len(parts) != 3 or not text.startswith("ey"):
        return []
    try:
        audience = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))["aud"]
        return [audience] if isinstance(audience, str) else list(audience)
    except (ValueError, KeyError, TypeError):
        return []


def write_key(path: Path, key: str) -> None:
    """Replaces the file in one step; only its owner can read it. Raises CommandError."""
    try:
        files.replace(path, key.encode())
    except OSError as error:
        raise CommandError(f"{path} cannot be written ({error.strerror})") from error


def watch(exchange: Callable[[], tuple[str, float]], path: Path, clock: Clock) -> None:
    """Keeps the file fresh until it is stopped: a new key when a third of the life is left.

    An outage is waited for. A refusal ends it (RefusedError) once the file's key is over: the token may be changing.
    """
    ends, pause = clock.uptime(), _FIRST_PAUSE
    while True:
        began = clock.uptime()
        try:
            key, life = exchange()
        except (RefusedError, UnreachableError) as error:
            if isinstance(error, RefusedError) and clock.uptime() >= ends:
                raise
            asked = getattr(error, "retry_after", None) or 0.0
            now = max(pause, min(asked, _LONGEST_PAUSE))
            click.echo(f"litellm-key: {error.message.rstrip('.')}. Trying again in {now:.0f} s.", err=True)
            clock.sleep(now)
            pause = min(_LONGEST_PAUSE, pause * 2)
        else:
            write_key(path, key)
            ends, pause = began + life, _FIRST_PAUSE
            clock.sleep(max(1.0, life * 2 / 3))
