"""Builds the connexion application, with our own parts where connexion answers wrongly.

Why each part is replaced: `docs/adr/0002-what-we-replace-in-connexion.md`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from http import HTTPStatus
from ipaddress import ip_network
from typing import Any, cast

from connexion.lifecycle import ConnexionRequest
from connexion.middleware import ConnexionMiddleware
from connexion.middleware.abstract import RoutedAPI, RoutedMiddleware
from connexion.middleware.lifespan import LifespanMiddleware
from connexion.middleware.routing import RoutingMiddleware
from connexion.middleware.security import SecurityMiddleware
from connexion.operations import AbstractOperation
from connexion.resolver import Resolver
from connexion.security import BearerSecurityHandler
from connexion.spec import Specification
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.routing import Mount, Route, Router, compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.errors import AuthenticationError
from domain.identity import Principal
from domain.redaction import Redaction
from edge.binding import BoundOperation, Handler, bind_principal, handler_name
from edge.capacity import Capacity
from edge.cors import middleware_options
from edge.errors import RoutingError, not_found, render
from edge.origin import Networks
from edge.paths import RawPath
from edge.request_log import RequestLog
from settings.model import Cors
from telemetry.metrics import Metrics
from telemetry.tracing import Tracing

Authenticate = Callable[[str], Awaitable[Principal]]
Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]


def build(
    contract: Mapping[str, Any],
    *,
    handlers: Mapping[str, Handler],
    services: Mapping[type, Any],
    authenticate: Authenticate,
    cors: Cors,
    body_seconds: float,
    lifespan: Lifespan,
    new_id: Callable[[], str],
    now: Callable[[], float],
    metrics: Metrics,
    tracing: Tracing | None,
    redaction: Redaction,
    trusted_proxies: Sequence[str],
) -> ASGIApp:
    """An ASGI application that serves `contract` with `handlers`, by the names of `handler_name`.

    Handlers get `services` by type. `authenticate` verifies a bearer token. A body must arrive within `body_seconds`.
    `trusted_proxies` are addresses and networks.
    """
    middlewares: list[Any] = [
        partial(RequestLog, new_id=new_id, now=now, metrics=metrics, tracing=tracing, redaction=redaction),
        # Outside of Errors: error responses need the CORS headers too.
        *([partial(CORSMiddleware, **middleware_options(cors))] if cors.origins else []),
        Errors,
        Capacity,
        partial(RawPath, users=f"{_server(contract, {})}/users"),
        Routing,
        SecurityMiddleware,
        LifespanMiddleware,
    ]
    application = ConnexionMiddleware(
        Operations(),
        import_name=__name__,
        lifespan=lifespan,
        middlewares=middlewares,
        resolver=Resolver(lambda operation_id: handlers[handler_name(operation_id)]),
        security_map={"bearer": partial(_Bearer, authenticate)},
    )
    trusted = [ip_network(proxy, strict=False) for proxy in trusted_proxies]
    for base_path, document in _by_base_path(contract).items():
        application.add_api(
            document, base_path=base_path, services=services, body_seconds=body_seconds, trusted=trusted
        )
    return cast("ASGIApp", application)


def _by_base_path(contract: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The contract split by base path: connexion ignores the `servers` of a path item."""
    parts: dict[str, dict[str, Any]] = {}
    for path, item in contract["paths"].items():
        server = _server(contract, item)
        part = parts.setdefault(server, {**contract, "paths": {}})
        part["paths"][path] = {key: value for key, value in item.items() if key != "servers"}
    return parts


def _server(contract: Mapping[str, Any], item: Mapping[str, Any]) -> str:
    """The path of the server of a path item, without a slash at its end."""
    return str(item.get("servers", contract["servers"])[0]["url"].rstrip("/"))


class Errors:
    """ASGI middleware: renders every exception as the error body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except ClientDisconnect:
            return
        except Exception as error:  # the last resort: no exception may leave unrendered
            response = render(scope, error)
            if started:
                raise
            await response(scope, receive, send)


class Routing(RoutingMiddleware):  # type: ignore[misc]  # connexion has no types
    """Connexion's routing without redirects, with the methods of the contract.

    Connexion redirects a trailing slash with 307, and lists only the first operation of a path in `Allow`.
    """

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app)
        self.router.redirect_slashes = False
        self._methods: list[tuple[Any, list[str]]] = []

    def add_api(self, specification: Specification, *args: Any, **kwargs: Any) -> None:
        super().add_api(specification, *args, **kwargs)
        mount = cast("Mount", self.router.routes[-1])
        router = cast("Router", mount.app)
        router.redirect_slashes = False
        methods: dict[str, set[str]] = {}
        for route in cast("list[Route]", router.routes):
            methods.setdefault(mount.path + route.path, set()).update(route.methods or ())
        self._methods += [(compile_path(path)[0], sorted(names)) for path, names in methods.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except HTTPException as error:
            if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
                raise self._method_not_allowed(scope["path"]) from error
            raise

    def _method_not_allowed(self, path: str) -> RoutingError:
        allowed = next(methods for pattern, methods in self._methods if pattern.match(path))
        message = f"This path supports only {', '.join(allowed)}"
        headers = {"Allow": ", ".join(allowed)}
        return RoutingError(HTTPStatus.METHOD_NOT_ALLOWED, "MethodNotAllowedError", message, headers)


class _Bearer(BearerSecurityHandler):  # type: ignore[misc]  # connexion has no types
    """Connexion's bearer scheme with a callable, where connexion expects the name of a global function."""

    def __init__(self, authenticate: Authenticate) -> None:
        self._authenticate = authenticate

    def get_fn(
        self, security_scheme: Any, required_scopes: Any
    ) -> Callable[[ConnexionRequest], Awaitable[dict[str, Any]]]:
        """A function that verifies the token of a request and stores its principal."""

        async def verify(request: ConnexionRequest) -> dict[str, Any]:
            principal = await self._authenticate(_token(request.headers.getlist("authorization")))
            bind_principal(request.scope, principal)
            return {"sub": principal.subject}

        return verify


def _token(authorizations: list[str]) -> str:
    """The bearer token (RFC 6750, section 2.1). Raises AuthenticationError unless there is exactly one."""
    if not authorizations:
        raise AuthenticationError("Sign in: send Authorization: Bearer <Backstage token>")
    scheme, _, token = authorizations[0].partition(" ")
    if len(authorizations) > 1 or scheme.lower() != "bearer" or not token.strip():
        raise AuthenticationError("Send exactly one Authorization: Bearer <Backstage token>")
    return token.strip()


class _BoundApi(RoutedAPI[BoundOperation]):  # type: ignore[misc]  # connexion has no types
    def __init__(
        self, *args: Any, services: Mapping[type, Any], body_seconds: float, trusted: Networks, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._services = services
        self._body_seconds = body_seconds
        self._trusted = trusted
        self.add_paths()

    def make_operation(self, operation: AbstractOperation) -> BoundOperation:
        return BoundOperation(operation, self._services, self._body_seconds, self._trusted)


class Operations(RoutedMiddleware[_BoundApi]):  # type: ignore[misc]  # connexion has no types
    """The innermost layer: calls the routed operation."""

    api_cls = _BoundApi

    def __init__(self) -> None:
        super().__init__(_no_operation)


async def _no_operation(scope: Scope, receive: Receive, send: Send) -> None:
    raise not_found()
