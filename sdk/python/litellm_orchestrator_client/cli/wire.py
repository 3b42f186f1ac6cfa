"""The four requests to the service, as forms (RFC 6749, 7009, 8628, 8693). None needs a Backstage token."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from .clock import Clock, Moment
from .errors import CommandError, RefusedError, UnreachableError
from .session import Tokens

CLIENT_ID = "litellm-key"
BASE = "/api/litellm-orchestrator"
_DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
_TIMES = 2
_WAITS, _SOON = 4, 1.0
"""How often the service is asked again that says "in a second", as it does while the same request is running."""
_OF_PROXIES = {502, 503, 504}
_LOCAL = {"localhost", "127.0.0.1", "::1"}


def service_url(address: str, *, allow_http: bool = False) -> str:
    """The base URL of a service from what a person types: with or without the base path, or a page of its console.

    Raises CommandError.
    """
    try:
        parts = urlsplit(address if "://" in address else f"https://{address}")._replace(fragment="")
        usable = re.fullmatch(r"https?://[\w.:\[\]-]+(/[\w./~%-]*)?", parts.geturl()) and parts.port != 0
        host = httpx.URL(parts.geturl()).host
        host.encode("idna")
    except (ValueError, httpx.InvalidURL):
        usable, host = None, ""
    if not usable or not host:
        raise CommandError(f"{address} is no address of a service, such as https://portal.example.com")
    if parts.scheme == "http" and host not in _LOCAL and not allow_http:
        raise CommandError(f"{address} is not encrypted: use https://, or --allow-http if nobody else can listen")
    path = parts.path.rstrip("/").partition(BASE)[0] + BASE
    return f"{parts.scheme}://{parts.netloc.lower()}{path}"


def http_client(
    timeout: httpx.Timeout,
    transport: httpx.BaseTransport | None,
    make: Callable[..., httpx.Client] = httpx.Client,
) -> httpx.Client:
    """Trusts the authorities and takes the proxies that the environment names. Raises CommandError if it cannot."""
    try:
        bundle = os.environ.get("REQUESTS_CA_BUNDLE")
        trusted: ssl.SSLContext | bool = True
        if bundle and not (os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")):  # these httpx knows
            file, folder = (None, bundle) if Path(bundle).is_dir() else (bundle, None)
            trusted = ssl.create_default_context(cafile=file, capath=folder)
        return make(timeout=timeout, transport=transport, verify=trusted)
    except (OSError, ValueError, ImportError) as error:
        names = "SSL_CERT_FILE, SSL_CERT_DIR, REQUESTS_CA_BUNDLE or a proxy's variable"
        raise CommandError(f"{names} cannot be used: {_printable(error)}") from error


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """What a person approves. `device_code` is secret; lives are in seconds."""

    device_code: str = field(repr=False)
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: float
    interval: float


@dataclass(frozen=True, slots=True)
class Grant:
    """A session and its first secrets."""

    principal: str
    owner: str
    session_id: str
    tokens: Tokens


class Wire:
    """Talks to one service. Every method raises RefusedError and UnreachableError.

    A request is sent twice if there is no answer, or only one of a proxy that had none: the service gives the same
    answer to the same token again for half a minute, so the second one repairs an answer that was lost; later, the same
    token would be theft. Both together take less than a tool waits for a key.
    """

    def __init__(self, service: str, clock: Clock, *, transport: httpx.BaseTransport | None = None) -> None:
        self._service, self._clock = service, clock
        self._http = http_client(
            httpx.Timeout(4.0, connect=3.0),
            transport,
            partial(httpx.Client, base_url=service),
        )

    def device_code(self, device_name: str, tool: str) -> DeviceCode:
        """Begins a sign-in."""
        form = {"client_id": CLIENT_ID, "device_name": device_name, "tool": tool}
        body = self._post("device_authorization", form)
        try:
            return DeviceCode(
                device_code=str(body["device_code"]),
                user_code=_printable(body["user_code"]),
                verification_uri=_web(body["verification_uri"]),
                verification_uri_complete=_web(body.get("verification_uri_complete") or body["verification_uri"]),
                expires_in=float(body["expires_in"]),
                interval=max(1.0, float(body.get("interval", 5))),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise self._strange() from error

    def poll(self, device_code: str) -> Grant:
        """Asks whether it was approved. RefusedError has `authorization_pending` and the like."""
        return self._grant({"grant_type": _DEVICE_CODE, "device_code": device_code, "client_id": CLIENT_ID}, times=1)

    def refresh(self, refresh_token: str) -> Grant:
        """Renews both secrets. RefusedError with `invalid_grant`: the session has ended."""
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token, "client_id": CLIENT_ID}
        times = _TIMES
        for _ in range(_WAITS):
            try:
                return self._grant(form, times=times)
            except UnreachableError as error:
                if error.retry_after != _SOON:
                    raise
            # The service is still making the answer that this gave up on: the next process would come too late for it.
            self._clock.sleep(_SOON)
            times = 1
        return self._grant(form, times=1)

    def revoke(self, refresh_token: str) -> None:
        """Ends the session and its keys."""
        form = {"token": refresh_token, "token_type_hint": "refresh_token", "client_id": CLIENT_ID}
        self._post("revoke", form, empty=True)

    def exchange(self, rule: str, token: str) -> tuple[str, float]:
        """A key for a workload's own token, and the seconds for which it works."""
        from litellm_orchestrator_client.client import exchange

        body = self._post("token", exchange(rule, token).to_dict())
        try:
            return _secret(body["access_token"]), float(body["expires_in"])
        except (KeyError, TypeError, ValueError) as error:
            raise self._strange() from error

    def _grant(self, form: Mapping[str, str], *, times: int = _TIMES) -> Grant:
        received = Moment.now(self._clock)
        body = self._post("token", form, times=times)
        try:
            tokens = Tokens(
                key=_secret(body["access_token"]),
                refresh_token=_secret(body["refresh_token"]),
                litellm_url=_web(body["litellm_url"]).rstrip("/") if body.get("litellm_url") else "",
                key_life=float(body["expires_in"]),
                session_life=float(body["refresh_token_expires_in"]),
                received=received,
            )
            principal, owner, session_id = (_printable(body[name]) for name in ("principal", "owner", "session_id"))
            return Grant(principal, owner, session_id, tokens)
        except (KeyError, TypeError, ValueError) as error:
            raise self._strange() from error

    def _post(self, name: str, form: Mapping[str, str], *, empty: bool = False, times: int = _TIMES) -> dict[str, Any]:
        for left in range(times - 1, -1, -1):
            try:
                response = self._http.post(f"/oauth/{name}", data=form)
            except httpx.ConnectError as error:
                raise UnreachableError(_why(self._service, error)) from error
            except httpx.RequestError as error:
                if not left:
                    raise UnreachableError(_why(self._service, error)) from error
            else:
                if left and response.status_code in _OF_PROXIES and "error" not in (_object(response) or {}):
                    continue
                return self._body(response, empty=empty)
        raise AssertionError("the last attempt returns or raises")

    def _body(self, response: httpx.Response, *, empty: bool) -> dict[str, Any]:
        status = response.status_code
        if status == 200 and empty:
            return {}
        body = _object(response)
        if status == 200 and body is not None:
            return body
        error = body.get("error") if body else None
        sentence = _printable(body.get("error_description", "")) if body else ""
        if status == 429 or status >= 500:
            wait = response.headers.get("Retry-After", "")
            seconds = float(wait) if wait.isdecimal() else None
            raise UnreachableError(f"{self._service} cannot answer now ({status}). {sentence}".strip(), seconds)
        if isinstance(error, str) and 400 <= status < 500:
            raise RefusedError(error, f"{self._service} refused: {sentence or _printable(error)}")
        raise self._strange(status)

    def _strange(self, status: int | None = None) -> UnreachableError:
        answered = f"answered {status}, which is" if status else "gave an answer that is"
        return UnreachableError(
            f"{self._service} {answered} not this service's: is the address right, and is a sign-in page before it?"
        )


