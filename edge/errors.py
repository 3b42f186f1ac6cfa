"""Renders every error as Backstage's error body. The only place that maps errors to HTTP statuses.

Backstage's clients parse this body (`ResponseError.fromResponse` in `@backstage/errors`). Under `/oauth/` it is OAuth's
(RFC 6749, section 5.2), which every OAuth client parses.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes

import structlog
from connexion.exceptions import ProblemException
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from domain import errors
from domain.identity import BASE_PATH
from domain.redaction import BY_FORM
from edge.redacted_path import redacted_path
from handlers.responses import rate_headers

log = structlog.get_logger(__name__)

_STATUS_OF: dict[type, tuple[HTTPStatus, str]] = {
    errors.InputError: (HTTPStatus.BAD_REQUEST, "InputError"),
    errors.AuthenticationError: (HTTPStatus.UNAUTHORIZED, "AuthenticationError"),
    errors.NotAllowedError: (HTTPStatus.FORBIDDEN, "NotAllowedError"),
    errors.NotFoundError: (HTTPStatus.NOT_FOUND, "NotFoundError"),
    errors.ConflictError: (HTTPStatus.CONFLICT, "ConflictError"),
    errors.TokenRequestError: (HTTPStatus.BAD_REQUEST, "InputError"),
    errors.PreconditionFailedError: (HTTPStatus.PRECONDITION_FAILED, "PreconditionFailedError"),
    errors.IdempotencyKeyReusedError: (HTTPStatus.UNPROCESSABLE_ENTITY, "UnprocessableError"),
    errors.RateLimitedError: (HTTPStatus.TOO_MANY_REQUESTS, "TooManyRequestsError"),
    errors.OverloadedError: (HTTPStatus.SERVICE_UNAVAILABLE, "ServiceUnavailableError"),
    errors.UpstreamFaultError: (HTTPStatus.BAD_GATEWAY, "BadGatewayError"),
    errors.UpstreamUnavailableError: (HTTPStatus.SERVICE_UNAVAILABLE, "ServiceUnavailableError"),
    errors.UpstreamTimeoutError: (HTTPStatus.GATEWAY_TIMEOUT, "GatewayTimeoutError"),
}
_NOT_IN_A_DESCRIPTION = re.compile(r"[^ !#-\[\]-~]")
_OAUTH = f"{BASE_PATH}/oauth".encode().split(b"/")
_TEMPORARY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_NOT_STORED = {"Cache-Control": "no-store"}
_INTERNAL = "Internal error; the log has details under this request's id"


class RoutingError(Exception):
    """A refusal by HTTP itself: path, method, media type, size."""

    def __init__(self, status: HTTPStatus, name: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.name = name
        self.message = message
        self.headers = dict(headers or {})


def not_found() -> RoutingError:
    """The error for a path that is not in the contract."""
    return RoutingError(
        HTTPStatus.NOT_FOUND, "NotFoundError", "This path does not exist; GET …/openapi.yaml lists all paths"
    )


def render(scope: Mapping[str, Any], error: Exception) -> JSONResponse:
    """The response to a request that ended in `error`. A fault of ours is logged; its text never leaves the process."""
    if isinstance(error, HTTPException) and error.status_code == HTTPStatus.NOT_FOUND:
        error = not_found()
    if isinstance(error, RoutingError):
        return _response(scope, error.status, error.name, error.message, error.headers)
    known = next((_STATUS_OF[kind] for kind in type(error).__mro__ if kind in _STATUS_OF), None)
    if known is not None:
        return _known(scope, error, *known)
    if isinstance(error, (HTTPException, ProblemException)):
        status = error.status_code if isinstance(error, HTTPException) else error.status
        log.error("unexpected framework error", error=repr(error), status=status)
    else:
        log.error("unexpected error", exc_info=error)
    return _response(scope, HTTPStatus.INTERNAL_SERVER_ERROR, "InternalServerError", _INTERNAL, {})


def _known(scope: Mapping[str, Any], error: Exception, status: HTTPStatus, name: str) -> JSONResponse:
    headers: dict[str, str] = {}
    if isinstance(error, errors.UpstreamError) and is_oauth(scope["raw_path"]):
        # Programs that know OAuth know no other outage.
        status = HTTPStatus.SERVICE_UNAVAILABLE
    if isinstance(error, errors.AuthenticationError):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, errors.RateLimitedError):
        headers |= {"Retry-After": str(error.rate.retry_after), **rate_headers(error.rate)}
    says_when = status in {HTTPStatus.CONFLICT, HTTPStatus.SERVICE_UNAVAILABLE}
    if says_when and isinstance(error, (errors.BusyError, errors.OverloadedError, errors.UpstreamError)):
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, errors.UpstreamError):
        log.warning("upstream failed", error=error.message, cause=type(error.__cause__).__name__)
    if isinstance(error, errors.TokenRequestError):
        return JSONResponse(oauth_error_body(status, error.message, error.code), status.value, headers=_NOT_STORED)
    return _response(scope, status, name, str(error), headers)


def _response(
    scope: Mapping[str, Any], status: HTTPStatus, name: str, message: str, headers: Mapping[str, str]
) -> JSONResponse:
    # The server leaves out the body of a HEAD; its length must be that of the GET (RFC 9110, section 8.6).
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    message, path = BY_FORM.text(message), scope["raw_path"]
    if is_oauth(path):
        body = oauth_error_body(status, message)
    else:
        body = error_body(status, name, message, method=method, url=redacted_path(path))
    return JSONResponse(body, status.value, headers={**headers, **_NOT_STORED})


def is_oauth(raw_path: bytes) -> bool:
    """Whether errors of this path have OAuth's form. Decoded as for routing, by segments: `/%6Fauth/` is one, too."""
    *above, _ = raw_path.split(b"/", len(_OAUTH))
    return [unquote_to_bytes(segment) for segment in above] == _OAUTH


def oauth_error_body(status: HTTPStatus, message: str, code: str | None = None) -> dict[str, Any]:
    """OAuth's error body. Without a `code` the status says which it is (RFC 6749, sections 5.2 and 4.1.2.1).

    A description is in ASCII, without quotes and backslashes.
    """
    if code is None and status in _TEMPORARY:
        code = "temporarily_unavailable"
    elif code is None:
        code = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request"
    plain = unicodedata.normalize("NFKD", message).replace('"', "'")
    return {"error": code, "error_description": _NOT_IN_A_DESCRIPTION.sub("?", plain)}


def error_body(status: HTTPStatus, name: str, message: str, *, method: str, url: str) -> dict[str, Any]:
    """Backstage's error body; the plugin's page reads some errors at its top, so name and message are there too."""
    return {
        "name": name,
        "message": message,
        "error": {"name": name, "message": message},
        "request": {"method": method, "url": url},
        "response": {"statusCode": status.value},
    }
