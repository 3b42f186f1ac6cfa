"""The client: a token for each request, retries, pages, errors as exceptions. All other modules are generated."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Protocol, TypeVar

import httpx

from .models.api_error import ApiError
from .models.o_auth_error import OAuthError
from .models.token_request import TokenRequest
from .types import UNSET, Unset


class _Page(Protocol):
    @property
    def next_cursor(self) -> str | Unset | None: ...


T = TypeVar("T")
P = TypeVar("P", bound=_Page)


class Client:
    """Calls the service at `base_url`. `token` is asked for a Backstage token before each request.

    Without `token` it is a workload's, which can exchange its own token. `attempts`: how often a request is sent that
    may be repeated. `options`: those of httpx; the timeout is 30 s.
    """

    raise_on_unexpected_status = True

    def __init__(
        self, base_url: str, token: Callable[[], str] | None = None, *, attempts: int = 4, **options: Any
    ) -> None:
        self.token, self.attempts = token, attempts
        self._options: dict[str, Any] = {"base_url": base_url, "timeout": 30.0, **options}
        self._sync: httpx.Client | None = None
        self._async: httpx.AsyncClient | None = None

    def get_httpx_client(self) -> httpx.Client:
        """Sends the requests of `sync` functions. Close it in the end."""
        self._sync = self._sync or _Client(self, self._options)
        return self._sync

    def get_async_httpx_client(self) -> httpx.AsyncClient:
        """Sends the requests of `asyncio` functions. Close it in the end."""
        self._async = self._async or _AsyncClient(self, self._options)
        return self._async

    def sign(self, request: httpx.Request) -> None:
        """Adds the caller's token, if there is one."""
        if self.token is not None:
            request.headers["Authorization"] = f"Bearer {self.token()}"

    def pause(self, request: httpx.Request, outcome: httpx.Response | httpx.TransportError, sent: int) -> float | None:
        """Seconds until a request is sent again, after `sent` times; None if not: it would not help, or act twice."""
        # A workload's token gets the same key again.
        is_exchange = request.url.path.endswith("/oauth/token")
        again, wait = request.method == "GET" or "Idempotency-Key" in request.headers or is_exchange, ""
        if isinstance(outcome, httpx.Response):
            status, wait = outcome.status_code, outcome.headers.get("Retry-After", "")
            ends_by_itself = status >= 500 or (status == 409 and wait != "")
            again = status == 429 or (status == 401 and sent == 1) or (again and ends_by_itself)
        seconds = float(wait) if wait.isdecimal() else random.uniform(0.25, 0.5) * 2**sent  # noqa: S311  # no secret
        return seconds if again and sent < self.attempts and seconds <= 60 else None


AuthenticatedClient = Client


class _Client(httpx.Client):
    def __init__(self, owner: Client, options: dict[str, Any]) -> None:
        super().__init__(**options)
        self._owner = owner

    def send(self, request: httpx.Request, **how: Any) -> httpx.Response:
        sent = 0
        while True:
            self._owner.sign(request)
            sent += 1
            try:
                response = super().send(request, **how)
                if (seconds := self._owner.pause(request, response, sent)) is None:
                    return response
            except httpx.TransportError as error:
                if (seconds := self._owner.pause(request, error, sent)) is None:
                    raise
            time.sleep(seconds)


class _AsyncClient(httpx.AsyncClient):
    def __init__(self, owner: Client, options: dict[str, Any]) -> None:
        super().__init__(**options)
        self._owner = owner

    async def send(self, request: httpx.Request, **how: Any) -> httpx.Response:
        sent = 0
        while True:
            self._owner.sign(request)
            sent += 1
            try:
                response = await super().send(request, **how)
                if (seconds := self._owner.pause(request, response, sent)) is None:
                    return response
            except httpx.TransportError as error:
                if (seconds := self._owner.pause(request, error, sent)) is None:
                    raise
            await asyncio.sleep(seconds)


class OrchestratorError(Exception):
    """The service refused or failed. `name` and `status` are those of the guide's table of errors."""

    def __init__(self, error: ApiError) -> None:
        self.name, self.message, self.status = error.error.name, error.error.message, error.response.status_code
        super().__init__(f"{self.name} ({self.status}): {self.message}")


class TokenError(Exception):
    """No key was given for a token. `error` is a code of OAuth, such as `invalid_grant`; `description` a sentence."""

    def __init__(self, error: OAuthError) -> None:
        self.error, self.description = error.error, error.error_description
        super().__init__(f"{self.error}: {self.description}")


def exchange(rule: str, token: str) -> TokenRequest:
    """The body that asks for a key in exchange for a workload's token: `issue_token.sync(client=client, body=…)`."""
    return TokenRequest(
        grant_type="urn:ietf:params:oauth:grant-type:token-exchange",
        client_id=rule,
        subject_token=token,
        subject_token_type="urn:ietf:params:oauth:token-type:jwt",  # noqa: S106  # no secret
    )


def result(answer: T | ApiError | OAuthError | None) -> T:
    """The answer of a call that succeeded. Raises OrchestratorError or TokenError for one that did not."""
    if isinstance(answer, ApiError):
        raise OrchestratorError(answer)
    if isinstance(answer, OAuthError):
        raise TokenError(answer)
    assert answer is not None, "a 204 or 304 has no body: call sync_detailed"
    return answer


def pages(fetch: Callable[[str | Unset], P | ApiError | None]) -> Iterator[P]:
    """Every page: `pages(lambda cursor: get_users.sync(client=client, cursor=cursor))`."""
    cursor: str | Unset = UNSET
    while True:
        yield (page := result(fetch(cursor)))
        if not page.next_cursor:
            return
        cursor = page.next_cursor


async def async_pages(fetch: Callable[[str | Unset], Awaitable[P | ApiError | None]]) -> AsyncIterator[P]:
    """Every page: `async_pages(lambda cursor: get_users.asyncio(client=client, cursor=cursor))`."""
    cursor: str | Unset = UNSET
    while True:
        yield (page := result(await fetch(cursor)))
        if not page.next_cursor:
            return
        cursor = page.next_cursor