def still_works(key: str, litellm_url: str, *, transport: httpx.BaseTransport | None = None) -> bool:
    """False if LiteLLM itself says that it does not take this key; an outage says nothing about a key.

    Nor does an empty `litellm_url`.
    """
    try:
        with http_client(httpx.Timeout(2.0), transport) as http:
            response = http.get(f"{litellm_url}/v1/models", headers={"Authorization": f"Bearer {key}"})
        # An ingress has its own 401; LiteLLM's has this form.
        return not (response.status_code == 401 and isinstance(response.json()["error"], dict))
    except (CommandError, httpx.HTTPError, ValueError, KeyError, TypeError):
        return True


def _why(service: str, error: httpx.RequestError) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return (
            f"{service} has a certificate that this machine does not trust: set SSL_CERT_FILE to the file of your "
            "organisation's authority"
        )
    if "WRONG_VERSION_NUMBER" in str(error):
        return f"{service} is not encrypted: is it http://?"
    reason = "did not answer in time" if isinstance(error, httpx.TimeoutException) else str(error) or "no connection"
    return f"{service} cannot be reached: {_printable(reason)}"


def _object(response: httpx.Response) -> dict[str, Any] | None:
    """The JSON object of an answer; None if it has none."""
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _printable(text: Any) -> str:
    """Without what a terminal would obey."""
    return re.sub(r"[^\x20-\x7e]", "", str(text))[:500]


def _secret(text: Any) -> str:
    """Raises ValueError for what cannot be a line of output or a header."""
    if not re.fullmatch(r"[\x21-\x7e]{1,4096}", str(text)):
        raise ValueError("no token")
    return str(text)


def _web(text: Any) -> str:
    """Raises ValueError for what a browser should not open."""
    if not re.fullmatch(r"https?://[\x21-\x7e]+", str(text)):
        raise ValueError("no web address")
    return str(text)
